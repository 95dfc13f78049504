"""A session's messages: the newest ones for a prompt, and its whole history in pages."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from app.errors import TierUnavailable
from app.ports import EpisodicMemory, WorkingMemory
from app.records import Message, ReadPreference, RecentContext, SessionKey, SessionState, Tier, newest_state
from app.tokens import estimate_tokens


class SessionReader:
    """Reads a session across the seam between Redis and Postgres, each message once."""

    def __init__(self, working: WorkingMemory, episodic: EpisodicMemory, *, preference: ReadPreference) -> None:
        self._working = working
        self._episodic = episodic
        self._preference = preference

    async def recent(self, session: SessionKey, limit: int, budget_tokens: int | None = None) -> RecentContext:
        """The newest `limit` messages in order, cut from the oldest side to `budget_tokens`.

        Raises:
            TierUnavailable: no tier that may be read answered.
        """
        context = await self._recent(session, limit)
        if budget_tokens is None:
            return context
        return RecentContext(within_budget(context.messages, budget_tokens), context.tier, context.degraded)

    async def history(self, session: SessionKey, *, after: int, limit: int) -> tuple[tuple[Message, ...], tuple[str, ...]]:
        """Messages above sequence `after` in order, drained or not, at most `limit`; and the tiers that were away."""
        degraded: list[str] = []
        buffered: tuple[Message, ...] = ()
        stored: tuple[Message, ...] = ()
        # Redis first: a message drained between the two reads is then seen twice, not missed.
        try:
            buffered = await self._working.read(session, after=after, limit=limit)
        except TierUnavailable as error:
            degraded.append(error.tier)
        try:
            async with self._episodic.reading() as reader:
                stored = await reader.history(session, after=after, limit=limit)
        except TierUnavailable as error:
            if not buffered:
                raise
            degraded.append(error.tier)
        return _union(stored, buffered)[:limit], tuple(degraded)

    async def state(self, session: SessionKey) -> SessionState | None:
        """The newest state that either tier has; None when neither has one.

        Raises:
            TierUnavailable: neither tier answered.
        """
        found = await asyncio.gather(self._warm_state(session), self._archived_state(session), return_exceptions=True)
        states = [state for state in found if isinstance(state, SessionState)]
        failures = [failure for failure in found if isinstance(failure, BaseException)]
        for failure in failures:
            if not isinstance(failure, TierUnavailable) or len(failures) == len(found):
                raise failure
        return newest_state(*states) if states else None

    async def _warm_state(self, session: SessionKey) -> SessionState | None:
        return await self._working.load_state(session)

    async def _archived_state(self, session: SessionKey) -> SessionState | None:
        async with self._episodic.reading() as reader:
            record = await reader.session(session)
        return None if record is None else record.state

    async def _recent(self, session: SessionKey, limit: int) -> RecentContext:
        if self._preference is ReadPreference.POSTGRES_ONLY:
            return RecentContext(await self._stored(session, limit), Tier.EPISODIC)
        try:
            window = await self._working.recent(session, limit)
        except TierUnavailable:
            if self._preference is ReadPreference.REDIS_ONLY:
                raise
            return RecentContext(await self._stored(session, limit), Tier.EPISODIC, (Tier.WORKING.value,))
        if window.is_complete or len(window.messages) >= limit or self._preference is ReadPreference.REDIS_ONLY:
            return RecentContext(window.messages, Tier.WORKING)
        return await self._completed(session, window.messages, limit)

    async def _completed(self, session: SessionKey, buffered: Sequence[Message], limit: int) -> RecentContext:
        try:
            stored = await self._stored(session, limit)
        except TierUnavailable:
            return RecentContext(tuple(buffered), Tier.WORKING, (Tier.EPISODIC.value,))
        return RecentContext(_union(stored, buffered)[-limit:], Tier.EPISODIC if stored else Tier.WORKING)

    async def _stored(self, session: SessionKey, limit: int) -> tuple[Message, ...]:
        async with self._episodic.reading() as reader:
            return await reader.recent(session, limit)


def within_budget(messages: Sequence[Message], budget_tokens: int) -> tuple[Message, ...]:
    """The newest messages whose tokens fit, in order; a tool's answer never stays without what came before it."""
    kept: list[Message] = []
    spent = 0
    for message in reversed(messages):
        spent += estimate_tokens(message.content)
        if spent > budget_tokens:
            break
        kept.append(message)
    while kept and kept[-1].role.value == "tool":
        kept.pop()
    return tuple(reversed(kept))


def _union(stored: Sequence[Message], buffered: Sequence[Message]) -> tuple[Message, ...]:
    """Both sides by rising sequence, each message once; what Postgres says about a message wins."""
    by_id = {m.id: m for m in (*buffered, *stored)}
    return tuple(sorted(by_id.values(), key=lambda m: m.sequence))
