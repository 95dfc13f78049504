"""Tier 2: what the episodic memory promises, to readers and in a transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from app.ports.engines import Pingable
from app.ports.filed import (
    Checkpoint,
    Cutoffs,
    EpisodePlace,
    Expired,
    FiledMessage,
    Indexable,
    MessageInContext,
    NamedRecord,
    SessionRecord,
    StepsHeld,
    StoreStatus,
    Taken,
)
from app.ports.items import ItemReader, ItemWriter
from app.ports.outbox import OutboxEntry, OutboxQuery, Queued
from app.ports.patterns import PatternReader, PatternWriter
from app.ports.working import Erasure, OwedErasure
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


class EpisodicReader(ItemReader, PatternReader, Protocol):
    """A read session: writes nothing; each call sees one snapshot, two calls may see two."""

    async def history(self, session: SessionKey, *, after: int, limit: int) -> tuple[Message, ...]:
        """Messages with a sequence above `after`, by rising sequence, at most `limit`."""
        ...

    async def recent(self, session: SessionKey, limit: int) -> tuple[Message, ...]:
        """The newest `limit` messages by rising sequence."""
        ...

    async def last_sequence(self, session: SessionKey) -> int:
        """0 when the session has no message here."""
        ...

    async def messages_by_id(self, session: SessionKey, ids: Sequence[UUID]) -> Mapping[UUID, Message]: ...

    async def messages_in_context(self, uids: Sequence[UUID]) -> tuple[MessageInContext, ...]:
        """The messages with these uids that still exist, each with the two before it. Any order."""
        ...

    async def episodes_of(self, uids: Sequence[UUID]) -> Mapping[UUID, UUID]:
        """The episode each of these messages (by `uid`) belongs to; unknown ones are left out."""
        ...

    async def search_text(self, query: Query) -> tuple[Hit, ...]:
        """Full-text search in the query's scope, kinds, filter and validity, best first; `components` = {"text": rank}."""
        ...

    async def session(self, session: SessionKey) -> SessionRecord | None: ...

    async def list_sessions(self, namespace: str, *, after: str, limit: int) -> tuple[SessionRecord, ...]:
        """By session id; `after` is the last one of the page before, "" for the first page."""
        ...

    async def list_messages(self, namespace: str, *, after: tuple[str, int], limit: int) -> tuple[FiledMessage, ...]:
        """A namespace's messages, session by session, each session by rising sequence.

        `after` is (session id, sequence) of the last one of the page before, ("", 0) for the first page.
        """
        ...

    async def episode(self, namespace: str, episode_id: UUID) -> Episode | None: ...

    async def episodes_by_uid(self, uids: Sequence[UUID]) -> tuple[Episode, ...]: ...

    async def list_episodes(
        self, scope: Scope, *, kind: EpisodeKind | None, before: UUID | None, limit: int, archived: bool | None = False
    ) -> tuple[Episode, ...]:
        """Newest first (by id, which sorts by time); `before` is the last id of the page before.

        `archived` asks for those that are not in the archive, for those that are, or (None) for both.
        """
        ...

    async def list_episodes_without_outcome(
        self, scope: Scope, *, ended_before: datetime | None, kind: EpisodeKind | None, before: UUID | None, limit: int
    ) -> tuple[Episode, ...]:
        """Closed episodes, not in the archive, of which no outcome is known; newest first, paged as `list_episodes`.

        Conversations are among them only if they are asked for by `kind`.
        """
        ...

    async def episode_messages(self, episode_id: UUID) -> tuple[Message, ...]: ...

    async def steps(self, episode_id: UUID, *, after: int, limit: int) -> tuple[EpisodeStep, ...]:
        """Steps with an index above `after` (-1 for the first page), by rising index."""
        ...

    async def steps_held(self, episode_id: UUID) -> StepsHeld:
        """Nothing for an episode that is not there."""
        ...

    async def count_quality(self, namespace: str | None, *, threshold: float) -> tuple[QualityCounts, ...]:
        """The closed episodes of a namespace or of all, project by project (None first); conversations do not count."""
        ...

    async def backfill_pending(self, namespace: str | None) -> BackfillPending:
        """Closed episodes without a quality that are no conversations, and episodes with an entry to be upserted."""
        ...

    async def outcomes(self, episode_id: UUID, *, after: int, limit: int) -> tuple[OutcomeRevision, ...]:
        """Revisions with an index above `after` (-1 for the first page), by rising index; none before the first revision."""
        ...

    async def standings(self, uids: Sequence[UUID], as_of: datetime) -> Mapping[UUID, Standing]:
        """What was said about each of these records, as `app.standing` adds it up; those without a standing are left out."""
        ...

    async def feedback(self, namespace: str, feedback_id: UUID) -> Feedback | None: ...

    async def list_feedback(self, namespace: str, *, after: UUID | None, limit: int) -> tuple[Feedback, ...]:
        """By rising id from after `after` on. Fewer than `limit` are the last."""
        ...

    async def episode_generation(self, namespace: str) -> UUID | None:
        """Another one after each change of what the namespace's episodes are found by; None before the first.

        Renewed when an episode's outbox entry is given back (completed, delayed or released: its point may have changed), and
        by `renew_episode_generation`.
        """
        ...

    async def knowledge(self, namespace: str, knowledge_id: UUID) -> Knowledge | None: ...

    async def knowledge_by_uid(self, uids: Sequence[UUID]) -> tuple[Knowledge, ...]: ...

    async def list_knowledge(
        self, scope: Scope, *, kind: KnowledgeKind | None, before: UUID | None, limit: int,
        criteria: KnowledgeCriteria = ANY_KNOWLEDGE,
    ) -> tuple[Knowledge, ...]:  # fmt: skip
        """Newest first like `list_episodes`: of the kind, and what the criteria admit."""
        ...

    async def knowledge_chain(self, namespace: str, knowledge_id: UUID, limit: int) -> tuple[Knowledge, ...]:
        """The piece with what it supersedes and what supersedes it, directly or not, oldest first, at most `limit` each way.

        Empty when the namespace has no such piece.
        """
        ...

    async def revisions(self, knowledge_id: UUID, *, after: int, limit: int) -> tuple[Revision, ...]:
        """Those with a number above `after` (0 for the first page), by rising number."""
        ...

    async def open_episodes(self, *, idle_since: datetime | None, limit: int) -> tuple[Episode, ...]:
        """Open conversation episodes whose last message is older than `idle_since` (all when None), oldest first."""
        ...

    async def indexed_through(self, sessions: Sequence[SessionKey]) -> Mapping[SessionKey, int]:
        """For each session the sequence up to which no message has an open outbox entry (dead letters do not count)."""
        ...

    async def open_entries(self, uids: Sequence[UUID]) -> int:
        """How many of these records still have an outbox entry that is not dead."""
        ...

    async def dead_letters(self, uids: Sequence[UUID]) -> int:
        """How many of these records were given up on."""
        ...

    async def owed_deletions(self, kind: RecordKind, namespace: str, limit: int) -> tuple[UUID, ...]:
        """The records of the namespace whose points the index has yet to lose, those deleted last first."""
        ...

    async def list_outbox(self, query: OutboxQuery, *, now: datetime) -> tuple[Queued, ...]: ...

    async def outbox_entries(self, uids: Sequence[UUID]) -> tuple[OutboxEntry, ...]:
        """The entries of these records, dead ones too. Any order."""
        ...

    async def scroll_indexable(self, *, after: UUID | None, limit: int, namespace: str | None) -> tuple[Indexable, ...]:
        """The next records that belong into the index, of all kinds, by rising uid from after `after` on.

        Fewer than `limit` are the last. With `namespace` only its own.
        """
        ...

    async def indexable(self, uids: Sequence[UUID]) -> tuple[Indexable, ...]:
        """Those of these records that exist and belong into the index. Any order."""
        ...

    async def reconciliations(self, limit: int) -> tuple[Reconciliation, ...]:
        """The newest comparisons with the index, newest first."""
        ...

    async def next_outbox_at(self) -> datetime | None:
        """When the earliest entry that is not dead becomes due; None when there is none."""
        ...

    async def runs(self, limit: int) -> tuple[RunReport, ...]:
        """The newest consolidation runs, newest first."""
        ...

    async def status(self) -> StoreStatus: ...

    async def count(self, scope: Scope) -> Mapping[RecordKind, int]:
        """How many records of each kind `scope` admits."""
        ...

    async def uids(self, kind: RecordKind, scope: Scope, *, after: UUID | None, limit: int) -> tuple[UUID, ...]:
        """The records that `scope` admits, by rising uid above `after`, at most `limit`."""
        ...

    async def existing(self, kind: RecordKind, namespace: str, uids: Sequence[UUID]) -> frozenset[UUID]:
        """Those of these records that have a row in the namespace, whether or not this release can read it."""
        ...

    async def expired(self, cutoffs: Cutoffs) -> Expired:
        """What retention would take; pinned and open episodes are not among it."""
        ...

    async def owed_erasures(self, limit: int, *, session: SessionKey | None = None) -> tuple[OwedErasure, ...]:
        """Erasures still owed to the buffers, oldest first: all, or those that concern one session."""
        ...


