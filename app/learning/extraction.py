"""From the queue of episodes to evidence.

Claim a batch → read episodes and steps → extract, on a thread → put the lessons in place and tick off, in one transaction.
Killed anywhere, the lease runs out and the batch is done again: evidence is a set of episodes, so nothing counts twice.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import structlog

from app.errors import TierUnavailable, Unreadable
from app.faultpoints import FaultPoint, reached
from app.learning.extractors import EXTRACTORS, Extractor, extract
from app.observability import BACKGROUND_ERRORS
from app.ports import Clock, EpisodicMemory, EpisodicReader, Extraction, Lesson
from app.records import Episode, Json, Pattern, RecordKind

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ExtractionPolicy:
    """Of an episode, the first `steps` are looked at; below `min_quality` it teaches nothing (unjudged, it may).

    `retry_base` doubles with every attempt up to `retry_ceiling`, give or take half (jitter); after `max_failures` of its
    own an episode is given up on until it changes.
    """

    batch: int = 200
    steps: int = 1000
    min_quality: float = 0.7
    lease: timedelta = timedelta(minutes=2)
    max_failures: int = 8
    retry_base: timedelta = timedelta(seconds=1)
    retry_ceiling: timedelta = timedelta(minutes=5)

    def is_learnable(self, episode: Episode) -> bool:
        return not episode.is_open and (episode.quality is None or episode.quality >= self.min_quality)

    def retry_after(self, attempts: int, chance: float) -> timedelta:
        """How long to wait after the given attempt; `chance` in [0, 1] spreads workers apart."""
        return min(self.retry_base * 2.0 ** min(attempts, 20), self.retry_ceiling) * (0.5 + chance)


@dataclass(frozen=True, slots=True)
class Batch:
    """`claimed`: 0 when nothing was due. `counts`: what came of it."""

    claimed: int
    counts: Counter[str]


@dataclass(frozen=True, slots=True)
class _Read:
    """What there is of the episodes of a batch."""

    episodes: Mapping[UUID, Episode]
    steps: Mapping[UUID, Sequence[Json]]


class ExtractionWorker:
    """Works off the queue, any number of them at once."""

    def __init__(
        self, episodic: EpisodicMemory, *, policy: ExtractionPolicy, clock: Clock, extractors: Sequence[Extractor] = EXTRACTORS
    ) -> None:
        self._episodic = episodic
        self._policy = policy
        self._clock = clock
        self._extractors = extractors

    async def extract_batch(self, namespace: str | None = None) -> Batch:
        """Learn from one batch of what is due."""
        async with self._episodic.writing() as tx:
            due = await tx.claim_extractions(self._policy.batch, lease=self._policy.lease, now=self._clock(), namespace=namespace)
        await reached(FaultPoint.LEARN_CLAIMED)
        return Batch(len(due), await self._attempt(due) if due else Counter())

    async def _attempt(self, due: Sequence[Extraction]) -> Counter[str]:
        """Learn from these, and give back those that fail."""
        try:
            return await self._learn(due)
        except TierUnavailable as error:
            await self._give_back(due, str(error))
            raise
        except Exception as error:  # noqa: BLE001 - one episode nobody foresaw must not stop the others
            return await self._isolate(due, error)

    async def _isolate(self, due: Sequence[Extraction], error: Exception) -> Counter[str]:
        """Halve a failed batch until the episode that fails on its own account stands alone."""
        if len(due) > 1:
            middle = len(due) // 2
            return await self._attempt(due[:middle]) + await self._attempt(due[middle:])
        BACKGROUND_ERRORS.labels("extract").inc()
        log.error("extraction_failed", episode=str(due[0].episode_id), exc_info=error)
        await self._give_back(due, f"{type(error).__name__}: {error}", failures=1)
        return Counter(episodes_failed=1)

    async def _learn(self, due: Sequence[Extraction]) -> Counter[str]:
        read = await self._read(due)
        lessons = await asyncio.to_thread(self._lessons, due, read)
        await reached(FaultPoint.LEARN_EXTRACTED)
        async with self._episodic.writing() as tx:
            held = await tx.learn(lessons)
            await reached(FaultPoint.LEARN_EVIDENCE_SAVED)
        await reached(FaultPoint.LEARN_COMMITTED)
        learnable = {e.id for e in read.episodes.values() if self._policy.is_learnable(e)}
        found = sum(len(lesson.patterns) for lesson in lessons if lesson.extraction.episode_id in held)
        return Counter(episodes=len(held & learnable), episodes_skipped=len(held - learnable), patterns_found=found)

    def _lessons(self, due: Sequence[Extraction], read: _Read) -> list[Lesson]:
        return [Lesson(extraction, self._patterns(read.episodes.get(extraction.episode_id), read)) for extraction in due]

    def _patterns(self, episode: Episode | None, read: _Read) -> tuple[Pattern, ...]:
        if episode is None or not self._policy.is_learnable(episode):
            return ()
        return extract(self._extractors, episode, read.steps.get(episode.id, ())).patterns

    async def _read(self, due: Sequence[Extraction]) -> _Read:
        ids = [extraction.episode_id for extraction in due]
        async with self._episodic.reading() as reader:
            episodes = {episode.id: episode for episode in await reader.episodes_by_uid(ids)}
            await _refuse_unread(reader, [extraction for extraction in due if extraction.episode_id not in episodes])
            return _Read(episodes, await reader.first_steps(ids, self._policy.steps))

    async def _give_back(self, due: Sequence[Extraction], error: str, *, failures: int = 0) -> None:
        is_dead = max(extraction.failures for extraction in due) + failures >= self._policy.max_failures
        chance = random.random()  # noqa: S311 - jitter, not a secret
        wait = self._policy.retry_after(max(extraction.attempts for extraction in due), chance)
        async with self._episodic.writing() as tx:
            await tx.release_extractions(
                due, error=error, next_attempt_at=self._clock() + wait, failures=failures, is_dead=bool(failures) and is_dead
            )


async def _refuse_unread(reader: EpisodicReader, due: Sequence[Extraction]) -> None:
    """An episode that is gone teaches nothing any more; one that only cannot be read by this release still does.

    Raises:
        Unreadable: one of these is there.
    """
    for extraction in due:
        if await reader.existing(RecordKind.EPISODE, extraction.namespace, [extraction.episode_id]):
            problem = "cannot be read by this release; see `row_skipped`"
            raise Unreadable(RecordKind.EPISODE.value, str(extraction.episode_id), problem)
