"""The in-memory twin of `EpisodicMemory`: it commits or forgets as PostgreSQL does at READ COMMITTED.

A writer keeps the changes it made and shows them on top of what is committed by now; committing makes them again on
the newest books. What another open writer holds (a checkpoint, a claimed outbox entry) is skipped, never waited for.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, TypeVar
from uuid import UUID

from app.errors import NewerRelease, NotFound, TierUnavailable, VersionMismatch
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
    OutboxOp,
    OutboxQuery,
    OutboxState,
    OwedErasure,
    Queued,
    SessionRecord,
    StepsHeld,
    StoreStatus,
    Taken,
)
from app.records import (
    ANY_KNOWLEDGE,
    RECALLED_KINDS,
    SCHEMA_VERSION,
    BackfillPending,
    Cause,
    Episode,
    EpisodeKind,
    EpisodeStep,
    Feedback,
    Hit,
    ItemText,
    Json,
    Knowledge,
    KnowledgeCriteria,
    KnowledgeKind,
    Message,
    OutcomeRevision,
    QualityCounts,
    Query,
    ReconcileState,
    Reconciliation,
    RecordKind,
    Revision,
    RunReport,
    Scope,
    SessionKey,
    SessionState,
    Standing,
    Tier,
)
from app.standing import standing_of
from app.testing.episodic_books import Archived, Books, Filed, Kept, Owned, RecordRef, is_open_conversation, session_of
from app.testing.episodic_quality import counted, episode_upserts, json_bytes, judged, unscored_places
from app.testing.episodic_search import is_visible, search
from app.testing.items import InMemoryItemReads, InMemoryItemWrites
from app.testing.learning import LearningReader, LearningWriter

_Answer = TypeVar("_Answer")
_Record = TypeVar("_Record", Episode, Knowledge)
_NEIGHBOURS: Final = 2


@dataclass(slots=True)
class _Shared:
    """What all sessions of one twin see: the committed books, and what open writers hold."""

    books: Books = field(default_factory=Books)
    sessions: dict[SessionKey, object] = field(default_factory=dict)
    claims: dict[RecordRef, object] = field(default_factory=dict)
    held: dict[str, object] = field(default_factory=dict)
    sharers: list[tuple[str, object]] = field(default_factory=list)
    episodes: dict[UUID, object] = field(default_factory=dict)

    def let_go(self, writer: object) -> None:
        self.sharers = [(namespace, holder) for namespace, holder in self.sharers if holder is not writer]
        self.held = {namespace: holder for namespace, holder in self.held.items() if holder is not writer}
        self.sessions = {key: holder for key, holder in self.sessions.items() if holder is not writer}
        self.claims = {ref: holder for ref, holder in self.claims.items() if holder is not writer}
        self.episodes = {uid: holder for uid, holder in self.episodes.items() if holder is not writer}


class InMemoryEpisodicMemory:
    """A tier 2 that lives as long as the object does."""

    def __init__(self) -> None:
        self._shared = _Shared()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[InMemoryReader]:
        yield InMemoryReader(self._shared)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[InMemoryWriter]:
        writer = InMemoryWriter(self._shared)
        try:
            yield writer
            writer.commit()
        finally:
            self._shared.let_go(writer)

    @asynccontextmanager
    async def frozen(self) -> AsyncIterator[InMemoryReader]:
        yield InMemoryReader(_Shared(self._shared.books.copy()))

    async def ping(self) -> str:
        return "in-memory twin"


class InMemoryReader(InMemoryItemReads, LearningReader):
    """See `EpisodicReader`."""

    def __init__(self, shared: _Shared) -> None:
        self._shared = shared

    @property
    def _books(self) -> Books:
        return self._shared.books

    async def history(self, session: SessionKey, *, after: int, limit: int) -> tuple[Message, ...]:
        return tuple(m for m in self._books.of_session(session) if m.sequence > after)[:limit]

    async def recent(self, session: SessionKey, limit: int) -> tuple[Message, ...]:
        messages = self._books.of_session(session)
        return tuple(messages[max(0, len(messages) - limit) :])

    async def last_sequence(self, session: SessionKey) -> int:
        return max((m.sequence for m in self._books.of_session(session)), default=0)

    async def messages_by_id(self, session: SessionKey, ids: Sequence[UUID]) -> Mapping[UUID, Message]:
        return {m.id: m for m in self._books.of_session(session) if m.id in set(ids)}

    async def messages_in_context(self, uids: Sequence[UUID]) -> tuple[MessageInContext, ...]:
        found = [self._books.messages[uid].message for uid in set(uids) if uid in self._books.messages]
        sessions = {key: self._books.of_session(key) for key in {m.session for m in found}}
        return tuple(_in_context(m, sessions[m.session], is_archived=self._books.is_archived(m)) for m in found)

    async def episodes_of(self, uids: Sequence[UUID]) -> Mapping[UUID, UUID]:
        return {uid: self._books.messages[uid].episode_id for uid in uids if uid in self._books.messages}

    async def search_text(self, query: Query) -> tuple[Hit, ...]:
        records = (record for kind in query.kinds for record in self._books.records(kind))
        return search(query, (r for r in records if not self._books.is_archived(r)))

    async def session(self, session: SessionKey) -> SessionRecord | None:
        archived = self._books.sessions.get(session)
        return archived.record if archived else None

    async def list_sessions(self, namespace: str, *, after: str, limit: int) -> tuple[SessionRecord, ...]:
        keys = sorted(key for key in self._books.sessions if key.namespace == namespace and key.session_id > after)
        return tuple(self._books.sessions[key].record for key in keys[:limit])

    async def list_messages(self, namespace: str, *, after: tuple[str, int], limit: int) -> tuple[FiledMessage, ...]:
        mine = (filed for filed in self._books.messages.values() if filed.message.scope.namespace == namespace)
        following = sorted((f for f in mine if _place(f) > after), key=_place)
        return tuple(FiledMessage(f.message, f.episode_id) for f in following[:limit])

    async def episode(self, namespace: str, episode_id: UUID) -> Episode | None:
        episode = self._books.episodes.get(episode_id)
        if episode is None or episode.scope.namespace != namespace:
            return None
        if not _is_readable(episode):
            raise NewerRelease("episode", str(episode_id), f"schema version {episode.schema_version}")
        return episode

    async def episodes_by_uid(self, uids: Sequence[UUID]) -> tuple[Episode, ...]:
        return tuple(e for e in self._books.episodes.values() if e.id in set(uids) and _is_readable(e))

    async def list_episodes(
        self, scope: Scope, *, kind: EpisodeKind | None, before: UUID | None, limit: int, archived: bool | None = False
    ) -> tuple[Episode, ...]:
        readable = (e for e in self._books.episodes.values() if _is_readable(e))
        asked = (e for e in readable if archived in {None, e.archived_at is not None})
        return _page((e for e in asked if kind in {None, e.kind}), scope, before, limit)

    async def list_episodes_without_outcome(
        self, scope: Scope, *, ended_before: datetime | None, kind: EpisodeKind | None, before: UUID | None, limit: int
    ) -> tuple[Episode, ...]:
        listed = (e for e in self._books.episodes.values() if _is_readable(e) and not e.is_open and e.archived_at is None)
        waiting = (e for e in listed if e.outcome is None and (ended_before is None or e.ended_at < ended_before))
        asked = (e for e in waiting if e.kind is kind or (kind is None and e.kind is not EpisodeKind.CONVERSATION))
        return _page(asked, scope, before, limit)

    async def outcomes(self, episode_id: UUID, *, after: int, limit: int) -> tuple[OutcomeRevision, ...]:
        return tuple(r for r in self._books.outcomes.get(episode_id, ()) if r.index > after)[:limit]

    async def standings(self, uids: Sequence[UUID], as_of: datetime) -> Mapping[UUID, Standing]:
        said = self._books.feedback.values()
        standings = {uid: standing_of([(f.verdict, f.created_at) for f in said if f.record_uid == uid], as_of) for uid in uids}
        return {uid: standing for uid, standing in standings.items() if standing is not None}

    async def feedback(self, namespace: str, feedback_id: UUID) -> Feedback | None:
        found = self._books.feedback.get(feedback_id)
        return found if found and found.scope.namespace == namespace else None

    async def list_feedback(self, namespace: str, *, after: UUID | None, limit: int) -> tuple[Feedback, ...]:
        mine = (f for f in self._books.feedback.values() if f.scope.namespace == namespace and (after is None or f.id > after))
        return tuple(sorted(mine, key=lambda f: f.id)[:limit])

    async def episode_generation(self, namespace: str) -> UUID | None:
        return self._books.generations.get(namespace)

    async def episode_messages(self, episode_id: UUID) -> tuple[Message, ...]:
        return tuple(self._books.of_episode(episode_id))

    async def steps(self, episode_id: UUID, *, after: int, limit: int) -> tuple[EpisodeStep, ...]:
        return tuple(s for s in self._books.steps.get(episode_id, ()) if s.index > after)[:limit]

    async def steps_held(self, episode_id: UUID) -> StepsHeld:
        steps = self._books.steps.get(episode_id, ())
        return StepsHeld(len(steps), sum(json_bytes(step.content) for step in steps))

    async def count_quality(self, namespace: str | None, *, threshold: float) -> tuple[QualityCounts, ...]:
        return counted(judged(self._books.episodes.values(), namespace), threshold)

    async def backfill_pending(self, namespace: str | None) -> BackfillPending:
        unscored = unscored_places(self._books.episodes.values(), namespace)
        return BackfillPending(len(unscored), len(episode_upserts(self._books, namespace)))

    async def knowledge(self, namespace: str, knowledge_id: UUID) -> Knowledge | None:
        found = self._books.knowledge.get(knowledge_id)
        return found if found and found.scope.namespace == namespace else None

    async def knowledge_by_uid(self, uids: Sequence[UUID]) -> tuple[Knowledge, ...]:
        return tuple(k for k in self._books.knowledge.values() if k.id in set(uids))

    async def list_knowledge(
        self, scope: Scope, *, kind: KnowledgeKind | None, before: UUID | None, limit: int,
        criteria: KnowledgeCriteria = ANY_KNOWLEDGE,
    ) -> tuple[Knowledge, ...]:  # fmt: skip
        asked = (k for k in self._books.knowledge.values() if kind in {None, k.kind} and criteria.admits(k))
        return _page(asked, scope, before, limit)

    async def knowledge_chain(self, namespace: str, knowledge_id: UUID, limit: int) -> tuple[Knowledge, ...]:
        return self._books.chain(namespace, knowledge_id, limit)

    async def revisions(self, knowledge_id: UUID, *, after: int, limit: int) -> tuple[Revision, ...]:
        return self._books.revisions.get(knowledge_id, ())[after : after + limit]

    async def open_episodes(self, *, idle_since: datetime | None, limit: int) -> tuple[Episode, ...]:
        readable = (e for e in self._books.episodes.values() if is_open_conversation(e) and _is_readable(e))
        idle = (e for e in readable if idle_since is None or e.ended_at < idle_since)
        return tuple(sorted(idle, key=lambda e: (e.ended_at, e.id))[:limit])

    async def indexed_through(self, sessions: Sequence[SessionKey]) -> Mapping[SessionKey, int]:
        return {session: self._indexed_through(session) for session in sessions}

    def _indexed_through(self, session: SessionKey) -> int:
        messages = self._books.of_session(session)
        waiting = (m.sequence - 1 for m in messages if self._is_waiting((RecordKind.MESSAGE, m.uid)))
        return min(waiting, default=max((m.sequence for m in messages), default=0))

    def _is_waiting(self, ref: RecordRef) -> bool:
        queued = self._books.outbox.get(ref)
        return queued is not None and not queued.entry.is_dead

    async def open_entries(self, uids: Sequence[UUID]) -> int:
        return sum(q.entry.record_uid in set(uids) and not q.entry.is_dead for q in self._books.outbox.values())

    async def dead_letters(self, uids: Sequence[UUID]) -> int:
        return sum(q.entry.record_uid in set(uids) and q.entry.is_dead for q in self._books.outbox.values())

    async def owed_deletions(self, kind: RecordKind, namespace: str, limit: int) -> tuple[UUID, ...]:
        entries = [q.entry for q in self._books.outbox.values() if (q.entry.op, q.entry.kind) == (OutboxOp.DELETE, kind)]
        owed = sorted((e for e in entries if e.namespace == namespace), key=lambda e: e.id, reverse=True)
        return tuple(e.record_uid for e in owed[:limit])

    async def list_outbox(self, query: OutboxQuery, *, now: datetime) -> tuple[Queued, ...]:
        queued = (Queued(q.entry, q.state(now), q.created_at) for q in self._books.outbox.values())
        wanted = (q for q in queued if not query.states or q.state in query.states)
        visible = (q for q in wanted if query.namespace in {None, q.entry.namespace} and q.entry.id > query.after)
        return tuple(sorted(visible, key=lambda q: q.entry.id)[: query.limit])

    async def outbox_entries(self, uids: Sequence[UUID]) -> tuple[OutboxEntry, ...]:
        return tuple(q.entry for q in self._books.outbox.values() if q.entry.record_uid in set(uids))

    async def scroll_indexable(self, *, after: UUID | None, limit: int, namespace: str | None) -> tuple[Indexable, ...]:
        wanted = (r for r in self._indexable() if (after is None or r.uid > after) and namespace in {None, r.namespace})
        return tuple(sorted(wanted, key=lambda r: r.uid)[:limit])

    async def indexable(self, uids: Sequence[UUID]) -> tuple[Indexable, ...]:
        return tuple(r for r in self._indexable() if r.uid in set(uids))

    def _indexable(self) -> Iterable[Indexable]:
        records = ((kind, record) for kind in RecordKind for record in self._books.records(kind) if self._is_indexable(record))
        return (Indexable(r.uid, kind, r.scope.namespace, _stored_hash(r)) for kind, r in records)

    async def reconciliations(self, limit: int) -> tuple[Reconciliation, ...]:
        newest_first = sorted(self._books.reconciliations.values(), key=lambda r: (r.started_at, r.id), reverse=True)
        return tuple(newest_first[:limit])

    async def next_outbox_at(self) -> datetime | None:
        return min((q.due_at for q in self._books.outbox.values() if not q.entry.is_dead), default=None)

    async def runs(self, limit: int) -> tuple[RunReport, ...]:
        return tuple(sorted(self._books.runs.values(), key=lambda r: (r.started_at, r.id), reverse=True)[:limit])

    async def status(self) -> StoreStatus:
        waiting = [q.created_at for q in self._books.outbox.values() if not q.entry.is_dead]
        return StoreStatus(
            outbox_depth=len(waiting),
            dead_letters=len(self._books.outbox) - len(waiting),
            indexable={kind: sum(map(self._is_indexable, self._books.records(kind))) for kind in RecordKind},
            oldest_outbox_at=min(waiting, default=None),
            erasures=len(self._books.erasures),
        )

    def _is_indexable(self, record: Owned) -> bool:
        return is_visible(record) and not self._books.is_archived(record)

    async def count(self, scope: Scope) -> Mapping[RecordKind, int]:
        counts = {kind: len(_admitted(self._books.records(kind), scope)) for kind in RecordKind}
        return counts | {RecordKind.ITEM: sum(scope == Scope(item.namespace) for item in self._books.items.values())}

    async def uids(self, kind: RecordKind, scope: Scope, *, after: UUID | None, limit: int) -> tuple[UUID, ...]:
        admitted = _admitted(self._books.records(kind), scope)
        return tuple(sorted(uid for uid in admitted if after is None or uid > after)[:limit])

    async def existing(self, kind: RecordKind, namespace: str, uids: Sequence[UUID]) -> frozenset[UUID]:
        return frozenset(_admitted(self._books.records(kind), Scope(namespace))) & frozenset(uids)

    async def expired(self, cutoffs: Cutoffs) -> Expired:
        books = self._books
        old, gone = books.archivable(cutoffs.ended_before), books.deletable(cutoffs.archived_before)
        return Expired(
            sessions=len(books.expired_sessions(cutoffs.sessions_idle_since)),
            episodes_to_archive=len(old),
            messages_to_archive=sum(len(books.of_episode(e.id)) for e in old),
            episodes_to_delete=len(gone),
            messages_to_delete=sum(len(books.of_episode(e.id)) for e in gone),
        )

    async def owed_erasures(self, limit: int, *, session: SessionKey | None = None) -> tuple[OwedErasure, ...]:
        erasures = self._books.erasures.items()
        return tuple(OwedErasure(i, e) for i, e in erasures if session is None or e.within(session) is not None)[:limit]


class InMemoryWriter(InMemoryReader, InMemoryItemWrites, LearningWriter):
    """See `EpisodicWriter`."""

    def __init__(self, shared: _Shared) -> None:
        super().__init__(shared)
        self._base = shared.books
        self._view = shared.books.copy()
        self._changes: list[Callable[[Books], object]] = []

    @property
    def _books(self) -> Books:
        if self._base is not self._shared.books:
            self._base, self._view = self._shared.books, self._replayed()
        return self._view

    def _replayed(self) -> Books:
        books = self._shared.books.copy()
        for change in self._changes:
            change(books)
        return books

    def _change(self, change: Callable[[Books], _Answer]) -> _Answer:
        answer = change(self._books)
        self._changes.append(change)
        return answer

    def commit(self) -> None:
        self._shared.books = self._replayed()

    async def lock_checkpoint(self, session: SessionKey) -> Checkpoint | None:
        is_held = self._shared.held.get(session.namespace, self) is not self
        if is_held or self._shared.sessions.setdefault(session, self) is not self:
            return None
        return Checkpoint(session, self._change(lambda books: books.checkpoints.setdefault(session, 0)))

    async def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        self._change(lambda books: books.checkpoints.update({checkpoint.session: checkpoint.sequence}))

    async def insert_messages(self, messages: Sequence[Message], episode_ids: Sequence[UUID]) -> frozenset[UUID]:
        pairs = list(zip(messages, episode_ids, strict=True))
        return self._change(lambda books: books.insert_messages(pairs))

    async def save_episode(self, episode: Episode) -> Episode:
        return self._change(lambda books: books.save_episode(episode))

    async def insert_episode(self, episode: Episode) -> bool:
        def insert(books: Books) -> bool:
            if episode.id in books.episodes:
                return False
            books.save_episode(episode)
            return True

        return self._change(insert)

    async def open_episode(self, session: SessionKey) -> Episode | None:
        is_open = (e for e in self._books.episodes.values() if is_open_conversation(e) and session_of(e) == session)
        return next(is_open, None)

    async def revise_outcome(self, before: Episode, after: Episode, at: datetime, *, call: UUID | None = None) -> None:
        self._change(lambda books: books.revise_outcome(before, after, at, call))

    async def insert_outcomes(self, episode_id: UUID, revisions: Sequence[OutcomeRevision]) -> int:
        return self._change(lambda books: books.insert_outcomes(episode_id, revisions))

    async def hold_records(self, namespace: str, record_id: UUID, *, kind: RecordKind | None) -> tuple[NamedRecord, ...]:
        """Nobody deletes in between here: writers do not wait for each other."""
        kinds = RECALLED_KINDS if kind is None else (kind,)
        records = [(k, r) for k in kinds for r in self._books.records(k) if not isinstance(r, ItemText)]
        named = [(k, r) for k, r in records if r.id == record_id and r.scope.namespace == namespace]
        return tuple(NamedRecord(k, r.uid, r.scope.session_id if k is RecordKind.MESSAGE else None) for k, r in named)

    async def insert_feedback(self, given: Sequence[Feedback]) -> frozenset[UUID]:
        return self._change(lambda books: books.insert_feedback(given))

    async def renew_episode_generation(self, namespace: str) -> None:
        self._change(lambda books: books.renew_generations([namespace]))

    async def recount_episodes(self, episode_ids: Sequence[UUID]) -> None:
        self._change(lambda books: books.recount(episode_ids))

    async def append_steps(
        self, episode_id: UUID, contents: Sequence[Json], at: datetime, *, call: UUID | None = None
    ) -> tuple[EpisodeStep, ...]:
        def append(books: Books) -> tuple[EpisodeStep, ...]:
            if episode_id not in books.episodes:
                raise NotFound("episode", str(episode_id))
            known = books.steps.get(episode_id, ())
            new = tuple(EpisodeStep(index, content, at) for index, content in enumerate(contents, start=len(known)))
            books.steps[episode_id] = known + new
            books.open_extraction(episode_id)
            if call is not None:
                books.steps_of_calls[episode_id, call] = new
            return new

        return self._change(append)

    async def touch_episode(self, episode_id: UUID) -> None:
        self._change(lambda books: books.touch(episode_id))

    async def lock_unscored(self, namespace: str | None, *, after: EpisodePlace | None, limit: int) -> tuple[EpisodePlace, ...]:
        places = unscored_places(self._books.episodes.values(), namespace)
        behind = [p for p in places if after is None or (p.ended_at, p.id) > (after.ended_at, after.id)]
        free = [p for p in behind if self._shared.episodes.get(p.id, self) is self][:limit]
        self._shared.episodes.update(dict.fromkeys((p.id for p in free), self))
        return tuple(free)

    async def claim_episodes(
        self, namespace: str | None, limit: int, *, lease: timedelta, now: datetime, attempted_before: datetime
    ) -> tuple[OutboxEntry, ...]:
        refs = episode_upserts(self._books, namespace, now=now, attempted_before=attempted_before)
        free = [ref for ref in refs if self._shared.claims.get(ref, self) is self][:limit]
        self._shared.claims.update(dict.fromkeys(free, self))
        return self._change(lambda books: tuple(sorted((_claim(books, r, now + lease) for r in free), key=lambda e: e.id)))

    async def steps_of_call(self, episode_id: UUID, call: UUID) -> tuple[EpisodeStep, ...]:
        return self._books.steps_of_calls.get((episode_id, call), ())

    async def save_session(
        self, session: SessionKey, *, state: SessionState | None, last_message_at: datetime | None, now: datetime
    ) -> None:
        def save(books: Books) -> None:
            known = books.sessions.get(session)
            record = known.record if known else SessionRecord(session, SessionState(), now, None, None)
            books.sessions[session] = Archived(_updated(record, state, last_message_at), now)

        self._change(save)

    async def replace_state(
        self, session: SessionKey, state: SessionState, *, expected: int | None, floor: int, now: datetime
    ) -> int:
        def replace_state(books: Books) -> int:
            known = books.sessions.get(session, Archived(SessionRecord(session, SessionState(), now, None, None), now))
            current = known.record.state.version
            if expected not in {None, current}:
                raise VersionMismatch("state", current)
            newer = replace(state, version=max(current, floor) + 1)
            books.sessions[session] = Archived(replace(known.record, state=newer), now)
            return newer.version

        return self._change(replace_state)

    async def end_session(self, session: SessionKey, at: datetime) -> None:
        def end(books: Books) -> None:
            known = books.sessions.get(session, Archived(SessionRecord(session, SessionState(), at, None, None), at))
            ended = replace(known.record, ended_at=known.record.ended_at or at)
            books.sessions[session] = replace(known, record=ended)

        self._change(end)

    async def save_knowledge(self, knowledge: Knowledge) -> Knowledge:
        return self._change(lambda books: books.save_knowledge(knowledge))

    async def add_revision(self, knowledge_id: UUID, cause: Cause, changes: Json, at: datetime) -> Revision:
        def add(books: Books) -> Revision:
            if knowledge_id not in books.knowledge:
                raise NotFound("knowledge", str(knowledge_id))
            known = books.revisions.get(knowledge_id, ())
            revision = Revision(len(known) + 1, at, cause, changes)
            books.revisions[knowledge_id] = (*known, revision)
            return revision

        return self._change(add)

    async def note_call(self, call: UUID, record_id: UUID, at: datetime) -> UUID | None:
        noted = self._books.calls.get(call)
        self._change(lambda books: books.calls.setdefault(call, (at, record_id)))
        return None if noted is None else noted[1]

    async def delete_expired_calls(self, before: datetime, limit: int) -> int:
        def delete(books: Books) -> int:
            expired = sorted((at, call) for call, (at, _) in books.calls.items() if at < before)[:limit]
            for _, call in expired:
                del books.calls[call]
            return len(expired)

        return self._change(delete)

    async def enqueue(self, entries: Sequence[OutboxEntry]) -> None:
        distinct = {(entry.kind, entry.record_uid): entry for entry in entries}
        self._change(lambda books: books.enqueue(distinct.values()))

    async def claim_outbox(self, limit: int, *, lease: timedelta, now: datetime) -> tuple[OutboxEntry, ...]:
        free = [ref for ref in self._books.outbox if self._shared.claims.get(ref, self) is self]
        due = sorted((self._books.outbox[ref] for ref in free if self._books.outbox[ref].is_due(now)), key=lambda q: q.entry.id)
        refs = [(q.entry.kind, q.entry.record_uid) for q in due[:limit]]
        self._shared.claims.update(dict.fromkeys(refs, self))
        return self._change(lambda books: tuple(_claim(books, ref, now + lease) for ref in refs))

    async def claim_records(
        self, kind: RecordKind, uids: Collection[UUID], *, lease: timedelta, now: datetime
    ) -> tuple[OutboxEntry, ...]:
        refs = [(kind, uid) for uid in uids if self._shared.claims.get((kind, uid), self) is self]
        kept = {ref: self._books.outbox[ref] for ref in refs if ref in self._books.outbox}
        free = [ref for ref, queued in kept.items() if queued.state(now) in {OutboxState.DUE, OutboxState.WAITING}]
        self._shared.claims.update(dict.fromkeys(free, self))
        return self._change(lambda books: tuple(_claim(books, ref, now + lease) for ref in free))

    async def complete_outbox(self, entries: Sequence[OutboxEntry]) -> None:
        self._change(lambda books: _finish(books, entries, lambda _: None))

    async def delay_outbox(self, entries: Sequence[OutboxEntry], *, error: str, next_attempt_at: datetime) -> None:
        def give_back(entry: OutboxEntry) -> OutboxEntry:
            return replace(entry, last_error=error, next_attempt_at=next_attempt_at)

        self._change(lambda books: _finish(books, entries, give_back))

    async def release_outbox(
        self, entries: Sequence[OutboxEntry], *, error: str, next_attempt_at: datetime, is_dead: bool
    ) -> None:
        def give_back(entry: OutboxEntry) -> OutboxEntry:
            verdict = replace(entry, last_error=error, next_attempt_at=next_attempt_at, is_dead=is_dead)
            return replace(verdict, failures=entry.failures + 1)

        self._change(lambda books: _finish(books, entries, give_back))

    async def retry_dead(self, ids: Sequence[int] | None, now: datetime, *, namespace: str | None = None) -> int:
        def revive(books: Books) -> int:
            dead = _dead(books, ids, namespace)
            for ref, kept in dead.items():
                entry = replace(kept.entry, is_dead=False, attempts=0, failures=0, next_attempt_at=now)
                books.outbox[ref] = replace(kept, entry=entry)
            return len(dead)

        return self._change(revive)

    async def drop_dead(self, ids: Sequence[int], *, namespace: str | None = None) -> int:
        def drop(books: Books) -> int:
            dead = _dead(books, ids, namespace)
            for ref in dead:
                del books.outbox[ref]
            return len(dead)

        return self._change(drop)

    async def record_run(self, run: RunReport) -> None:
        self._change(lambda books: books.runs.update({run.id: run}))

    async def lock_reconciliation(self) -> Reconciliation | None:
        running = (r for r in self._books.reconciliations.values() if r.state is ReconcileState.RUNNING)
        return next(running, None)

    async def save_reconciliation(self, run: Reconciliation) -> bool:
        return self._change(lambda books: books.save_reconciliation(run))

    async def delete_records(self, kind: RecordKind, namespace: str, uids: Sequence[UUID]) -> int:
        def delete(books: Books) -> int:
            mine = {r.uid for r in books.records(kind) if r.scope.namespace == namespace and r.uid in set(uids)}
            if kind is RecordKind.EPISODE:
                books.delete_messages([uid for uid, filed in books.messages.items() if filed.episode_id in mine])
            if kind is RecordKind.MESSAGE:
                removed, homes = books.delete_messages(mine)
                _mend(books, homes, forgotten=None)
                return removed
            return books.delete(kind, mine)

        return self._change(delete)

    async def forget(self, scope: Scope) -> Mapping[RecordKind, int]:
        return self._change(lambda books: _forget(books, scope))

    async def delete_expired_sessions(self, idle_since: datetime, limit: int) -> int:
        def delete(books: Books) -> int:
            oldest = books.expired_sessions(idle_since)[:limit]
            for key in oldest:
                del books.sessions[key]
            return len(oldest)

        return self._change(delete)

    async def hold_namespace(self, namespace: str) -> None:
        """Here nobody is waited for: whoever drains meanwhile counts as having taken too long."""
        sessions = ((key.namespace, holder) for key, holder in self._shared.sessions.items())
        if any(name == namespace and holder is not self for name, holder in (*sessions, *self._shared.sharers)):
            raise _still_held(namespace)
        self._shared.held[namespace] = self

    async def share_namespace(self, namespace: str) -> None:
        """Nor is anybody waited for here."""
        if self._shared.held.get(namespace, self) is not self:
            raise _still_held(namespace)
        self._shared.sharers.append((namespace, self))

    async def owe_erasure(self, erasure: Erasure) -> None:
        self._change(lambda books: books.owe(erasure))

    async def settle_erasures(self, ids: Sequence[int]) -> None:
        def settle(books: Books) -> None:
            books.erasures = {i: e for i, e in books.erasures.items() if i not in set(ids)}

        self._change(settle)

    async def archive_episodes(self, ended_before: datetime, *, at: datetime, limit: int) -> Taken:
        def archive(books: Books) -> Taken:
            oldest = books.archivable(ended_before)[:limit]
            return Taken(len(oldest), sum([books.archive(episode, at) for episode in oldest]))

        return self._change(archive)

    async def delete_archived(self, archived_before: datetime, *, limit: int) -> Taken:
        def delete(books: Books) -> Taken:
            oldest = {e.id for e in books.deletable(archived_before)[:limit]}
            removed, _ = books.delete_messages([uid for uid, filed in books.messages.items() if filed.episode_id in oldest])
            return Taken(books.delete(RecordKind.EPISODE, oldest), removed)

        return self._change(delete)


def _still_held(namespace: str) -> TierUnavailable:
    return TierUnavailable(Tier.EPISODIC, f"namespace {namespace!r} stayed locked by another worker")


def _stored_hash(record: Owned) -> str | None:
    return record.content_sha256 if isinstance(record, Message | ItemText) else None


def _place(filed: Filed) -> tuple[str, int]:
    return filed.message.session.session_id, filed.message.sequence


def _in_context(message: Message, session: Sequence[Message], *, is_archived: bool) -> MessageInContext:
    place = bisect_left(session, message.sequence, key=lambda m: m.sequence)
    return MessageInContext(message, tuple(session[max(0, place - _NEIGHBOURS) : place]), is_archived)


def _admitted(records: Iterable[Owned], scope: Scope) -> list[UUID]:
    return [record.uid for record in records if scope.admits(record.scope)]


def _page(records: Iterable[_Record], scope: Scope, before: UUID | None, limit: int) -> tuple[_Record, ...]:
    wanted = (r for r in records if scope.admits(r.scope) and (before is None or r.id < before))
    return tuple(sorted(wanted, key=lambda r: r.id, reverse=True)[:limit])


def _is_readable(episode: Episode) -> bool:
    return episode.schema_version <= SCHEMA_VERSION


def _updated(record: SessionRecord, state: SessionState | None, last_message_at: datetime | None) -> SessionRecord:
    if state is not None and state.version >= record.state.version:
        record = replace(record, state=state)
    if last_message_at is not None:
        newest = max(last_message_at, record.last_message_at or last_message_at)
        record = replace(record, last_message_at=newest, ended_at=None)
    return record


def _claim(books: Books, ref: RecordRef, leased_until: datetime) -> OutboxEntry:
    queued = books.outbox[ref]
    entry = replace(queued.entry, attempts=queued.entry.attempts + 1, is_dead=False)
    books.outbox[ref] = replace(queued, entry=entry, leased_until=leased_until)
    return entry


def _dead(books: Books, ids: Sequence[int] | None, namespace: str | None) -> dict[RecordRef, Kept]:
    dead = {ref: kept for ref, kept in books.outbox.items() if kept.entry.is_dead}
    named = {ref: kept for ref, kept in dead.items() if ids is None or kept.entry.id in ids}
    return {ref: kept for ref, kept in named.items() if namespace in {None, kept.entry.namespace}}


def _finish(books: Books, entries: Sequence[OutboxEntry], outcome: Callable[[OutboxEntry], OutboxEntry | None]) -> None:
    """End the leases; `outcome` decides what is left of an entry, unless the worker was overtaken."""
    books.renew_generations({e.namespace for e in entries if e.kind is RecordKind.EPISODE})
    for worked_on in entries:
        ref = (worked_on.kind, worked_on.record_uid)
        queued = books.outbox.get(ref)
        if queued is None or (queued.entry.id, queued.entry.generation) != (worked_on.id, worked_on.generation):
            books.overtaken(worked_on)
        elif (entry := outcome(queued.entry)) is None:
            del books.outbox[ref]
        else:
            books.outbox[ref] = Kept(entry, queued.created_at)


def _forget(books: Books, scope: Scope) -> Mapping[RecordKind, int]:
    if scope.session_id is not None or scope == Scope(scope.namespace):
        _forget_sessions(books, scope)
    books.forget_feedback(scope)
    admitted = _admitted(books.records(RecordKind.MESSAGE), scope)
    homes, removed = books.homes_of(admitted), books.delete(RecordKind.MESSAGE, admitted)
    affected = homes | set(_admitted(books.records(RecordKind.EPISODE), scope))
    known, emptied = len(books.knowledge), _mend(books, affected, forgotten=scope)
    books.delete(RecordKind.KNOWLEDGE, _admitted(books.records(RecordKind.KNOWLEDGE), scope))
    return {
        RecordKind.MESSAGE: removed,
        RecordKind.EPISODE: emptied,
        RecordKind.KNOWLEDGE: known - len(books.knowledge),
        RecordKind.ITEM: books.delete_items([uid for uid, item in books.items.items() if scope == Scope(item.namespace)]),
    }


def _forget_sessions(books: Books, scope: Scope) -> None:
    for key in {*books.sessions, *books.checkpoints}:
        if key.namespace == scope.namespace and scope.session_id in {None, key.session_id}:
            books.sessions.pop(key, None)
            books.checkpoints.pop(key, None)


def _mend(books: Books, episode_ids: Collection[UUID], *, forgotten: Scope | None) -> int:
    removed = books.delete_emptied(episode_ids, forgotten=forgotten)
    books.clear([i for i in episode_ids if i in books.episodes], forgotten=forgotten)
    return removed