class EpisodicWriter(EpisodicReader, ItemWriter, PatternWriter, Protocol):
    """A write session: everything done in it is committed together when its context ends without an error.

    An episode that is saved, or gets steps, becomes due to be learned from (see `Extraction`).
    """

    async def lock_checkpoint(self, session: SessionKey) -> Checkpoint | None:
        """Lock the session's checkpoint until the transaction ends (making it, at 0, if it is new).

        None when another worker holds it: skip the session, do not wait.
        """
        ...

    async def save_checkpoint(self, checkpoint: Checkpoint) -> None: ...

    async def insert_messages(self, messages: Sequence[Message], episode_ids: Sequence[UUID]) -> frozenset[UUID]:
        """Insert each message into the episode of the same position; one statement for the whole batch.

        A message whose `uid` is there already is left as it is. Returns the uids that were new.
        """
        ...

    async def episode(self, namespace: str, episode_id: UUID) -> Episode | None:
        """As a reader sees it; nobody else changes or deletes it until the transaction ends."""
        ...

    async def save_episode(self, episode: Episode) -> Episode:
        """Insert, or replace all but `created_at` of an episode with this id, which raises its version by one.

        Returns the episode with the version it has now.
        """
        ...

    async def insert_episode(self, episode: Episode) -> bool:
        """Insert; False when the id is taken, in whatever namespace, and the episode there is left as it is."""
        ...

    async def open_episode(self, session: SessionKey) -> Episode | None:
        """The session's open conversation episode; there is at most one. Locked like `episode`."""
        ...

    async def append_steps(
        self, episode_id: UUID, contents: Sequence[Json], at: datetime, *, call: UUID | None = None
    ) -> tuple[EpisodeStep, ...]:
        """Number the new steps on from the last one. `call` names the call that brings them."""
        ...

    async def touch_episode(self, episode_id: UUID) -> None:
        """Raise its version by one: something that is part of it changed."""
        ...

    async def lock_unscored(self, namespace: str | None, *, after: EpisodePlace | None, limit: int) -> tuple[EpisodePlace, ...]:
        """Closed episodes without a quality behind `after`, those that ended first before the others, no conversations.

        Nobody else changes them until the transaction ends; those that somebody holds are left to them.
        """
        ...

    async def claim_episodes(
        self, namespace: str | None, limit: int, *, lease: timedelta, now: datetime, attempted_before: datetime
    ) -> tuple[OutboxEntry, ...]:
        """Like `claim_outbox`, for upserts of episodes alone, dead letters among them, oldest and best first.

        By the day on which they ended (UTC), within a day by falling quality. What waits for an attempt after
        `attempted_before` is not claimed.
        """
        ...

    async def steps_of_call(self, episode_id: UUID, call: UUID) -> tuple[EpisodeStep, ...]:
        """The steps that this call brought, by rising index."""
        ...

    async def revise_outcome(self, before: Episode, after: Episode, at: datetime, *, call: UUID | None = None) -> None:
        """Note that the outcome of `before` was replaced by that of `after`, unless it is the same.

        The first revision begins the history with `first_outcome`.
        """
        ...

    async def insert_outcomes(self, episode_id: UUID, revisions: Sequence[OutcomeRevision]) -> int:
        """Put in these revisions under their own indexes, but for those that are taken; returns how many were new."""
        ...

    async def hold_records(self, namespace: str, record_id: UUID, *, kind: RecordKind | None) -> tuple[NamedRecord, ...]:
        """The records of this name (of that kind); several if more than one session has a message of this id.

        Nobody deletes them until the transaction ends.
        """
        ...

    async def insert_feedback(self, given: Sequence[Feedback]) -> frozenset[UUID]:
        """Insert, but for what is there by its id; returns the ids that were new. It goes when its record goes.

        Raises:
            Conflict: a record is not there.
        """
        ...

    async def renew_episode_generation(self, namespace: str) -> None:
        """See `episode_generation`."""
        ...

    async def recount_episodes(self, episode_ids: Sequence[UUID]) -> None:
        """Bring counts, sequences and times of those that hold messages into line with them."""
        ...

    async def save_session(
        self, session: SessionKey, *, state: SessionState | None, last_message_at: datetime | None, now: datetime
    ) -> None:
        """Insert or update; None leaves what is there. A session that gets messages again is no longer ended.

        A state of a lower version than the stored one's does not replace it.
        """
        ...

    async def replace_state(
        self, session: SessionKey, state: SessionState, *, expected: int | None, floor: int, now: datetime
    ) -> int:
        """Save a state as the version after the stored one or `floor`, whichever is higher; returns that version.

        Raises:
            VersionMismatch: the stored state is not at version `expected`; nothing was written.
        """
        ...

    async def end_session(self, session: SessionKey, at: datetime) -> None: ...

    async def knowledge(self, namespace: str, knowledge_id: UUID) -> Knowledge | None:
        """As a reader sees it; nobody else changes or deletes it until the transaction ends."""
        ...

    async def save_knowledge(self, knowledge: Knowledge) -> Knowledge:
        """Insert, or replace all but `created_at`; raises the version and returns it as `save_episode` does."""
        ...

    async def add_revision(self, knowledge_id: UUID, cause: Cause, changes: Json, at: datetime) -> Revision:
        """Number on from the last one. Revisions go when their piece of knowledge does.

        Raises:
            NotFound: there is no such knowledge.
        """
        ...

    async def note_call(self, call: UUID, record_id: UUID, at: datetime) -> UUID | None:
        """Note that this transaction carries out the call, on this record.

        Returns None; or, when the call was carried out before, the id of the record that it was carried out on. Waits
        for a transaction that carries out the same call right now.
        """
        ...

    async def delete_expired_calls(self, before: datetime, limit: int) -> int:
        """Drop the notes of calls carried out before then, the oldest first; returns how many."""
        ...

    async def enqueue(self, entries: Sequence[OutboxEntry]) -> None:
        """Open an outbox entry for each record, or renew the open one (see `OutboxEntry`)."""
        ...

    async def claim_outbox(self, limit: int, *, lease: timedelta, now: datetime) -> tuple[OutboxEntry, ...]:
        """Take up to `limit` due entries (not dead, not leased), oldest first, with SKIP LOCKED, and lease them.

        `now` decides what is due. A claim counts as an attempt: `attempts` is already raised in what is returned.
        """
        ...

    async def claim_records(
        self, kind: RecordKind, uids: Collection[UUID], *, lease: timedelta, now: datetime
    ) -> tuple[OutboxEntry, ...]:
        """Like `claim_outbox`, but the entries of these records alone, whether or not their next attempt is due."""
        ...

    async def complete_outbox(self, entries: Sequence[OutboxEntry]) -> None:
        """Remove these entries, except those whose generation has moved on: they are due at once.

        So is an entry that another worker removed meanwhile: the caller, whose lease had run out, may have been the
        last to write to the index, and perhaps not the truth.
        """
        ...

    async def delay_outbox(self, entries: Sequence[OutboxEntry], *, error: str, next_attempt_at: datetime) -> None:
        """Give entries back that an outage stopped: tried again at `next_attempt_at`, and nothing held against them."""
        ...

    async def release_outbox(
        self, entries: Sequence[OutboxEntry], *, error: str, next_attempt_at: datetime, is_dead: bool
    ) -> None:
        """Give entries back that failed on their own account: tried again at `next_attempt_at`, or as dead letters.

        Entries that are no longer the caller's are treated as in `complete_outbox`.
        """
        ...

    async def retry_dead(self, ids: Sequence[int] | None, now: datetime, *, namespace: str | None = None) -> int:
        """Make dead letters (all, or these; of one namespace or all) due at once, attempts and failures forgotten.

        Returns how many.
        """
        ...

    async def drop_dead(self, ids: Sequence[int], *, namespace: str | None = None) -> int:
        """Remove these dead letters (of one namespace, or whichever); returns how many. The records stay as they are."""
        ...

    async def record_run(self, run: RunReport) -> None: ...

    async def lock_reconciliation(self) -> Reconciliation | None:
        """The one that is running, if there is one; nobody else takes it until the transaction ends."""
        ...

    async def save_reconciliation(self, run: Reconciliation) -> bool:
        """Insert, or replace; False, and nothing is changed, if the run was taken up by somebody else meanwhile.

        Raises:
            Conflict: another one is running.
        """
        ...

    async def delete_records(self, kind: RecordKind, namespace: str, uids: Sequence[UUID]) -> int:
        """Delete rows and open a delete entry in the outbox for each; returns how many rows there were.

        The buffers are owed the erasure of each message deleted.
        """
        ...

    async def hold_namespace(self, namespace: str) -> None:
        """Wait until nobody drains or learns in the namespace, and keep others from beginning until the transaction ends.

        Raises:
            TierUnavailable: they took too long.
        """
        ...

    async def share_namespace(self, namespace: str) -> None:
        """Wait for who holds the namespace, and keep others from doing so until the transaction ends.

        Raises:
            TierUnavailable: that took too long.
        """
        ...

    async def owe_erasure(self, erasure: Erasure) -> None:
        """Note that the buffers are owed this erasure; its `before` has to be given."""
        ...

    async def settle_erasures(self, ids: Sequence[int]) -> None:
        """Tick off erasures that were carried out."""
        ...

    async def archive_episodes(self, ended_before: datetime, *, at: datetime, limit: int) -> Taken:
        """Archive up to `limit` closed episodes that are not pinned, the oldest first, with their messages.

        Their points are queued for removal. Episodes that another worker holds are left to it.
        """
        ...

    async def delete_archived(self, archived_before: datetime, *, limit: int) -> Taken:
        """Delete up to `limit` archived episodes that are not pinned, the oldest first, like `delete_records`."""
        ...

    async def forget(self, scope: Scope) -> Mapping[RecordKind, int]:
        """Delete every record that `scope` admits, its sessions' state and checkpoints when it names a session or
        nothing but the namespace; opens delete entries in the outbox. Returns the rows removed by kind.

        Feedback of whom `scope` admits goes too; what it was about, and stays, is queued to be indexed again."""
        ...

    async def delete_expired_sessions(self, idle_since: datetime, limit: int) -> int:
        """Drop the archived state of sessions ended or idle since before `idle_since`; their messages stay."""
        ...


class EpisodicMemory(Pingable, Protocol):
    """The truth. Errors of the driver arrive as `TierUnavailable("episodic", …)` from either context."""

    def reading(self) -> AbstractAsyncContextManager[EpisodicReader]: ...

    def writing(self) -> AbstractAsyncContextManager[EpisodicWriter]: ...

    def frozen(self) -> AbstractAsyncContextManager[EpisodicReader]:
        """A read session whose calls all see one moment. Not for long: what was deleted since is kept for it."""
        ...
