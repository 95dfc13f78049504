"""From Redis into Postgres, session by session.

The checkpoint's row lock is the claim, and the transaction that holds it inserts the messages, cuts the episodes,
fills the outbox and moves the checkpoint: killed anywhere before the commit, nothing happened; killed after it, the
next drain finds the messages in Postgres and only has to trim Redis.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog

from app.consolidation.erasures import ALL_ERASURES
from app.consolidation.segmentation import Segmentation, SegmentationPolicy, close, segment
from app.errors import IdTaken, NewerRelease, TierUnavailable
from app.faultpoints import FaultPoint, reached
from app.ports import Checkpoint, Clock, EpisodicMemory, EpisodicWriter, OutboxEntry, OutboxOp, Settlement, WorkingMemory
from app.records import Appended, Episode, Message, RecordKind, SessionKey, SessionState, Tier

log = structlog.get_logger(__name__)

_LOCK_PAUSE: Final = timedelta(milliseconds=20)
_EVERY_SESSION: Final = 10_000_000


@dataclass(frozen=True, slots=True)
class DrainPolicy:
    """`batch`: messages a transaction. `retain`: drained messages Redis keeps for recent context, for `ttl`.

    `lock_patience`: how long to wait for another worker that holds the session, where it cannot be left to it.
    """

    batch: int = 1000
    retain: int = 50
    ttl: timedelta = timedelta(days=1)
    lock_patience: timedelta = timedelta(seconds=2)


class Drain:
    """Moves undrained messages and session state into Postgres."""

    def __init__(
        self, working: WorkingMemory, episodic: EpisodicMemory, *,
        policy: DrainPolicy, segmentation: SegmentationPolicy, clock: Clock, new_id: Callable[[], UUID],
    ) -> None:  # fmt: skip
        self._working = working
        self._episodic = episodic
        self._policy = policy
        self._segmentation = segmentation
        self._clock = clock
        self._new_id = new_id

    async def drain(self, session: SessionKey) -> int:
        """Drain a session until nothing is left; returns how many messages were new to Postgres.

        A session that another worker holds is left to it.
        """
        inserted, _ = await self._drain(session)
        return inserted

    async def drain_now(self, session: SessionKey) -> int:
        """Drain a session like `drain`, but wait for another worker that holds it: nothing older is left behind.

        Raises:
            TierUnavailable: a tier is away, or another worker kept the session locked.
        """
        total = 0
        for _ in range(self._lock_attempts):
            inserted, is_done = await self._drain(session)
            total += inserted
            if is_done:
                return total
            await asyncio.sleep(_LOCK_PAUSE.total_seconds())
        raise _still_locked(session)

    async def drain_all(self, namespace: str | None = None) -> None:
        """Drain every session that waits by now, of one namespace or of all, and wait for whoever else is at it.

        Raises:
            TierUnavailable: a tier is away, or another worker kept a session locked.
        """
        for session in await self._working.dirty_sessions(_EVERY_SESSION, namespace=namespace):
            await self.drain_now(session)

    async def catch_up(self, session: SessionKey, stored: int) -> None:
        """Have Redis number the session on from `stored`, which another path than Redis has brought to Postgres."""
        mark = Settlement(through=0, stored=stored)
        await self._working.settle(session, mark, retain=self._policy.retain, ttl=self._policy.ttl)

    async def store(self, session: SessionKey, messages: Sequence[Message]) -> tuple[Appended, ...]:
        """Store messages without Redis, numbered on from what Postgres has (`ingestion.DirectStore`).

        Raises:
            Conflict: an id is taken by other content in this session; nothing was written.
            TierUnavailable: Postgres is away, or another worker kept the session locked.
        """
        async with self.locked(session) as tx:
            return await self._store_locked(tx, session, messages)

    async def end(self, session: SessionKey) -> None:
        """Drain the session, close its open episode and mark it ended.

        Raises:
            TierUnavailable: a tier is away, or another worker kept the session locked.
        """
        await self.drain_now(session)
        await reached(FaultPoint.END_DRAINED)
        async with self.locked(session) as tx:
            episode = await tx.open_episode(session)
            if episode is not None:
                await _save_closed(tx, episode)
            await tx.end_session(session, self._clock())
            await reached(FaultPoint.END_CLOSED)
        await reached(FaultPoint.END_COMMITTED)

    async def close_idle(self, now: datetime, limit: int = 1000) -> int:
        """Close open episodes whose session has been quiet for the idle gap; returns how many."""
        async with self._episodic.reading() as reader:
            idle = await reader.open_episodes(idle_since=now - self._segmentation.idle_gap, limit=limit)
        await reached(FaultPoint.IDLE_FOUND)
        return sum([await self._close_if_idle(episode, now) for episode in idle])

    async def _close_if_idle(self, episode: Episode, now: datetime) -> bool:
        session = SessionKey(episode.scope.namespace, episode.scope.session_id or "")
        async with self._episodic.writing() as tx:
            if await tx.lock_checkpoint(session) is None:
                return False
            await reached(FaultPoint.IDLE_CLAIMED)
            current = await tx.open_episode(session)
            if current is None or now - current.ended_at <= self._segmentation.idle_gap:
                return False
            await _save_closed(tx, current)
            await reached(FaultPoint.IDLE_CLOSED)
        await reached(FaultPoint.IDLE_COMMITTED)
        return True

    @property
    def _lock_attempts(self) -> int:
        return 1 + self._policy.lock_patience // _LOCK_PAUSE

    @asynccontextmanager
    async def locked(self, session: SessionKey) -> AsyncIterator[EpisodicWriter]:
        """A transaction that holds the session, after waiting for another worker to let go of it.

        Raises:
            TierUnavailable: Postgres is away, or another worker kept the session locked.
        """
        for _ in range(self._lock_attempts):
            async with self._episodic.writing() as tx:
                if await tx.lock_checkpoint(session) is not None:
                    yield tx
                    return
            await asyncio.sleep(_LOCK_PAUSE.total_seconds())
        raise _still_locked(session)

    async def _drain(self, session: SessionKey) -> tuple[int, bool]:
        """How many messages were new to Postgres; False when another worker holds the session."""
        total = 0
        while (drained := await self._drain_batch(session)) is not None:
            total += drained.inserted
            await reached(FaultPoint.DRAIN_COMMITTED)
            await self._working.settle(session, drained.mark, retain=self._policy.retain, ttl=self._policy.ttl)
            await reached(FaultPoint.DRAIN_SETTLED)
            if not drained.is_full:
                return total, True
        return total, False

    async def _drain_batch(self, session: SessionKey) -> _Drained | None:
        """Bring one batch into Postgres; None when another worker holds the session."""
        async with self._episodic.writing() as tx:
            if await tx.lock_checkpoint(session) is None:
                return None
            await reached(FaultPoint.DRAIN_CLAIMED)
            await self._erase_owed(tx, session)
            messages = await self._working.unsettled(session, self._policy.batch)
            state = await self._state(session)
            await reached(FaultPoint.DRAIN_READ)
            inserted = await self._insert(tx, session, messages)
            if messages or state is not None:
                last_message_at = messages[-1].created_at if messages else None
                await tx.save_session(session, state=state, last_message_at=last_message_at, now=self._clock())
            await reached(FaultPoint.DRAIN_SESSION_SAVED)
            stored = await tx.last_sequence(session)
            await tx.save_checkpoint(Checkpoint(session, stored))
            await reached(FaultPoint.DRAIN_CHECKPOINTED)
        mark = Settlement(messages[-1].sequence if messages else 0, state, stored)
        return _Drained(inserted, mark, is_full=len(messages) == self._policy.batch)

    async def _erase_owed(self, tx: EpisodicWriter, session: SessionKey) -> None:
        """What was forgotten while Redis was away must not come back by being drained."""
        for owed in await tx.owed_erasures(ALL_ERASURES, session=session):
            erasure = owed.erasure.within(session)
            if erasure is not None:
                await self._working.erase(erasure)

    async def _state(self, session: SessionKey) -> SessionState | None:
        """None as well when a newer release wrote it: it stays where it is, and the messages need not wait for it."""
        try:
            return await self._working.load_state(session)
        except NewerRelease as error:
            log.warning("state_left_to_newer_release", session=session.session_id, problem=error.problem)
            return None

    async def _store_locked(self, tx: EpisodicWriter, session: SessionKey, messages: Sequence[Message]) -> tuple[Appended, ...]:
        stored = await tx.messages_by_id(session, [m.id for m in messages])
        for position in _conflicts(messages, stored):
            raise IdTaken(position)
        last = await tx.last_sequence(session)
        fresh = [m for m in messages if m.id not in stored]
        numbered = [m.numbered(last + n) for n, m in enumerate(fresh, start=1)]
        await self._insert(tx, session, numbered)
        if numbered:
            await tx.save_session(session, state=None, last_message_at=numbered[-1].created_at, now=self._clock())
        sequences = {m.id: m.sequence for m in (*stored.values(), *numbered)}
        return tuple(Appended(m.id, sequences[m.id]) for m in messages)

    async def _insert(self, tx: EpisodicWriter, session: SessionKey, messages: Sequence[Message]) -> int:
        """Insert what is new, with its episodes and outbox entries; returns how many were new."""
        if not messages:
            return 0
        known = await tx.messages_by_id(session, [m.id for m in messages])
        for position in _conflicts(messages, known):
            # Acknowledged while Postgres could not be asked whether the id was taken: the caller's mistake, but say so.
            log.error("message_dropped", session=session.session_id, message=str(messages[position].id), problem="id is taken")
        await reached(FaultPoint.DRAIN_COMPARED)
        fresh = renumber([m for m in messages if m.id not in known], await tx.last_sequence(session))
        cut = segment(await tx.open_episode(session), fresh, self._segmentation, self._new_id)
        for episode in cut.episodes:
            await tx.save_episode(episode)
        await reached(FaultPoint.DRAIN_EPISODES_SAVED)
        await tx.insert_messages(fresh, cut.episode_ids)
        await reached(FaultPoint.DRAIN_INSERTED)
        await tx.enqueue(_outbox_of(session, fresh, cut))
        await reached(FaultPoint.DRAIN_ENQUEUED)
        return len(fresh)


@dataclass(frozen=True, slots=True)
class _Drained:
    inserted: int
    mark: Settlement
    is_full: bool


def _conflicts(messages: Sequence[Message], known: Mapping[UUID, Message]) -> list[int]:
    """The positions of messages whose id stands for other content already."""
    return [n for n, m in enumerate(messages) if m.id in known and known[m.id].content != m.content]


def _still_locked(session: SessionKey) -> TierUnavailable:
    return TierUnavailable(Tier.EPISODIC, f"session {session.session_id!r} stayed locked by another worker")


def renumber(messages: Sequence[Message], last: int) -> list[Message]:
    """Keep sequences rising above what Postgres has.

    They already are, unless appends went straight to Postgres while Redis was away, or Redis lost its newest counts.
    """
    numbered: list[Message] = []
    for message in messages:
        last = max(last + 1, message.sequence)
        numbered.append(message if message.sequence == last else message.numbered(last))
    return numbered


def _outbox_of(session: SessionKey, messages: Sequence[Message], cut: Segmentation) -> list[OutboxEntry]:
    return [
        *(OutboxEntry(OutboxOp.UPSERT, RecordKind.MESSAGE, session.namespace, m.uid) for m in messages),
        *(OutboxEntry(OutboxOp.UPSERT, RecordKind.EPISODE, session.namespace, e.id) for e in cut.closed),
    ]


async def _save_closed(tx: EpisodicWriter, episode: Episode) -> None:
    await tx.save_episode(close(episode))
    await tx.enqueue([OutboxEntry(OutboxOp.UPSERT, RecordKind.EPISODE, episode.scope.namespace, episode.id)])
