"""From evidence to confidence, from candidates to knowledge.

Patterns whose evidence changed are taken with all their rivals, counted anew and, in the same transaction, merged into one
that says nearly the same, kept as knowledge, or left candidates. Who is killed has changed nothing; who comes at the same
time takes others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from app.faultpoints import FaultPoint, reached
from app.learning.evidence import LEAST_SUPPORTERS, confidence_from
from app.learning.signatures import similarity
from app.learning.teaching import forget_taught, teach, withdraw
from app.ports import Clock, EpisodicMemory, EpisodicWriter
from app.records import PATTERN, Knowledge, KnowledgeKind, Origin, Pattern, PatternState


@dataclass(frozen=True, slots=True)
class WeighingPolicy:
    """A pattern is kept with `supporters` or more and a confidence above `confidence` (see `confidence_from`).

    Two patterns whose `similarity` is `same_from` or more are one. `batch` changes are taken at a time.
    """

    confidence: float = 0.7
    supporters: int = LEAST_SUPPORTERS
    same_from: float = 0.75
    similar: int = 50
    batch: int = 500

    def weighed(self, pattern: Pattern, now: datetime) -> Pattern:
        """The pattern with the confidence that its counts give it, kept or not."""
        confidence = confidence_from(pattern.supporters, pattern.contradictors)
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
            counts = await self._weigh(tx, taken)
            await reached(FaultPoint.LEARN_WEIGHED)
        await reached(FaultPoint.LEARN_TAUGHT)
        return counts

    async def _weigh(self, tx: EpisodicWriter, taken: Sequence[Pattern]) -> Counter[str]:
        dropped = await self._drop(tx, [p for p in taken if not p.supporters])
        merged = await self._merge(tx, [p for p in taken if p.supporters and p.weighed_at is None])
        left = {p.id: p for p in taken if p.supporters and p.id not in merged}
        weighed = [self._policy.weighed(p, self._clock()) for p in left.values()]
        await tx.save_patterns(weighed)
        passed_on = await self._pass_on(tx, weighed, {p.id: p.state for p in left.values()})
        return Counter(patterns_dropped=dropped, patterns_merged=len(merged)) + passed_on

    async def _drop(self, tx: EpisodicWriter, unsupported: Sequence[Pattern]) -> int:
        for pattern in unsupported:
            await forget_taught(tx, pattern.scope.namespace, pattern.id)
        await tx.delete_patterns([pattern.id for pattern in unsupported])
        return len(unsupported)

    async def _merge(self, tx: EpisodicWriter, new: Sequence[Pattern]) -> frozenset[UUID]:
        """Merge those that say what another one says; returns their ids."""
        similar = await tx.similar_patterns(new, self._policy.similar)
        same = {p.id: self._policy.same_as(p, similar.get(p.id, ())) for p in new}
        for pattern in new:
            if (other := same[pattern.id]) is not None:
                await tx.merge_pattern(pattern, other)
        return frozenset(pattern_id for pattern_id, other in same.items() if other is not None)

    async def _pass_on(self, tx: EpisodicWriter, weighed: Sequence[Pattern], before: Mapping[UUID, PatternState]) -> Counter[str]:
        """What is kept is taught, what was and is not any more is withdrawn."""
        counts: Counter[str] = Counter()
        concerned = [p for p in weighed if PatternState.KEPT in {p.state, before[p.id]}]
        for pattern in await tx.with_evidence(concerned):
            is_kept, was_kept = pattern.state is PatternState.KEPT, before[pattern.id] is PatternState.KEPT
            await (teach if is_kept else withdraw)(tx, knowledge_of(pattern), self._clock())
            counts.update(patterns_kept=int(is_kept and not was_kept), patterns_withdrawn=int(was_kept and not is_kept))
        return counts


def knowledge_of(pattern: Pattern) -> Knowledge:
    """What a pattern is as knowledge: under its own id, with its evidence."""
    return Knowledge(
        id=pattern.id,
        kind=KnowledgeKind.PATTERN,
        scope=pattern.scope,
        description=pattern.description,
        created_at=pattern.weighed_at or pattern.first_seen_at,
        content={PATTERN: pattern.kind.value, **pattern.content},
        confidence=pattern.confidence,
        supporting_episodes=_oldest_first(pattern.supporting_episodes),
        contradicting_episodes=_oldest_first(pattern.contradicting_episodes),
        origin=Origin.LEARNED,
        evidence_count=pattern.supporters + pattern.contradictors,
    )


def _oldest_first(ids: Sequence[UUID]) -> tuple[UUID, ...]:
    return tuple(sorted(ids))
