"""Where an episode goes: Postgres, or Redis on its way there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

import structlog

from app.errors import TierUnavailable
from app.features import Features
from app.ingestion.episodes import RecordIngestion
from app.observability import EPISODES_STORED
from app.ports import WorkingMemory
from app.records import Episode, EpisodeReceipt, Feature, Json, LoggedEpisode, Tier, Wait

log = structlog.get_logger(__name__)

SKIPPED: Final = "episode-logging-disabled"
"""Why an episode was not stored, in its receipt."""


class EpisodeLog:
    """Admits episodes and puts them into the first tier that is up, in the order the caller asks for."""

    def __init__(self, working: WorkingMemory, records: RecordIngestion, features: Features | None = None) -> None:
        self._working = working
        self._records = records
        self._features = features

    async def store(self, episode: Episode, steps: Sequence[Json], wait: Wait, *, call: UUID | None = None) -> EpisodeReceipt:
        """Store an episode with its first steps, whole or not at all, and say where it is.

        Without a wait it is logged in Redis, from where it is drained into Postgres; with one it goes to Postgres. The
        other tier takes it where the one that was asked for is away. An episode that both were given is one. With a `call`
        it goes to Postgres in any case, where the call is noted in the same transaction. While logging is switched off, it goes
        nowhere.

        Raises:
            InvalidInput: a field breaks a limit; nothing was written.
            Conflict: the id is taken by another episode.
            TierUnavailable: neither tier took it; the call may be repeated.
        """
        admitted = self._records.admit_episode(episode, steps)
        if self._features is not None and not await self._features.is_on(Feature.EPISODE_LOGGING):
            EPISODES_STORED.labels("none").inc()
            return EpisodeReceipt(admitted.episode, None, skipped=SKIPPED)
        is_only_logged = wait is Wait.NONE and call is None
        receipt = await (self._log_first(admitted) if is_only_logged else self._store_first(admitted, call))
        EPISODES_STORED.labels(str(receipt.stored_in)).inc()
        return receipt

    async def _log_first(self, admitted: LoggedEpisode) -> EpisodeReceipt:
        try:
            await self._working.log_episode(admitted)
        except TierUnavailable as error:
            log.warning("episode_bypasses_working_tier", problem=error.problem)
            await self._records.store_admitted(admitted)
            return EpisodeReceipt(admitted.episode, Tier.EPISODIC, (Tier.WORKING.value,))
        return EpisodeReceipt(admitted.episode, Tier.WORKING)

    async def _store_first(self, admitted: LoggedEpisode, call: UUID | None) -> EpisodeReceipt:
        try:
            stored = await self._records.store_admitted(admitted, call=call)
        except TierUnavailable as error:
            log.warning("episode_waits_in_working_tier", problem=error.problem)
            await self._working.log_episode(admitted)
            return EpisodeReceipt(admitted.episode, Tier.WORKING, (Tier.EPISODIC.value,))
        return EpisodeReceipt(stored, Tier.EPISODIC)
