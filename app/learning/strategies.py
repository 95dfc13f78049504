"""Which of what was learned helps in a situation: found by its conditions and by its meaning, ranked by what it is worth."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

import orjson
import structlog

from app.errors import InvalidInput, TierUnavailable
from app.ingestion.limits import Limits, check_count, check_document, check_scope, check_text, check_time
from app.learning.conditions import Met, conditions_of, met
from app.learning.success import DEFAULT_SUCCESS, Estimate, estimate
from app.ports import Clock, EpisodicMemory
from app.records import (
    P_VALUE,
    FilterTerm,
    Hit,
    Json,
    Knowledge,
    KnowledgeCriteria,
    KnowledgeKind,
    Origin,
    Query,
    RecordKind,
    Scope,
    Tier,
)
from app.retrieval.recall import Recall

log = structlog.get_logger(__name__)

LEARNABLE: Final = (KnowledgeKind.STRATEGY, KnowledgeKind.HEURISTIC, KnowledgeKind.PATTERN, KnowledgeKind.CONSTRAINT)
"""What tells somebody what to do; a fact does not."""
_PAGE: Final = 500
_FULL_COSINE: Final = 2.0
"""Knowledge is indexed with its vector counted twice: twice the cosine comes back."""
_READABLE_VALUE: Final = 60


@dataclass(frozen=True, slots=True)
class StrategyPolicy:
    """Weights of the terms of a score, each term in [0, 1]; `similar`: how many are looked at for their meaning,
    `conditional`: for their conditions, the newest first."""

    conditions: float = 1.0
    meaning: float = 1.0
    comparison: float = 0.5
    success: float = 0.5
    confidence: float = 0.25
    similar: int = 100
    conditional: int = 10_000
    min_confidence: float = 0.5


@dataclass(frozen=True, slots=True)
class Situation:
    """What strategies are asked for: a context, as text or as JSON, and which knowledge comes into question."""

    context: str | Json
    scope: Scope
    min_confidence: float | None = None
    kinds: tuple[KnowledgeKind, ...] = LEARNABLE
    limit: int = 10
    as_of: datetime | None = None


@dataclass(frozen=True, slots=True)
class LearnedStrategy:
    """A piece of knowledge for a situation. `components` are the terms `score` is the sum of; `why` says it in words."""

    knowledge: Knowledge
    score: float
    components: Mapping[str, float]
    matched_conditions: tuple[Met, ...]
    estimated_success: Estimate
    why: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LearnedStrategies:
    """Best first. `degraded` names each tier that could not be asked."""

    strategies: tuple[LearnedStrategy, ...]
    degraded: tuple[str, ...] = ()


class Strategies:
    """Finds knowledge for a situation. Conditions are looked up in Postgres, meaning is a recall."""

    def __init__(
        self, episodic: EpisodicMemory, recall: Recall, *, limits: Limits, clock: Clock, policy: StrategyPolicy | None = None
    ) -> None:
        self._episodic = episodic
        self._recall = recall
        self._limits = limits
        self._clock = clock
        self._policy = policy or StrategyPolicy()

    async def learned(self, situation: Situation) -> LearnedStrategies:
        """What holds, is active and applies, the most promising first.

        Raises:
            InvalidInput: a field breaks a limit.
            TierUnavailable: Postgres could not be reached.
        """
        asked = self._admit(situation)
        criteria = self._criteria(asked)
        conditional, (meanings, degraded) = await asyncio.gather(self._conditional(asked, criteria), self._similar(asked))
        found = {piece.id: piece for piece in conditional}
        similar = await self._read([i for i in meanings if i not in found])
        found |= {piece.id: piece for piece in similar if criteria.admits(piece) and asked.scope.admits(piece.scope)}
        return LearnedStrategies(ranked(found.values(), asked, meanings, self._policy)[: asked.limit], degraded)

    def _admit(self, situation: Situation) -> Situation:
        check_scope(situation.scope, self._limits)
        check_count("limit", situation.limit, self._limits.results)
        least = self._policy.min_confidence if situation.min_confidence is None else situation.min_confidence
        if not 0.0 <= least <= 1.0:
            raise InvalidInput("min_confidence", f"must be between 0 and 1, is {least}")
        if not situation.kinds:
            raise InvalidInput("kinds", "must name at least one kind")
        self._check_context(situation.context)
        as_of = self._clock() if situation.as_of is None else check_time("as_of", situation.as_of, self._limits, None)
        return replace(situation, min_confidence=least, as_of=as_of)

    def _check_context(self, context: str | Json) -> None:
        if isinstance(context, str):
            check_text("context", context, self._limits.query_bytes)
            return
        check_document("context", context, max_bytes=self._limits.document_bytes, max_depth=self._limits.document_depth)
        if not context:
            raise InvalidInput("context", "must not be empty")

    def _criteria(self, asked: Situation) -> KnowledgeCriteria:
        return KnowledgeCriteria(
            kinds=asked.kinds, is_active=True, holds_at=asked.as_of, min_confidence=asked.min_confidence or 0.0
        )

    async def _conditional(self, asked: Situation, criteria: KnowledgeCriteria) -> list[Knowledge]:
        """What has conditions that the context fulfils; a text fulfils none."""
        if isinstance(asked.context, str):
            return []
        stated = replace(criteria, has_conditions=True)
        fitting: list[Knowledge] = []
        before: UUID | None = None
        async with self._episodic.reading() as reader:
            for _ in range(0, self._policy.conditional, _PAGE):
                page = await reader.list_knowledge(asked.scope, kind=None, before=before, limit=_PAGE, criteria=stated)
                fitting += [piece for piece in page if matched(piece, asked.context)]
                if len(page) < _PAGE:
                    break
                before = page[-1].id
        return fitting

    async def _similar(self, asked: Situation) -> tuple[Mapping[UUID, float], tuple[str, ...]]:
        """How close in meaning, in [0, 1], what a recall finds is; and the tiers that were away."""
        text = asked.context if isinstance(asked.context, str) else as_text(asked.context)
        kinds = FilterTerm("metadata.kind", tuple(kind.value for kind in asked.kinds))
        query = Query(
            _cut(text, self._limits.query_bytes), asked.scope, (RecordKind.KNOWLEDGE,), (kinds,),
            limit=self._policy.similar, as_of=asked.as_of, is_collapsed=False,
        )  # fmt: skip
        try:
            recollection = await self._recall.recall(query)
        except TierUnavailable as error:
            return {}, (error.tier,)
        degraded = tuple(name for name in recollection.degraded if name != Tier.WORKING)  # knowledge is not buffered
        return {hit.id: _meaning(hit) for hit in recollection.hits}, degraded

    async def _read(self, ids: Sequence[UUID]) -> Sequence[Knowledge]:
        if not ids:
            return ()
        async with self._episodic.reading() as reader:
            return await reader.knowledge_by_uid(ids)


def ranked(
    pieces: Iterable[Knowledge], asked: Situation, meanings: Mapping[UUID, float], policy: StrategyPolicy
) -> tuple[LearnedStrategy, ...]:
    """Those that apply, best first; of equals the newest (pure)."""
    judged = (_judged(piece, asked.context, meanings.get(piece.id, 0.0), policy) for piece in pieces)
    found = [strategy for strategy in judged if strategy is not None]
    return tuple(sorted(found, key=lambda s: (-s.score, -s.knowledge.id.int)))


def matched(piece: Knowledge, context: str | Json) -> tuple[Met, ...] | None:
    """Which conditions of the piece the context fulfils; None when it does not fulfil all of them, or they cannot be read.

    Of a text nobody can say: none is fulfilled, and none is not.
    """
    if isinstance(context, str):
        return ()
    try:
        return met(conditions_of(piece.content), context)
    except InvalidInput as error:
        log.warning("conditions_unreadable", knowledge=str(piece.id), field=error.field)
        return None


def as_text(context: Json) -> str:
    """A context as a line of text, for those who look at its meaning."""
    return "; ".join(f"{key.replace('_', ' ')} {_plain(value)}" for key, value in context.items())


def _judged(piece: Knowledge, context: str | Json, meaning: float, policy: StrategyPolicy) -> LearnedStrategy | None:
    conditions = matched(piece, context)
    if conditions is None:
        return None
    success = estimate(piece.success_count, piece.failure_count, DEFAULT_SUCCESS)
    by_chance = _by_chance(piece)
    components = {
        "conditions": policy.conditions * _specificity(conditions),
        "meaning": policy.meaning * meaning,
        "comparison": policy.comparison * (0.0 if by_chance is None else 1.0 - by_chance),
        "success": policy.success * success.mean,
        "confidence": policy.confidence * piece.confidence,
    }
    why = _why(piece, conditions, meaning, by_chance)
    return LearnedStrategy(piece, sum(components.values()), components, conditions, success, why)


def _specificity(conditions: Sequence[Met]) -> float:
    """The more fields have to be as they are, the more is the piece made for the situation: 0, 1/2, 2/3, 3/4 …

    Of fields, not of conditions: the two bounds of an interval say one thing about the situation.
    """
    fields = len({one.condition.field for one in conditions})
    return fields / (fields + 1)


def _by_chance(piece: Knowledge) -> float | None:
    """How likely chance alone makes the action go so much better than the others; None where it was not compared with any.

    Learning alone is asked: what somebody states as a p-value may be that of anything.
    """
    if piece.kind is not KnowledgeKind.HEURISTIC or piece.origin is not Origin.LEARNED:
        return None
    p_value = piece.content.get(P_VALUE)
    if isinstance(p_value, bool) or not isinstance(p_value, int | float):
        return None
    return p_value if 0.0 <= p_value <= 1.0 else None


def _why(piece: Knowledge, conditions: Sequence[Met], meaning: float, by_chance: float | None) -> tuple[str, ...]:
    applied = piece.success_count + piece.failure_count
    tried = f"succeeded in {piece.success_count} of {applied} applications" if applied else "was not applied yet"
    better = () if by_chance is None else (f"went better than the other actions there (p = {by_chance:.2g})",)
    close = (f"is close in meaning ({meaning:.2f})",) if meaning > 0.0 else ()
    sides = len(piece.supporting_episodes), len(piece.contradicting_episodes)
    backing = f"confidence {piece.confidence:.2f}: {sides[0]} episodes support it, {sides[1]} contradict it"
    return (*(_held(one) for one in conditions), *close, *better, tried, backing)


def _held(one: Met) -> str:
    condition = one.condition
    if condition.op == "exists":
        return f"{condition.field} is {'there' if condition.value else 'not there'}"
    value = list(condition.value) if isinstance(condition.value, tuple) else condition.value
    return f"{condition.field} {condition.op} {_readable(value)}: it is {_readable(one.found)}"


def _readable(value: object) -> str:
    text = _plain(value)
    return text if len(text) <= _READABLE_VALUE else f"{text[:_READABLE_VALUE]}…"


def _plain(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value, default=str).decode()


def _meaning(hit: Hit) -> float:
    """In [0, 1], from the index's terms; from full text's rank, where that answered instead."""
    terms = hit.components
    if "text" in terms:
        return terms["text"]
    return min(1.0, max(0.0, (terms.get("dense", 0.0) + terms.get("bm25", 0.0)) / _FULL_COSINE))


def _cut(text: str, most_bytes: int) -> str:
    return text.encode()[:most_bytes].decode(errors="ignore")
