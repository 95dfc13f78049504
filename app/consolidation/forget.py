"""Forgetting, in all three tiers, with a second look."""

from __future__ import annotations

from collections import Counter

from app.errors import InvalidInput, TierUnavailable
from app.faultpoints import FaultPoint, reached
from app.ports import EpisodicMemory, SemanticMemory, WorkingMemory
from app.records import ForgetReceipt, Scope, SessionKey, Tier


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
        buffered = await self._forget_buffers(scope)
        await reached(FaultPoint.FORGET_BUFFERS_GONE)
        async with self._episodic.writing() as tx:
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

    async def _forget_buffers(self, scope: Scope) -> int:
        if scope != Scope(scope.namespace, session_id=scope.session_id):
            raise InvalidInput("scope", "must be a whole session or a whole namespace to be forgotten")
        if scope.session_id is not None:
            return await self._working.forget_session(SessionKey(scope.namespace, scope.session_id))
        sessions = await self._working.sessions_of(scope.namespace)
        return sum([await self._working.forget_session(session) for session in sessions])

    async def _remaining(self, scope: Scope) -> int:
        async with self._episodic.reading() as reader:
            rows = sum((await reader.count(scope)).values())
        try:
            points = await self._semantic.count(scope=scope)
        except TierUnavailable:
            points = 0
        return rows + points
