"""The contracts between policy and engines, stated by the policy that needs them.

Each port has one conformance exam (`tests/conformance`) that every implementation and the in-memory twin in
`app.testing` sit. Implementations translate their driver's errors into `TierUnavailable` (or
`EmbedderUnavailable`) in one place; nothing else escapes but the errors listed here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from app.ranking import DEFAULT_RANKING, NO_CUES, Cues, Ranking
from app.records import (
    ApiKey,
    Appended,
    Candidate,
    Embedded,
    Episode,
    EpisodeKind,
    EpisodeStep,
    FilterTerm,
    Hit,
    Json,
    Knowledge,
    KnowledgeKind,
    LoggedEpisode,
    Message,
    Mode,
    Point,
    Query,
    Reconciliation,
    RecordKind,
    RunReport,
    Scope,
    SessionKey,
    SessionState,
    Space,
    Vector,
)


class Pingable(Protocol):
    async def ping(self) -> str:
        """Answer with the engine's name and version, or raise."""
        ...


# ── tier 1 ────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Window:
    """The newest messages a buffer holds, in order. `is_complete`: no older message was left out for being absent."""

    messages: tuple[Message, ...]
    is_complete: bool


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits to be drained; `oldest_at` is when the longest-waiting session became dirty.

    `malformed` entries could not be read by anybody and were set aside.
    """

    sessions: int
    messages: int
    oldest_at: datetime | None
    malformed: int = 0
    episodes: int = 0


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a drain brought to Postgres: messages up to sequence `through`, and the state of that version.

    `stored` is the highest sequence Postgres has for the session, which other paths may have raised above `through`.
    """

    through: int
    state: SessionState | None = None
    stored: int = 0


@dataclass(frozen=True, slots=True)
class Erasure:
    """What has to go from the buffers: all that `scope` admits, or, with `ids`, the records of these names.

    Those are messages of `scope.session_id`, or, where the scope names no session, logged episodes of its namespace. What
    was appended or logged after `before` stays; with None everything goes that is there now. A scope that does not narrow
    within a session takes the session's state and scratchpad too.
    """

    scope: Scope
    before: datetime | None = None
    ids: tuple[UUID, ...] | None = None

    @property
    def is_of_answers_too(self) -> bool:
        """Not where single messages of a session were deleted: their author may go on repeating named calls."""
        return self.ids is None or self.scope.session_id is None

    def within(self, session: SessionKey) -> Erasure | None:
        """Of this, what concerns the session; None when nothing does."""
        if self.scope.namespace != session.namespace or self.scope.session_id not in {None, session.session_id}:
            return None
        if self.ids is not None and self.scope.session_id is None:
            return None
        return replace(self, scope=replace(self.scope, session_id=session.session_id))

    def covers(self, logged: LoggedEpisode) -> bool:
        """Whether the logged episode has to go."""
        if self.before is not None and logged.logged_at > self.before:
            return False
        if self.ids is None:
            return self.scope.admits(logged.episode.scope)
        return self.scope == Scope(logged.namespace) and logged.episode.id in self.ids


@dataclass(frozen=True, slots=True)
class OwedErasure:
    """An erasure that is still owed to the buffers."""

    id: int
    erasure: Erasure


