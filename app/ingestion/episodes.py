"""Storing episodes and knowledge as whole records: the row, its steps and its place in the outbox in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from app.errors import InvalidInput, NotFound
from app.ingestion.limits import Limits, check_count, check_document, check_label, check_scope, check_text, check_time
from app.ports import Clock, EpisodicMemory, OutboxEntry, OutboxOp
from app.records import (
    Episode,
    EpisodeKind,
    EpisodeStep,
    Json,
    Knowledge,
    LoggedEpisode,
    RecordKind,
)


class RecordIngestion:
    """Admits episodes and knowledge and stores them in Postgres, to be indexed from the outbox."""

    def __init__(self, episodic: EpisodicMemory, *, limits: Limits, clock: Clock) -> None:
        self._episodic = episodic
        self._limits = limits
        self._clock = clock

    async def store_episode(self, episode: Episode, steps: Sequence[Json] = ()) -> Episode:
        """Store an episode with its first steps.

        Raises:
            InvalidInput: a field breaks a limit; nothing was written.
            TierUnavailable: Postgres could not be reached; nothing was written.
        """
        admitted = self.admit_episode(episode, steps)
        await self.store_admitted(admitted)
        return admitted.episode

    def admit_episode(self, episode: Episode, steps: Sequence[Json]) -> LoggedEpisode:
        """The episode and its steps as they may be stored.

        Raises:
            InvalidInput: a field breaks a limit.
        """
        admitted = self._admit_episode(episode)
        self._admit_steps(steps)
        return LoggedEpisode(admitted, tuple(steps), self._clock())

    async def store_admitted(self, admitted: LoggedEpisode) -> None:
        """Store an admitted episode. Repeated, it replaces the episode and appends no steps again.

        Raises:
            Conflict: the id belongs to an episode of another namespace.
            TierUnavailable: Postgres could not be reached; nothing was written.
        """
        episode = admitted.episode
        async with self._episodic.writing() as tx:
            is_new = await tx.insert_episode(episode)
            if is_new and admitted.steps:
                await tx.append_steps(episode.id, admitted.steps, admitted.logged_at)
            if not is_new:
                await tx.save_episode(episode)
            await tx.enqueue([_upsert(RecordKind.EPISODE, episode.scope.namespace, episode.id)])

    async def record_outcome(self, namespace: str, episode_id: UUID, outcome: Json, outcome_quality: float | None) -> Episode:
        """Say how an episode turned out; replaces what was said before."""
        check_label("namespace", namespace, self._limits)
        self._check_object("outcome", outcome)
        _check_ratio("outcome_quality", outcome_quality)
        async with self._episodic.writing() as tx:
            episode = await tx.episode(namespace, episode_id)
            if episode is None:
                raise NotFound("episode", str(episode_id))
            changed = replace(episode, outcome=outcome, outcome_quality=outcome_quality)
            await tx.save_episode(changed)
            if not changed.is_open:
                await tx.enqueue([_upsert(RecordKind.EPISODE, namespace, episode_id)])
        return changed

    async def append_steps(self, namespace: str, episode_id: UUID, steps: Sequence[Json]) -> tuple[EpisodeStep, ...]:
        check_label("namespace", namespace, self._limits)
        check_count("steps", len(steps), self._limits.steps_per_call)
        self._admit_steps(steps)
        async with self._episodic.writing() as tx:
            if await tx.episode(namespace, episode_id) is None:
                raise NotFound("episode", str(episode_id))
            return await tx.append_steps(episode_id, steps, self._clock())

    async def store_knowledge(self, knowledge: Knowledge) -> Knowledge:
        """Store a piece of knowledge, replacing one with the same id in the same namespace.

        Raises:
            InvalidInput: a field breaks a limit; nothing was written.
            TierUnavailable: Postgres could not be reached; nothing was written.
        """
        knowledge = self._admit_knowledge(knowledge)
        async with self._episodic.writing() as tx:
            await tx.save_knowledge(knowledge)
            await tx.enqueue([_upsert(RecordKind.KNOWLEDGE, knowledge.scope.namespace, knowledge.id)])
        return knowledge

    async def delete(self, kind: RecordKind, namespace: str, record_id: UUID) -> None:
        """Delete an episode with its messages, or a piece of knowledge: here now, in the index soon after."""
        check_label("namespace", namespace, self._limits)
        async with self._episodic.writing() as tx:
            if not await tx.delete_records(kind, namespace, [record_id]):
                raise NotFound(kind.value, str(record_id))

    def _admit_episode(self, episode: Episode) -> Episode:
        if episode.kind is EpisodeKind.CONVERSATION:
            raise InvalidInput("kind", "conversation episodes are cut from messages; use decision, negotiation or task")
        check_scope(episode.scope, self._limits)
        for field in ("perception", "reasoning", "action", "metadata"):
            self._check_object(field, getattr(episode, field))
        if episode.outcome is not None:
            self._check_object("outcome", episode.outcome)
        if episode.summary:
            check_text("summary", episode.summary, self._limits.message_bytes)
        _check_ratio("outcome_quality", episode.outcome_quality)
        started_at = self._check_past("started_at", episode.started_at)
        ended_at = self._check_past("ended_at", episode.ended_at)
        if ended_at < started_at:
            raise InvalidInput("ended_at", "must not be before started_at")
        return replace(episode, started_at=started_at, ended_at=ended_at)

    def _admit_steps(self, steps: Sequence[Json]) -> None:
        if steps:
            check_count("steps", len(steps), self._limits.steps_per_call)
        for position, step in enumerate(steps):
            self._check_object(f"steps[{position}]", step)

    def _admit_knowledge(self, knowledge: Knowledge) -> Knowledge:
        check_scope(knowledge.scope, self._limits)
        check_text("description", knowledge.description, self._limits.message_bytes)
        self._check_object("content", knowledge.content)
        _check_ratio("confidence", knowledge.confidence)
        valid_from = None if knowledge.valid_from is None else check_time("valid_from", knowledge.valid_from, self._limits, None)
        valid_to = None if knowledge.valid_to is None else check_time("valid_to", knowledge.valid_to, self._limits, None)
        if valid_from is not None and valid_to is not None and valid_to < valid_from:
            raise InvalidInput("valid_to", "must not be before valid_from")
        return replace(knowledge, valid_from=valid_from, valid_to=valid_to)

    def _check_past(self, field: str, moment: datetime) -> datetime:
        return check_time(field, moment, self._limits, self._clock())

    def _check_object(self, field: str, document: Json) -> None:
        check_document(field, document, max_bytes=self._limits.document_bytes, max_depth=self._limits.document_depth)


def _check_ratio(field: str, value: float | None) -> None:
    if value is not None and not 0.0 <= value <= 1.0:
        raise InvalidInput(field, f"must be between 0 and 1, is {value}")


def _upsert(kind: RecordKind, namespace: str, record_id: UUID) -> OutboxEntry:
    return OutboxEntry(OutboxOp.UPSERT, kind, namespace, record_id)
