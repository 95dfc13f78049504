"""What the in-memory twin of tier 2 holds, and the changes that keep it consistent. No transactions: see `episodic`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

from app.errors import Conflict, InvalidInput
from app.ports import Erasure, FiledItem, OutboxEntry, OutboxOp, OutboxState, SessionRecord
from app.records import (
    Episode,
    EpisodeKind,
    EpisodeStep,
    Feedback,
    Item,
    ItemText,
    Knowledge,
    Message,
    Origin,
    OutcomeRevision,
    ReconcileState,
    Reconciliation,
    RecordKind,
    Revision,
    RunReport,
    Scope,
    SessionKey,
    first_outcome,
    new_id,
    utc_now,
)
from app.testing.learning import LearningBooks
from app.tokens import estimate_tokens

Owned: TypeAlias = Message | Episode | Knowledge | ItemText
RecordRef: TypeAlias = tuple[RecordKind, UUID]


@dataclass(frozen=True, slots=True)
class Filed:
    """A message and the episode it is part of."""

    message: Message
    episode_id: UUID


@dataclass(frozen=True, slots=True)
class Archived:
    """A session as it is known, and when it last changed."""

    record: SessionRecord
    updated_at: datetime

    @property
    def last_active_at(self) -> datetime:
        return self.record.ended_at or max(self.record.last_message_at or self.updated_at, self.updated_at)


@dataclass(frozen=True, slots=True)
class Kept:
    """An outbox entry with what only the outbox knows of it."""

    entry: OutboxEntry
    created_at: datetime
    leased_until: datetime | None = None

    def is_due(self, now: datetime) -> bool:
        entry = self.entry
        is_time = entry.next_attempt_at is None or entry.next_attempt_at <= now
        is_free = self.leased_until is None or self.leased_until <= now
        return not entry.is_dead and is_time and is_free

    def state(self, now: datetime) -> OutboxState:
        if self.entry.is_dead:
            return OutboxState.DEAD
        if self.leased_until is not None and self.leased_until > now:
            return OutboxState.LEASED
        return OutboxState.DUE if self.is_due(now) else OutboxState.WAITING

    @property
    def due_at(self) -> datetime:
        asked = self.entry.next_attempt_at or self.created_at
        return max(asked, self.leased_until or asked)


@dataclass(slots=True)
class Books:
    """One dictionary a table. Values are frozen, so that a copy of the dictionaries is a copy of everything."""

    messages: dict[UUID, Filed] = field(default_factory=dict)
    episodes: dict[UUID, Episode] = field(default_factory=dict)
    steps: dict[UUID, tuple[EpisodeStep, ...]] = field(default_factory=dict)
    steps_of_calls: dict[tuple[UUID, UUID], tuple[EpisodeStep, ...]] = field(default_factory=dict)
    calls: dict[UUID, tuple[datetime, UUID]] = field(default_factory=dict)
    knowledge: dict[UUID, Knowledge] = field(default_factory=dict)
    outcomes: dict[UUID, tuple[OutcomeRevision, ...]] = field(default_factory=dict)
    feedback: dict[UUID, Feedback] = field(default_factory=dict)
    generations: dict[str, UUID] = field(default_factory=dict)
    revisions: dict[UUID, tuple[Revision, ...]] = field(default_factory=dict)
    sessions: dict[SessionKey, Archived] = field(default_factory=dict)
    checkpoints: dict[SessionKey, int] = field(default_factory=dict)
    runs: dict[UUID, RunReport] = field(default_factory=dict)
    outbox: dict[RecordRef, Kept] = field(default_factory=dict)
    erasures: dict[int, Erasure] = field(default_factory=dict)
    reconciliations: dict[UUID, Reconciliation] = field(default_factory=dict)
    items: dict[UUID, Item] = field(default_factory=dict)
    item_texts: dict[UUID, ItemText] = field(default_factory=dict)
    learning: LearningBooks = field(default_factory=LearningBooks)
    last_outbox_id: int = 0
    last_erasure_id: int = 0

    def copy(self) -> Books:
        return Books(
            messages=dict(self.messages),
            episodes=dict(self.episodes),
            steps=dict(self.steps),
            steps_of_calls=dict(self.steps_of_calls),
            calls=dict(self.calls),
            knowledge=dict(self.knowledge),
            outcomes=dict(self.outcomes),
            feedback=dict(self.feedback),
            generations=dict(self.generations),
            revisions=dict(self.revisions),
            sessions=dict(self.sessions),
            checkpoints=dict(self.checkpoints),
            runs=dict(self.runs),
            outbox=dict(self.outbox),
            erasures=dict(self.erasures),
            reconciliations=dict(self.reconciliations),
            items=dict(self.items),
            item_texts=dict(self.item_texts),
            learning=self.learning.copy(),
            last_outbox_id=self.last_outbox_id,
            last_erasure_id=self.last_erasure_id,
        )

    def of_session(self, session: SessionKey) -> list[Message]:
        """By rising sequence."""
        found = (f.message for f in self.messages.values() if f.message.session == session)
        return sorted(found, key=lambda m: m.sequence)

    def of_episode(self, episode_id: UUID) -> list[Message]:
        """By rising sequence."""
        found = (f.message for f in self.messages.values() if f.episode_id == episode_id)
        return sorted(found, key=lambda m: m.sequence)

    def records(self, kind: RecordKind) -> Iterable[Owned]:
        if kind is RecordKind.MESSAGE:
            return (filed.message for filed in self.messages.values())
        if kind is RecordKind.ITEM:
            return self.item_texts.values()
        return self.episodes.values() if kind is RecordKind.EPISODE else self.knowledge.values()

    def insert_messages(self, filed: Iterable[tuple[Message, UUID]]) -> frozenset[UUID]:
        """File those that are not there yet; returns their uids."""
        taken = {(f.message.session, f.message.sequence) for f in self.messages.values()}
        new: set[UUID] = set()
        for message, episode_id in filed:
            if message.uid in self.messages:
                continue
            self._refuse_unfit(message, episode_id, taken)
            taken.add((message.session, message.sequence))
            self.messages[message.uid] = Filed(message, episode_id)
            new.add(message.uid)
        return frozenset(new)

    def _refuse_unfit(self, message: Message, episode_id: UUID, taken: Collection[tuple[SessionKey, int]]) -> None:
        if message.sequence < 1:
            raise InvalidInput("sequence", "counts from 1")
        if episode_id not in self.episodes:
            raise Conflict("episode_id", "no such episode")
        if (message.session, message.sequence) in taken:
            raise Conflict("sequence", f"{message.sequence} is taken")

    def save_episode(self, episode: Episode) -> Episode:
        known = self.episodes.get(episode.id)
        _refuse_other_namespace(known, episode)
        _refuse_unless_share(quality=episode.quality, outcome_quality=episode.outcome_quality)
        others = (e for e in self.episodes.values() if e.id != episode.id and is_open_conversation(e))
        if is_open_conversation(episode) and any(session_of(e) == session_of(episode) for e in others):
            raise Conflict("session_id", "the session has an open episode")
        self.episodes[episode.id] = replace(episode, version=known.version + 1) if known else episode
        self.open_extraction(episode.id)
        return self.episodes[episode.id]

    def touch(self, episode_id: UUID) -> None:
        if (known := self.episodes.get(episode_id)) is not None:
            self.episodes[episode_id] = replace(known, version=known.version + 1)

    def open_extraction(self, episode_id: UUID) -> None:
        """Make the episode due to be learned from, if there is something to learn."""
        self.learning.open(self.episodes[episode_id], has_steps=bool(self.steps.get(episode_id)))

    def save_knowledge(self, knowledge: Knowledge) -> Knowledge:
        known = self.knowledge.get(knowledge.id)
        _refuse_other_namespace(known, knowledge)
        _refuse_unless_share(confidence=knowledge.confidence)
        saved = replace(knowledge, version=known.version + 1) if known else knowledge
        self.knowledge[knowledge.id] = replace(saved, created_at=known.created_at) if known else saved
        return saved

    def chain(self, namespace: str, knowledge_id: UUID, limit: int) -> tuple[Knowledge, ...]:
        """A piece between those that it supersedes and those that supersede it, oldest first."""
        mine = {k.id: k for k in self.knowledge.values() if k.scope.namespace == namespace}
        if knowledge_id not in mine:
            return ()
        older = _followed({k.id: k.supersedes for k in mine.values()}, knowledge_id, limit)
        newer = _followed({k.id: k.superseded_by for k in mine.values()}, knowledge_id, limit)
        ids = dict.fromkeys([*reversed(older), knowledge_id, *newer])
        return tuple(mine[i] for i in ids)

    def enqueue(self, entries: Iterable[OutboxEntry]) -> None:
        for entry in entries:
            ref = (entry.kind, entry.record_uid)
            self.outbox[ref] = self._renewed(self.outbox[ref], entry) if ref in self.outbox else self._opened(entry)

    def revise_outcome(self, before: Episode, after: Episode, at: datetime, call: UUID | None) -> None:
        if (before.outcome, before.outcome_quality) != (after.outcome, after.outcome_quality):
            known = self.outcomes.get(before.id) or first_outcome(before)
            revision = OutcomeRevision(len(known), after.outcome, after.outcome_quality, at, call)
            self.outcomes[before.id] = (*known, revision)

    def insert_outcomes(self, episode_id: UUID, revisions: Iterable[OutcomeRevision]) -> int:
        known = {r.index: r for r in self.outcomes.get(episode_id, ())}
        new = {r.index: r for r in revisions if r.index not in known}
        self.outcomes[episode_id] = tuple(sorted((known | new).values(), key=lambda r: r.index))
        return len(new)

    def insert_feedback(self, given: Iterable[Feedback]) -> frozenset[UUID]:
        new = {f.id: f for f in given if f.id not in self.feedback}
        for one in new.values():
            if one.record_uid not in {record.uid for record in self.records(one.kind)}:
                raise Conflict("record_id", "the record is not there")
        self.feedback |= new
        return frozenset(new)

    def forget_feedback(self, scope: Scope) -> None:
        gone = [f for f in self.feedback.values() if scope.admits(f.scope)]
        self.feedback = {i: f for i, f in self.feedback.items() if f not in gone}
        self.enqueue([OutboxEntry(OutboxOp.UPSERT, f.kind, f.scope.namespace, f.record_uid) for f in gone])

    def renew_generations(self, namespaces: Iterable[str]) -> None:
        self.generations |= {namespace: new_id() for namespace in namespaces}

    def overtaken(self, entry: OutboxEntry) -> None:
        """Open the record's entry again for whoever lost it, and so that nobody else who is at work ticks it off."""
        ref = (entry.kind, entry.record_uid)
        kept = self.outbox.get(ref) or self._opened(replace(entry, op=OutboxOp.UPSERT))
        generation = kept.entry.generation + (kept.entry.attempts > 0)
        self.outbox[ref] = Kept(replace(kept.entry, generation=generation), kept.created_at)

    def _opened(self, entry: OutboxEntry) -> Kept:
        self.last_outbox_id += 1
        return Kept(_fresh(entry, self.last_outbox_id, generation=1), utc_now())

    def _renewed(self, known: Kept, entry: OutboxEntry) -> Kept:
        return replace(known, entry=_fresh(entry, known.entry.id, generation=known.entry.generation + 1))

    def owe(self, erasure: Erasure) -> None:
        self.last_erasure_id += 1
        self.erasures[self.last_erasure_id] = erasure

    def is_archived(self, record: Owned) -> bool:
        """Whether the record is an episode in the archive, or a message of one."""
        if isinstance(record, Message):
            record = self.episodes[self.messages[record.uid].episode_id]
        return isinstance(record, Episode) and record.archived_at is not None

    def archivable(self, ended_before: datetime | None) -> list[Episode]:
        """The oldest first."""
        in_sight = (e for e in self.episodes.values() if not (e.archived_at or e.is_open or e.pinned))
        old = (e for e in in_sight if ended_before is not None and e.ended_at < ended_before)
        return sorted(old, key=lambda e: (e.ended_at, e.id))

    def deletable(self, archived_before: datetime | None) -> list[Episode]:
        """The oldest first."""
        archived = [(e.archived_at, e) for e in self.episodes.values() if e.archived_at is not None and not e.pinned]
        old = [(at, e.id, e) for at, e in archived if archived_before is not None and at < archived_before]
        return [e for *_, e in sorted(old, key=lambda found: found[:2])]

    def expired_sessions(self, idle_since: datetime | None) -> list[SessionKey]:
        """The oldest first."""
        expired = [key for key, s in self.sessions.items() if idle_since is not None and s.last_active_at < idle_since]
        return sorted(expired, key=lambda key: self.sessions[key].last_active_at)

    def archive(self, episode: Episode, at: datetime) -> int:
        """Take an episode out of sight; returns how many messages went with it."""
        self.episodes[episode.id] = replace(episode, archived_at=at, version=episode.version + 1)
        messages = self.of_episode(episode.id)
        gone = [(RecordKind.EPISODE, episode.uid), *((RecordKind.MESSAGE, m.uid) for m in messages)]
        self.enqueue([OutboxEntry(OutboxOp.DELETE, kind, episode.scope.namespace, uid) for kind, uid in gone])
        return len(messages)

    def save_reconciliation(self, run: Reconciliation) -> bool:
        known = self.reconciliations.get(run.id, run)
        if known.generation > run.generation:
            return False
        others = (r for r in self.reconciliations.values() if r.id != run.id and r.state is ReconcileState.RUNNING)
        if run.state is ReconcileState.RUNNING and any(others):
            raise Conflict("state", "another one is running")
        self.reconciliations[run.id] = run
        return True

    def delete(self, kind: RecordKind, uids: Collection[UUID]) -> int:
        """Remove records and queue their deletion from the index."""
        tables: Mapping[RecordKind, dict[UUID, Filed] | dict[UUID, Episode] | dict[UUID, Knowledge] | dict[UUID, ItemText]] = {
            RecordKind.MESSAGE: self.messages,
            RecordKind.EPISODE: self.episodes,
            RecordKind.KNOWLEDGE: self.knowledge,
            RecordKind.ITEM: self.item_texts,
        }
        going = [r for r in self.records(kind) if r.uid in set(uids)]
        namespaces = {r.uid: r.scope.namespace for r in going}
        if kind is RecordKind.EPISODE:
            self.unlearn([record for record in going if isinstance(record, Episode)])
        for uid, namespace in namespaces.items():
            del tables[kind][uid]
            self.steps.pop(uid, None)
            self.revisions.pop(uid, None)
            self.steps_of_calls = {key: steps for key, steps in self.steps_of_calls.items() if key[0] != uid}
            self.outcomes.pop(uid, None)
            self.feedback = {i: f for i, f in self.feedback.items() if (f.kind, f.record_uid) != (kind, uid)}
            self.enqueue([OutboxEntry(OutboxOp.DELETE, kind, namespace, uid)])
        return len(namespaces)

    def unlearn(self, going: Collection[Episode]) -> None:
        """Take back what these episodes taught: they are about to be deleted or emptied."""
        ids = {episode.id for episode in going}
        learned = (k for k in self.knowledge.values() if k.origin is Origin.LEARNED)
        evidence = {k.id: {*k.supporting_episodes, *k.contradicting_episodes} for k in learned}
        forgotten = {knowledge_id for knowledge_id, held in evidence.items() if held and held <= ids}
        due: set[UUID] = set()
        for episode in going:
            gone, again = self.learning.unlearn(episode)
            forgotten |= set(gone)
            due |= again
        if forgotten:
            self.delete(RecordKind.KNOWLEDGE, forgotten)
        for episode_id in due - ids:
            self.open_extraction(episode_id)

    def delete_messages(self, uids: Collection[UUID]) -> tuple[int, set[UUID]]:
        """How many there were, and the episodes they were part of. The buffers are owed their erasure."""
        going = [filed.message for uid, filed in self.messages.items() if uid in set(uids)]
        for session in {m.session for m in going}:
            ids = tuple(m.id for m in going if m.session == session)
            self.owe(Erasure(Scope(session.namespace, session_id=session.session_id), utc_now(), ids))
        homes = self.homes_of(uids)
        return self.delete(RecordKind.MESSAGE, uids), homes

    def homes_of(self, uids: Collection[UUID]) -> set[UUID]:
        """The episodes that these messages are part of."""
        return {filed.episode_id for uid, filed in self.messages.items() if uid in set(uids)}

    def texts_of_item(self, item_uid: UUID) -> list[ItemText]:
        found = (text for text in self.item_texts.values() if text.item_uid == item_uid)
        return sorted(found, key=lambda text: (text.field, text.element))

    def save_items(self, filed: Iterable[FiledItem]) -> None:
        for each in filed:
            self._save_item(each)

    def _save_item(self, filed: FiledItem) -> None:
        """Save an item with its texts; those that changed are queued for the index."""
        item = filed.item
        known = self.items.get(item.uid)
        is_same = known is not None and not known.is_expired(item.updated_at)
        self.items[item.uid] = replace(item, created_at=known.created_at) if known and is_same else item
        kept = {text.uid: text for text in filed.texts}
        self.delete(RecordKind.ITEM, [text.uid for text in self.texts_of_item(item.uid) if text.uid not in kept])
        changed = [uid for uid, text in kept.items() if uid not in self.item_texts or self.item_texts[uid].text != text.text]
        self.item_texts.update(kept)
        self.enqueue([OutboxEntry(OutboxOp.UPSERT, RecordKind.ITEM, item.namespace, uid) for uid in changed])

    def delete_items(self, uids: Collection[UUID]) -> int:
        going = [uid for uid in uids if uid in self.items]
        for uid in going:
            self.delete(RecordKind.ITEM, [text.uid for text in self.texts_of_item(uid)])
            del self.items[uid]
        return len(going)

    def refresh_items(self, uids: Collection[UUID], now: datetime) -> None:
        for uid in uids:
            item = self.items.get(uid)
            if item is not None and item.ttl is not None and not item.is_expired(now):
                self.items[uid] = replace(item, expires_at=now + item.ttl)

    def delete_emptied(self, episode_ids: Collection[UUID], *, forgotten: Scope | None) -> int:
        """Delete those of these episodes that hold no messages and were conversations or are forgotten."""
        empty = [self.episodes[i] for i in episode_ids if not self.of_episode(i)]
        going = [e.id for e in empty if e.kind is EpisodeKind.CONVERSATION or (forgotten and forgotten.admits(e.scope))]
        return self.delete(RecordKind.EPISODE, going)

    def recount(self, episode_ids: Collection[UUID]) -> None:
        """Count these episodes anew by the messages they hold."""
        for episode_id in episode_ids:
            if left := self.of_episode(episode_id):
                self.episodes[episode_id] = _recounted(self.episodes[episode_id], left)

    def clear(self, episode_ids: Collection[UUID], *, forgotten: Scope | None) -> None:
        """Count these episodes anew and empty what was made from messages that are gone."""
        for episode_id in episode_ids:
            left = self.of_episode(episode_id)
            if not left:
                continue
            self.unlearn([self.episodes[episode_id]])
            episode = _cleared(self.episodes[episode_id], left, forgotten)
            self.episodes[episode_id] = episode
            self.open_extraction(episode_id)
            if not episode.is_open:
                self.enqueue([OutboxEntry(OutboxOp.UPSERT, RecordKind.EPISODE, episode.scope.namespace, episode_id)])