class WorkingMemory(Pingable, Protocol):
    """Conversation buffers, session state and scratchpads, each session's parts together in one cluster slot."""

    async def append(
        self, session: SessionKey, messages: Sequence[Message], *, floor: int | None = None
    ) -> tuple[Appended, ...] | None:
        """Append atomically: all of `messages` or none, in order, numbered on from the session's last sequence.

        A message whose id is buffered already with the same content keeps its sequence and is not written again.
        A session never seen here (or expired) has no counter: without `floor` nothing is written and None returned;
        with it, numbering goes on from `floor`. On return the messages survive the death of any process and are
        seen by `unindexed` from every process.

        Raises:
            Conflict: an id is buffered already with other content; nothing was written.
            TierUnavailable: nothing is known to be written; repeating the call is safe.
        """
        ...

    async def recent(self, session: SessionKey, limit: int) -> Window:
        """The newest `limit` messages, drained or not, by rising sequence."""
        ...

    async def read(self, session: SessionKey, *, after: int, limit: int) -> tuple[Message, ...]:
        """Buffered messages with a sequence above `after`, by rising sequence, at most `limit`."""
        ...

    async def unsettled(self, session: SessionKey, limit: int) -> tuple[Message, ...]:
        """The oldest messages not settled yet, by rising sequence, at most `limit`.

        Decided by this tier's own mark, not by what Postgres has: after a power cut the counter may lie behind it, and
        a message that was given a number again must not be taken for one that is stored.

        An entry that nobody can read is set aside, counted in `backlog`, and holds up nothing. One that a newer release
        wrote is left to it, with all that comes after it.

        Raises:
            NewerRelease: the very oldest was written by a newer release.
        """
        ...

    async def unindexed(self, scope: Scope, limit: int) -> tuple[Message, ...]:
        """The newest messages that `scope` admits and the vector index may not have yet, at most `limit`.

        By falling `created_at`. One round trip when nothing waits, the usual case: every search comes by here.
        """
        ...

    async def dirty_sessions(self, limit: int, *, namespace: str | None = None) -> tuple[SessionKey, ...]:
        """Sessions with messages or state not yet settled, the longest-waiting first, at most `limit`."""
        ...

    async def unreleased_sessions(self, limit: int, *, namespace: str | None = None) -> tuple[SessionKey, ...]:
        """Settled sessions with messages not yet released, the longest-waiting first, at most `limit`."""
        ...

    async def settle(self, session: SessionKey, mark: Settlement, *, retain: int, ttl: timedelta) -> None:
        """Note what is in Postgres. Idempotent.

        Raises the session's counter, if it has one, to at least `mark.stored`, once nothing undrained is left. A state
        of another version than `mark.state`'s was saved meanwhile and is undrained. When nothing undrained is left the
        session stops being dirty, and expires after `ttl`; while something is, it never does. Messages stay until they
        are released.
        """
        ...

    async def release(self, session: SessionKey, *, through: int, retain: int) -> bool:
        """Note that everything up to sequence `through` is in the vector index. Idempotent.

        Returns whether this call released the last of the session's messages.

        Drops messages both settled and released, but for the newest `retain`, kept for `recent`.
        """
        ...

    async def save_state(
        self, session: SessionKey, state: SessionState, *, expected: int | None = None, floor: int | None = 0
    ) -> int | None:
        """Replace the session's state and mark the session dirty, so that the state is archived; returns its version.

        The version follows the one known here or `floor`, whichever is higher; `state.version` does not count. A
        session with no state here (never saved, or expired) has no version: if the floor is not known either (None),
        nothing is written and None returned. Comparing with `expected` and writing is one step.

        Raises:
            VersionMismatch: the state is not at version `expected`; nothing was written.
        """
        ...

    async def load_state(self, session: SessionKey) -> SessionState | None:
        """The state with its version; None when there is none here, or one that nobody can read, which is set aside.

        Raises:
            NewerRelease: a newer release wrote it.
        """
        ...

    async def write_scratch(self, session: SessionKey, key: str, value: object, ttl: timedelta) -> None:
        """Keep any JSON `value` under `key` in the session's scratchpad; the whole pad expires after `ttl`."""
        ...

    async def read_scratch(self, session: SessionKey) -> Mapping[str, object]:
        """The whole scratchpad; empty when there is none."""
        ...

    async def delete_scratch(self, session: SessionKey, key: str) -> bool: ...

    async def log_episode(self, logged: LoggedEpisode) -> None:
        """Append to the episodes logged, which never expire. Idempotent by namespace and id.

        On return it survives the death of any process and is seen by `logged_episode` from every process.

        Raises:
            Conflict: the id is logged already with other content; nothing was written.
            TierUnavailable: it is not known to be written; repeating the call is safe.
        """
        ...

    async def logged_episode(self, namespace: str, episode_id: UUID) -> LoggedEpisode | None:
        """None when it was never logged here, or is settled.

        Raises:
            NewerRelease: a newer release wrote it.
            Unreadable: it is damaged.
        """
        ...

    def logged_episodes(self, *, namespace: str | None = None) -> AsyncIterator[Sequence[LoggedEpisode]]:
        """Everything logged and not settled, in batches, in bounded memory. What cannot be read is passed over."""
        ...

    async def settle_episodes(self, logged: Sequence[LoggedEpisode]) -> None:
        """Drop these: they are in Postgres. Idempotent."""
        ...

    async def forget_episodes(self, scope: Scope) -> int:
        """Drop every logged episode that `scope` admits; returns how many. Walks them all."""
        ...

    async def erase(self, erasure: Erasure) -> int:
        """Remove what the erasure names; returns how many messages and logged episodes went. Idempotent.

        A session of which nothing is left is forgotten whole: the next one of its name is new. Without a session in the
        scope this walks the key space: not for traffic.
        """
        ...

    async def count(self, scope: Scope) -> int:
        """How many buffered messages, logged episodes, states and scratchpads `scope` admits.

        States and scratchpads have no owner but a session. Without a session in the scope this walks the key space.
        """
        ...

    async def sessions_of(self, namespace: str) -> tuple[SessionKey, ...]:
        """Every session of the namespace that has any key here. Walks the key space: for `forget`, not for traffic."""
        ...

    async def backlog(self) -> Backlog: ...


