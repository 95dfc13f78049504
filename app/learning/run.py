"""One learning run: extract, weigh, look for heuristics, until nothing is left to do; recorded and counted."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

import structlog

from app.consolidation.run import Progress, all_of
from app.errors import HybridMemoryError, TierUnavailable
from app.learning.extraction import ExtractionWorker
from app.learning.heuristic_learning import HeuristicLearning
from app.learning.weighing import Weighing
from app.observability import LEARNED, LEARNING_DEAD, LEARNING_PENDING, PATTERNS
from app.ports import Clock, EpisodicMemory, LearningStatus
from app.records import RunReport, new_id

log = structlog.get_logger(__name__)

COUNTED: Final = ("episodes", "episodes_skipped", "patterns_found", "patterns_merged", "patterns_kept", "heuristics")
_SCOPES: Final = 100


class DrainEpisodes(Protocol):
    def __call__(self, *, namespace: str | None) -> Awaitable[int]:
        """Bring episodes that are only logged into Postgres."""
        ...


@dataclass(slots=True)
class _Run:
    """What a run is for, and what came of it so far."""

    namespace: str | None
    progress: Progress
    counts: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(COUNTED, 0)))
    errors: list[str] = field(default_factory=list)

    def count(self, counts: Counter[str]) -> None:
        self.counts.update(counts)
        self.progress(self.counts)


@dataclass(frozen=True, slots=True)
class Teachers:
    """Who carries out a run's stages."""

    extraction: ExtractionWorker
    weighing: Weighing
    heuristics: HeuristicLearning


class Learning:
    """Learns from what is due. In one process one run at a time; any number of processes share the work."""

    def __init__(
        self, episodic: EpisodicMemory, teachers: Teachers, *, drain: DrainEpisodes, clock: Clock, workers: int = 2
    ) -> None:
        self._episodic = episodic
        self._teachers = teachers
        self._drain = drain
        self._clock = clock
        self._workers = workers
        self._running = asyncio.Lock()

    async def run(self, namespace: str | None = None, *, retry: bool = False, progress: Progress | None = None) -> RunReport:
        """Learn from all that is due, of a namespace or of all; with `retry` also from what was given up on.

        When PostgreSQL is away the run ends: the error is in the report, and the next run goes on.
        """
        async with self._running:
            started_at = self._clock()
            run = _Run(namespace, progress or (lambda _: None))
            try:
                await self._until_done(run, retry=retry)
            except TierUnavailable as error:
                run.errors.append(str(error))
                log.warning("learning_interrupted", problem=error.problem)
            report = RunReport(new_id(), started_at, self._clock(), dict(run.counts), tuple(run.errors))
            await self._record(report)
            return report

    async def status(self) -> LearningStatus:
        """What waits, and what there is; brings the gauges up to date."""
        async with self._episodic.reading() as reader:
            status = await reader.learning_status()
        LEARNING_PENDING.set(status.pending)
        LEARNING_DEAD.set(status.dead_letters)
        for state, count in (status.patterns or {}).items():
            PATTERNS.labels(state.value).set(count)
        return status

    async def _until_done(self, run: _Run, *, retry: bool) -> None:
        if retry:
            async with self._episodic.writing() as tx:
                run.count(Counter(retried=await tx.retry_extractions(self._clock(), namespace=run.namespace)))
        with suppress(TierUnavailable):  # what is only logged so far is learned from when it is stored
            await self._drain(namespace=run.namespace)
        await all_of(*(self._extract(run) for _ in range(self._workers)))
        await self._weigh(run)
        await self._find_heuristics(run)

    async def _extract(self, run: _Run) -> None:
        while (batch := await self._teachers.extraction.extract_batch(run.namespace)).claimed:
            run.count(batch.counts)

    async def _weigh(self, run: _Run) -> None:
        while (counts := await self._teachers.weighing.weigh_batch(run.namespace)) is not None:
            run.count(counts)

    async def _find_heuristics(self, run: _Run) -> None:
        """Each scope that was stale at the beginning, once: others keep marking."""
        async with self._episodic.reading() as reader:
            stale = await reader.stale_scopes(_SCOPES, namespace=run.namespace)
        for scope in stale:
            run.count(await self._teachers.heuristics.learn(scope))

    async def _record(self, report: RunReport) -> None:
        for what, count in report.counts.items():
            LEARNED.labels(what).inc(count)
        if not any(report.counts.values()) and not report.errors:
            return
        log.info("learned", run_id=str(report.id), duration_ms=round(report.duration_ms, 1), **report.counts)
        try:
            async with self._episodic.writing() as tx:
                await tx.record_run(report)
        except HybridMemoryError as error:
            log.warning("run_not_recorded", run_id=str(report.id), problem=str(error))
