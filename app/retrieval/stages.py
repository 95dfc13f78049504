"""Stages that a search may ask for: more wordings of its question, and a closer look at the best of what was found.

Each has a deadline of its own, on top of the recall's. One that is late, fails or is not there is left out and named.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final, TypeAlias

from app.ports import Rephraser, Reranker
from app.records import Hit, Query, Role, Stage, Vector
from app.retrieval.attempt import Attempt
from app.retrieval.fusion import Record, merge, record_of


@dataclass(frozen=True, slots=True)
class StagePolicy:
    """`depth`: how many of the best are reranked. The durations are the stages' deadlines, each from its own beginning."""

    depth: int = 50
    expand: timedelta = timedelta(seconds=5)
    late_interaction: timedelta = timedelta(seconds=2)
    cross_encoder: timedelta = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Found:
    """What a question found; `meaning` is the question as it was embedded, without participants' names."""

    hits: Sequence[Hit]
    meaning: str


Ask: TypeAlias = Callable[[Attempt, Query], Awaitable[Found]]
"""A recall without stages, within the attempt's deadline."""

_PLACES: Final = 6
"""How fast a lift falls with the place: half of it at the seventh (reciprocal ranks with k = 5)."""
_RERANKERS: Final = (Stage.LATE_INTERACTION, Stage.CROSS_ENCODER)


class Stages:
    """The stages that this installation has."""

    def __init__(
        self, rerankers: Mapping[Stage, Reranker] | None = None, rephraser: Rephraser | None = None, *,
        policy: StagePolicy | None = None,
    ) -> None:  # fmt: skip
        self._rerankers = rerankers or {}
        self._rephraser = rephraser
        self._policy = policy or StagePolicy()

    async def apply(self, attempt: Attempt, query: Query, ask: Ask) -> Sequence[Hit]:
        """What `ask` finds, with what the query's stages add to it; in no order, and more than the query's limit."""
        if not query.stages:
            return (await ask(attempt, query)).hits
        wide = replace(query, limit=max(query.limit, self._policy.depth))
        reworded = asyncio.create_task(self._reworded(attempt, wide, ask))
        try:
            found = await ask(attempt, wide)
            pool = lifted(merge(found.hits)[: wide.limit], await reworded, query.ranking.expand)
        finally:
            reworded.cancel()
        best, rest = pool[: self._policy.depth], pool[self._policy.depth :]
        return (*await self._reranked(attempt, query, Found(best, found.meaning)), *rest)

    async def _reworded(self, attempt: Attempt, query: Query, ask: Ask) -> Sequence[Sequence[Hit]]:
        """What each other wording of the question finds, best first; there are none unless the query wants them."""
        if Stage.EXPAND not in query.stages:
            return ()
        if self._rephraser is None:
            attempt.miss(Stage.EXPAND, "no chat model is configured")
            return ()
        own = attempt.beside(self._policy.expand)
        return await own.stage(Stage.EXPAND, _ask_reworded(own, self._rephraser, query, ask)) or ()

    async def _reranked(self, attempt: Attempt, query: Query, found: Found) -> Sequence[Hit]:
        """The hits with a term of each reranker that the query wants; all look at the same hits, at once."""
        wanted = [stage for stage in _RERANKERS if stage in query.stages and found.hits]
        answers = await asyncio.gather(*(self._scores(attempt, stage, query, found) for stage in wanted))
        hits = found.hits
        for stage, scores in zip(wanted, answers, strict=True):
            if scores is not None:
                hits = with_term(hits, stage.value, getattr(query.ranking, stage.value) * scores)
        return hits

    async def _scores(self, attempt: Attempt, stage: Stage, query: Query, found: Found) -> Vector | None:
        reranker = self._rerankers.get(stage)
        if reranker is None:
            attempt.miss(stage, "no model is configured")
            return None
        question, texts = material(stage, query, found)
        own = attempt.beside(getattr(self._policy, stage.value))
        return await own.stage(stage, reranker.scores(question, texts))


async def _ask_reworded(attempt: Attempt, rephraser: Rephraser, query: Query, ask: Ask) -> Sequence[Sequence[Hit]]:
    wordings = await rephraser.rephrase(query.text)
    inner = Attempt(timedelta(seconds=attempt.remaining_seconds()))
    answers = await asyncio.gather(*(ask(inner, replace(query, text=wording)) for wording in wordings))
    if inner.degraded:
        attempt.miss(Stage.EXPAND, f"asked without {', '.join(inner.degraded)}")
    return [merge(answer.hits)[: query.limit] for answer in answers]


def material(stage: Stage, query: Query, found: Found) -> tuple[str, list[str]]:
    """The question and the texts as a reranker reads them.

    Vectors of single words go without names, as the dense query does. A cross-encoder reads question and text together, so
    it is told who is asked about and who speaks.
    """
    if stage is Stage.LATE_INTERACTION:
        return found.meaning, [hit.text for hit in found.hits]
    return query.text, [spoken(hit) for hit in found.hits]


def spoken(hit: Hit) -> str:
    """The text after its author's name, where it has one."""
    return hit.text if hit.author in {None, *(role.value for role in Role)} else f"{hit.author}: {hit.text}"


def lifted(hits: Sequence[Hit], reworded: Sequence[Sequence[Hit]], weight: float) -> tuple[Hit, ...]:
    """The hits, best first, lifted by their places among what each other wording found; at most by `weight`.

    Places and not scores: a wording that misses the point scores as high as one that does not. What the question itself
    did not find begins where its last hit stands, and is not worth more than what the other wordings make of it.
    """
    if not reworded:
        return tuple(hits)
    floor = min((hit.score for hit in hits), default=0.0)
    pool = {record_of(hit): hit for hit in hits}
    lifts: dict[Record, float] = {}
    for answer in reworded:
        for place, hit in enumerate(answer):
            pool.setdefault(record_of(hit), replace(hit, score=floor, components={Stage.EXPAND.value: floor}))
            lifts[record_of(hit)] = lifts.get(record_of(hit), 0.0) + _PLACES / (_PLACES + place) / len(reworded)
    return merge(_lift(hit, weight * lifts.get(record, 0.0)) for record, hit in pool.items())


def _lift(hit: Hit, by: float) -> Hit:
    if not by:
        return hit
    term = hit.components.get(Stage.EXPAND.value, 0.0) + by
    return replace(hit, score=hit.score + by, components={**hit.components, Stage.EXPAND.value: term})


def with_term(hits: Sequence[Hit], name: str, term: Vector) -> list[Hit]:
    """The hits with one more term in their scores, in order; `term` has one value a hit."""
    return [
        replace(hit, score=hit.score + value, components={**hit.components, name: value})
        for hit, value in zip(hits, term.tolist(), strict=True)
    ]
