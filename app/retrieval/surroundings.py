"""What a hit stands among: its episode, and the messages around it. Asked for, and apart from the ranking."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from app.ports import EpisodicMemory
from app.records import Hit, Query, Recollection, RecordKind, SessionKey, message_uid
from app.retrieval.attempt import Attempt
from app.retrieval.fusion import grouped
from app.retrieval.recent import SessionReader

NEIGHBOURS: Final = "neighbours"
EPISODES: Final = "episodes"
"""How the two are named in `degraded` when they could not be had in time; the hits are then given without."""


class Surroundings:
    """Adds to hits what the query asks for besides them."""

    def __init__(self, sessions: SessionReader, episodic: EpisodicMemory, *, deadline: timedelta) -> None:
        self._sessions = sessions
        self._episodic = episodic
        self._deadline = deadline

    async def added(self, query: Query, found: Recollection) -> Recollection:
        """The hits with their neighbours and their episodes, where the query asks for them, within a deadline of its own."""
        if not (query.neighbours or query.is_grouped):
            return found
        attempt = Attempt(self._deadline)
        hits: Sequence[Hit] = found.hits
        if query.neighbours:
            hits = await attempt.stage(NEIGHBOURS, self._with_neighbours(hits, query.neighbours)) or hits
        if query.is_grouped:
            hits = await attempt.stage(EPISODES, self._by_episode(hits)) or hits
        return Recollection(tuple(hits), (*found.degraded, *attempt.degraded), found.latency_ms + attempt.elapsed_ms)

    async def _with_neighbours(self, hits: Sequence[Hit], radius: int) -> Sequence[Hit]:
        return await asyncio.gather(*(self._with_neighbours_of(hit, radius) for hit in hits))

    async def _with_neighbours_of(self, hit: Hit, radius: int) -> Hit:
        if hit.kind is not RecordKind.MESSAGE or hit.sequence is None:
            return hit
        first = max(hit.sequence - radius, 1)
        messages, _ = await self._sessions.history(_session(hit), after=first - 1, limit=hit.sequence - first + 1 + radius)
        return replace(hit, neighbours=tuple(m for m in messages if m.id != hit.id))

    async def _by_episode(self, hits: Sequence[Hit]) -> Sequence[Hit]:
        uids = {message_uid(_session(hit), hit.id): hit for hit in hits if hit.kind is RecordKind.MESSAGE}
        async with self._episodic.reading() as reader:
            episodes = {uids[uid].id: episode for uid, episode in (await reader.episodes_of(list(uids))).items()}
        own = {hit.id: hit.id for hit in hits if hit.kind is RecordKind.EPISODE}
        return grouped([replace(hit, episode_id=(episodes | own).get(hit.id)) for hit in hits])


def _session(hit: Hit) -> SessionKey:
    return SessionKey(hit.scope.namespace, hit.scope.session_id or "")
