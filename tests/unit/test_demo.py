"""The demo conversation holds together: ids, times, people, and gold that exists."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from app.demo import DemoTurn, load_conversation, load_questions
from app.records import Role

SESSIONS = load_conversation()
TURNS = tuple(turn for session in SESSIONS for turn in session.turns)
QUESTIONS = load_questions()


def test_the_first_turn_is_read_whole() -> None:
    """A line of the file becomes a typed turn with an aware time."""
    assert TURNS[0] == DemoTurn(
        id="0307-01",
        session_id="mara-jonas-2026-03-07",
        at=datetime(2026, 3, 7, 18, 12, 23, tzinfo=UTC),
        author="Mara",
        role=Role.USER,
        text="Are you sitting down? Halden Maps called. They want me.",
    )


def test_the_conversation_has_the_size_it_promises() -> None:
    """Eleven sessions, enough turns to get lost in, and no more than fits a minute of indexing."""
    assert len(SESSIONS) == 11
    assert 260 <= len(TURNS) <= 340
    assert len({session.session_id for session in SESSIONS}) == 11


def test_people_keep_their_roles() -> None:
    """Mara and Jonas are users, Wren is the assistant."""
    assert {(turn.author, turn.role) for turn in TURNS} == {
        ("Mara", Role.USER),
        ("Jonas", Role.USER),
        ("Wren", Role.ASSISTANT),
    }


def test_turns_are_unique_and_in_order() -> None:
    """No id or sentence is said twice, and time only moves forward, inside the months of the story."""
    assert len({turn.id for turn in TURNS}) == len({turn.text for turn in TURNS}) == len(TURNS)
    assert all(earlier.at < later.at for earlier, later in pairwise(TURNS))
    assert datetime(2026, 3, 1, tzinfo=UTC) < TURNS[0].at < TURNS[-1].at < datetime(2026, 6, 1, tzinfo=UTC)


def test_one_session_pauses_long_enough_to_become_two_episodes() -> None:
    """A gap longer than the default idle time of half an hour is part of the demo."""
    pauses = [b.at - a.at for session in SESSIONS for a, b in pairwise(session.turns)]
    assert sum(pause > timedelta(minutes=30) for pause in pauses) == 1


def test_questions_are_distinct_and_their_gold_exists() -> None:
    """Fourteen questions, each answered by turns of the conversation, none copied from a turn."""
    assert len({question.question for question in QUESTIONS}) == len(QUESTIONS) == 14
    assert {gold for question in QUESTIONS for gold in question.gold} <= {turn.id for turn in TURNS}
    assert all(question.gold and question.note for question in QUESTIONS)
    assert {question.question for question in QUESTIONS}.isdisjoint(turn.text for turn in TURNS)


def test_gold_of_a_changed_fact_is_its_newest_statement() -> None:
    """The move was planned for three dates; the question about it points at the last announcement."""
    (question,) = [q for q in QUESTIONS if q.question.startswith("On which day is the move")]
    (gold,) = [turn for turn in TURNS if turn.id in question.gold]
    assert "the final date is Saturday, the 23rd of May" in gold.text
