"""Processes that die without being processes: policy put together on shared engines, dropped and made anew.

What happens at a fault point is told by the worker that reaches it, so that one may die while another goes on.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

from factories import Tiers, drain_of, forgetting_of, indexer_of, spaces_of, workers_of
from fault_talk import Append, Talk, Unanswered

from app.consolidation.drain import Drain, DrainPolicy
from app.consolidation.indexing import IndexingPolicy
from app.consolidation.run import Consolidation, RunPolicy
from app.consolidation.segmentation import SegmentationPolicy
from app.errors import HybridMemoryError, TierUnavailable
from app.faultpoints import FaultInjected, FaultPoint, armed
from app.ingestion.limits import Limits
from app.ingestion.messages import MessageIngestion
from app.records import Draft, Role, Scope, SessionKey, Tier, Wait
from app.scheduler import cancelled
from app.testing.faults import troubled

_SMALL_BATCHES: Final = DrainPolicy(batch=3, retain=2)
_SMALL_EPISODES: Final = SegmentationPolicy(idle_gap=timedelta(hours=1), max_messages=4)
_FEW_AT_A_TIME: Final = IndexingPolicy(batch=5)
_RUNS: Final = RunPolicy(retain=2)
_INDEX_WAIT: Final = timedelta(milliseconds=50)
_SETTLED_AT_LAST: Final = timedelta(minutes=5)
"""Longer than any lease and any pause before a retry."""
_LOOKS: Final = 12


class Killed(BaseException):
    """The process died here. No `Exception`: nobody in the product may handle it, not even who outlives everything."""


class Kind(StrEnum):
    DIE = "die"
    LOSE = "lose"
    """What was done is done, but the answer is lost: the engine counts as away."""
    FAIL = "fail"
    """An error that nobody foresaw."""


@dataclass(frozen=True, slots=True)
class Mishap:
    """`kind` happens when a worker reaches `point` for the `occurrence`-th time, counted from 1."""

    point: FaultPoint
    occurrence: int
    kind: Kind


@dataclass(slots=True)
class Outage:
    """The engine of `tier` is away for `length` calls after the first `spared`."""

    tier: Tier
    spared: int
    length: int

    async def __call__(self, call: str) -> None:  # noqa: ARG002 - every call counts
        self.spared -= 1
        if -self.length <= self.spared < 0:
            raise TierUnavailable(self.tier, "switched off by a test")


@dataclass(slots=True)
class Worker:
    """One process: the product's parts on `tiers`, and what will happen to it."""

    tiers: Tiers
    mishap: Mishap | None = None
    stirred: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when there may be something for jobs to do, here or elsewhere."""
    is_patient: bool = False
    """Whether its jobs end their last run; else they are cancelled wherever they are, as a service that stops does."""
    away: Tier | None = None
    """The tier that is away for a while."""
    is_retiring: bool = False
    death: asyncio.Event = field(default_factory=asyncio.Event)
    has_happened: bool = False
    points: Counter[FaultPoint] = field(default_factory=Counter)

    async def reached(self, point: FaultPoint) -> None:
        """Whatever is planned for `point`; to go on after death is impossible."""
        if self.death.is_set():
            raise Killed
        self.points[point] += 1
        if self.mishap is not None and (self.mishap.point, self.mishap.occurrence) == (point, self.points[point]):
            self.has_happened = True
            self._suffer(self.mishap)

    def _suffer(self, mishap: Mishap) -> None:
        match mishap.kind:
            case Kind.DIE:
                self.death.set()
                raise Killed
            case Kind.LOSE:
                tier = Tier.WORKING if mishap.point.startswith(("append", "settle", "release")) else Tier.EPISODIC
                raise TierUnavailable(tier, f"the answer was lost at {mishap.point}")
            case Kind.FAIL:
                raise FaultInjected(mishap.point)

    @property
    def consolidation(self) -> Consolidation:
        tiers = self.tiers
        return Consolidation(
            tiers.working,
            tiers.episodic,
            spaces_of(tiers),
            workers=workers_of(tiers, self.drain, indexer_of(tiers, _FEW_AT_A_TIME)),
            policy=_RUNS,
            clock=tiers.clock,
        )

    @property
    def drain(self) -> Drain:
        return drain_of(self.tiers, _SMALL_BATCHES, _SMALL_EPISODES)

    async def run_jobs(self) -> None:
        """Consolidate whenever a client took a step, whatever a run fails with."""
        consolidation = self.consolidation
        while not self.is_retiring:
            with suppress(HybridMemoryError, FaultInjected):
                await consolidation.run()
            if not self.is_retiring:
                await self.stirred.wait()
                self.stirred.clear()

    async def converse(self, talk: Talk) -> None:
        """Answer one client until its talk is over."""
        answers = Answers(self)
        while not talk.is_over:
            with suppress(Unanswered):
                await talk.next(answers)
            self.stirred.set()


class Answers:
    """Implements `Memory`: a worker as its clients see it."""

    def __init__(self, worker: Worker) -> None:
        tiers = worker.tiers
        self._away = worker.away
        self._consolidation = worker.consolidation
        self._drain = worker.drain
        self._forgetting = forgetting_of(tiers)
        self._ingestion = MessageIngestion(tiers.working, tiers.episodic, self._drain, limits=Limits(), clock=tiers.clock)

    @property
    def keeps_order(self) -> bool:
        return self._away is not Tier.WORKING

    async def append(self, session: SessionKey, step: Append) -> bool:
        drafts = [Draft(Role.USER, said.content, id=said.id, created_at=said.created_at) for said in step.messages]
        if not drafts:
            return True
        with _answered():
            receipt = await self._ingestion.append(_scope(session), drafts)
            if step.wait is not Wait.NONE:
                await self._consolidation.drain_session(session)
            if step.wait is Wait.INDEXED:
                await self._consolidation.index_messages(session, receipt, _INDEX_WAIT)
        return Tier.WORKING.value not in receipt.degraded

    async def end(self, session: SessionKey) -> None:
        with _answered():
            await self._drain.end(session)

    async def forget(self, session: SessionKey) -> None:
        with _answered():
            await self._forgetting.forget(_scope(session))

    async def consolidate(self, session: SessionKey) -> None:
        with _answered():
            await self._consolidation.run(namespace=session.namespace, session=session)


def _scope(session: SessionKey) -> Scope:
    return Scope(session.namespace, session_id=session.session_id)


@contextmanager
def _answered() -> Iterator[None]:
    try:
        yield
    except (TierUnavailable, FaultInjected) as error:
        raise Unanswered(str(error)) from error


_WORKER: Final[ContextVar[Worker | None]] = ContextVar("worker", default=None)


async def _tell(point: FaultPoint) -> None:
    worker = _WORKER.get()
    if worker is not None:
        await worker.reached(point)


@contextmanager
def workers_are_told() -> Iterator[None]:
    """Every point reached is told to the worker whose task reaches it."""
    with armed(_tell):
        yield


async def live(worker: Worker, work: Sequence[Coroutine[Any, Any, None]], jobs: Sequence[Coroutine[Any, Any, None]]) -> bool:
    """Let a worker do its `work`, with `jobs` beside it, until the work is done or the worker dies; whether it survived."""
    tasks = [asyncio.create_task(_as(worker, duty)) for duty in (*work, *jobs)]
    working = asyncio.gather(*tasks[: len(work)], return_exceptions=True)
    dying = asyncio.create_task(worker.death.wait())
    both: list[asyncio.Future[Any]] = [working, dying]
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    if worker.is_patient:
        worker.is_retiring = True
        worker.stirred.set()
        await asyncio.wait(tasks)
    await cancelled([*tasks, dying])
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if outcome is not None and not isinstance(outcome, Killed | asyncio.CancelledError):
            raise outcome
    await asyncio.gather(working, dying, return_exceptions=True)
    return not worker.death.is_set()


async def _as(worker: Worker, duty: Coroutine[Any, Any, None]) -> None:
    _WORKER.set(worker)
    await duty


def with_outage(tiers: Tiers, outage: Outage) -> Tiers:
    """`tiers` with one of them away for a while."""
    troubles: dict[Tier, Callable[[], Tiers]] = {
        Tier.WORKING: lambda: replace(tiers, working=troubled(tiers.working, outage)),
        Tier.EPISODIC: lambda: replace(tiers, episodic=troubled(tiers.episodic, outage)),
        Tier.SEMANTIC: lambda: replace(tiers, semantic=troubled(tiers.semantic, outage)),
    }
    return troubles[outage.tier]()


async def until_settled(tiers: Tiers) -> None:
    """Consolidate, while time passes, until nothing waits anywhere and the index agrees with the truth."""
    consolidation = Worker(tiers).consolidation
    for _ in range(_LOOKS):
        await consolidation.run()
        status = await consolidation.status()
        waiting = (status.backlog and status.backlog.messages, status.store and status.store.outbox_depth, status.drift)
        if waiting == (0, 0, 0):
            return
        tiers.clock.advance(_SETTLED_AT_LAST)
    raise AssertionError(f"backlog, outbox and drift do not reach zero but {waiting}")
