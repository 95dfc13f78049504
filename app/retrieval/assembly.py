"""Gathering what `context` packs: state, recent messages and recall, at once."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from uuid import UUID

import structlog

from app.errors import NewerRelease, TierUnavailable
from app.records import AssembledContext, Query, RecentContext, Recollection, RecordKind, SessionKey, SessionState, Tier
from app.retrieval.context import ContextShares, heuristics_first, hit_section, pack, recent_section, split_hits, state_section
from app.retrieval.recall import Recall
from app.retrieval.recent import SessionReader

log = structlog.get_logger(__name__)


class ContextAssembly:
    """Builds token-budgeted context from all tiers."""

    def __init__(self, sessions: SessionReader, recall: Recall, *, shares: ContextShares, recent_limit: int) -> None:
        self._sessions = sessions
        self._recall = recall
        self._shares = shares
        self._recent_limit = recent_limit

    async def assemble(
        self, query: Query, session: SessionKey | None, budget_tokens: int, shown: Collection[UUID] = ()
    ) -> AssembledContext:
        """Context for answering `query`: never over the budget, degraded rather than failing where a tier is away.

        Records `shown` are in the prompt already and left out.
        """
        recollection, recent, state = await asyncio.gather(self._recollect(query), self._recent(session), self._state(session))
        by_kind = split_hits(recollection.hits, recent.messages, shown)
        shares = self._shares
        sections = [
            state_section(state, shares.state),
            hit_section("knowledge", "## Knowledge", shares.knowledge, heuristics_first(by_kind[RecordKind.KNOWLEDGE])),
            hit_section("episodes", "## Earlier episodes", shares.episodes, by_kind[RecordKind.EPISODE]),
            hit_section("recalled", "## Recalled messages", shares.recalled, by_kind[RecordKind.MESSAGE]),
            recent_section(recent.messages, shares.recent, shown),
        ]
        degraded = tuple(dict.fromkeys((*recollection.degraded, *recent.degraded)))
        return pack(sections, budget_tokens, degraded)

    async def _recollect(self, query: Query) -> Recollection:
        try:
            return await self._recall.recall(query)
        except TierUnavailable:
            return Recollection((), (Tier.SEMANTIC.value, Tier.EPISODIC.value))

    async def _recent(self, session: SessionKey | None) -> RecentContext:
        if session is None:
            return RecentContext((), Tier.WORKING)
        try:
            return await self._sessions.recent(session, self._recent_limit)
        except TierUnavailable as error:
            return RecentContext((), Tier.WORKING, (error.tier,))

    async def _state(self, session: SessionKey | None) -> SessionState | None:
        if session is None:
            return None
        try:
            return await self._sessions.state(session)
        except TierUnavailable:
            return None  # named already: recent messages come from the same tiers
        except NewerRelease as error:  # an instance of that release shows it
            log.warning("state_left_to_newer_release", session=error.key, problem=error.problem)
            return None
