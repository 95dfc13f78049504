"""From the episodes logged in Redis into Postgres, each exactly once.

The id decides: an episode is inserted with its steps and its place in the outbox in one transaction, or was already, and
only then leaves Redis. Killed anywhere before the commit, nothing happened; killed after it, the next drain finds the id
taken and only has to drop the entry. Two workers at the same entries wait for each other in the insert.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from uuid import UUID

import structlog

from app.errors import HybridMemoryError, TierUnavailable
from app.observability import BACKGROUND_ERRORS
from app.ports import EpisodicMemory, EpisodicWriter, OutboxEntry, OutboxOp, WorkingMemory
from app.records import LoggedEpisode, RecordKind

log = structlog.get_logger(__name__)


class EpisodeDrain:
    """Moves logged episodes into Postgres."""

    def __init__(self, working: WorkingMemory, episodic: EpisodicMemory) -> None:
        self._working = working
        self._episodic = episodic

    async def drain(self, *, namespace: str | None = None) -> int:
        """Drain until everything that was logged has been looked at; returns how many were new to Postgres."""
        return sum([await self._drain(batch) async for batch in self._working.logged_episodes(namespace=namespace)])

    async def drain_one(self, namespace: str, episode_id: UUID) -> None:
        """Bring this episode into Postgres if it is only logged, so that it can be changed there.

        Raises:
            TierUnavailable: Postgres is away.
        """
        logged = None
        with suppress(TierUnavailable):  # without Redis, what Postgres has is all there is to change
            logged = await self._working.logged_episode(namespace, episode_id)
        if logged is not None:
            await self._store([logged])

    async def _drain(self, batch: Sequence[LoggedEpisode]) -> int:
        try:
            return await self._store(batch)
        except TierUnavailable:
            raise
        except HybridMemoryError:
            return sum([await self._drain_alone(logged) for logged in batch])

    async def _drain_alone(self, logged: LoggedEpisode) -> int:
        """One that Postgres refuses stays where it is, and keeps no other waiting."""
        try:
            return await self._store([logged])
        except TierUnavailable:
            raise
        except HybridMemoryError:
            BACKGROUND_ERRORS.labels("drain_episodes").inc()
            log.exception("episode_refused", episode=str(logged.episode.id))
            return 0

    async def _store(self, batch: Sequence[LoggedEpisode]) -> int:
        async with self._episodic.writing() as tx:
            # In the order of ids: two workers that insert the same ones wait for each other, and not in a circle.
            in_order = sorted(batch, key=lambda logged: logged.episode.id)
            stored = sum([await insert(tx, logged) for logged in in_order])
        await self._working.settle_episodes(batch)
        return stored


async def insert(tx: EpisodicWriter, logged: LoggedEpisode) -> bool:
    """Insert the episode with its steps and open its outbox entry; False when its id was taken."""
    episode = logged.episode
    if not await tx.insert_episode(episode):
        if await tx.episode(logged.namespace, episode.id) is None:
            # Acknowledged while Postgres could not be asked whether the id was taken: the caller's mistake, but say so.
            log.error("episode_dropped", episode=str(episode.id), problem="id is taken")
        return False
    if logged.steps:
        await tx.append_steps(episode.id, logged.steps, logged.logged_at)
    await tx.enqueue([OutboxEntry(OutboxOp.UPSERT, RecordKind.EPISODE, logged.namespace, episode.id)])
    return True
