"""The nouns: what is remembered, asked and answered. Frozen values; no I/O, no vendor.

The same words stand in Python, tables, keys, payloads, JSON and documentation. Datetimes are aware UTC.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, TypeAlias
from uuid import UUID

import numpy as np
import numpy.typing as npt
import uuid6

from app.ranking import DEFAULT_RANKING, Ranking

Json: TypeAlias = Mapping[str, Any]
"""A JSON object; values are what `json.loads` returns."""
Vector: TypeAlias = npt.NDArray[np.float32]
"""Shape (dim,)."""
Matrix: TypeAlias = npt.NDArray[np.float32]
"""Shape (n, dim)."""

DEFAULT_NAMESPACE: Final = "default"
SCHEMA_VERSION: Final = 1
"""Version of the JSON documents inside stored records."""


class Tier(StrEnum):
    WORKING = "working"
    EPISODIC = "episodic"
    SEMANTIC = "semantic"


class Role(StrEnum):
    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"
    TOOL = "tool"


class RecordKind(StrEnum):
    """What a hit is; also the `kind` in the vector index and the outbox."""

    MESSAGE = "message"
    EPISODE = "episode"
    KNOWLEDGE = "knowledge"


class EpisodeKind(StrEnum):
    CONVERSATION = "conversation"
    DECISION = "decision"
    NEGOTIATION = "negotiation"
    TASK = "task"


class KnowledgeKind(StrEnum):
    FACT = "fact"
    STRATEGY = "strategy"
    PATTERN = "pattern"
    CONSTRAINT = "constraint"
    HEURISTIC = "heuristic"


class Success(StrEnum):
    """How applying a piece of knowledge went."""

    SUCCESS = "success"
    FAILURE = "failure"


class Mode(StrEnum):
    """How a search ranks: both legs, one of them, or both with exact instead of approximate neighbours."""

    HYBRID = "hybrid"
    DENSE = "dense"
    SPARSE = "sparse"
    EXACT = "exact"


class Stage(StrEnum):
    """What a search may add at a price: more wordings of the question, or a closer look at the best hits."""

    EXPAND = "expand"
    LATE_INTERACTION = "late_interaction"
    CROSS_ENCODER = "cross_encoder"


class ReadPreference(StrEnum):
    """Where recent context is read: Redis with Postgres as the fallback, or one of them alone."""

    REDIS_FIRST = "redis-first"
    POSTGRES_ONLY = "postgres-only"
    REDIS_ONLY = "redis-only"


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose memory. `namespace` is the wall between tenants; each further field narrows, `None` does not."""

    namespace: str = DEFAULT_NAMESPACE
    user_id: str | None = None
    agent_id: str | None = None
    session_id: str | None = None
    project_id: str | None = None

    def admits(self, other: Scope) -> bool:
        """Whether a record of scope `other` may be seen from this scope."""
        return self.namespace == other.namespace and all(
            mine is None or mine == theirs
            for mine, theirs in (
                (self.user_id, other.user_id),
                (self.agent_id, other.agent_id),
                (self.session_id, other.session_id),
                (self.project_id, other.project_id),
            )
        )


