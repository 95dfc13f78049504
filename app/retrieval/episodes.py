"""One episode by its id, with its steps, wherever it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeVar
from uuid import UUID

from app.errors import NotFound, TierUnavailable
from app.ports import EpisodicMemory, EpisodicReader, OutboxEntry, OutboxOp, WorkingMemory
from app.records import Episode, EpisodeInFull, EpisodeStep, LoggedEpisode, RecordKind, StepsPage

INLINE_STEPS: Final = 100
"""So many steps come with their episode."""
T = TypeVar("T")


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

        async def stored(reader: EpisodicReader) -> Episode | None:
            return await reader.episode(namespace, episode_id)

        return await self._across(namespace, episode_id, stored, lambda logged: logged.episode)

    async def in_full(self, namespace: str, episode_id: UUID, *, after: int = -1, limit: int = INLINE_STEPS) -> EpisodeInFull:
        """The episode with those of its steps whose index is above `after`. Raises as `one` does."""

        async def stored(reader: EpisodicReader) -> EpisodeInFull | None:
            episode = await reader.episode(namespace, episode_id)
            return None if episode is None else await _in_full(reader, episode, after, limit)

        return await self._across(namespace, episode_id, stored, lambda logged: _of_logged(logged, after, limit))

    async def _across(
        self, namespace: str, episode_id: UUID,
        stored: Callable[[EpisodicReader], Awaitable[T | None]], of_logged: Callable[[LoggedEpisode], T],
    ) -> T:  # fmt: skip
        # Redis first: an episode drained between the two reads is then seen twice, not missed.
        logged, away = await self._logged(namespace, episode_id)
        try:
            async with self._episodic.reading() as reader:
                found = await stored(reader)
        except TierUnavailable:
            if logged is None:
                raise
            return of_logged(logged)
        if found is not None:
            return found
        if logged is not None:
            return of_logged(logged)
        raise away or NotFound("episode", str(episode_id))

    async def _logged(self, namespace: str, episode_id: UUID) -> tuple[LoggedEpisode | None, TierUnavailable | None]:
        try:
            return await self._working.logged_episode(namespace, episode_id), None
        except TierUnavailable as error:
            return None, error


def awaiting_embedding(entries: Iterable[OutboxEntry]) -> frozenset[UUID]:
    """The episodes that these entries will bring into the index, dead letters too: they are not in it either."""
    return frozenset(e.record_uid for e in entries if e.kind is RecordKind.EPISODE and e.op is OutboxOp.UPSERT)


async def _in_full(reader: EpisodicReader, episode: Episode, after: int, limit: int) -> EpisodeInFull:
    held = await reader.steps_held(episode.id)
    steps = await reader.steps(episode.id, after=after, limit=limit) if held.count else ()
    awaiting = awaiting_embedding(await reader.outbox_entries([episode.uid]))
    return EpisodeInFull(episode, StepsPage(steps, held.count), episode.uid in awaiting)


def _of_logged(logged: LoggedEpisode, after: int, limit: int) -> EpisodeInFull:
    numbered = enumerate(logged.steps[after + 1 : after + 1 + limit], after + 1)
    steps = tuple(EpisodeStep(index, content, logged.logged_at) for index, content in numbered)
    return EpisodeInFull(logged.episode, StepsPage(steps, len(logged.steps)), requires_embedding=True)
