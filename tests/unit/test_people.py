"""Who a question is about."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.retrieval.people import named, without_names

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
    assert named(question, AUTHORS) == expected


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
    assert without_names(question, AUTHORS) == expected


@given(st.text(max_size=80), st.lists(st.text(max_size=12), max_size=4))
def test_any_text_is_taken(question: str, authors: list[str]) -> None:
    """Whatever is asked and whatever people are called, a question stays a question."""
    assert set(named(question, authors)) <= set(authors)
    assert without_names(question, authors) or not question.strip()
