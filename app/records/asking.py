"""Questions, and what is answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from app.ranking import DEFAULT_RANKING, Ranking
from app.records.base import RECALLED_KINDS, Json, RecordKind, Scope, Tier
from app.records.episodes import Episode
from app.records.messages import Message


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
class FilterTerm:
    """One condition on a field (see `FILTER_FIELDS`; `metadata.<key>` reaches into metadata).

    A record matches when the field's value equals one of `values`; a missing field never matches.
    """

    field: str
    values: tuple[str | int | float | bool, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """Bounds on a number (see `RANGE_FIELDS`), the upper one exclusive. A record that has no such number never matches."""

    field: str
    at_least: float | None = None
    below: float | None = None


RANGE_FIELDS: Final = ("quality", "outcome_quality")
FILTER_FIELDS: Final = ("kind", "role", "author", "user_id", "agent_id", "session_id", "project_id")
METADATA_PREFIX: Final = "metadata."


@dataclass(frozen=True, slots=True)
class Query:
    """A question to memory. `since` and `until` bound `created_at`, both inclusive; `now` anchors relative dates.

    `kind_limits` bounds how many hits of a kind are given; without it episodes and knowledge leave room for messages where
    there are any. `is_collapsed`: of exact repetitions only the best is given. `is_grouped`: hits of one episode stand
    together. `neighbours`: how many messages before and after each message come with it.
    Knowledge is found if it holds at `as_of` (now, if None); with `include_superseded` also what does not, or no longer.
    """

    text: str
    scope: Scope
    kinds: tuple[RecordKind, ...] = RECALLED_KINDS
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
    ranges: tuple[Range, ...] = ()
    as_of: datetime | None = None
    include_superseded: bool = False


@dataclass(frozen=True, slots=True)
class Hit:
    """One thing recalled. `components` are the terms `score` is the sum of; `tier` is where it was found.

    `duplicates` are other records that say exactly the same. `episode_id` is given where hits are grouped, and the messages
    around it as `neighbours` where they are asked for. Where a situation was asked about, `why` says in words what speaks for it
    and `episode` is what is stored: None when PostgreSQL did not say in time.
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
    quality: float | None = None
    outcome_quality: float | None = None
    why: tuple[str, ...] = ()
    episode: Episode | None = None


@dataclass(frozen=True, slots=True)
class Participation:
    """A search that takes part in an experiment: with this subject, or else with the one its scope names.

    `search_id` names the search: repeated under the same name it is one exposure. A fresh one is made without it.
    """

    experiment: str
    subject: str | None = None
    search_id: UUID | None = None


class Enrolment(StrEnum):
    """Why a search has the settings it has."""

    ASSIGNED = "assigned"
    OUTSIDE = "outside"
    DRAFT = "draft"
    STOPPED = "stopped"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class Arm:
    """The part of an experiment that a subject is in; without a `variant` it is answered as any search is."""

    experiment: str
    subject: str
    enrolment: Enrolment
    variant: str | None = None
    search_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Recollection:
    """The answer to a query, best first. `degraded` names each tier or stage that did not answer in time.

    `experiment` is the part of an experiment that the search took, if it asked for one.
    `is_cached`: it is the answer to the same query a moment ago, and nothing that could change it was written since.
    """

    hits: tuple[Hit, ...]
    degraded: tuple[str, ...] = ()
    latency_ms: float = 0.0
    experiment: Arm | None = None
    is_cached: bool = False


@dataclass(frozen=True, slots=True)
class RecentContext:
    """The newest messages of a session in order, and which tier they were read from."""

    messages: tuple[Message, ...]
    tier: Tier
    degraded: tuple[str, ...] = ()


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
