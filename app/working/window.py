"""What a buffer's numbers mean (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Final

from app.ports import Backlog, Window
from app.records import Message, Scope

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A dirty session: since when it waits, and how many of its messages are not in Postgres yet."""

    since: datetime
    messages: int
    is_state_waiting: bool


def window(messages: tuple[Message, ...], *, base: int | None, limit: int) -> Window:
    """`messages` are the newest of a buffer, by rising sequence; no message up to sequence `base` can be relied on.

    The buffer itself is complete if it reaches back to a session's first message (`base` 0), the window if it is
    full of what the buffer has whole. A buffer without a `base` is not known here: nothing is known about it.
    """
    is_full = len(messages) >= limit and all(m.sequence > (base or 0) for m in messages)
    return Window(messages, is_complete=base is not None and (base == 0 or is_full))


def newest(messages: Iterable[Message], scope: Scope, limit: int) -> tuple[Message, ...]:
    """Those that `scope` admits, by falling `created_at` (then sequence), at most `limit`."""
    admitted = (m for m in messages if scope.admits(m.scope))
    return tuple(sorted(admitted, key=attrgetter("created_at", "sequence"), reverse=True)[:limit])


def narrows_within_session(scope: Scope) -> bool:
    """Whether `scope` may admit only some of a session's messages."""
    return scope != Scope(scope.namespace, session_id=scope.session_id)


def backlog(waiting: Sequence[Waiting]) -> Backlog:
    """What waits for Postgres; sessions that only wait for the vector index do not count."""
    undrained = [w for w in waiting if w.messages > 0 or w.is_state_waiting]
    return Backlog(len(undrained), sum(w.messages for w in undrained), min((w.since for w in undrained), default=None))


def to_microseconds(at: datetime) -> int:
    """Microseconds since 1970, exactly: a float cannot hold them once multiplied."""
    return (at - _EPOCH) // _MICROSECOND


def from_microseconds(microseconds: float) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)
