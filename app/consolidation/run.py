"""One consolidation run: erase, drain, close, index, release; recorded, measured, and never two at once in a process."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, TypeVar
from uuid import UUID

import structlog

from app.consolidation.drain import Drain
from app.consolidation.erasures import Erasures
from app.consolidation.indexing import Batch, Indexer
from app.consolidation.logged_episodes import EpisodeDrain
from app.consolidation.spaces import Spaces
from app.errors import HybridMemoryError, TierUnavailable
from app.faultpoints import FaultPoint, reached
from app.observability import (
    BACKGROUND_ERRORS,
    BACKLOG_EPISODES,
    BACKLOG_MESSAGES,
    BACKLOG_SESSIONS,
    CONSOLIDATED,
    CONSOLIDATION_SECONDS,
    DRIFT,
    OUTBOX_DEAD,
    OUTBOX_DEPTH,
)
from app.ports import Backlog, Clock, EpisodicMemory, StoreStatus, WorkingMemory
from app.records import (
    AppendReceipt,
    ReconcileState,
    Reconciliation,
    RecordKind,
    RunReport,
    SessionKey,
    message_uid,
    new_id,
)

log = structlog.get_logger(__name__)

_POLL_SECONDS: Final = 0.05
_RECONCILIATIONS: Final = 10
"""How far back the last one that was done is looked for: at most one is running, some were abandoned."""


@dataclass(frozen=True, slots=True)
class RunPolicy:
    """`sessions`: sessions looked at a round. `drains` and `indexers`: how many work side by side."""

    sessions: int = 500
    drains: int = 4
    indexers: int = 2
    retain: int = 50


@dataclass(frozen=True, slots=True)
class ConsolidationStatus:
    """The books: what waits where, and how far the index is from the truth (0 when they agree)."""

    backlog: Backlog | None
    store: StoreStatus | None
    indexed_points: int | None

    misplaced_points: int | None = None
    """Points in other spaces than the one new vectors are meant for: in `indexed_points` they are not counted."""
    reconciliation: Reconciliation | None = None
    """The last that was done."""

    @property
    def drift(self) -> int | None:
        """Records that should be in the index less points that are; None when a tier is away.

        Where the two agree: what else is known to be wrong, points in another space or else what the last reconcile found
        and did not repair.
        """
        if self.store is None or self.indexed_points is None:
            return None
        missing = sum(self.store.indexable.values()) - self.indexed_points
        unrepaired = 0 if self.reconciliation is None else self.reconciliation.unrepaired
        return missing or self.misplaced_points or unrepaired


T = TypeVar("T")
Progress = Callable[[Counter[str]], None]


@dataclass(slots=True)
class _Run:
    """What a run is for, and what came of it so far."""

    namespace: str | None
    session: SessionKey | None
    progress: Progress
    counts: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)

    def count(self, what: str, how_many: int) -> None:
        self.counts[what] += how_many
        self.progress(self.counts)

    def note(self, error: HybridMemoryError) -> None:
        """Once, however often it comes back while the other stages go on."""
        if str(error) not in self.errors:
            self.errors.append(str(error))
            log.warning("consolidation_interrupted", problem=str(error))


@dataclass(frozen=True, slots=True)
class Workers:
    """Who carries out a run's stages."""

    erasures: Erasures
    drain: Drain
    episode_drain: EpisodeDrain
    indexer: Indexer


