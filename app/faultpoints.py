"""Places where the fault harness makes this program die, fail or hang; in production nothing happens there.

A point stands at an arrow: between two steps of which the second must not need the first to be remembered by anybody but
an engine. `await reached(FaultPoint.X)` costs a call while nothing is armed (see `docs/decisions/0019-fault-harness.md`).
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol, TypeVar

import structlog

log = structlog.get_logger(__name__)

_Named = TypeVar("_Named", bound=StrEnum)


class FaultPoint(StrEnum):
    """All of them, by where they are: `<what is done>.<what has just been done>`, or `…ing` for what comes next."""

    START_SERVERS = "start.servers_started"
    START_MIGRATED = "start.migrated"
    START_LEASES_VOIDED = "start.leases_voided"
    START_INDEX_OPENED = "start.index_opened"

    APPEND_BUFFERING = "append.buffering"
    APPEND_FLOOR_READ = "append.floor_read"
    APPEND_SCRIPTED = "append.scripted"
    APPEND_BUFFERED = "append.buffered"
    APPEND_BYPASSING = "append.bypassing"
    APPEND_BYPASSED = "append.bypassed"

    DRAIN_CLAIMED = "drain.claimed"
    DRAIN_READ = "drain.read"
    DRAIN_COMPARED = "drain.compared"
    DRAIN_EPISODES_SAVED = "drain.episodes_saved"
    DRAIN_INSERTED = "drain.inserted"
    DRAIN_ENQUEUED = "drain.enqueued"
    DRAIN_SESSION_SAVED = "drain.session_saved"
    DRAIN_CHECKPOINTED = "drain.checkpointed"
    DRAIN_COMMITTED = "drain.committed"
    DRAIN_SETTLED = "drain.settled"
    SETTLE_SCRIPTED = "settle.scripted"

    END_DRAINED = "end.drained"
    END_CLOSED = "end.closed"
    END_COMMITTED = "end.committed"
    IDLE_FOUND = "idle.found"
    IDLE_CLAIMED = "idle.claimed"
    IDLE_CLOSED = "idle.closed"
    IDLE_COMMITTED = "idle.committed"

    INDEX_CLAIMED = "index.claimed"
    INDEX_DELETED = "index.deleted"
    INDEX_SUMMARISED = "index.summarised"
    INDEX_SUMMARIES_SAVED = "index.summaries_saved"
    INDEX_DRAFTED = "index.drafted"
    INDEX_GONE_DELETED = "index.gone_deleted"
    INDEX_EMBEDDED = "index.embedded"
    INDEX_UPSERTED = "index.upserted"
    INDEX_TICKED_OFF = "index.ticked_off"
    INDEX_COMPLETED = "index.completed"
    INDEX_GIVING_BACK = "index.giving_back"
    INDEX_GIVEN_BACK = "index.given_back"
    EMBED_ASKING = "embed.asking"

    RELEASE_READ = "release.read"
    RELEASE_SCRIPTED = "release.scripted"
    RELEASE_RELEASED = "release.released"
    RUN_DONE = "run.done"
    RUN_RECORDED = "run.recorded"

    FORGET_ROWS_GONE = "forget.rows_gone"
    FORGET_BUFFERS_GONE = "forget.buffers_gone"
    FORGET_COMMITTED = "forget.committed"
    FORGET_POINTS_GONE = "forget.points_gone"

    LEARN_CLAIMED = "learn.claimed"
    LEARN_EXTRACTED = "learn.extracted"
    LEARN_EVIDENCE_SAVED = "learn.evidence_saved"
    LEARN_COMMITTED = "learn.committed"
    LEARN_WEIGHED = "learn.weighed"
    LEARN_TAUGHT = "learn.taught"
    LEARN_HEURISTICS_FOUND = "learn.heuristics_found"
    LEARN_HEURISTICS_SAVED = "learn.heuristics_saved"

    EDGE_COPIED = "edge.copied"
    EDGE_INDEXED = "edge.indexed"
    EDGE_CAUGHT_UP = "edge.caught_up"
    EDGE_HANDED_OVER = "edge.handed_over"


class Action(StrEnum):
    KILL = "kill"
    """SIGKILL to the own process."""
    RAISE = "raise"
    """`FaultInjected`, an error that nobody foresaw."""
    HANG = "hang"
    """The task stays there for ever; the others go on."""


class FaultInjected(Exception):
    """The error an armed point raises; no part of the tree of errors, because nobody may handle it on purpose."""


class Trouble(Protocol):
    """Is told each point that is reached, and may raise or wait there."""

    async def __call__(self, point: FaultPoint) -> None: ...


@dataclass(frozen=True, slots=True)
class Planned:
    """What happens when `point` is reached for the `occurrence`-th time, counted from 1."""

    point: FaultPoint
    occurrence: int
    action: Action

    def __str__(self) -> str:
        return f"{self.point}:{self.occurrence}:{self.action}"


_ARMED: Final[list[Trouble]] = []


async def reached(point: FaultPoint) -> None:
    """Say that the program has come to `point`; does nothing unless something is armed."""
    if _ARMED:
        await _ARMED[-1](point)


@contextmanager
def armed(trouble: Trouble) -> Iterator[None]:
    """Have `trouble` told of every point that this process reaches, until the context ends."""
    _ARMED.append(trouble)
    try:
        yield
    finally:
        _ARMED.remove(trouble)


@contextmanager
def armed_by(plan: str | None) -> Iterator[None]:
    """Arm what a setting says: see `parse_plan`. Without one nothing is armed."""
    if plan is None:
        yield
        return
    log.warning("fault_points_armed", plan=plan)
    with armed(_Execution(parse_plan(plan))):
        yield


def parse_plan(text: str) -> tuple[Planned, ...]:
    """Read `point:occurrence:action`, or several of them with commas between.

    Raises:
        ValueError: says which part of which fault is not understood.
    """
    return tuple(_parse(part.strip()) for part in text.split(","))


def _parse(text: str) -> Planned:
    match text.split(":"):
        case [point, occurrence, action] if occurrence.isdecimal() and int(occurrence) > 0:
            return Planned(_named(FaultPoint, point), int(occurrence), _named(Action, action))
    raise ValueError(f"{text!r} is not point:occurrence:action, the occurrence counted from 1")


def _named(kind: type[_Named], name: str) -> _Named:
    if name not in set(kind):
        raise ValueError(f"{name!r} is none of {', '.join(kind)}")
    return kind(name)


class _Execution:
    """Counts how often each point is reached and does what is planned there."""

    def __init__(self, plan: Sequence[Planned]) -> None:
        self._plan = {(planned.point, planned.occurrence): planned.action for planned in plan}
        self._reached: Counter[FaultPoint] = Counter()

    async def __call__(self, point: FaultPoint) -> None:
        self._reached[point] += 1
        match self._plan.get((point, self._reached[point])):
            case Action.KILL:
                os.kill(os.getpid(), signal.SIGKILL)
            case Action.RAISE:
                raise FaultInjected(f"{point} was armed")
            case Action.HANG:
                await asyncio.Event().wait()