@dataclass(frozen=True, slots=True, order=True)
class SessionKey:
    """A session's identity: session ids are unique within a namespace, not beyond it."""

    namespace: str
    session_id: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a session.

    `scope.session_id` is always set. `sequence` orders a session's messages, counts from 1, and is 0 until the
    message was appended. A message is identified by (namespace, session, id): see `uid`.
    """

    id: UUID
    scope: Scope
    role: Role
    content: str
    created_at: datetime
    name: str | None = None
    metadata: Json = field(default_factory=dict)
    sequence: int = 0

    @property
    def session(self) -> SessionKey:
        return SessionKey(self.scope.namespace, self.scope.session_id or "")

    @property
    def author(self) -> str:
        """Who speaks: the name, or else the role."""
        return self.name or self.role.value

    @property
    def uid(self) -> UUID:
        """The id under which Postgres and the vector index hold this message: see `message_uid`."""
        return message_uid(self.session, self.id)

    @property
    def content_sha256(self) -> str:
        return sha256_hex(self.content)

    def numbered(self, sequence: int) -> Message:
        return replace(self, sequence=sequence)


@dataclass(frozen=True, slots=True)
class Draft:
    """A message as its author says it; what is left out is filled in when it is appended."""

    role: Role
    content: str
    name: str | None = None
    id: UUID | None = None
    created_at: datetime | None = None
    metadata: Json = field(default_factory=dict)


class Wait(StrEnum):
    """How far a write goes before it answers: buffered, in Postgres, or findable through the vector index."""

    NONE = "none"
    STORED = "stored"
    INDEXED = "indexed"


@dataclass(frozen=True, slots=True)
class Appended:
    """The receipt for one appended message."""

    id: UUID
    sequence: int


@dataclass(frozen=True, slots=True)
class AppendReceipt:
    """What an append did: where the messages are now, and which tiers could not take part."""

    messages: tuple[Appended, ...]
    stored_in: Tier
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SessionState:
    """What an agent keeps about a session besides its messages.

    `version` rises with every save and is 0 until the first. It need not be contiguous: of two states, the one with
    the higher version is the newer, whichever tier it comes from.
    """

    goal: str | None = None
    active_context: Json = field(default_factory=dict)
    thoughts: tuple[str, ...] = ()
    related_episodes: tuple[UUID, ...] = ()
    version: int = 0


def newest_state(*states: SessionState) -> SessionState:
    """The one with the highest version; the first of those with equal ones."""
    return max(states, key=lambda state: state.version)


@dataclass(frozen=True, slots=True)
class EpisodeStep:
    """One step inside an episode; `index` counts from 0."""

    index: int
    content: Json
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Episode:
    """Something that happened, from beginning to end: a stretch of conversation, a decision, a task.

    A conversation episode covers its session's messages from `first_sequence` to `last_sequence` and stays open
    (`is_open`) until a gap, a ceiling or the session's end closes it. `quality` and `outcome_quality` are in [0, 1].
    `version` is the stored record's: 1 at first, one more after each change.
    Retention never touches what is `pinned`. From `archived_at` on it is kept with its messages, but not searched.
    """

    id: UUID
    kind: EpisodeKind
    scope: Scope
    started_at: datetime
    ended_at: datetime
    perception: Json = field(default_factory=dict)
    reasoning: Json = field(default_factory=dict)
    action: Json = field(default_factory=dict)
    outcome: Json | None = None
    outcome_quality: float | None = None
    summary: str = ""
    quality: float | None = None
    is_open: bool = False
    message_count: int = 0
    token_count: int = 0
    first_sequence: int = 0
    last_sequence: int = 0
    metadata: Json = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION
    version: int = 1
    pinned: bool = False
    archived_at: datetime | None = None

    @property
    def uid(self) -> UUID:
        return self.id


@dataclass(frozen=True, slots=True)
class LoggedEpisode:
    """An episode with its first steps, as it was given to be stored at `logged_at`."""

    episode: Episode
    steps: tuple[Json, ...]
    logged_at: datetime

    @property
    def namespace(self) -> str:
        return self.episode.scope.namespace


@dataclass(frozen=True, slots=True)
class EpisodeReceipt:
    """What storing an episode did: where it is now, and which tiers could not take part."""

    episode: Episode
    stored_in: Tier
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Knowledge:
    """Something held to be true: a fact, or a strategy, pattern, constraint or heuristic learned from episodes.

    `version` is the stored record's: 1 at first, one more after each change.
    """

    id: UUID
    kind: KnowledgeKind
    scope: Scope
    description: str
    created_at: datetime
    content: Json = field(default_factory=dict)
    confidence: float = 1.0
    supporting_episodes: tuple[UUID, ...] = ()
    contradicting_episodes: tuple[UUID, ...] = ()
    times_applied: int = 0
    success_count: int = 0
    failure_count: int = 0
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    superseded_by: UUID | None = None
    version: int = 1
    schema_version: int = SCHEMA_VERSION
    pinned: bool = False

    @property
    def uid(self) -> UUID:
        return self.id

    @property
    def success_rate(self) -> float | None:
        """Successes among the applications so far; None before the first."""
        applied = self.success_count + self.failure_count
        return self.success_count / applied if applied else None


@dataclass(frozen=True, slots=True)
class FilterTerm:
    """One condition on a field (see `FILTER_FIELDS`; `metadata.<key>` reaches into metadata).

    A record matches when the field's value equals one of `values`; a missing field never matches.
    """

    field: str
    values: tuple[str | int | float | bool, ...]


FILTER_FIELDS: Final = ("kind", "role", "author", "user_id", "agent_id", "session_id", "project_id")
METADATA_PREFIX: Final = "metadata."


@dataclass(frozen=True, slots=True)
class Query:
    """A question to memory. `since` and `until` bound `created_at`, both inclusive; `now` anchors relative dates.

    `kind_limits` bounds how many hits of a kind are given; without it episodes and knowledge leave room for messages where
    there are any. `is_collapsed`: of exact repetitions only the best is given. `is_grouped`: hits of one episode stand
    together. `neighbours`: how many messages before and after each message come with it.
    """

    text: str
    scope: Scope
    kinds: tuple[RecordKind, ...] = (RecordKind.MESSAGE, RecordKind.EPISODE, RecordKind.KNOWLEDGE)
    filter: tuple[FilterTerm, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    now: datetime | None = None
    limit: int = 10
    mode: Mode = Mode.HYBRID
    ranking: Ranking = DEFAULT_RANKING
    kind_limits: tuple[tuple[RecordKind, int], ...] = ()
    is_collapsed: bool = True
    is_grouped: bool = False
    neighbours: int = 0
    stages: tuple[Stage, ...] = ()


@dataclass(frozen=True, slots=True)
class Hit:
    """One thing recalled. `components` are the terms `score` is the sum of; `tier` is where it was found.

    `duplicates` are other records that say exactly the same. `episode_id` is given where hits are grouped, and the messages
    around it as `neighbours` where they are asked for.
    """

    id: UUID
    kind: RecordKind
    text: str
    score: float
    components: Mapping[str, float]
    tier: Tier
    scope: Scope
    created_at: datetime
    metadata: Json = field(default_factory=dict)
    role: str | None = None
    author: str | None = None
    sequence: int | None = None
    duplicates: tuple[UUID, ...] = ()
    episode_id: UUID | None = None
    neighbours: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True)
class Recollection:
    """The answer to a query, best first. `degraded` names each tier or stage that did not answer in time."""

    hits: tuple[Hit, ...]
    degraded: tuple[str, ...] = ()
    latency_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class RecentContext:
    """The newest messages of a session in order, and which tier they were read from."""

    messages: tuple[Message, ...]
    tier: Tier
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Space:
    """An embedding space: vectors of different spaces never mix."""

    model: str
    dimension: int

    @property
    def name(self) -> str:
        """A name safe for collections, directories and keys: `all-minilm-l6-v2__384`."""
        safe = "".join(c if c.isalnum() or c in "-." else "-" for c in self.model.lower())
        return f"{safe}__{self.dimension}"


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors and the space they belong to. `vectors` is (n, dim) float32 with unit rows."""

    space: Space
    vectors: Matrix
    provider: str


