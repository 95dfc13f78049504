"""One episode by its id, wherever it is."""

from __future__ import annotations

from uuid import UUID

from app.errors import NotFound, TierUnavailable
from app.ports import EpisodicMemory, WorkingMemory
from app.records import Episode, LoggedEpisode


class EpisodeReader:
    """Reads an episode across the seam between Redis and Postgres."""

    def __init__(self, working: WorkingMemory, episodic: EpisodicMemory) -> None:
        self._working = working
        self._episodic = episodic

    async def one(self, namespace: str, episode_id: UUID) -> Episode:
        """The episode as Postgres has it, or as it was logged.

        Raises:
            NotFound: it is in neither tier.
            TierUnavailable: it was not found, and a tier that may have it is away.
        """
        # Redis first: an episode drained between the two reads is then seen twice, not missed.
        logged, away = await self._logged(namespace, episode_id)
        try:
            async with self._episodic.reading() as reader:
                stored = await reader.episode(namespace, episode_id)
        except TierUnavailable:
            if logged is None:
                raise
            return logged.episode
        if stored is not None:
            return stored
        if logged is not None:
            return logged.episode
        raise away or NotFound("episode", str(episode_id))

    async def _logged(self, namespace: str, episode_id: UUID) -> tuple[LoggedEpisode | None, TierUnavailable | None]:
        try:
            return await self._working.logged_episode(namespace, episode_id), None
        except TierUnavailable as error:
            return None, error