class Claim(StrEnum):
    """What a call finds under its key when it has no answer to give again."""

    OURS = "ours"
    RUNNING = "running"
    OTHER_REQUEST = "other-request"
    ANSWER_FORGOTTEN = "answer-forgotten"


@dataclass(frozen=True, slots=True)
class Call:
    """One attempt at a call that its caller named. `id` is derived from caller, namespace and key; `request` is a
    digest of what was asked; `attempt` tells this attempt from others at the same call."""

    namespace: str
    id: UUID
    request: str
    attempt: UUID


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call was answered with. `status` and `body` mean to the door what the door made of them."""

    status: int
    body: bytes


class AnswerStore(Protocol):
    """Remembers what named calls were answered with. Every method may raise `TierUnavailable("working", …)`."""

    async def claim(self, call: Call, *, lease: timedelta, ttl: timedelta) -> Answer | Claim:
        """The answer under the call's id, or who may make it: of several attempts at once, one gets `OURS`.

        A claim that was neither remembered nor released within `lease`, or whose process is known to be gone, may be
        taken over. The key is remembered for `ttl`.
        """
        ...

    async def remember(self, call: Call, answer: Answer, *, ttl: timedelta) -> None:
        """Keep the answer for `ttl`, unless another attempt has taken the claim over."""
        ...

    async def release(self, call: Call) -> None:
        """Make the key free again, unless another attempt has taken the claim over or answered."""
        ...

    async def forget(self, namespace: str) -> int:
        """Drop the bodies of all answers in the namespace; returns how many. The calls stay known as answered."""
        ...


# ── tier 2 ────────────────────────────────────────────────────────────────────────────────────────────────────────


class OutboxOp(StrEnum):
    UPSERT = "upsert"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """Work for the vector index, written in the transaction of the record it is about.

    There is at most one open entry per record: a newer one replaces it and raises `generation`, so that a worker
    finishing the older work cannot tick off the newer. `attempts` are all there were, `failures` those of the record's
    own: an outage says nothing against a record.
    """

    op: OutboxOp
    kind: RecordKind
    namespace: str
    record_uid: UUID
    id: int = 0
    generation: int = 0
    attempts: int = 0
    failures: int = 0
    next_attempt_at: datetime | None = None
    last_error: str | None = None
    is_dead: bool = False


class OutboxState(StrEnum):
    """Due now, waiting for its next attempt, being worked on, or given up on."""

    DUE = "due"
    WAITING = "waiting"
    LEASED = "leased"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Queued:
    """An outbox entry as an operator sees it."""

    entry: OutboxEntry
    state: OutboxState
    created_at: datetime


@dataclass(frozen=True, slots=True)
class OutboxQuery:
    """Which entries to show, by rising id: of these states (all, when none is named), of one namespace or all.

    `after` is the last id of the page before.
    """

    limit: int = 100
    states: tuple[OutboxState, ...] = ()
    namespace: str | None = None
    after: int = 0


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a session is drained: everything up to `sequence` is in Postgres."""

    session: SessionKey
    sequence: int


