"""Forgetting, in all three tiers, with a second look."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Final

from app.errors import InvalidInput, TierUnavailable
from app.faultpoints import FaultPoint, reached
from app.ports import EpisodicMemory, EpisodicWriter, SemanticMemory, WorkingMemory
from app.records import ForgetReceipt, Scope, SessionKey, Tier

_LOCK_PAUSE: Final = timedelta(milliseconds=20)
_LOCK_ATTEMPTS: Final = 100


class Forgetting:
    """Removes a scope's memories: Postgres decides, the outbox sees to it that the index follows."""

    def __init__(self, working: WorkingMemory, episodic: EpisodicMemory, semantic: SemanticMemory) -> None:
        self._working = working
        self._episodic = episodic
        self._semantic = semantic

    async def forget(self, scope: Scope) -> ForgetReceipt:
        """Remove a whole session, or a whole namespace, and look again.

        Raises:
            InvalidInput: the scope narrows by user, agent or project.
            TierUnavailable: Redis or Postgres is away; nothing, or only buffers, were removed. Repeat the call.
        """
        sessions = await self._sessions(scope)
        async with self._episodic.writing() as tx:
            for session in sessions:
                await _hold(tx, session)
            buffered = await self._working.forget_episodes(scope)
            buffered += sum([await self._working.forget_session(session) for session in sessions])
            await reached(FaultPoint.FORGET_BUFFERS_GONE)
            removed = await tx.forget(scope)
            await reached(FaultPoint.FORGET_ROWS_GONE)
        await reached(FaultPoint.FORGET_COMMITTED)
        degraded: tuple[str, ...] = ()
        try:
            await self._semantic.forget(scope)
        except TierUnavailable:
            degraded = (Tier.SEMANTIC.value,)  # the delete entries in the outbox finish the work
        await reached(FaultPoint.FORGET_POINTS_GONE)
        counts = Counter({kind.value: count for kind, count in removed.items()}) + Counter(buffered=buffered)
        return ForgetReceipt(dict(counts), await self._remaining(scope), degraded)

    async def _sessions(self, scope: Scope) -> tuple[SessionKey, ...]:
        """In one order, so that two who forget cannot lock each other out."""
        if scope != Scope(scope.namespace, session_id=scope.session_id):
            raise InvalidInput("scope", "must be a whole session or a whole namespace to be forgotten")
        if scope.session_id is not None:
            return (SessionKey(scope.namespace, scope.session_id),)
        return tuple(sorted(await self._working.sessions_of(scope.namespace)))

    async def _remaining(self, scope: Scope) -> int:
        async with self._episodic.reading() as reader:
            rows = sum((await reader.count(scope)).values())
        try:
            points = await self._semantic.count(scope=scope)
        except TierUnavailable:
            points = 0
        return rows + points


async def _hold(tx: EpisodicWriter, session: SessionKey) -> None:
    """Keep drains off the session until the transaction ends: one that has read the buffer would bring it back."""
    for _ in range(_LOCK_ATTEMPTS):
        if await tx.lock_checkpoint(session) is not None:
            return
        await asyncio.sleep(_LOCK_PAUSE.total_seconds())
    raise TierUnavailable(Tier.EPISODIC, f"session {session.session_id!r} stayed locked by another worker")
