"""Tier 2: `EpisodicMemory` on PostgreSQL. What the queries are is in the modules this one delegates to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.episodic import (
    bookkeeping,
    calls,
    episodes,
    erasures,
    extractions,
    feedback,
    forgetting,
    generations,
    items,
    outbox,
    outcomes,
    quality,
    reconciliation,
    retention,
    search,
    sessions,
)
from app.episodic import knowledge as knowing
from app.episodic import messages as transcripts
from app.episodic.engine import connected
from app.episodic.episodes import EPISODES
from app.episodic.item_repository import ItemReads, ItemWrites
from app.episodic.knowledge import KNOWLEDGE
from app.episodic.learned import LearningReader, LearningWriter
from app.ports import (
    Checkpoint,
    Cutoffs,
    EpisodePlace,
    Erasure,
    Expired,
    FiledMessage,
    Indexable,
    MessageInContext,
    NamedRecord,
    OutboxEntry,
    OutboxQuery,
    OwedErasure,
    Queued,
    SessionRecord,
    StepsHeld,
    StoreStatus,
    Taken,
)
from app.records import (
    ANY_KNOWLEDGE,
    BackfillPending,
    Cause,
    Episode,
    EpisodeKind,
    EpisodeStep,
    Feedback,
    Hit,
    Json,
    Knowledge,
    KnowledgeCriteria,
    KnowledgeKind,
    Message,
    OutcomeRevision,
    QualityCounts,
    Query,
    Reconciliation,
    RecordKind,
    Revision,
    RunReport,
    Scope,
    SessionKey,
    SessionState,
    Standing,
)


class Reader(ItemReads, LearningReader):
    """A read session; see `EpisodicReader`."""

    async def history(self, session: SessionKey, *, after: int, limit: int) -> tuple[Message, ...]:
        return await transcripts.history(self._session, session, after=after, limit=limit)

    async def recent(self, session: SessionKey, limit: int) -> tuple[Message, ...]:
        return await transcripts.recent(self._session, session, limit)

    async def last_sequence(self, session: SessionKey) -> int:
        return await transcripts.last_sequence(self._session, session)

    async def messages_by_id(self, session: SessionKey, ids: Sequence[UUID]) -> Mapping[UUID, Message]:
        return await transcripts.by_id(self._session, session, ids)

    async def messages_in_context(self, uids: Sequence[UUID]) -> tuple[MessageInContext, ...]:
        return await transcripts.in_context(self._session, uids)

    async def episodes_of(self, uids: Sequence[UUID]) -> Mapping[UUID, UUID]:
        return await transcripts.episodes_of(self._session, uids)

    async def search_text(self, query: Query) -> tuple[Hit, ...]:
        return await search.search_text(self._session, query)

    async def session(self, session: SessionKey) -> SessionRecord | None:
        return await sessions.one(self._session, session)

    async def list_sessions(self, namespace: str, *, after: str, limit: int) -> tuple[SessionRecord, ...]:
        return await sessions.page(self._session, namespace, after=after, limit=limit)

    async def list_messages(self, namespace: str, *, after: tuple[str, int], limit: int) -> tuple[FiledMessage, ...]:
        return await transcripts.page(self._session, namespace, after=after, limit=limit)

    async def episode(self, namespace: str, episode_id: UUID) -> Episode | None:
        return await EPISODES.one(self._session, namespace, episode_id)

    async def episodes_by_uid(self, uids: Sequence[UUID]) -> tuple[Episode, ...]:
        return await EPISODES.by_uid(self._session, uids)

    async def list_episodes(
        self, scope: Scope, *, kind: EpisodeKind | None, before: UUID | None, limit: int, archived: bool | None = False
    ) -> tuple[Episode, ...]:
        conditions = episodes.archived_or_not(archived)
        return await EPISODES.page(self._session, scope, *conditions, kind=kind, before=before, limit=limit)

    async def list_episodes_without_outcome(
        self, scope: Scope, *, ended_before: datetime | None, kind: EpisodeKind | None, before: UUID | None, limit: int
    ) -> tuple[Episode, ...]:
        conditions = outcomes.is_missing(ended_before, kind)
        return await EPISODES.page(self._session, scope, *conditions, kind=kind, before=before, limit=limit)

    async def outcomes(self, episode_id: UUID, *, after: int, limit: int) -> tuple[OutcomeRevision, ...]:
        return await outcomes.page(self._session, episode_id, after=after, limit=limit)

    async def standings(self, uids: Sequence[UUID], as_of: datetime) -> Mapping[UUID, Standing]:
        return await feedback.standings(self._session, uids, as_of)

    async def feedback(self, namespace: str, feedback_id: UUID) -> Feedback | None:
        return await feedback.one(self._session, namespace, feedback_id)

    async def list_feedback(self, namespace: str, *, after: UUID | None, limit: int) -> tuple[Feedback, ...]:
        return await feedback.page(self._session, namespace, after=after, limit=limit)

    async def episode_generation(self, namespace: str) -> UUID | None:
        return await generations.current(self._session, namespace)

    async def episode_messages(self, episode_id: UUID) -> tuple[Message, ...]:
        return await transcripts.of_episode(self._session, episode_id)

    async def steps(self, episode_id: UUID, *, after: int, limit: int) -> tuple[EpisodeStep, ...]:
        return await episodes.steps(self._session, episode_id, after=after, limit=limit)

    async def steps_held(self, episode_id: UUID) -> StepsHeld:
        return await episodes.steps_held(self._session, episode_id)

    async def count_quality(self, namespace: str | None, *, threshold: float) -> tuple[QualityCounts, ...]:
        return await quality.count(self._session, namespace, threshold=threshold)

    async def backfill_pending(self, namespace: str | None) -> BackfillPending:
        return await quality.pending(self._session, namespace)

    async def knowledge(self, namespace: str, knowledge_id: UUID) -> Knowledge | None:
        return await KNOWLEDGE.one(self._session, namespace, knowledge_id)

    async def knowledge_by_uid(self, uids: Sequence[UUID]) -> tuple[Knowledge, ...]:
        return await KNOWLEDGE.by_uid(self._session, uids)

    async def list_knowledge(
        self, scope: Scope, *, kind: KnowledgeKind | None, before: UUID | None, limit: int,
        criteria: KnowledgeCriteria = ANY_KNOWLEDGE,
    ) -> tuple[Knowledge, ...]:  # fmt: skip
        conditions = knowing.admitted_by(criteria)
        return await KNOWLEDGE.page(self._session, scope, *conditions, kind=kind, before=before, limit=limit)

    async def knowledge_chain(self, namespace: str, knowledge_id: UUID, limit: int) -> tuple[Knowledge, ...]:
        return await knowing.chain(self._session, namespace, knowledge_id, limit)

    async def revisions(self, knowledge_id: UUID, *, after: int, limit: int) -> tuple[Revision, ...]:
        return await knowing.revisions(self._session, knowledge_id, after=after, limit=limit)

    async def open_episodes(self, *, idle_since: datetime | None, limit: int) -> tuple[Episode, ...]:
        return await episodes.idle(self._session, idle_since=idle_since, limit=limit)

    async def indexed_through(self, sessions: Sequence[SessionKey]) -> Mapping[SessionKey, int]:
        return await outbox.indexed_through(self._session, sessions)

    async def open_entries(self, uids: Sequence[UUID]) -> int:
        return await outbox.open_count(self._session, uids)

    async def dead_letters(self, uids: Sequence[UUID]) -> int:
        return await outbox.dead_count(self._session, uids)

    async def owed_deletions(self, kind: RecordKind, namespace: str, limit: int) -> tuple[UUID, ...]:
        return await outbox.owed_deletions(self._session, kind, namespace, limit)

    async def list_outbox(self, query: OutboxQuery, *, now: datetime) -> tuple[Queued, ...]:
        return await outbox.page(self._session, query, now=now)

    async def outbox_entries(self, uids: Sequence[UUID]) -> tuple[OutboxEntry, ...]:
        return await outbox.of_records(self._session, uids)

    async def scroll_indexable(self, *, after: UUID | None, limit: int, namespace: str | None) -> tuple[Indexable, ...]:
        return await reconciliation.scroll_indexable(self._session, after=after, limit=limit, namespace=namespace)

    async def indexable(self, uids: Sequence[UUID]) -> tuple[Indexable, ...]:
        return await reconciliation.indexable(self._session, uids)

    async def reconciliations(self, limit: int) -> tuple[Reconciliation, ...]:
        return await reconciliation.newest(self._session, limit)

    async def next_outbox_at(self) -> datetime | None:
        return await outbox.next_at(self._session)

    async def runs(self, limit: int) -> tuple[RunReport, ...]:
        return await bookkeeping.runs(self._session, limit)

    async def status(self) -> StoreStatus:
        return await bookkeeping.status(self._session)

    async def count(self, scope: Scope) -> Mapping[RecordKind, int]:
        return await bookkeeping.count(self._session, scope)

    async def uids(self, kind: RecordKind, scope: Scope, *, after: UUID | None, limit: int) -> tuple[UUID, ...]:
        return await bookkeeping.uids(self._session, kind, scope, after=after, limit=limit)

    async def existing(self, kind: RecordKind, namespace: str, uids: Sequence[UUID]) -> frozenset[UUID]:
        return await bookkeeping.existing(self._session, kind, namespace, uids)

    async def expired(self, cutoffs: Cutoffs) -> Expired:
        return await retention.expired(self._session, cutoffs)

    async def owed_erasures(self, limit: int, *, session: SessionKey | None = None) -> tuple[OwedErasure, ...]:
        return await erasures.owed(self._session, limit, session)


class Writer(Reader, ItemWrites, LearningWriter):
    """A write session, committed by the context that opened it; see `EpisodicWriter`."""

    async def lock_checkpoint(self, session: SessionKey) -> Checkpoint | None:
        return await sessions.lock_checkpoint(self._session, session)

    async def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        await sessions.save_checkpoint(self._session, checkpoint)

    async def insert_messages(self, messages: Sequence[Message], episode_ids: Sequence[UUID]) -> frozenset[UUID]:
        return await transcripts.insert(self._session, messages, episode_ids)

    async def episode(self, namespace: str, episode_id: UUID) -> Episode | None:
        return await EPISODES.locked(self._session, namespace, episode_id)

    async def knowledge(self, namespace: str, knowledge_id: UUID) -> Knowledge | None:
        return await KNOWLEDGE.locked(self._session, namespace, knowledge_id)

    async def save_episode(self, episode: Episode) -> Episode:
        saved = replace(episode, version=await EPISODES.save(self._session, episode, episode.scope))
        await extractions.open_(self._session, [episode.id])
        return saved

    async def insert_episode(self, episode: Episode) -> bool:
        is_new = await EPISODES.insert(self._session, episode, episode.scope)
        if is_new:
            await extractions.open_(self._session, [episode.id])
        return is_new

    async def open_episode(self, session: SessionKey) -> Episode | None:
        return await episodes.open_of(self._session, session)

    async def append_steps(
        self, episode_id: UUID, contents: Sequence[Json], at: datetime, *, call: UUID | None = None
    ) -> tuple[EpisodeStep, ...]:
        added = await episodes.append_steps(self._session, episode_id, contents, at, call)
        await extractions.open_(self._session, [episode_id])
        return added

    async def touch_episode(self, episode_id: UUID) -> None:
        await episodes.touch(self._session, episode_id)

    async def lock_unscored(self, namespace: str | None, *, after: EpisodePlace | None, limit: int) -> tuple[EpisodePlace, ...]:
        return await quality.lock_unscored(self._session, namespace, after=after, limit=limit)

    async def claim_episodes(
        self, namespace: str | None, limit: int, *, lease: timedelta, now: datetime, attempted_before: datetime
    ) -> tuple[OutboxEntry, ...]:
        return await quality.claim(
            self._session, namespace, limit, lease=lease, now=now, attempted_before=attempted_before
        )  # fmt: skip

    async def steps_of_call(self, episode_id: UUID, call: UUID) -> tuple[EpisodeStep, ...]:
        return await episodes.steps_of_call(self._session, episode_id, call)

    async def revise_outcome(self, before: Episode, after: Episode, at: datetime, *, call: UUID | None = None) -> None:
        await outcomes.revise(self._session, before, after, at, call)

    async def insert_outcomes(self, episode_id: UUID, revisions: Sequence[OutcomeRevision]) -> int:
        return await outcomes.insert_all(self._session, episode_id, revisions)

    async def hold_records(self, namespace: str, record_id: UUID, *, kind: RecordKind | None) -> tuple[NamedRecord, ...]:
        return await feedback.hold_records(self._session, namespace, record_id, kind=kind)

    async def insert_feedback(self, given: Sequence[Feedback]) -> frozenset[UUID]:
        return await feedback.insert_all(self._session, given)

    async def renew_episode_generation(self, namespace: str) -> None:
        await generations.renew(self._session, namespace)

    async def recount_episodes(self, episode_ids: Sequence[UUID]) -> None:
        await forgetting.recount(self._session, episode_ids)

    async def save_session(
        self, session: SessionKey, *, state: SessionState | None, last_message_at: datetime | None, now: datetime
    ) -> None:
        await sessions.save(self._session, session, state=state, last_message_at=last_message_at, now=now)

    async def replace_state(
        self, session: SessionKey, state: SessionState, *, expected: int | None, floor: int, now: datetime
    ) -> int:
        return await sessions.replace_state(self._session, session, state, expected=expected, floor=floor, now=now)

    async def end_session(self, session: SessionKey, at: datetime) -> None:
        await sessions.end(self._session, session, at)

    async def save_knowledge(self, knowledge: Knowledge) -> Knowledge:
        return replace(knowledge, version=await KNOWLEDGE.save(self._session, knowledge, knowledge.scope))

    async def add_revision(self, knowledge_id: UUID, cause: Cause, changes: Json, at: datetime) -> Revision:
        return await knowing.add_revision(self._session, knowledge_id, cause, changes, at)

    async def note_call(self, call: UUID, record_id: UUID, at: datetime) -> UUID | None:
        return await calls.note(self._session, call, record_id, at)

    async def delete_expired_calls(self, before: datetime, limit: int) -> int:
        return await calls.delete_expired(self._session, before, limit)

    async def enqueue(self, entries: Sequence[OutboxEntry]) -> None:
        await outbox.enqueue(self._session, entries)

    async def claim_outbox(self, limit: int, *, lease: timedelta, now: datetime) -> tuple[OutboxEntry, ...]:
        return await outbox.claim(self._session, limit, lease=lease, now=now)

    async def claim_records(
        self, kind: RecordKind, uids: Collection[UUID], *, lease: timedelta, now: datetime
    ) -> tuple[OutboxEntry, ...]:
        return await outbox.claim_records(self._session, kind, uids, lease=lease, now=now)

    async def complete_outbox(self, entries: Sequence[OutboxEntry]) -> None:
        await outbox.complete(self._session, entries)

    async def delay_outbox(self, entries: Sequence[OutboxEntry], *, error: str, next_attempt_at: datetime) -> None:
        await outbox.delay(self._session, entries, error=error, next_attempt_at=next_attempt_at)

    async def release_outbox(
        self, entries: Sequence[OutboxEntry], *, error: str, next_attempt_at: datetime, is_dead: bool
    ) -> None:
        await outbox.release(self._session, entries, error=error, next_attempt_at=next_attempt_at, is_dead=is_dead)

    async def retry_dead(self, ids: Sequence[int] | None, now: datetime, *, namespace: str | None = None) -> int:
        return await outbox.retry_dead(self._session, ids, now, namespace=namespace)

    async def drop_dead(self, ids: Sequence[int], *, namespace: str | None = None) -> int:
        return await outbox.drop_dead(self._session, ids, namespace=namespace)

    async def record_run(self, run: RunReport) -> None:
        await bookkeeping.record_run(self._session, run)

    async def lock_reconciliation(self) -> Reconciliation | None:
        return await reconciliation.lock_running(self._session)

    async def save_reconciliation(self, run: Reconciliation) -> bool:
        return await reconciliation.save(self._session, run)

    async def delete_records(self, kind: RecordKind, namespace: str, uids: Sequence[UUID]) -> int:
        return await forgetting.delete_records(self._session, kind, namespace, uids)

    async def forget(self, scope: Scope) -> Mapping[RecordKind, int]:
        await sessions.exclude_learning(self._session, [scope.namespace])
        await feedback.forget(self._session, scope)
        rows = await forgetting.forget(self._session, scope)
        return {**rows, RecordKind.ITEM: await items.forget(self._session, scope)}

    async def hold_namespace(self, namespace: str) -> None:
        await sessions.hold_namespace(self._session, namespace)

    async def share_namespace(self, namespace: str) -> None:
        await sessions.share_namespace(self._session, namespace)

    async def owe_erasure(self, erasure: Erasure) -> None:
        await erasures.owe(self._session, erasure)

    async def settle_erasures(self, ids: Sequence[int]) -> None:
        await erasures.settle(self._session, ids)

    async def archive_episodes(self, ended_before: datetime, *, at: datetime, limit: int) -> Taken:
        return await retention.archive(self._session, ended_before, at=at, limit=limit)

    async def delete_archived(self, archived_before: datetime, *, limit: int) -> Taken:
        return await retention.delete_archived(self._session, archived_before, limit=limit)

    async def delete_expired_sessions(self, idle_since: datetime, limit: int) -> int:
        return await sessions.delete_expired(self._session, idle_since, limit)


class PostgresRepository:
    """`EpisodicMemory` on the engine it is given, which its maker disposes of."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._writing = engine
        # A transaction around a single SELECT would make three round trips of one, on the path of every recall.
        self._reading = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._frozen = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Reader]:
        """Each call on the reader sees a snapshot of its own, and is one round trip."""
        async with connected(self._reading) as session:
            yield Reader(session)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Writer]:
        async with connected(self._writing) as session:
            yield Writer(session)
            await session.commit()

    @asynccontextmanager
    async def frozen(self) -> AsyncIterator[Reader]:
        async with connected(self._frozen) as session:
            yield Reader(session)

    async def void_leases(self) -> None:
        """Make everything claimed due again; only for whoever knows that no worker is left that claimed it."""
        async with connected(self._writing) as session:
            await outbox.void_leases(session)
            await extractions.void_leases(session)
            await reconciliation.void_leases(session)
            await session.commit()

    async def ping(self) -> str:
        async with connected(self._reading) as session:
            version = (await session.run("ping", text("SHOW server_version")))[0][0]
        return f"PostgreSQL {version}"
