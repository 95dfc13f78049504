"""Episodes and their steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from app.records.base import SCHEMA_VERSION, Json, Scope, Tier


class EpisodeKind(StrEnum):
    CONVERSATION = "conversation"
    DECISION = "decision"
    NEGOTIATION = "negotiation"
    TASK = "task"


class ControlMode(StrEnum):
    """How the agent that acted was controlled."""

    RULE_BASED_ONLY = "rule_based_only"
    INTELLIGENCE_ENHANCED = "intelligence_enhanced"
    MEMORY_AUGMENTED = "memory_augmented"


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
    `is_quality_given`: whoever stored it said how good it is; otherwise the quality validator did, or nobody has yet.
    `patterns` names what was seen in it.
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
    agent_version: str | None = None
    control_mode: ControlMode | None = None
    decision_source: str | None = None
    sprint_id: str | None = None
    chronicle_note_id: str | None = None
    patterns: tuple[str, ...] = ()
    is_quality_given: bool = False

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
    """What storing an episode did: where it is now, and which tiers could not take part.

    In no tier only where it was not to be stored: `skipped` then says why.
    """

    episode: Episode
    stored_in: Tier | None
    degraded: tuple[str, ...] = ()
    skipped: str | None = None

    @property
    def requires_embedding(self) -> bool:
        """Whether the index has yet to learn of it."""
        return self.stored_in not in {None, Tier.SEMANTIC}


@dataclass(frozen=True, slots=True)
class StepsPage:
    """Some of an episode's steps in order, and how many it has in all."""

    steps: tuple[EpisodeStep, ...]
    step_count: int


@dataclass(frozen=True, slots=True)
class EpisodeInFull:
    """An episode with its first steps. `requires_embedding`: the index has yet to learn of it, or of its last change."""

    episode: Episode
    first: StepsPage
    requires_embedding: bool