@dataclass(frozen=True, slots=True)
class MessageInContext:
    """A message with up to two messages directly before it in its session, oldest first.

    An archived one is not to be in the index.
    """

    message: Message
    before: tuple[Message, ...]
    is_archived: bool = False


@dataclass(frozen=True, slots=True)
class FiledMessage:
    """A message and the episode it is part of."""

    message: Message
    episode_id: UUID


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session as Postgres knows it. `degraded` names the tiers that could not be asked about it."""

    session: SessionKey
    state: SessionState
    created_at: datetime
    last_message_at: datetime | None
    ended_at: datetime | None
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """Postgres' side of the books: open and dead outbox entries, and how many records should be in the index."""

    outbox_depth: int
    dead_letters: int
    indexable: Mapping[RecordKind, int]
    oldest_outbox_at: datetime | None
    erasures: int = 0


@dataclass(frozen=True, slots=True)
class Cutoffs:
    """What has outlived its retention: sessions idle since, episodes ended before, episodes archived before.

    None spares all of them.
    """

    sessions_idle_since: datetime | None
    ended_before: datetime | None
    archived_before: datetime | None


@dataclass(frozen=True, slots=True)
class Expired:
    """How much has outlived its retention: session states, and episodes with the messages they hold."""

    sessions: int = 0
    episodes_to_archive: int = 0
    messages_to_archive: int = 0
    episodes_to_delete: int = 0
    messages_to_delete: int = 0


@dataclass(frozen=True, slots=True)
class Taken:
    """One batch of episodes, and the messages that went with them."""

    episodes: int
    messages: int


@dataclass(frozen=True, slots=True)
class Indexable:
    """A record that belongs into the vector index.

    `content_sha256` is that of the text its point is made from; None where the record's kind makes a text of its fields,
    which the store knows nothing of.
    """

    uid: UUID
    kind: RecordKind
    namespace: str
    content_sha256: str | None


class EpisodicReader(Protocol):
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
        """Full-text search in the query's scope, kinds and filter, best first; `components` = {"text": rank}."""
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

    async def episode_messages(self, episode_id: UUID) -> tuple[Message, ...]: ...

    async def steps(self, episode_id: UUID, *, after: int, limit: int) -> tuple[EpisodeStep, ...]:
        """Steps with an index above `after` (-1 for the first page), by rising index."""
        ...

    async def knowledge(self, namespace: str, knowledge_id: UUID) -> Knowledge | None: ...

    async def knowledge_by_uid(self, uids: Sequence[UUID]) -> tuple[Knowledge, ...]: ...

    async def list_knowledge(
        self, scope: Scope, *, kind: KnowledgeKind | None, before: UUID | None, limit: int
    ) -> tuple[Knowledge, ...]: ...

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


class EpisodicWriter(EpisodicReader, Protocol):
    """A write session: everything done in it is committed together when its context ends without an error."""

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

    async def steps_of_call(self, episode_id: UUID, call: UUID) -> tuple[EpisodeStep, ...]:
        """The steps that this call brought, by rising index."""
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
        """Wait for drains of the namespace that are under way, and keep others from beginning until the transaction ends.

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
        nothing but the namespace; opens delete entries in the outbox. Returns the rows removed by kind."""
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


