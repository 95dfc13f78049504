"""What a buffer's numbers mean."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ports import Backlog, Window
from app.records import Message, Role, Scope
from app.working.window import (
    Waiting,
    backlog,
    from_microseconds,
    narrows_within_session,
    newest,
    to_microseconds,
    window,
)

START = datetime(2026, 1, 1, tzinfo=UTC)


def message(sequence: int, *, at: int = 0, user_id: str | None = None) -> Message:
    scope = Scope("n", user_id, session_id="s")
    return Message(UUID(int=sequence), scope, Role.USER, "text", START + timedelta(minutes=at), sequence=sequence)


@pytest.mark.parametrize(
    ("sequences", "base", "limit", "is_complete"),
    [
        ((1, 2), 0, 5, True),  # from the very first message on
        ((), 0, 5, True),  # a session that has begun nowhere else
        ((), None, 5, False),  # a session that is not known here
        ((8, 9), 7, 2, True),  # full
        ((8, 9), 7, 3, False),  # the third is not here
        ((2, 10), 9, 2, False),  # full, but of a buffer with a gap
        ((), 7, 0, True),  # nothing asked, nothing missing
    ],
)
def test_a_window_knows_whether_older_messages_are_missing(
    sequences: tuple[int, ...], base: int | None, limit: int, is_complete: bool
) -> None:
    """Complete means: nobody could say more about the newest `limit` messages."""
    messages = tuple(map(message, sequences))
    assert window(messages, base=base, limit=limit) == Window(messages, is_complete)


def test_newest_is_by_time_then_sequence_within_the_scope() -> None:
    """Falling time, ties by falling sequence, only what the scope admits, at most `limit`."""
    a, b, c, d = message(1, at=2), message(2, at=1), message(3, at=1), message(4, at=3, user_id="other")
    assert newest([a, b, c, d], Scope("n"), 3) == (d, a, c)
    assert newest([a, b, c, d], Scope("n", "other"), 3) == (d,)
    assert newest([a, b, c, d], Scope("m"), 3) == ()


def test_which_scopes_narrow_within_a_session() -> None:
    """Namespace and session admit a session's messages together; the rest may not."""
    wide = [Scope("n"), Scope("n", session_id="s")]
    narrow = [Scope("n", "u"), Scope("n", agent_id="a", session_id="s"), Scope("n", project_id="p")]
    assert [narrows_within_session(s) for s in (*wide, *narrow)] == [False, False, True, True, True]


def test_the_backlog_leaves_out_what_only_waits_for_the_index() -> None:
    """Counts sessions with messages or a state to drain, and the oldest of those."""
    waiting = [
        Waiting(START, messages=0, is_state_waiting=False),
        Waiting(START + timedelta(hours=2), messages=3, is_state_waiting=True),
        Waiting(START + timedelta(hours=1), messages=0, is_state_waiting=True),
    ]
    assert backlog(waiting) == Backlog(2, 3, START + timedelta(hours=1))
    assert backlog(waiting[:1]) == Backlog(0, 0, None)


@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - bounds are naive by contract
def test_times_survive_as_a_sorted_sets_score(at: datetime) -> None:
    """Microseconds fit a double without loss."""
    assert from_microseconds(float(to_microseconds(at))) == at