def _followed(links: Mapping[UUID, UUID | None], start: UUID, limit: int) -> list[UUID]:
    """What one comes to from `start`, not going round in circles."""
    found: list[UUID] = []
    following = links[start]
    while following is not None and following in links and following not in {start, *found} and len(found) < limit:
        found.append(following)
        following = links[following]
    return found


def _recounted(episode: Episode, left: list[Message]) -> Episode:
    return replace(
        episode,
        message_count=len(left),
        token_count=sum(estimate_tokens(m.content) for m in left),
        first_sequence=left[0].sequence,
        last_sequence=left[-1].sequence,
        started_at=min(m.created_at for m in left),
        ended_at=max(m.created_at for m in left),
    )


def is_open_conversation(episode: Episode) -> bool:
    return episode.is_open and episode.kind is EpisodeKind.CONVERSATION


def session_of(episode: Episode) -> SessionKey:
    return SessionKey(episode.scope.namespace, episode.scope.session_id or "")


def _fresh(entry: OutboxEntry, entry_id: int, *, generation: int) -> OutboxEntry:
    return replace(entry, id=entry_id, generation=generation, attempts=0, failures=0, last_error=None, is_dead=False)


def _cleared(episode: Episode, left: list[Message], forgotten: Scope | None) -> Episode:
    scope = _without_owner(episode.scope, forgotten) if forgotten else episode.scope
    cleared = replace(_recounted(episode, left), scope=scope, perception={}, reasoning={}, action={}, summary="")
    return replace(cleared, version=episode.version + 1)


def _without_owner(scope: Scope, forgotten: Scope) -> Scope:
    return replace(
        scope,
        user_id=None if scope.user_id == forgotten.user_id else scope.user_id,
        agent_id=None if scope.agent_id == forgotten.agent_id else scope.agent_id,
        project_id=None if scope.project_id == forgotten.project_id else scope.project_id,
    )


def _refuse_other_namespace(known: Owned | None, new: Owned) -> None:
    if known is not None and known.scope.namespace != new.scope.namespace:
        raise Conflict("id", "taken by another namespace")


def _refuse_unless_share(**shares: float | None) -> None:
    for name, value in shares.items():
        if value is not None and not 0 <= value <= 1:
            raise InvalidInput(name, "outside [0, 1]")
