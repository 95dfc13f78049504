"""What calls take by name besides what they always need. What is left out is what the service takes for granted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypedDict
from uuid import UUID

from app.records import (
    EpisodeKind,
    Json,
    KnowledgeKind,
    MetricKind,
    Mode,
    Origin,
    OutcomeAsked,
    PatternKind,
    PatternState,
    RecordKind,
    Stage,
    Unit,
)


class Owner(TypedDict, total=False):
    """Whose memory: `namespace` is the wall between tenants, the rest narrows."""

    namespace: str
    user_id: str | None
    agent_id: str | None
    project_id: str | None


class Question(Owner, total=False):
    session_id: str | None
    kinds: Sequence[RecordKind | str] | None
    filter: Mapping[str, Any]
    since: datetime | str | None
    until: datetime | str | None
    now: datetime | str | None
    ranking: Mapping[str, Any] | None
    stages: Sequence[Stage | str]
    as_of: datetime | str | None
    include_superseded: bool


class SearchFields(Question, total=False):
    limit: int
    mode: Mode | str
    kind_limits: Mapping[str, int]
    collapse: bool
    group_by_episode: bool
    neighbours: int
    experiment: str | None
    subject: str | None
    search_id: UUID | None


class ContextFields(Question, total=False):
    limit: int


class StateChanges(TypedDict, total=False):
    """Only what is given changes; `thoughts` are added to those that are there."""

    goal: str | None
    active_context: Json
    thoughts: Sequence[str]
    related_episodes: Sequence[UUID]


class EpisodeChanges(TypedDict, total=False):
    perception: Json
    reasoning: Json
    action: Json
    outcome: Json | None
    outcome_quality: float | None
    summary: str
    metadata: Json
    quality: float | None
    agent_version: str | None
    control_mode: str | None
    decision_source: str | None
    sprint_id: str | None
    chronicle_note_id: str | None
    patterns: Sequence[str]
    pinned: bool


class EpisodeFields(EpisodeChanges, Owner, total=False):
    session_id: str | None
    started_at: datetime | None
    ended_at: datetime | None
    steps: Sequence[Json]


class EpisodesAsked(Owner, total=False):
    session_id: str | None
    kind: EpisodeKind | str | None
    archived: bool
    lacks_outcome: bool
    ended_before: datetime | str | None


class KnowledgeChanges(TypedDict, total=False):
    content: Json
    confidence: float
    valid_from: datetime | str | None
    valid_to: datetime | str | None
    pinned: bool


class KnowledgeRevision(KnowledgeChanges, total=False):
    description: str
    superseded_by: UUID | None
    is_active: bool
    inactive_reason: str | None


class NewKnowledge(KnowledgeChanges, total=False):
    origin: Origin | str
    supporting_episodes: Sequence[UUID | str]
    contradicting_episodes: Sequence[UUID | str]


class KnowledgeFields(NewKnowledge, Owner, total=False):
    kind: KnowledgeKind | str
    session_id: str | None


class KnowledgeAsked(Owner, total=False):
    session_id: str | None
    kind: KnowledgeKind | str | None
    as_of: datetime | str | None
    include_superseded: bool
    include_inactive: bool


class StrategiesAsked(Owner, total=False):
    session_id: str | None
    min_confidence: float | None
    kinds: Sequence[KnowledgeKind | str] | None
    limit: int
    as_of: datetime | str | None


class SituationFields(Owner, total=False):
    session_id: str | None
    limit: int
    kind: EpisodeKind | str | None
    outcome: OutcomeAsked | str
    min_quality: float | None
    min_outcome_quality: float | None
    filter: Mapping[str, Any]
    since: datetime | str | None
    until: datetime | str | None
    now: datetime | str | None
    ranking: Mapping[str, Any]
    deadline_ms: float | None


class FeedbackFields(Owner, total=False):
    """`session_id`: of a message, its session. `query`: what the record was recalled for. `search_id`: the search that took part
    in an experiment, where the feedback counts as well."""

    session_id: str | None
    kind: RecordKind | str | None
    query: str | None
    note: str | None
    search_id: UUID | None


class PatternsAsked(TypedDict, total=False):
    namespace: str
    project_id: str | None
    kind: PatternKind | str | None
    state: PatternState | str | None
    min_confidence: float


class ExperimentFields(TypedDict, total=False):
    namespace: str
    description: str
    unit: Unit | str
    traffic_share: float
    metric: str
    metric_kind: MetricKind | str
    lower_is_better: bool
    alpha: float
    minimum_subjects: int
    planned_subjects: int
    minimum_effect: float


class OutboxAsked(TypedDict, total=False):
    state: str | None
    is_dead: bool | None
    namespace: str | None


class Forgetting(TypedDict, total=False):
    """An owner, or records by name: not both."""

    session_id: str
    user_id: str
    agent_id: str
    project_id: str
    message_ids: Sequence[UUID | str]
    episode_ids: Sequence[UUID | str]
    knowledge_ids: Sequence[UUID | str]
