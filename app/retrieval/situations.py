"""Episodes like a situation: recalled, ranked by how they turned out as well, and given with reasons."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final
from uuid import UUID

import structlog

from app.errors import TierUnavailable
from app.ports import EpisodicMemory
from app.records import Episode, FilterTerm, Hit, OutcomeAsked, Query, Range, Recollection, RecordKind, SituationQuery
from app.records.situations import GOOD_OUTCOME
from app.retrieval.attempt import Attempt
from app.retrieval.reasons import reasons
from app.retrieval.recall import Recall
from app.retrieval.rendering import render
from app.retrieval.situation_cache import SituationCache
from app.retrieval.surroundings import EPISODES

log = structlog.get_logger(__name__)

_PATIENCE: Final = 0.2
"""The share of the deadline that asking whether a cached answer still holds may take."""


class Situations:
    """Answers what happened in situations like one."""

    def __init__(self, recall: Recall, episodic: EpisodicMemory, cache: SituationCache, *, deadline: timedelta) -> None:
        self._recall = recall
        self._episodic = episodic
        self._cache = cache
        self._deadline = deadline

    async def similar(self, query: Query, deadline: timedelta | None = None) -> Recollection:
        """What `query_of` a situation finds, each hit with its reasons, within the deadline; cached for a moment.

        What could not answer in time is named in `degraded`; such an answer is never given again.

        Raises:
            TierUnavailable: no tier answered, so that "nothing found" would be a lie.
        """
        if not await self._recall.is_on():
            return await self._recall.recall(query)  # which says so: what is kept is not given either
        started, deadline = time.perf_counter(), deadline or self._deadline
        is_known, generation = await self._generation(query.scope.namespace, deadline)
        if is_known and (cached := self._cache.get(query, generation)) is not None:
            return replace(cached, latency_ms=(time.perf_counter() - started) * 1e3, is_cached=True)
        left = max(deadline - timedelta(seconds=time.perf_counter() - started), timedelta())
        found = await self._recall.recall(query, deadline=left)
        attempt = Attempt(max(deadline - timedelta(seconds=time.perf_counter() - started), timedelta()))
        episodes = await attempt.stage(EPISODES, self._episodes(found.hits)) or {}
        hits = tuple(replace(hit, why=reasons(hit), episode=episodes.get(hit.id)) for hit in found.hits)
        degraded = (*found.degraded, *attempt.degraded)
        answer = Recollection(hits, degraded, (time.perf_counter() - started) * 1e3)
        if is_known:
            self._cache.put(query, generation, answer)
        return answer

    def forget(self, namespace: str) -> None:
        """Drop what is kept of the namespace between recalls."""
        self._cache.forget(namespace)

    async def _episodes(self, hits: Sequence[Hit]) -> dict[UUID, Episode]:
        """What was perceived, done and came of it, as it is stored: who acts on a hit need not read its text."""
        if not hits:
            return {}
        async with self._episodic.reading() as reader:
            return {episode.id: episode for episode in await reader.episodes_by_uid([hit.id for hit in hits])}

    async def _generation(self, namespace: str, deadline: timedelta) -> tuple[bool, UUID | None]:
        """Whether it is known what holds now, and that; if it is not, nothing is taken from the cache or put there."""
        if not self._cache.is_on:
            return False, None
        try:
            async with asyncio.timeout((deadline * _PATIENCE).total_seconds()), self._episodic.reading() as reader:
                return True, await reader.episode_generation(namespace)
        except (TierUnavailable, TimeoutError) as error:
            log.info("situation_cache_bypassed", problem=str(error) or "too slow")
            return False, None


def query_of(asked: SituationQuery) -> Query:
    """The search that finds such episodes (pure)."""
    kind = () if asked.kind is None else (FilterTerm("metadata.kind", (asked.kind.value,)),)
    # Who asks what went wrong does not want what went wrong least.
    ranking = replace(asked.ranking, outcome=0.0) if asked.outcome is OutcomeAsked.BAD else asked.ranking
    return Query(
        text=render(asked.context),
        scope=asked.scope,
        kinds=(RecordKind.EPISODE,),
        filter=(*asked.filter, *kind),
        ranges=tuple(_ranges(asked)),
        since=asked.since,
        until=asked.until,
        now=asked.now,
        limit=asked.limit,
        ranking=ranking,
        is_collapsed=False,  # the same said twice is one thing known; the same done twice may have turned out differently
    )


def _ranges(asked: SituationQuery) -> Iterator[Range]:
    if asked.min_quality is not None:
        yield Range("quality", at_least=asked.min_quality)
    if asked.min_outcome_quality is not None:
        yield Range("outcome_quality", at_least=asked.min_outcome_quality)
    if asked.outcome is OutcomeAsked.GOOD:
        yield Range("outcome_quality", at_least=GOOD_OUTCOME)
    if asked.outcome is OutcomeAsked.BAD:
        yield Range("outcome_quality", below=GOOD_OUTCOME)
