"""The façade: operations."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final

from app.consolidation.run import ConsolidationStatus, Progress
from app.errors import HybridMemoryError, InvalidInput
from app.features import Switches
from app.ingestion.limits import check_count, check_label, check_scope, check_selection
from app.ports import OutboxQuery, Pingable, Queued
from app.records import (
    Backfill,
    BackfillPending,
    BackfillReport,
    Feature,
    ForgetReceipt,
    ImportReport,
    QualityCounts,
    Reconciliation,
    RunReport,
    Scope,
    Selection,
    TierHealth,
    utc_now,
)
from app.service.parts import Side, session_key
from app.transfer.backups import Progress as FileProgress

_PING_SECONDS: Final = 2.0
MOST_BACKFILLED: Final = 1_000_000_000
SLOWEST_BACKFILL: Final = 0.1
"""Episodes a second; slower, a call would wait longer than anybody does."""


class Operating(Side):
    """Consolidate, compare, forget, move and watch."""

    async def consolidate(self, scope: Scope | None = None, *, progress: Progress | None = None) -> RunReport:
        """Run consolidation until nothing is left to do: for all, a namespace, or one session."""
        if scope is None:
            return await self._parts.consolidation.run(progress=progress)
        check_scope(scope, self._parts.limits)
        session = None if scope.session_id is None else session_key(scope)
        return await self._parts.consolidation.run(namespace=scope.namespace, session=session, progress=progress)

    async def reconcile(self, *, is_repair: bool = False, namespace: str | None = None) -> Reconciliation:
        """Compare the index with Postgres record by record; with `is_repair` queue what is wrong for the indexer.

        Everything, or a namespace. One that was interrupted is gone on with.

        Raises:
            Conflict: one is running.
            EmbedderUnavailable: no provider has answered yet, so that the right space is not known.
        """
        if namespace is not None:
            check_label("namespace", namespace, self._parts.limits)
        return await self._parts.reconcile.run(is_repair=is_repair, namespace=namespace)

    async def reconcile_when_due(self, every: timedelta) -> Reconciliation | None:
        """Repair the index if that was last done `every` ago, or the embedding model is another one; None if not."""
        return await self._parts.reconcile.run_when_due(every)

    async def list_reconciliations(self, limit: int = 20) -> tuple[Reconciliation, ...]:
        """The newest comparisons of the index with Postgres, newest first; one of them may be running."""
        check_count("limit", limit, self._parts.limits.results)
        return await self._parts.reconcile.runs(limit)

    async def backfill(self, asked: Backfill | None = None, *, progress: Progress | None = None) -> BackfillReport:
        """Score episodes that have no quality, and embed those that the index still lacks, oldest and best first.

        Safe beside traffic and beside other backfills; an interrupted one is gone on with by the next.
        """
        chosen = asked or Backfill()
        self._check_namespace(chosen.namespace)
        check_count("batch_size", chosen.batch_size, self._parts.limits.results)
        check_count("max_episodes", chosen.max_episodes, MOST_BACKFILLED)
        if chosen.per_second is not None and not chosen.per_second >= SLOWEST_BACKFILL:
            raise InvalidInput("rate", f"must be at least {SLOWEST_BACKFILL} a second, is {chosen.per_second}")
        return await self._parts.backfilling.run(chosen, progress=progress)

    async def backfill_pending(self, namespace: str | None = None) -> BackfillPending:
        """How many episodes a backfill would find."""
        self._check_namespace(namespace)
        return await self._parts.backfilling.pending(namespace)

    async def count_quality(self, namespace: str | None = None) -> tuple[QualityCounts, ...]:
        """How good the episodes of a namespace, or of all, are: by tenths, project by project."""
        self._check_namespace(namespace)
        async with self._parts.episodic.reading() as reader:
            return await reader.count_quality(namespace, threshold=self._parts.quality.threshold)

    @property
    def quality_threshold(self) -> float:
        """Nothing is learned from episodes below it."""
        return self._parts.quality.threshold

    async def features(self) -> Switches:
        """What is switched on; as last known while Postgres is away."""
        return await self._parts.features.show()

    async def switch_features(self, features: Mapping[Feature, bool]) -> Switches:
        """Switch these on or off for every process, without a restart.

        Raises:
            TierUnavailable: Postgres is away; nothing was switched.
        """
        return await self._parts.features.switch(features)

    async def forget(self, scope: Scope) -> ForgetReceipt:
        """Remove all that `scope` admits from all three tiers and the caches; the receipt says what a second look found."""
        check_scope(scope, self._parts.limits)
        await self._parts.experiments.forget(scope)
        return await self._parts.forgetting.forget(scope)

    async def forget_records(self, selection: Selection) -> ForgetReceipt:
        """Remove records by name, an episode with its messages, like `forget`."""
        return await self._parts.forgetting.forget_records(check_selection(selection, self._parts.limits))

    async def retain(self, *, dry_run: bool = False) -> RunReport:
        """Retire, archive and delete what has outlived its retention; a dry run changes nothing and counts the same."""
        return await self._parts.retention.run(dry_run=dry_run)

    async def retire_calls(self) -> int:
        """Drop the notes of named calls whose names have expired; returns how many."""
        return await self._parts.records.retire_calls(utc_now() - self._parts.call_ttl)

    async def status(self) -> ConsolidationStatus:
        """What waits where, and how far the index is from the truth."""
        return await self._parts.consolidation.status()

    async def list_runs(self, limit: int = 20) -> tuple[RunReport, ...]:
        """The newest consolidation runs, newest first."""
        check_count("limit", limit, self._parts.limits.results)
        async with self._parts.episodic.reading() as reader:
            return await reader.runs(limit)

    async def list_outbox(self, query: OutboxQuery | None = None) -> tuple[Queued, ...]:
        """What waits to be indexed, is being indexed, or was given up on."""
        asked = query or OutboxQuery()
        check_count("limit", asked.limit, self._parts.limits.results)
        self._check_namespace(asked.namespace)
        async with self._parts.episodic.reading() as reader:
            return await reader.list_outbox(asked, now=utc_now())

    async def retry_dead_letters(self, ids: Sequence[int] | None = None, *, namespace: str | None = None) -> int:
        """Make dead letters due again (all, or these; of one namespace or all); returns how many."""
        self._check_namespace(namespace)
        async with self._parts.episodic.writing() as tx:
            return await tx.retry_dead(ids, utc_now(), namespace=namespace)

    async def drop_dead_letters(self, ids: Sequence[int], *, namespace: str | None = None) -> int:
        """Give up on these dead letters for good; their records stay in Postgres. Returns how many."""
        self._check_namespace(namespace)
        async with self._parts.episodic.writing() as tx:
            return await tx.drop_dead(ids, namespace=namespace)

    def backup(self) -> AsyncGenerator[bytes, None]:
        """The bytes of a backup, in portions; nothing acknowledged before the call is missing from it."""
        return self._parts.backups.stream()

    async def restore(self, path: Path, progress: FileProgress | None = None) -> Mapping[str, int]:
        """Fill this empty installation with a backup, all of it or nothing; returns the rows of each table.

        Raises:
            Conflict: the installation is not empty.
        """
        return await self._parts.backups.restore(path, progress)

    def export(self, namespace: str) -> AsyncGenerator[bytes, None]:
        """A namespace as JSON Lines, in portions; nothing acknowledged before the call is missing from it."""
        return self._parts.exporting.stream(namespace)

    async def import_file(self, path: Path, namespace: str, progress: FileProgress | None = None) -> ImportReport:
        """Take what `export` wrote into a namespace; what is there already is left as it is.

        Raises:
            Conflict: an id stands for something else already; nothing was written.
        """
        return await self._parts.importing.run_file(path, namespace, progress)

    async def health(self) -> tuple[TierHealth, ...]:
        """A ping to every dependency, at once."""
        pings = (_ping(name, dependency) for name, dependency in self._parts.dependencies.items())
        breakers = self._parts.breakers
        return tuple(replace(tier, breaker=breakers[tier.name]().label) for tier in await asyncio.gather(*pings))


async def _ping(name: str, dependency: Pingable) -> TierHealth:
    started = time.perf_counter()
    try:
        detail = await asyncio.wait_for(dependency.ping(), _PING_SECONDS)
        is_up = True
    except (HybridMemoryError, TimeoutError) as error:
        detail, is_up = str(error) or f"no answer within {_PING_SECONDS:g} s", False
    return TierHealth(name, is_up, (time.perf_counter() - started) * 1e3, detail)
