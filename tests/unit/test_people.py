"""Who a question is about."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.retrieval.people import People

AUTHORS = ("Melanie", "José Ortega", "user", "William")


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("When did Melanie paint?", ("Melanie",)),
        ("What is melanie's plan?", ("Melanie",)),
        ("Did Mel call?", ("Melanie",)),
        ("What did Ortega say to Melanie?", ("Melanie", "José Ortega")),
        ("Will it rain?", ()),
        ("Did Will call?", ("William",)),
        ("What did the user ask?", ()),
        ("Was the mel good?", ()),
    ],
)
def test_names_match_by_token_and_short_form(question: str, expected: tuple[str, ...]) -> None:
    """Any word of a name counts, a capitalised short form too, a role never does."""
    assert People(AUTHORS).named(question) == expected


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("When did Melanie paint the fence?", "When did paint the fence?"),
        ("What is Mel's dog called?", "What is dog called?"),
        ("Melanie?", "Melanie?"),
        ("Why Melanie", "Why Melanie"),
    ],
)
def test_names_are_taken_out_unless_too_little_is_left(question: str, expected: str) -> None:
    """What remains is the question without its names; a question that is little more than a name stays as it is."""
    assert People(AUTHORS).without_names(question) == expected


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("What did May say?", ("May Lee",)),
        ("May I ask what happened in May?", ()),
        ("What happened on May 7?", ()),
        ("Where did we go last May?", ()),
        ("Will Will come?", ("Will",)),
        ("what will may do", ()),
        ("What is Will's dog called?", ("Will",)),
        ("What did Ana Silva cook?", ("Ana Silva",)),
        ("What did Ana cook?", ("Ana Silva", "Ana Costa")),
        ("Did Silva call Costa?", ("Ana Silva", "Ana Costa")),
    ],
)
def test_names_that_are_words_count_only_where_a_name_is_certain(question: str, expected: tuple[str, ...]) -> None:
    """A month or a verb is nobody, and of two who share a name the other word decides."""
    assert People(("May Lee", "Will", "Ana Silva", "Ana Costa")).named(question) == expected


def test_a_long_question_among_many_people_is_read_to_a_bound() -> None:
    """Ten thousand words and five thousand people are looked up, not compared."""
    people = People([f"person{n}" for n in range(5_000)])
    assert people.named("word " * 1_000 + "Person7 " + "word " * 9_000 + "Person8") == ("person7",)


@given(st.text(max_size=80), st.lists(st.text(max_size=12), max_size=4))
def test_any_text_is_taken(question: str, authors: list[str]) -> None:
    """Whatever is asked and whatever people are called, a question stays a question."""
    assert set(People(authors).named(question)) <= set(authors)
    assert People(authors).without_names(question) or not question.strip()
