"""From evidence to confidence, from candidates to knowledge.

Patterns whose evidence changed are taken with all their rivals, counted anew and, in the same transaction, merged into one
that says nearly the same, kept as knowledge, or left candidates. Who is killed has changed nothing; who comes at the same
time takes others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from app.faultpoints import FaultPoint, reached
from app.learning.signatures import confidence_of, similarity
from app.learning.teaching import forget_taught, teach, withdraw
from app.ports import Clock, EpisodicMemory, EpisodicWriter
from app.records import Knowledge, KnowledgeKind, Pattern, PatternState


@dataclass(frozen=True, slots=True)
class WeighingPolicy:
    """A pattern is kept with `supporters` or more and a confidence above `confidence` (see `confidence_of`).

    Two patterns whose `similarity` is `same_from` or more are one. `batch` changes are taken at a time.
    """

    confidence: float = 0.7
    supporters: int = 3
    same_from: float = 0.75
    similar: int = 50
    batch: int = 500

    def weighed(self, pattern: Pattern, now: datetime) -> Pattern:
        """The pattern with the confidence that its counts give it, kept or not."""
        confidence = confidence_of(pattern.supporters, pattern.contradictors)
        is_kept = pattern.supporters >= self.supporters and confidence > self.confidence
        state = PatternState.KEPT if is_kept else PatternState.CANDIDATE
        return replace(pattern, confidence=confidence, state=state, weighed_at=now)

    def same_as(self, pattern: Pattern, others: Sequence[Pattern]) -> Pattern | None:
        """The one that says most nearly the same, if any says it nearly enough; of equals the first."""
        best = max(others, key=lambda other: similarity(pattern, other), default=None)
        return None if best is None or similarity(pattern, best) < self.same_from else best


class Weighing:
    """Weighs what is stale, any number of workers at once."""

    def __init__(self, episodic: EpisodicMemory, *, policy: WeighingPolicy, clock: Clock) -> None:
        self._episodic = episodic
        self._policy = policy
        self._clock = clock

    async def weigh_batch(self, namespace: str | None = None) -> Counter[str] | None:
        """Weigh one batch of what is stale; None when nothing is."""
        async with self._episodic.writing() as tx:
            taken = await tx.take_stale(self._policy.batch, namespace=namespace)
            if taken is None:
                return None
            counts: Counter[str] = Counter()
            for pattern in taken:
                counts.update(await self._weigh(tx, pattern))
            await reached(FaultPoint.LEARN_WEIGHED)
        await reached(FaultPoint.LEARN_TAUGHT)
        return counts

    async def _weigh(self, tx: EpisodicWriter, pattern: Pattern) -> Counter[str]:
        if not pattern.supporters:
            await forget_taught(tx, pattern.scope.namespace, pattern.id)
            await tx.delete_patterns([pattern.id])
            return Counter(patterns_dropped=1)
        if pattern.weighed_at is None and await self._merge(tx, pattern):
            return Counter(patterns_merged=1)
        weighed = self._policy.weighed(pattern, self._clock())
        await tx.save_pattern(weighed)
        return await self._pass_on(tx, weighed, was=pattern.state)

    async def _merge(self, tx: EpisodicWriter, pattern: Pattern) -> bool:
        same = self._policy.same_as(pattern, await tx.similar_patterns(pattern, self._policy.similar))
        if same is not None:
            await tx.merge_pattern(pattern, same)
        return same is not None

    async def _pass_on(self, tx: EpisodicWriter, pattern: Pattern, was: PatternState) -> Counter[str]:
        if pattern.state is PatternState.KEPT:
            await teach(tx, knowledge_of(pattern), self._clock())
            return Counter(patterns_kept=int(was is not PatternState.KEPT))
        if was is PatternState.KEPT:
            await withdraw(tx, knowledge_of(pattern), self._clock())
            return Counter(patterns_withdrawn=1)
        return Counter()


def knowledge_of(pattern: Pattern) -> Knowledge:
    """What a pattern is as knowledge: under its own id, with its evidence."""
    return Knowledge(
        id=pattern.id,
        kind=KnowledgeKind.PATTERN,
        scope=pattern.scope,
        description=pattern.description,
        created_at=pattern.weighed_at or pattern.first_seen_at,
        content={"pattern": pattern.kind.value, **pattern.content},
        confidence=pattern.confidence,
        supporting_episodes=_oldest_first(pattern.supporting_episodes),
        contradicting_episodes=_oldest_first(pattern.contradicting_episodes),
    )


def _oldest_first(ids: Sequence[UUID]) -> tuple[UUID, ...]:
    return tuple(sorted(ids))
