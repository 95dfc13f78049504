"""Scoring episodes that nobody has judged yet, and embedding those that the index still lacks.

Usually there is nothing to do: episodes are judged when they come in and indexed by the outbox. What is left are episodes
of older releases, of imports, of a time without an embedder, and dead letters.

Both stages claim in Postgres what they work on (row locks that nobody waits for, leases on outbox entries), so any number
of runs, the indexer and callers work side by side. Nothing is remembered but what was done: an interrupted run is resumed
by the next. A run looks at each episode at most once, so one that cannot be read or embedded keeps no other waiting.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, TypeAlias

import structlog

from app.consolidation.indexing import Indexer
from app.consolidation.run import Progress
from app.errors import TierUnavailable
from app.observability import BACKFILL_LAST_RUN, BACKFILL_PENDING, BACKFILL_SECONDS, BACKFILLED, EPISODE_QUALITY
from app.ports import Clock, EpisodePlace, EpisodicMemory, Judge, OutboxEntry, OutboxOp
from app.records import Backfill, BackfillPending, BackfillReport, Episode, RecordKind, RunReport, new_id

log = structlog.get_logger(__name__)

Pause: TypeAlias = Callable[[float], Awaitable[None]]

SCORED: Final = "scored"
UNREADABLE: Final = "unreadable"
EMBEDDED: Final = "embedded"
FAILED: Final = "failed"
POSTPONED: Final = "postponed"
RESULTS: Final = (SCORED, UNREADABLE, EMBEDDED, FAILED, POSTPONED)
"""What comes of an episode. `unreadable`: its row is damaged, or of a newer release. `failed`: tried, and given back to the
outbox on its own account. `postponed`: a tier or the embedder was away, or only a fallback embedder was there."""
_LEASE: Final = timedelta(minutes=2)


@dataclass(slots=True)
class _Run:
    """One backfill: what was asked, since when, and what came of it so far."""

    asked: Backfill
    started_at: datetime
    progress: Progress
    counts: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)

    def count(self, result: str, how_many: int) -> None:
        if how_many:
            self.counts[result] += how_many
            BACKFILLED.labels(result).inc(how_many)
            self.progress(self.counts)

    def left(self, *results: str) -> int:
        """How many more episodes this run may look at in the stage of these results, at a time."""
        done = sum(self.counts[result] for result in results)
        return max(0, min(self.asked.batch_size, self.asked.max_episodes - done))


class Backfilling:
    """Runs backfills, one at a time in a process."""

    def __init__(
        self, episodic: EpisodicMemory, indexer: Indexer, judge: Judge, *,
        clock: Clock, pause: Pause = asyncio.sleep, monotonic: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._episodic = episodic
        self._indexer = indexer
        self._judge = judge
        self._clock = clock
        self._pause = pause
        self._monotonic = monotonic
        self._running = asyncio.Lock()

    async def run(self, asked: Backfill, *, progress: Progress | None = None) -> BackfillReport:
        """Score, then embed, oldest and best first, at most `asked.max_episodes` in each stage.

        A tier that is away ends the run, whose report says so; the next one goes on.

        Raises:
            TierUnavailable: Postgres is away at the end, so that what is left is not known.
        """
        async with self._running:
            started = self._monotonic()
            run = _Run(asked, self._clock(), progress or (lambda _: None))
            try:
                await self._score(run)
                await self._embed(run)
            except TierUnavailable as error:
                run.errors.append(str(error))
                log.warning("backfill_interrupted", problem=str(error))
            BACKFILL_SECONDS.observe(self._monotonic() - started)
            return await self._report(run)

    async def pending(self, namespace: str | None) -> BackfillPending:
        """What a backfill would find now."""
        async with self._episodic.reading() as reader:
            return await reader.backfill_pending(namespace)

    async def _score(self, run: _Run) -> None:
        place: EpisodePlace | None = None
        while limit := run.left(SCORED, UNREADABLE):
            began = self._monotonic()
            places, scored = await self._score_batch(run.asked.namespace, place, limit)
            run.count(SCORED, scored)
            run.count(UNREADABLE, len(places) - scored)
            if len(places) < limit:
                return
            place = places[-1]
            await self._keep_pace(run.asked, len(places), began)

    async def _score_batch(
        self, namespace: str | None, place: EpisodePlace | None, limit: int
    ) -> tuple[Sequence[EpisodePlace], int]:
        """Where the next unscored episodes stand, and how many of them could be read and are scored now."""
        async with self._episodic.writing() as tx:
            places = await tx.lock_unscored(namespace, after=place, limit=limit)
            episodes = await tx.episodes_by_uid([p.id for p in places]) if places else ()
            for episode in episodes:
                quality = self._judge(episode)
                EPISODE_QUALITY.observe(quality)
                await tx.save_episode(replace(episode, quality=quality))
            await tx.enqueue([_upsert(episode) for episode in episodes if episode.archived_at is None])
        return places, len(episodes)

    async def _embed(self, run: _Run) -> None:
        while limit := run.left(EMBEDDED, FAILED, POSTPONED):
            began = self._monotonic()
            entries = await self._claim(run, limit)
            if not entries:
                return
            await self._indexer.index_claimed(entries)
            results = await self._results(entries)
            for result, how_many in results.items():
                run.count(result, how_many)
            if results[POSTPONED]:
                run.errors.append(f"{results[POSTPONED]} postponed: embedder or index away; the outbox tries them again")
                return
            await self._keep_pace(run.asked, len(entries), began)

    async def _claim(self, run: _Run, limit: int) -> Sequence[OutboxEntry]:
        async with self._episodic.writing() as tx:
            return await tx.claim_episodes(
                run.asked.namespace, limit, lease=_LEASE, now=self._clock(), attempted_before=run.started_at
            )

    async def _results(self, entries: Sequence[OutboxEntry]) -> Counter[str]:
        """What came of claimed entries, by what is left of them."""
        async with self._episodic.reading() as reader:
            left = {entry.record_uid: entry for entry in await reader.outbox_entries([e.record_uid for e in entries])}
        return Counter(result_of(entry, left.get(entry.record_uid)) for entry in entries)

    async def _keep_pace(self, asked: Backfill, done: int, began: float) -> None:
        if asked.per_second is not None:
            await self._pause(max(0.0, done / asked.per_second - (self._monotonic() - began)))

    async def _report(self, run: _Run) -> BackfillReport:
        counts = {result: run.counts[result] for result in RESULTS}
        report = RunReport(new_id(), run.started_at, self._clock(), counts, tuple(run.errors))
        async with self._episodic.writing() as tx:
            pending = await tx.backfill_pending(run.asked.namespace)
            if any(counts.values()) or run.errors:
                await tx.record_run(replace(report, counts={f"backfill_{name}": n for name, n in counts.items() if n}))
        for what in ("unscored", "unembedded"):
            BACKFILL_PENDING.labels(what).set(getattr(pending, what))
        BACKFILL_LAST_RUN.set(report.finished_at.timestamp())
        log.info("backfilled", run_id=str(report.id), **counts, errors=len(run.errors))
        return BackfillReport(report, pending)


def result_of(claimed: OutboxEntry, left: OutboxEntry | None) -> str:
    """What came of an entry (pure): it is gone, or it is about a later change by now, or it was given back."""
    if left is None or left.generation != claimed.generation:
        return EMBEDDED
    return FAILED if left.failures > claimed.failures else POSTPONED


def _upsert(episode: Episode) -> OutboxEntry:
    return OutboxEntry(OutboxOp.UPSERT, RecordKind.EPISODE, episode.scope.namespace, episode.uid)
