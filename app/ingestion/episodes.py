"""Storing episodes as whole records: the row, its steps and its place in the outbox in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Final, TypeVar
from uuid import UUID

from app.errors import InvalidInput, NotFound, VersionMismatch
from app.ingestion.limits import (
    Limits,
    check_count,
    check_document,
    check_episode_labels,
    check_episode_size,
    check_label,
    check_ratio,
    check_scope,
    check_text,
    check_time,
    episode_bytes,
)
from app.observability import EPISODE_QUALITY
from app.ports import Clock, EpisodicMemory, EpisodicWriter, Judge, OutboxEntry, OutboxOp
from app.records import (
    Episode,
    EpisodeKind,
    EpisodeStep,
    Json,
    Knowledge,
    LoggedEpisode,
    RecordKind,
)

Record = TypeVar("Record", Episode, Knowledge)

_EPISODE_IDENTITY: Final = ("id", "kind", "scope", "started_at", "ended_at", "is_open", "message_count", "token_count",
                            "first_sequence", "last_sequence", "schema_version", "archived_at")  # fmt: skip

_RETIRED_AT_ONCE: Final = 10_000
_DOCUMENTS: Final = ("perception", "reasoning", "action", "metadata")


class RecordIngestion:
    """Admits episodes and stores them in Postgres, to be indexed from the outbox.

    A `call` names the call that asks for a change: it is noted in the transaction of the change, so that repeating the
    call, however the first time ended, changes nothing and answers with what is there.

    `judge` says how good an episode is when it is admitted and whenever it changes, unless a caller has said so; without one
    nobody does.
    """

    def __init__(self, episodic: EpisodicMemory, *, limits: Limits, clock: Clock, judge: Judge | None = None) -> None:
        self._episodic = episodic
        self._limits = limits
        self._clock = clock
        self._judge = judge

    async def store_episode(self, episode: Episode, steps: Sequence[Json] = (), *, call: UUID | None = None) -> Episode:
        """Store an episode with its first steps.

        Raises:
            InvalidInput: a field breaks a limit; nothing was written.
            TierUnavailable: Postgres could not be reached; nothing was written.
        """
        return await self.store_admitted(self.admit_episode(episode, steps), call=call)

    def admit_episode(self, episode: Episode, steps: Sequence[Json]) -> LoggedEpisode:
        """The episode and its steps as they may be stored.

        Raises:
            InvalidInput: a field breaks a limit.
        """
        admitted, size = self._admit_episode(episode)
        check_episode_size(size + self._admit_steps(steps), len(steps), self._limits)
        return LoggedEpisode(admitted, tuple(steps), self._clock())

    async def store_admitted(self, admitted: LoggedEpisode, *, call: UUID | None = None) -> Episode:
        """Store an admitted episode. Repeated, it replaces the episode and appends no steps again.

        Raises:
            Conflict: the id belongs to an episode of another namespace.
            TierUnavailable: Postgres could not be reached; nothing was written.
        """
        episode = admitted.episode
        async with self._episodic.writing() as tx:
            if (known := await self._noted(tx, call, episode.id)) is not None:
                return await _episode(tx, episode.scope.namespace, known)
            is_new = await tx.insert_episode(episode)
            stored = episode if is_new else await self._replaced(tx, episode)
            if is_new and admitted.steps:
                await tx.append_steps(episode.id, admitted.steps, admitted.logged_at, call=call)
            await tx.enqueue([_upsert(RecordKind.EPISODE, episode.scope.namespace, episode.id)])
        return stored

    async def change_episode(
        self, namespace: str, episode_id: UUID, change: Callable[[Episode], Episode], *,
        expected_version: int | None = None, call: UUID | None = None,
    ) -> Episode:  # fmt: skip
        """Store what `change` makes of the episode as it is now, and have it indexed again; nobody comes in between.

        Raises:
            InvalidInput: what an episode is (its id, scope, span …) was changed, or a field breaks a limit.
            NotFound: no such episode in this namespace.
            VersionMismatch: the episode is not at `expected_version`.
        """
        check_label("namespace", namespace, self._limits)
        async with self._episodic.writing() as tx:
            episode = _at_version("episode", await _episode(tx, namespace, episode_id), expected_version)
            if await self._noted(tx, call, episode_id) or (changed := change(episode)) == episode:
                return episode
            _refuse_another(episode, changed, _EPISODE_IDENTITY)
            await self._check_changed(tx, episode, changed)
            stored = await tx.save_episode(self._judged(changed, episode))
            await tx.revise_outcome(episode, changed, self._clock(), call=call)
            if not stored.is_open:
                await tx.enqueue([_upsert(RecordKind.EPISODE, namespace, episode_id)])
        return stored

    async def record_outcome(
        self, namespace: str, episode_id: UUID, outcome: Json, outcome_quality: float | None, *, call: UUID | None = None
    ) -> Episode:
        """Say how an episode turned out; replaces what was said before, which is kept in its history.

        Raises:
            InvalidInput: the outcome breaks a limit, or its quality is not in [0, 1].
            NotFound: no such episode in this namespace.
        """
        judged = partial(replace, outcome=outcome, outcome_quality=outcome_quality)
        return await self.change_episode(namespace, episode_id, judged, call=call)

    async def append_steps(
        self, namespace: str, episode_id: UUID, steps: Sequence[Json], *, call: UUID | None = None
    ) -> tuple[EpisodeStep, ...]:
        """Append steps, all or none; they are part of the episode, whose version rises.

        Raises:
            InvalidInput: a step breaks a limit, or the episode would with them.
            NotFound: no such episode in this namespace.
        """
        check_label("namespace", namespace, self._limits)
        check_count("steps", len(steps), self._limits.steps_per_call)
        size = self._admit_steps(steps)
        async with self._episodic.writing() as tx:
            episode = await _episode(tx, namespace, episode_id)
            if call is not None and await self._noted(tx, call, episode_id):
                return await tx.steps_of_call(episode_id, call)
            held = await tx.steps_held(episode_id)
            check_episode_size(episode_bytes(episode) + held.bytes + size, held.count + len(steps), self._limits)
            await tx.touch_episode(episode_id)
            return await tx.append_steps(episode_id, steps, self._clock(), call=call)

    async def _check_changed(self, tx: EpisodicWriter, before: Episode, changed: Episode) -> None:
        """Raises `InvalidInput`. One that was too large already, under older limits, may change, but not grow."""
        size, held = self._check_content(changed), await tx.steps_held(changed.id)
        if size > episode_bytes(before):
            check_episode_size(size + held.bytes, 0, self._limits)

    async def delete(self, kind: RecordKind, namespace: str, record_id: UUID, *, expected_version: int | None = None) -> None:
        """Delete an episode with its messages, or a piece of knowledge: here now, in the index soon after.

        Raises:
            NotFound: no such record in this namespace.
            VersionMismatch: the record is not at `expected_version`.
        """
        check_label("namespace", namespace, self._limits)
        async with self._episodic.writing() as tx:
            await tx.hold_namespace(namespace)
            if expected_version is not None:
                await _check_version(tx, kind, namespace, record_id, expected_version)
            if not await tx.delete_records(kind, namespace, [record_id]):
                raise NotFound(kind.value, str(record_id))

    async def retire_calls(self, carried_out_before: datetime) -> int:
        """Drop the notes of calls carried out before then; returns how many."""
        async with self._episodic.writing() as tx:
            return await tx.delete_expired_calls(carried_out_before, _RETIRED_AT_ONCE)

    async def _replaced(self, tx: EpisodicWriter, episode: Episode) -> Episode:
        known = await tx.episode(episode.scope.namespace, episode.id)
        stored = await tx.save_episode(episode)
        if known is not None:
            await tx.revise_outcome(known, episode, self._clock())
        return stored

    async def _noted(self, tx: EpisodicWriter, call: UUID | None, record_id: UUID) -> UUID | None:
        """The record that the call was carried out on before; else it is noted as carried out here, on `record_id`."""
        return None if call is None else await tx.note_call(call, record_id, self._clock())

    def _admit_episode(self, episode: Episode) -> tuple[Episode, int]:
        """The episode as it may be stored, judged, and its size in bytes."""
        if episode.kind is EpisodeKind.CONVERSATION:
            raise InvalidInput("kind", "conversation episodes are cut from messages; use decision, negotiation or task")
        check_scope(episode.scope, self._limits)
        size = self._check_content(episode)
        started_at = self._check_past("started_at", episode.started_at)
        ended_at = self._check_past("ended_at", episode.ended_at)
        if ended_at < started_at:
            raise InvalidInput("ended_at", "must not be before started_at")
        return self._judged(replace(episode, started_at=started_at, ended_at=ended_at)), size

    def _judged(self, episode: Episode, before: Episode | None = None) -> Episode:
        """The episode with its quality: as a caller gave it, now or before, or else as the judge says."""
        is_given = episode.is_quality_given if before is not None else episode.quality is not None
        if before is not None and episode.quality != before.quality:
            is_given = episode.quality is not None
        if is_given or self._judge is None or episode.kind is EpisodeKind.CONVERSATION:
            return episode if episode.is_quality_given == is_given else replace(episode, is_quality_given=is_given)
        quality = self._judge(episode)
        EPISODE_QUALITY.observe(quality)
        return replace(episode, quality=quality, is_quality_given=False)

    def _check_content(self, episode: Episode) -> int:
        """The size of the episode's documents in bytes."""
        size = sum(self._check_object(field, getattr(episode, field)) for field in _DOCUMENTS)
        if episode.outcome is not None:
            size += self._check_object("outcome", episode.outcome)
        if episode.summary:
            check_text("summary", episode.summary, self._limits.message_bytes)
        check_episode_labels(episode, self._limits)
        check_ratio("outcome_quality", episode.outcome_quality)
        check_ratio("quality", episode.quality)
        return size + len(episode.summary.encode())

    def _admit_steps(self, steps: Sequence[Json]) -> int:
        """The size of the steps in bytes."""
        if steps:
            check_count("steps", len(steps), self._limits.steps_per_call)
        return sum(self._check_object(f"steps[{position}]", step) for position, step in enumerate(steps))

    def _check_past(self, field: str, moment: datetime) -> datetime:
        return check_time(field, moment, self._limits, self._clock())

    def _check_object(self, field: str, document: Json) -> int:
        return check_document(field, document, max_bytes=self._limits.document_bytes, max_depth=self._limits.document_depth)


