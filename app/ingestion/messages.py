"""Appending messages: Redis first, Postgres when Redis is away, never neither and never both half."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol
from uuid import UUID

import structlog

from app.errors import Conflict, TierUnavailable
from app.ingestion.limits import Limits, admit_messages
from app.observability import MESSAGES_APPENDED
from app.ports import Clock, EpisodicMemory, WorkingMemory
from app.records import Appended, AppendReceipt, Draft, Message, Scope, SessionKey, Tier

log = structlog.get_logger(__name__)


class DirectStore(Protocol):
    """Stores messages in Postgres without passing through Redis."""

    async def store(self, session: SessionKey, messages: Sequence[Message]) -> tuple[Appended, ...]: ...


class MessageIngestion:
    """Admits messages and puts them into the first tier that is up."""

    def __init__(
        self, working: WorkingMemory, episodic: EpisodicMemory, direct: DirectStore, *,
        limits: Limits, clock: Clock
    ) -> None:  # fmt: skip
        self._working = working
        self._episodic = episodic
        self._direct = direct
        self._limits = limits
        self._clock = clock

    async def append(self, scope: Scope, drafts: Sequence[Draft]) -> AppendReceipt:
        """Store the drafts as messages of `scope.session_id`, all or none, and say where they are.

        Raises:
            InvalidInput: a draft breaks a limit; nothing was written.
            Conflict: an id is taken by other content in this session; nothing was written.
            TierUnavailable: neither Redis nor Postgres took them; the call may be repeated.
        """
        admitted = admit_messages(scope, drafts, self._limits, self._clock())
        unique = tuple({m.id: m for m in admitted}.values())
        given_ids = [draft.id for draft in drafts if draft.id is not None]
        receipt = await self._append(unique[0].session, unique, given_ids)
        MESSAGES_APPENDED.labels(receipt.stored_in.value).inc(len(unique))
        by_id = {a.id: a for a in receipt.messages}
        return replace(receipt, messages=tuple(by_id[m.id] for m in admitted))

    async def _append(self, session: SessionKey, messages: Sequence[Message], ids: Sequence[UUID]) -> AppendReceipt:
        try:
            return await self._append_working(session, messages, ids)
        except TierUnavailable as error:
            if error.tier != Tier.WORKING:
                raise
            log.warning("append_bypasses_working_tier", problem=error.problem)
        return AppendReceipt(await self._direct.store(session, messages), Tier.EPISODIC, (Tier.WORKING.value,))

    async def _append_working(self, session: SessionKey, messages: Sequence[Message], ids: Sequence[UUID]) -> AppendReceipt:
        appended = await self._working.append(session, messages)
        if appended is not None:
            return AppendReceipt(appended, Tier.WORKING)
        return await self._append_cold(session, messages, ids)

    async def _append_cold(self, session: SessionKey, messages: Sequence[Message], ids: Sequence[UUID]) -> AppendReceipt:
        """A session Redis does not know: number on from Postgres, and leave out what Postgres has already."""
        try:
            floor, stored = await self._look_up(session, ids)
            degraded: tuple[str, ...] = ()
        except TierUnavailable as error:
            # Sequences need not be contiguous, only rising: seconds since 1970 lie above any count of messages.
            log.warning("append_numbers_from_clock", problem=error.problem)
            floor, stored = int(self._clock().timestamp()), {}
            degraded = (Tier.EPISODIC.value,)
        _refuse_other_content(messages, stored)
        fresh = [m for m in messages if m.id not in stored]
        appended = await self._working.append(session, fresh, floor=floor) if fresh else ()
        known = {a.id: a for a in appended or ()} | {i: Appended(i, m.sequence) for i, m in stored.items()}
        return AppendReceipt(tuple(known[m.id] for m in messages), Tier.WORKING if fresh else Tier.EPISODIC, degraded)

    async def _look_up(self, session: SessionKey, ids: Sequence[UUID]) -> tuple[int, dict[UUID, Message]]:
        async with self._episodic.reading() as reader:
            stored = dict(await reader.messages_by_id(session, ids)) if ids else {}
            return await reader.last_sequence(session), stored


def _refuse_other_content(messages: Sequence[Message], stored: dict[UUID, Message]) -> None:
    for position, message in enumerate(messages):
        known = stored.get(message.id)
        if known is not None and known.content_sha256 != message.content_sha256:
            raise Conflict(f"messages[{position}].id", "is taken by a message with other content in this session")