class TableSnapshot(Protocol):
    """Every table of tier 2 at one moment."""

    @property
    def revision(self) -> str:
        """The revision of the schema, which rows have to be filled in at."""
        ...

    @property
    def tables(self) -> tuple[str, ...]:
        """What is carried: all but what can be derived, each table after those it refers to."""
        ...

    def rows(self, table: str) -> AsyncIterator[Sequence[str]]:
        """Every row as a JSON object in one line, in pages, in bounded memory."""
        ...


class TableFilling(Protocol):
    """An empty tier 2 that nobody else sees before it is filled."""

    async def insert(self, table: str, rows: Sequence[str]) -> None:
        """Insert rows as `TableSnapshot.rows` gave them.

        Raises:
            InvalidInput: the revision has no such table, or the table cannot hold a row.
            Conflict: two rows cannot stand together, or one refers to a row that is not there.
        """
        ...


class TableStore(Protocol):
    """Tier 2 as a whole, as backups carry it. Errors of the driver arrive as `TierUnavailable("episodic", …)`."""

    def snapshot(self) -> AbstractAsyncContextManager[TableSnapshot]: ...

    def filling(self, revision: str) -> AbstractAsyncContextManager[TableFilling]:
        """Fill with rows of that revision: all of it is there when the context ends, or after an error nothing.

        What was filled in is brought to this program's revision, and every record is owed to the vector index.

        Raises:
            Conflict: something is there already.
            InvalidInput: this program does not know the revision.
        """
        ...


class KeyStore(Protocol):
    """Where API keys are kept. Errors of the driver arrive as `TierUnavailable("episodic", …)`."""

    async def find(self, key_sha256: bytes) -> ApiKey | None: ...

    async def list(self) -> tuple[ApiKey, ...]:
        """All keys, oldest first, revoked and expired ones too."""
        ...

    async def save(self, key: ApiKey) -> None: ...

    async def revoke(self, key_id: UUID, at: datetime) -> bool:
        """False when there is no such key."""
        ...


