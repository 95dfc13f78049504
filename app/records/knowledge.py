"""Knowledge: what was learned, or said to be so."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from app.records.base import SCHEMA_VERSION, Json, Scope


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
