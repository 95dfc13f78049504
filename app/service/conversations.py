"""The façade: messages and sessions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from app.errors import HybridMemoryError, VersionMismatch
from app.ingestion.limits import check_count
from app.ports import SessionRecord
from app.records import AppendReceipt, Draft, Message, RecentContext, Scope, SessionState, Tier, Wait
from app.service.parts import INDEX_WAIT, Side, session_key


class Conversations(Side):
    """Append messages, read them back, keep the state of sessions."""

    async def append_messages(self, scope: Scope, drafts: Sequence[Draft], *, wait: Wait = Wait.NONE) -> AppendReceipt:
        """Append to `scope.session_id`, all or none. On return the messages survive the death of any process.

        `wait` also drains the session into Postgres, or goes on until the messages are indexed; how far it came is
        in `stored_in`.

        Raises:
            Conflict: an id is taken by other content in this session; nothing was written.
        """
        receipt = await self._parts.messages.append(scope, drafts)
        return receipt if wait is Wait.NONE else await self._carry_on(scope, receipt, wait)

    async def _carry_on(self, scope: Scope, receipt: AppendReceipt, wait: Wait) -> AppendReceipt:
        session = session_key(scope)
        try:
            await self._parts.consolidation.drain_session(session)
            receipt = replace(receipt, stored_in=Tier.EPISODIC)
            if wait is Wait.INDEXED and await self._parts.consolidation.index_messages(session, receipt, INDEX_WAIT):
                return replace(receipt, stored_in=Tier.SEMANTIC)
        except HybridMemoryError:
            # Acknowledged already: the caller learns from `stored_in` how far it came, and the jobs do the rest.
            return replace(receipt, degraded=(*receipt.degraded, "consolidation"))
        return receipt

    async def fetch_recent_context(self, scope: Scope, *, limit: int = 50, budget_tokens: int | None = None) -> RecentContext:
        """The newest messages of the session in order, cut from the oldest side to the budget."""
        self._check(scope, limit=limit)
        if budget_tokens is not None:
            check_count("budget_tokens", budget_tokens, self._parts.limits.context_tokens)
        return await self._parts.session_reader.recent(session_key(scope), limit, budget_tokens)

    async def fetch_history(
        self, scope: Scope, *, after: int = 0, limit: int = 100
    ) -> tuple[tuple[Message, ...], tuple[str, ...]]:
        """The session's messages above sequence `after`, in order, drained or not; and the tiers that were away."""
        self._check(scope, limit=limit)
        return await self._parts.session_reader.history(session_key(scope), after=after, limit=limit)

    async def load_session(self, scope: Scope) -> SessionRecord:
        """The session and its newest state."""
        return await self._parts.sessions.load(session_key(scope))

    async def save_session_state(self, scope: Scope, state: SessionState, *, expected_version: int | None = None) -> int:
        """Replace the session's state; returns its version.

        Raises:
            VersionMismatch: the state is not at `expected_version` (0: none was saved yet).
        """
        return await self._parts.sessions.save_state(session_key(scope), state, expected_version=expected_version)

    async def change_session_state(
        self, scope: Scope, change: Callable[[SessionState], SessionState], *, expected_version: int | None = None
    ) -> int:
        """Save what `change` makes of the session's state; of several changes at once none is lost. Returns the version.

        Raises:
            VersionMismatch: the state is not at `expected_version`.
        """
        return await self._parts.sessions.change_state(session_key(scope), change, expected_version=expected_version)

    async def end_session(self, scope: Scope, *, expected_version: int | None = None) -> None:
        """Drain the session, close its episode and mark it ended; nothing is lost.

        Raises:
            VersionMismatch: the session's state is not at `expected_version`.
        """
        session = session_key(scope)
        record = await self._parts.sessions.load(session)
        if expected_version not in {None, record.state.version}:
            raise VersionMismatch("state", record.state.version)
        await self._parts.consolidation.end_session(session)

    async def write_scratchpad(self, scope: Scope, key: str, value: object) -> None:
        """Keep any JSON value under `key` for as long as the session stays warm."""
        await self._parts.sessions.write_scratch(session_key(scope), key, value)

    async def read_scratchpad(self, scope: Scope) -> Mapping[str, object]:
        """The session's whole scratchpad; empty when there is none."""
        return await self._parts.sessions.read_scratch(session_key(scope))

    async def delete_scratchpad(self, scope: Scope, key: str) -> None:
        await self._parts.sessions.delete_scratch(session_key(scope), key)