# ── tier 3 ────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class IndexQuery:
    """One question to the vector index. Without `dense` only the sparse leg runs, without `sparse_text` only dense.

    `scope`, `kinds`, `filter`, `since` and `until` are part of the engine's query on every leg.
    """

    scope: Scope
    dense: Vector | None
    sparse_text: str | None
    limit: int
    kinds: tuple[RecordKind, ...]
    filter: tuple[FilterTerm, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    mode: Mode = Mode.HYBRID
    ranking: Ranking = DEFAULT_RANKING
    cues: Cues = NO_CUES


@dataclass(frozen=True, slots=True)
class IndexedPoint:
    """What a point says of the record it was made from; `uid` is the record's, and the point's own id."""

    uid: UUID
    kind: RecordKind
    namespace: str
    content_sha256: str


class SemanticMemory(Pingable, Protocol):
    """The vector index: one collection a space, named vectors `dense` and `bm25`, tenant-indexed payload.

    Every method may raise `TierUnavailable("semantic", …)`.
    """

    async def upsert(self, space: Space, points: Sequence[Point]) -> None:
        """Write points, making the space's collection on first use. Durable on return. Idempotent by point id.

        Raises:
            DimensionMismatch: a vector's size is not the space's.
        """
        ...

    async def delete(self, point_ids: Sequence[UUID], *, keep: Space | None = None) -> None:
        """Remove these points from every space, but for the space `keep`; absent ones are no error."""
        ...

    async def drop(self, space: Space) -> None:
        """Remove the space's collection with whatever is in it; an absent one is no error."""
        ...

    async def forget(self, scope: Scope) -> None:
        """Remove every point that `scope` admits, from every space."""
        ...

    async def search(self, space: Space, query: IndexQuery) -> tuple[Candidate, ...]:
        """The best `query.limit` candidates by falling `fused` score; ties by newest.

        `fused` is the score of `app.ranking`, from the candidate's own `dense` and `bm25`, both computed even if only one
        leg had found the point; the hit's `components` are its terms. Empty when the space has no collection.
        """
        ...

    async def spaces(self) -> tuple[Space, ...]:
        """The spaces that have a collection."""
        ...

    async def authors(self, space: Space, scope: Scope, limit: int) -> tuple[str, ...]:
        """Who wrote the messages that `scope` admits, the most frequent first, at most `limit`. Approximate counts."""
        ...

    async def count(self, space: Space | None = None, scope: Scope | None = None) -> int:
        """How many points there are, in one space or in all, within `scope` or at all."""
        ...

    async def present(self, point_ids: Sequence[UUID]) -> int:
        """How many of these points there are, over all spaces."""
        ...

    async def scroll(
        self, space: Space, *, after: UUID | None = None, limit: int = 1000, scope: Scope | None = None
    ) -> tuple[IndexedPoint, ...]:
        """The next points (that `scope` admits) by rising id, from after `after` on. Fewer than `limit` are the last."""
        ...

    async def lookup(self, space: Space, point_ids: Sequence[UUID]) -> tuple[IndexedPoint, ...]:
        """Those of these points that are there. Any order."""
        ...


# ── models ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Embedder(Pingable, Protocol):
    """Turns texts into unit vectors."""

    @property
    def space(self) -> Space:
        """The space new vectors are meant for: the primary provider's."""
        ...

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """One unit row a text, in order, all in one space (which may be a fallback's: see `Embedded.space`).

        Raises:
            EmbedderUnavailable: no provider answered.
        """
        ...


@dataclass(frozen=True, slots=True)
class Summary:
    """A summary and who wrote it: `extractive`, or a model's name."""

    text: str
    provider: str


class Summarizer(Protocol):
    async def summarize(self, messages: Sequence[Message]) -> Summary:
        """A few sentences that say what a stretch of conversation was about; never longer than the conversation."""
        ...


class Reranker(Protocol):
    async def scores(self, question: str, texts: Sequence[str]) -> Vector:
        """How well each text answers the question, from 0 to 1 and finite; shape (len(texts),), in order.

        Raises:
            TierUnavailable, EmbedderUnavailable: the model could not be loaded, or makes no sense of this.
        """
        ...


class Rephraser(Protocol):
    async def rephrase(self, question: str) -> tuple[str, ...]:
        """A few other wordings or parts of the question, none equal to it; possibly none at all.

        Raises:
            TierUnavailable: ("expand") the model did not answer, or not with anything that makes sense.
        """
        ...


class SparseEncoder(Protocol):
    """Tokenizes as the index does, so that a buffer can be ranked in the index's terms."""

    def encode_query(self, text: str) -> Mapping[int, float]: ...

    def encode_document(self, text: str) -> Mapping[int, float]: ...


class Cache(Protocol):
    """A byte cache that may forget anything at any time."""

    async def get_many(self, keys: Sequence[str]) -> Sequence[bytes | None]: ...

    async def put_many(self, values: Mapping[str, bytes], ttl: timedelta) -> None: ...

    async def delete_many(self, keys: Sequence[str]) -> int:
        """How many there were."""
        ...


class EmbeddingCache(Protocol):
    """Where vectors of texts are kept for a while."""

    async def evict(self, texts: Sequence[str], spaces: Sequence[Space]) -> int:
        """Forget the vectors of these texts in these spaces and in the embedder's own; returns how many there were.

        Raises:
            TierUnavailable: the cache could not be reached; this process' own memory has forgotten them.
        """
        ...


class Clock(Protocol):
    def __call__(self) -> datetime:
        """The time now, aware UTC."""
        ...