class Consolidation:
    """Brings the three tiers together."""

    def __init__(
        self, working: WorkingMemory, episodic: EpisodicMemory, spaces: Spaces, *,
        workers: Workers, policy: RunPolicy, clock: Clock,
    ) -> None:  # fmt: skip
        self._working = working
        self._episodic = episodic
        self._spaces = spaces
        self._drain = workers.drain
        self._episode_drain = workers.episode_drain
        self._indexer = workers.indexer
        self._erasures = workers.erasures
        self._policy = policy
        self._clock = clock
        self._running = asyncio.Lock()
        self._unfinished: set[asyncio.Task[Batch]] = set()

    async def run(
        self, *, namespace: str | None = None, session: SessionKey | None = None, progress: Progress | None = None
    ) -> RunReport:
        """Work until nothing is left to do, then record the run if it did anything.

        With `namespace` or `session` only their buffers are drained; the outbox is worked off whoever it is for.
        A tier that is away stops the stages that need it: the error is in the report, and the next run goes on.
        """
        async with self._running:
            started_at, started = self._clock(), time.perf_counter()
            run = _Run(namespace, session, progress or (lambda _: None))
            await self._until_done(run)
            report = RunReport(new_id(), started_at, self._clock(), dict(run.counts), tuple(run.errors))
            CONSOLIDATION_SECONDS.observe(time.perf_counter() - started)
            await reached(FaultPoint.RUN_DONE)
            await self._record(report)
            return report

    async def drain_session(self, session: SessionKey) -> int:
        """Drain one session now, whoever else is at it; returns how many messages were new to Postgres."""
        return await self._drain.drain_now(session)

    async def store_logged_episode(self, namespace: str, episode_id: UUID) -> None:
        """Bring an episode that is only logged into Postgres, so that it can be changed there."""
        await self._episode_drain.drain_one(namespace, episode_id)

    async def end_session(self, session: SessionKey) -> None:
        await self._drain.end(session)

    async def index(self, uids: Sequence[UUID], within: timedelta) -> bool:
        """Work off the outbox until these records are indexed; False when `within` was not enough, or one was given up on."""
        try:
            async with asyncio.timeout(within.total_seconds()):
                while await self._open_entries(uids):
                    if not (await self._going_on(self._indexer.index_batch())).claimed:
                        await asyncio.sleep(_POLL_SECONDS)  # another worker holds them, or they wait for a retry
                return await self._are_all_alive(uids)
        except TimeoutError:
            return False

    async def _going_on(self, work: Coroutine[Any, Any, Batch]) -> Batch:
        """The result of `work`, which goes on when its caller gives up: what it claimed would wait for its lease to end."""
        task = asyncio.create_task(work)
        self._unfinished.add(task)
        task.add_done_callback(self._finished)
        return await asyncio.shield(task)

    def _finished(self, task: asyncio.Task[Batch]) -> None:
        self._unfinished.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.debug("indexing_stopped", problem=repr(error))  # to be looked at: the caller may have gone

    async def close(self) -> None:
        """Wait for what goes on although its caller gave up."""
        while self._unfinished:
            await asyncio.wait(self._unfinished)

    async def index_now(self, kind: RecordKind, uids: Sequence[UUID]) -> int:
        """Index what waits for these records, as far as no other worker is at it; returns how many are done with."""
        return await self._indexer.index_records(kind, uids)

    async def index_messages(self, session: SessionKey, receipt: AppendReceipt, within: timedelta) -> bool:
        """Index the messages of a receipt; False as `index` says."""
        uids = [message_uid(session, appended.id) for appended in receipt.messages]
        is_indexed = await self.index(uids, within)
        await self._release([session])
        return is_indexed

    async def status(self) -> ConsolidationStatus:
        """Look at every tier and bring the gauges up to date; a tier that is away is None."""
        placed, misplaced = await _or_none(self._spaces.count()) or (None, None)
        status = ConsolidationStatus(
            await _or_none(self._working.backlog()),
            await _or_none(self._store_status()),
            placed,
            misplaced,
            await _or_none(self._last_reconciliation()),
        )
        if status.backlog is not None:
            BACKLOG_MESSAGES.set(status.backlog.messages)
            BACKLOG_SESSIONS.set(status.backlog.sessions)
            BACKLOG_EPISODES.set(status.backlog.episodes)
        if status.store is not None:
            OUTBOX_DEPTH.set(status.store.outbox_depth)
            OUTBOX_DEAD.set(status.store.dead_letters)
        if status.drift is not None:
            DRIFT.set(status.drift)
        return status

    async def _until_done(self, run: _Run) -> None:
        before: Counter[str] | None = None
        while run.counts != before:
            before = run.counts.copy()
            for stage in self._stages:
                try:
                    await stage(run)
                except HybridMemoryError as error:
                    run.note(error)

    @property
    def _stages(self) -> Sequence[Callable[[_Run], Awaitable[None]]]:
        return (
            self._erase_all,
            self._drain_all,
            self._drain_episodes,
            self._close_idle,
            self._index_all,
            self._release_all,
        )

    async def _erase_all(self, run: _Run) -> None:
        if erased := await self._erasures.carry_out():
            run.count("messages_erased", erased)

    async def _drain_all(self, run: _Run) -> None:
        waiting = iter([run.session] if run.session else await self._dirty(run.namespace))

        async def drain_next() -> None:
            for session in waiting:
                run.count("messages_drained", await self._drain_one(session))

        await all_of(*(drain_next() for _ in range(self._policy.drains)))

    async def _drain_one(self, session: SessionKey) -> int:
        try:
            return await self._drain.drain(session)
        except TierUnavailable:
            raise
        except Exception:  # one session nobody foresaw must not keep the others waiting
            BACKGROUND_ERRORS.labels("drain").inc()
            log.exception("drain_failed", session=session.session_id)
            return 0

    async def _drain_episodes(self, run: _Run) -> None:
        if drained := await self._episode_drain.drain(namespace=run.namespace):
            run.count("episodes_drained", drained)

    async def _close_idle(self, run: _Run) -> None:
        run.count("episodes_closed", await self._drain.close_idle(self._clock()))

    async def _index_all(self, run: _Run) -> None:
        async def index_next() -> None:
            while (batch := await self._indexer.index_batch()).claimed:
                run.count("records_indexed", batch.indexed)

        before = run.counts["records_indexed"]
        await all_of(*(index_next() for _ in range(self._policy.indexers)))
        if run.counts["records_indexed"] > before:
            await self._spaces.drop_emptied()

    async def _release_all(self, run: _Run) -> None:
        sessions = [run.session] if run.session else await self._unreleased(run.namespace)
        run.count("sessions_released", await self._release(sessions))

    async def _dirty(self, namespace: str | None) -> tuple[SessionKey, ...]:
        return await self._working.dirty_sessions(self._policy.sessions, namespace=namespace)

    async def _unreleased(self, namespace: str | None) -> tuple[SessionKey, ...]:
        return await self._working.unreleased_sessions(self._policy.sessions, namespace=namespace)

    async def _release(self, sessions: Sequence[SessionKey]) -> int:
        """Tell Redis how far each session is indexed; returns how many sessions are indexed to their end."""
        if not sessions:
            return 0
        async with self._episodic.reading() as reader:
            through = await reader.indexed_through(sessions)
        await reached(FaultPoint.RELEASE_READ)
        released = [
            await self._working.release(session, through=sequence, retain=self._policy.retain)
            for session, sequence in through.items()
        ]
        await reached(FaultPoint.RELEASE_RELEASED)
        return sum(released)

    async def _open_entries(self, uids: Sequence[UUID]) -> int:
        async with self._episodic.reading() as reader:
            return await reader.open_entries(uids)

    async def _are_all_alive(self, uids: Sequence[UUID]) -> bool:
        async with self._episodic.reading() as reader:
            return not await reader.dead_letters(uids)

    async def _store_status(self) -> StoreStatus:
        async with self._episodic.reading() as reader:
            return await reader.status()

    async def _last_reconciliation(self) -> Reconciliation | None:
        async with self._episodic.reading() as reader:
            runs = await reader.reconciliations(_RECONCILIATIONS)
        return next((run for run in runs if run.state is ReconcileState.DONE), None)

    async def _record(self, report: RunReport) -> None:
        for what, count in report.counts.items():
            CONSOLIDATED.labels(what).inc(count)
        if not any(report.counts.values()) and not report.errors:
            return
        log.info("consolidated", run_id=str(report.id), duration_ms=round(report.duration_ms, 1), **report.counts)
        try:
            async with self._episodic.writing() as tx:
                await tx.record_run(report)
            await reached(FaultPoint.RUN_RECORDED)
        except TierUnavailable as error:
            log.warning("run_not_recorded", run_id=str(report.id), problem=str(error))


async def all_of(*work: Awaitable[None]) -> None:
    """Wait for all of it, and only then raise what the first failed with: nothing goes on behind the caller's back."""
    for outcome in await asyncio.gather(*work, return_exceptions=True):
        if outcome is not None:
            raise outcome


async def _or_none(work: Awaitable[T]) -> T | None:
    try:
        return await work
    except TierUnavailable:
        return None
