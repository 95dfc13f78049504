"""What `PatternReader` and `PatternWriter` ask of a session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from app.episodic import extractions as queue
from app.episodic import learning
from app.episodic.engine import Session
from app.ports import Extraction, LearningStatus, Lesson, PatternQuery, StaleScope
from app.records import Json, Pattern


class LearningReader:
    """See `PatternReader`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def first_steps(self, episode_ids: Sequence[UUID], limit: int) -> Mapping[UUID, Sequence[Json]]:
        return await learning.first_steps(self._session, episode_ids, limit)

    async def list_patterns(self, query: PatternQuery) -> tuple[Pattern, ...]:
        return await learning.page(self._session, query)

    async def learning_status(self) -> LearningStatus:
        return await learning.status(self._session)

    async def stale_scopes(self, limit: int, *, namespace: str | None = None) -> tuple[StaleScope, ...]:
        return await learning.stale_scopes(self._session, limit, namespace=namespace)


class LearningWriter(LearningReader):
    """See `PatternWriter`."""

    async def claim_extractions(
        self, limit: int, *, lease: timedelta, now: datetime, namespace: str | None = None
    ) -> tuple[Extraction, ...]:
        return await queue.claim(self._session, limit, lease=lease, now=now, namespace=namespace)

    async def learn(self, lessons: Sequence[Lesson]) -> frozenset[UUID]:
        return await learning.learn(self._session, lessons)

    async def release_extractions(
        self,
        extractions: Sequence[Extraction],
        *,
        error: str,
        next_attempt_at: datetime,
        failures: int = 0,
        is_dead: bool = False,
    ) -> None:
        verdict = {"next_attempt_at": next_attempt_at, "failures": failures, "is_dead": is_dead}
        await queue.release(self._session, extractions, error=error, **verdict)

    async def retry_extractions(self, now: datetime, *, namespace: str | None = None) -> int:
        return await queue.retry(self._session, now, namespace=namespace)

    async def take_stale(self, limit: int, *, namespace: str | None = None) -> tuple[Pattern, ...] | None:
        return await learning.take_stale(self._session, limit, namespace=namespace)

    async def with_evidence(self, patterns: Sequence[Pattern]) -> tuple[Pattern, ...]:
        return await learning.with_evidence(self._session, patterns)

    async def similar_patterns(self, patterns: Sequence[Pattern], limit: int) -> Mapping[UUID, Sequence[Pattern]]:
        return await learning.similar(self._session, patterns, limit)

    async def save_patterns(self, patterns: Sequence[Pattern]) -> None:
        await learning.save(self._session, patterns)

    async def merge_pattern(self, pattern: Pattern, into: Pattern) -> None:
        await learning.merge(self._session, pattern, into)

    async def delete_patterns(self, ids: Sequence[UUID]) -> None:
        await learning.delete_without_evidence(self._session, ids)

    async def settle_scope(self, stale: StaleScope) -> None:
        await learning.settle_scope(self._session, stale)
