"""What is kept for how long: sessions' states, episodes in sight, episodes in the archive.

An archived episode stays in Postgres with its messages and steps, can be read and listed, and is not searched: its
points leave the index by way of the outbox. Some time later it is deleted with all it holds. What is pinned is never
touched, nor is an episode that is still open.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeAlias

import structlog

from app.errors import TierUnavailable
from app.observability import CONSOLIDATED
from app.ports import Clock, Cutoffs, EpisodicMemory, EpisodicWriter
from app.records import RunReport, new_id

log = structlog.get_logger(__name__)

_COUNTED: Final = ("sessions_retired", "episodes_deleted", "messages_deleted", "episodes_archived", "messages_archived")
_Step: TypeAlias = Callable[[EpisodicWriter, Cutoffs], Awaitable[Counter[str]]]


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """`sessions`: how long the state of a quiet session is kept. `archive_after`: an episode's end lies as far back.

    `delete_after`: how long the archive keeps an episode. None: for ever. `batch` episodes, or `session_batch` session
    states, are taken in one transaction.
    """

    sessions: timedelta | None = timedelta(days=30)
    archive_after: timedelta | None = None
    delete_after: timedelta | None = None
    batch: int = 200
    session_batch: int = 10_000


class Retention:
    """Applies the policy in small transactions: interrupted anywhere, the next run goes on."""

    def __init__(self, episodic: EpisodicMemory, *, policy: RetentionPolicy, clock: Clock) -> None:
        self._episodic = episodic
        self._policy = policy
        self._clock = clock

    async def run(self, *, dry_run: bool = False) -> RunReport:
        """Apply the policy to what has outlived it by now, or only say what that is; both give the same counts.

        A tier that is away ends the run: the error is in the report, and the next run goes on.
        """
        started_at = self._clock()
        counts: Counter[str] = Counter(dict.fromkeys(_COUNTED, 0))
        errors: tuple[str, ...] = ()
        try:
            await (self._predict(counts) if dry_run else self._apply(counts))
        except TierUnavailable as error:
            errors = (str(error),)
            log.warning("retention_interrupted", problem=error.problem)
        report = RunReport(new_id(), started_at, self._clock(), dict(counts), errors)
        if not dry_run:
            await self._record(report)
        return report

    def cutoffs(self) -> Cutoffs:
        """What has outlived the policy by now."""
        now = self._clock()
        kept = (self._policy.sessions, self._policy.archive_after, self._policy.delete_after)
        return Cutoffs(*(None if duration is None else now - duration for duration in kept))

    async def _predict(self, counts: Counter[str]) -> None:
        async with self._episodic.reading() as reader:
            expired = await reader.expired(self.cutoffs())
        counts["sessions_retired"] = expired.sessions
        counts["episodes_deleted"], counts["messages_deleted"] = expired.episodes_to_delete, expired.messages_to_delete
        counts["episodes_archived"], counts["messages_archived"] = expired.episodes_to_archive, expired.messages_to_archive

    async def _apply(self, counts: Counter[str]) -> None:
        """Deleting comes before archiving: what is archived in this run has its time in the archive first."""
        cutoffs = self.cutoffs()
        for step in (self._retire, self._delete, self._archive):
            while (taken := await self._batch(step, cutoffs)).total():
                counts.update(taken)

    async def _batch(self, step: _Step, cutoffs: Cutoffs) -> Counter[str]:
        async with self._episodic.writing() as tx:
            return await step(tx, cutoffs)

    async def _retire(self, tx: EpisodicWriter, cutoffs: Cutoffs) -> Counter[str]:
        if cutoffs.sessions_idle_since is None:
            return Counter()
        retired = await tx.delete_expired_sessions(cutoffs.sessions_idle_since, self._policy.session_batch)
        return Counter(sessions_retired=retired)

    async def _delete(self, tx: EpisodicWriter, cutoffs: Cutoffs) -> Counter[str]:
        if cutoffs.archived_before is None:
            return Counter()
        taken = await tx.delete_archived(cutoffs.archived_before, limit=self._policy.batch)
        return Counter(episodes_deleted=taken.episodes, messages_deleted=taken.messages)

    async def _archive(self, tx: EpisodicWriter, cutoffs: Cutoffs) -> Counter[str]:
        if cutoffs.ended_before is None:
            return Counter()
        taken = await tx.archive_episodes(cutoffs.ended_before, at=self._clock(), limit=self._policy.batch)
        return Counter(episodes_archived=taken.episodes, messages_archived=taken.messages)

    async def _record(self, report: RunReport) -> None:
        for what, count in report.counts.items():
            CONSOLIDATED.labels(what).inc(count)
        if not any(report.counts.values()):
            return
        log.info("retained", run_id=str(report.id), duration_ms=round(report.duration_ms, 1), **report.counts)
        try:
            async with self._episodic.writing() as tx:
                await tx.record_run(report)
        except TierUnavailable as error:
            log.warning("run_not_recorded", run_id=str(report.id), problem=error.problem)
