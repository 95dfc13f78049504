"""Knowledge: what was learned, or said to be so; when it holds, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from app.records.base import SCHEMA_VERSION, Json, Scope

BEGINNING: Final = datetime(1900, 1, 1, tzinfo=UTC)
"""Earlier than any time that is accepted."""


class KnowledgeKind(StrEnum):
    FACT = "fact"
    STRATEGY = "strategy"
    PATTERN = "pattern"
    CONSTRAINT = "constraint"
    HEURISTIC = "heuristic"


class Origin(StrEnum):
    """Whether somebody said so, or it was drawn from episodes, which then support it."""

    STATED = "stated"
    LEARNED = "learned"


class Success(StrEnum):
    """How applying a piece of knowledge went."""

    SUCCESS = "success"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Knowledge:
    """Something held to be true: a fact, or a strategy, pattern, constraint or heuristic learned from episodes.

    `version` is the stored record's: 1 at first, one more after each change. `evidence_count` is how many observations
    `confidence` rests on; `applied_when_activated` is what `times_applied` was when it was last made active by hand.
    It holds from `valid_from` on and until before `valid_to`; None is open. What is not active is kept and not recalled.
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
    origin: Origin = Origin.STATED
    is_active: bool = True
    inactive_reason: str | None = None
    supersedes: UUID | None = None
    evidence_count: int = 0
    applied_when_activated: int = 0

    @property
    def uid(self) -> UUID:
        return self.id

    @property
    def success_rate(self) -> float | None:
        """Successes among the applications so far; None before the first."""
        applied = self.success_count + self.failure_count
        return self.success_count / applied if applied else None

    @property
    def ends_at(self) -> datetime | None:
        """When it ceases to hold; what was superseded nobody knows when has never held."""
        if self.valid_to is None and self.superseded_by is not None:
            return self.valid_from or BEGINNING
        return self.valid_to

    @property
    def is_told_whole(self) -> bool:
        """Whether the description says all that the content holds: where learning wrote both, the one is the other in words."""
        return self.origin is Origin.LEARNED and not self.content.keys().isdisjoint({PATTERN, COUNTED})

    @property
    def told_content(self) -> Json:
        """What of the content belongs into its text, after the description: nothing that says where an import has it from.

        Only an import writes both fields: one of them alone may be what somebody knows of a thing.
        """
        if self.is_told_whole:
            return {}
        hidden = _OF_IMPORTS if self.content.keys() >= _OF_IMPORTS else frozenset[str]()
        return {name: value for name, value in self.content.items() if name not in hidden}

    def holds_at(self, moment: datetime) -> bool:
        """Whether `moment` lies within its validity, the end excluded: at the change from one to the next one holds."""
        has_begun = self.valid_from is None or self.valid_from <= moment
        return has_begun and (self.ends_at is None or moment < self.ends_at)


@dataclass(frozen=True, slots=True)
class KnowledgeCriteria:
    """Which knowledge is asked for. What is None, and no kinds, asks for nothing in particular."""

    kinds: tuple[KnowledgeKind, ...] = ()
    origin: Origin | None = None
    is_active: bool | None = None
    holds_at: datetime | None = None
    min_confidence: float = 0.0
    has_conditions: bool | None = None

    def admits(self, knowledge: Knowledge) -> bool:
        return (
            (not self.kinds or knowledge.kind in self.kinds)
            and self.origin in {None, knowledge.origin}
            and self.is_active in {None, knowledge.is_active}
            and (self.holds_at is None or knowledge.holds_at(self.holds_at))
            and knowledge.confidence >= self.min_confidence
            and self.has_conditions in {None, bool(knowledge.content.get(CONDITIONS))}
        )


CONDITIONS: Final = "conditions"
"""Where the content says under which conditions the knowledge applies; see `app.learning.conditions`."""
PATTERN: Final = "pattern"
"""Where the content of a pattern that was learned says what it is a pattern of."""
COUNTED: Final = "counted"
"""Where the content of a heuristic that was learned says in a plain sentence what was counted."""
P_VALUE: Final = "p_value"
"""Where it says how likely chance alone would have it counted so."""
IMPORTED_FROM: Final = "imported_from"
"""Where what was imported says which other memory it comes from."""
SOURCE_ID: Final = "source_id"
"""Where it says by which id it was known there."""
_OF_IMPORTS: Final = frozenset({IMPORTED_FROM, SOURCE_ID})
ANY_KNOWLEDGE: Final = KnowledgeCriteria()


class Cause(StrEnum):
    """What changed a piece of knowledge."""

    STORED = "stored"
    CHANGED = "changed"
    EVIDENCE = "evidence"
    APPLIED = "applied"
    RETIRED = "retired"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True)
class Revision:
    """One change of a piece of knowledge; `number` counts from 1.

    `changes` holds each changed field's new value; of the episodes on a side, those `added` and those `removed`. What a
    field was at some time is in the newest revision until then that names it.
    """

    number: int
    recorded_at: datetime
    cause: Cause
    changes: Json


@dataclass(frozen=True, slots=True)
class KnowledgeHistory:
    """The pieces that superseded each other, oldest first, and the changes of the one that was asked for, in order."""

    versions: tuple[Knowledge, ...]
    revisions: tuple[Revision, ...]
