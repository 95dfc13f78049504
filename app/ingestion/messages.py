"""Appending messages: Redis first, Postgres when Redis is away, never neither and never both half."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol
from uuid import UUID

import structlog

from app.errors import IdTaken, TierUnavailable
from app.faultpoints import FaultPoint, reached
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
        with _placed_in(admitted, unique):
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
        await reached(FaultPoint.APPEND_BYPASSING)
        appended = await self._direct.store(session, messages)
        await reached(FaultPoint.APPEND_BYPASSED)
        return AppendReceipt(appended, Tier.EPISODIC, (Tier.WORKING.value,))

    async def _append_working(self, session: SessionKey, messages: Sequence[Message], ids: Sequence[UUID]) -> AppendReceipt:
        """What Postgres has already is left out and keeps its sequence: Redis forgets what is drained."""
        stored, degraded = await self._stored(session, ids)
        _refuse_other_content(messages, stored)
        known = {i: Appended(i, m.sequence) for i, m in stored.items()}
        fresh = [m for m in messages if m.id not in stored]
        if fresh:
            await reached(FaultPoint.APPEND_BUFFERING)
            with _placed_in(messages, fresh):
                appended = await self._working.append(session, fresh)
                if appended is None:
                    floor, degraded = await self._floor(session)
                    await reached(FaultPoint.APPEND_FLOOR_READ)
                    appended = await self._working.append(session, fresh, floor=floor)
            await reached(FaultPoint.APPEND_BUFFERED)
            known |= {a.id: a for a in appended or ()}
        return AppendReceipt(tuple(known[m.id] for m in messages), Tier.WORKING if fresh else Tier.EPISODIC, degraded)

    async def _stored(self, session: SessionKey, ids: Sequence[UUID]) -> tuple[Mapping[UUID, Message], tuple[str, ...]]:
        """Those of these messages that Postgres has, and the tiers that could not be asked."""
        if not ids:
            return {}, ()
        try:
            async with self._episodic.reading() as reader:
                return await reader.messages_by_id(session, ids), ()
        except TierUnavailable as error:
            log.warning("append_looks_up_no_ids", problem=error.problem)
            return {}, (Tier.EPISODIC.value,)

    async def _floor(self, session: SessionKey) -> tuple[int, tuple[str, ...]]:
        """What a session that Redis does not know is numbered on from, and the tiers that could not be asked."""
        try:
            async with self._episodic.reading() as reader:
                return await reader.last_sequence(session), ()
        except TierUnavailable as error:
            # Sequences need not be contiguous, only rising: seconds since 1970 lie above any count of messages.
            log.warning("append_numbers_from_clock", problem=error.problem)
            return int(self._clock().timestamp()), (Tier.EPISODIC.value,)


def _refuse_other_content(messages: Sequence[Message], stored: Mapping[UUID, Message]) -> None:
    for position, message in enumerate(messages):
        known = stored.get(message.id)
        if known is not None and known.content_sha256 != message.content_sha256:
            raise IdTaken(position)


@contextmanager
def _placed_in(given: Sequence[Message], sent: Sequence[Message]) -> Iterator[None]:
    """Have a refused message named by its place among those given: not all of them are sent on."""
    try:
        yield
    except IdTaken as refused:
        ids = [message.id for message in given]
        raise IdTaken(ids.index(sent[refused.position].id)) from refused