@dataclass(frozen=True, slots=True)
class Point:
    """A record as the vector index holds it. `id` is the record's `uid`; `dense` has shape (dim,).

    `sparse_context` is a text whose words count as well, and how much they count (1 is as much as its own).
    """

    id: UUID
    record_id: UUID
    kind: RecordKind
    scope: Scope
    text: str
    sparse_text: str
    dense: Vector
    created_at: datetime
    content_sha256: str
    role: str | None = None
    author: str | None = None
    sequence: int | None = None
    quality: float | None = None
    is_long: bool = False
    sparse_context: tuple[str, float] | None = None
    metadata: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A point found by the index. `dense` is the dot product, `bm25` the BM25 score, `fused` what it was ranked by."""

    hit: Hit
    point_id: UUID
    dense: float
    bm25: float
    fused: float


@dataclass(frozen=True, slots=True)
class SectionAccount:
    """What one section of an assembled context spent of its budget, and what it had to leave out."""

    name: str
    budget_tokens: int
    spent_tokens: int
    included: int
    dropped: int


@dataclass(frozen=True, slots=True)
class AssembledContext:
    """Text for a prompt, never over its budget, with citations (record ids in order of appearance)."""

    text: str
    budget_tokens: int
    spent_tokens: int
    sections: tuple[SectionAccount, ...]
    citations: tuple[UUID, ...]
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Selection:
    """Records by name. `messages` are ids in the session `session_id`, which has to be given with them.

    An episode stands for its messages too.
    """

    namespace: str
    session_id: str | None = None
    messages: tuple[UUID, ...] = ()
    episodes: tuple[UUID, ...] = ()
    knowledge: tuple[UUID, ...] = ()


@dataclass(frozen=True, slots=True)
class TierReceipt:
    """What was removed from one tier, by kind, and how much a second look still found; None: nobody could look."""

    removed: Mapping[str, int]
    remaining: int | None


@dataclass(frozen=True, slots=True)
class ForgetReceipt:
    """What was removed and what a second look still found, tier by tier.

    `pending` names the tiers that were away: what they hold is removed when they are back, before anybody reads it.
    """

    tiers: Mapping[Tier, TierReceipt]
    pending: tuple[str, ...] = ()

    @property
    def remaining(self) -> int:
        """0 when all went well; a tier that could not be looked into is in `pending`."""
        return sum(receipt.remaining or 0 for receipt in self.tiers.values())


@dataclass(frozen=True, slots=True)
class ImportReport:
    """How many records of each kind an import wrote, and how many it found there already."""

    new: Mapping[str, int]
    known: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class RunReport:
    """What one consolidation run did."""

    id: UUID
    started_at: datetime
    finished_at: datetime
    counts: Mapping[str, int]
    errors: tuple[str, ...] = ()

    @property
    def duration_ms(self) -> float:
        return (self.finished_at - self.started_at).total_seconds() * 1000


class FindingKind(StrEnum):
    """How the vector index can be wrong about a record.

    `missing`: it has no point. `orphaned`: a point has no record, or one that is not to be found. `stale`: the point was
    made from another text. `wrong_space`: a point lies in another space than new vectors do.
    """

    MISSING = "missing"
    ORPHANED = "orphaned"
    STALE = "stale"
    WRONG_SPACE = "wrong_space"


class ReconcileState(StrEnum):
    """`abandoned`: interrupted, and then asked for in another way, so that it could not be resumed."""

    RUNNING = "running"
    DONE = "done"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """A comparison of Postgres with the vector index: what it is for, how far it came, and what it found.

    `checked` of about `total` records were compared, everything up to the id `cursor`. `pending` and `dead_letters` count
    differences that the outbox knows of: they are no findings. `space` names the space new vectors are meant for.
    `generation` counts how often the run was taken up.
    """

    id: UUID
    namespace: str | None
    is_repair: bool
    space: str
    started_at: datetime
    total: int = 0
    checked: int = 0
    findings: Mapping[FindingKind, int] = field(default_factory=dict)
    examples: Mapping[FindingKind, tuple[UUID, ...]] = field(default_factory=dict)
    pending: int = 0
    dead_letters: int = 0
    cursor: UUID | None = None
    state: ReconcileState = ReconcileState.RUNNING
    finished_at: datetime | None = None
    leased_until: datetime | None = None
    generation: int = 1

    @property
    def found(self) -> int:
        return sum(self.findings.values())

    @property
    def unrepaired(self) -> int:
        """Findings that nothing is being done about."""
        return 0 if self.is_repair else self.found


class Permission(StrEnum):
    """What a key may do."""

    READ = "memory:read"
    WRITE = "memory:write"
    ADMIN = "memory:admin"


ALL_NAMESPACES: Final = "*"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is kept: by its SHA-256 only. `namespaces` holds `*` for all of them."""

    id: UUID
    name: str
    key_sha256: bytes
    permissions: frozenset[Permission]
    namespaces: frozenset[str]
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def is_valid(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True, slots=True)
class TierHealth:
    """One dependency's answer to a ping. `detail` names the engine or the error; a `breaker` that is `open` or
    `half-open` says that the engine is left alone until it answers a ping."""

    name: str
    is_up: bool
    latency_ms: float
    detail: str = ""
    breaker: str = "closed"


def new_id() -> UUID:
    """A fresh UUIDv7: ids are made before the first write, and sort by time."""
    return UUID(int=uuid6.uuid7().int)  # the library's own class is not known to every serializer


def utc_now() -> datetime:
    return datetime.now(UTC)


def sha256_hex(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def derived_uuid(*parts: str) -> UUID:
    """A UUID (version 8) that is the same for the same parts and cannot be steered by choosing one of them."""
    digest = bytearray(hashlib.blake2b("\x1f".join(f"{len(p)}:{p}" for p in parts).encode(), digest_size=16).digest())
    digest[6] = (digest[6] & 0x0F) | 0x80
    digest[8] = (digest[8] & 0x3F) | 0x80
    return UUID(bytes=bytes(digest))


@lru_cache(maxsize=16_384)
def message_uid(session: SessionKey, message_id: UUID) -> UUID:
    """Derived from namespace, session and id, so that an id chosen by one tenant can never meet another's row."""
    return derived_uuid("message", session.namespace, session.session_id, str(message_id))


def authors_of(messages: Sequence[Message]) -> tuple[str, ...]:
    """The distinct authors in order of first appearance."""
    return tuple(dict.fromkeys(m.author for m in messages))