async def _episode(tx: EpisodicWriter, namespace: str, episode_id: UUID) -> Episode:
    episode = await tx.episode(namespace, episode_id)
    if episode is None:
        raise NotFound("episode", str(episode_id))
    return episode


async def _knowledge(tx: EpisodicWriter, namespace: str, knowledge_id: UUID) -> Knowledge:
    knowledge = await tx.knowledge(namespace, knowledge_id)
    if knowledge is None:
        raise NotFound("knowledge", str(knowledge_id))
    return knowledge


async def _check_version(tx: EpisodicWriter, kind: RecordKind, namespace: str, record_id: UUID, expected: int) -> None:
    if kind is RecordKind.EPISODE:
        _at_version(kind.value, await _episode(tx, namespace, record_id), expected)
    else:
        _at_version(kind.value, await _knowledge(tx, namespace, record_id), expected)


def _at_version(kind: str, record: Record, expected: int | None) -> Record:
    if expected not in {None, record.version}:
        raise VersionMismatch(kind, record.version)
    return record


def _refuse_another(record: Record, changed: Record, identity: Sequence[str]) -> None:
    for field in identity:
        if getattr(record, field) != getattr(changed, field):
            raise InvalidInput(field, "cannot be changed")


def _upsert(kind: RecordKind, namespace: str, record_id: UUID) -> OutboxEntry:
    return OutboxEntry(OutboxOp.UPSERT, kind, namespace, record_id)
