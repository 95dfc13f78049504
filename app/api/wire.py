"""The JSON that clients send and receive. Fields may be added; what is here stays.

Types are strict: a number is not a string, and an unknown field is an error rather than silence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Final, Self
from uuid import UUID

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from app.consolidation.run import ConsolidationStatus
from app.ports import OutboxEntry, SessionRecord
from app.records import (
    DEFAULT_NAMESPACE,
    AppendReceipt,
    AssembledContext,
    Draft,
    Episode,
    EpisodeKind,
    EpisodeStep,
    FilterTerm,
    ForgetReceipt,
    Hit,
    Knowledge,
    KnowledgeKind,
    Message,
    Mode,
    Query,
    RecentContext,
    Recollection,
    RecordKind,
    Role,
    RunReport,
    Scope,
    SessionState,
    new_id,
)

PROBLEM_MEDIA_TYPE: Final = "application/problem+json"
_BEGINS_LIKE_RFC3339: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]")
_INT64_MAX: Final = 2**63 - 1
_IDS_PER_CALL: Final = 10_000


def _rfc3339(value: object) -> object:
    """Keep out what pydantic also takes for a time: numbers, numbers in a string, and dates alone."""
    if isinstance(value, datetime) or (isinstance(value, str) and _BEGINS_LIKE_RFC3339.match(value)):
        return value
    raise PydanticCustomError("rfc3339", "must be an RFC 3339 date and time, such as 2026-03-01T09:30:00Z")


def _filter_value(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    """One refusal instead of one for each type that the value might have had."""
    try:
        return handler(value)
    except ValidationError:
        raise PydanticCustomError("filter_value", "must be a string, a number, a boolean, or a list of these") from None


Moment = Annotated[datetime, BeforeValidator(_rfc3339)]
Scalar = StrictStr | StrictBool | StrictInt | StrictFloat
FilterValue = Annotated[Scalar | list[Scalar], WrapValidator(_filter_value)]
OutboxId = Annotated[StrictInt, Field(ge=1, le=_INT64_MAX)]
JsonObject = dict[str, Any]


def _example(**fields: Any) -> ConfigDict:
    """The configuration of a body, with what it may look like."""
    return ConfigDict(extra="forbid", json_schema_extra={"examples": [fields]})


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Scoped(Body):
    """Whose memory: the namespace is the wall between tenants, the rest narrows."""

    namespace: StrictStr = Field(default=DEFAULT_NAMESPACE, examples=["default"])
    user_id: StrictStr | None = None
    agent_id: StrictStr | None = None
    project_id: StrictStr | None = None

    def scope(self, session_id: str | None = None) -> Scope:
        return Scope(self.namespace, self.user_id, self.agent_id, session_id, self.project_id)


# ── messages ──────────────────────────────────────────────────────────────────────────────────────────────────────


class MessageIn(Body):
    id: UUID | None = Field(default=None, description="Makes a retry safe: the same id and content are stored once")
    role: Role = Field(examples=["user"])
    name: StrictStr | None = Field(default=None, description="The author, when there is more than the role to say")
    content: StrictStr = Field(examples=["My cat Miso sees the vet on Thursday."])
    created_at: Moment | None = Field(default=None, description="When it was said; now, if left out")
    metadata: JsonObject = Field(default_factory=dict)

    def draft(self) -> Draft:
        return Draft(self.role, self.content, self.name, self.id, self.created_at, self.metadata)


class AppendIn(Scoped):
    model_config = _example(messages=[{"role": "user", "content": "My cat Miso sees the vet on Thursday."}])

    messages: list[MessageIn]


class AppendedOut(BaseModel):
    id: UUID
    sequence: int


class AppendOut(BaseModel):
    messages: list[AppendedOut]
    stored_in: str = Field(examples=["working"])
    degraded: list[str]

    @classmethod
    def of(cls, receipt: AppendReceipt) -> Self:
        return cls(
            messages=[AppendedOut(id=m.id, sequence=m.sequence) for m in receipt.messages],
            stored_in=receipt.stored_in.value,
            degraded=list(receipt.degraded),
        )


class MessageOut(BaseModel):
    id: UUID
    sequence: int
    role: Role
    name: str | None
    content: str
    created_at: datetime
    metadata: JsonObject

    @classmethod
    def of(cls, message: Message) -> Self:
        return cls(
            id=message.id,
            sequence=message.sequence,
            role=message.role,
            name=message.name,
            content=message.content,
            created_at=message.created_at,
            metadata=dict(message.metadata),
        )


class HistoryOut(BaseModel):
    messages: list[MessageOut]
    next: int | None = Field(description="Pass as `after` for the next page; null on the last one")
    degraded: list[str]


class RecentOut(BaseModel):
    messages: list[MessageOut]
    tier: str
    degraded: list[str]

    @classmethod
    def of(cls, context: RecentContext) -> Self:
        return cls(
            messages=[MessageOut.of(m) for m in context.messages], tier=context.tier.value, degraded=list(context.degraded)
        )


# ── sessions ──────────────────────────────────────────────────────────────────────────────────────────────────────


class StateFields(Body):
    goal: StrictStr | None = Field(default=None, examples=["Plan the move to Lisbon"])
    active_context: JsonObject = Field(default_factory=dict)
    thoughts: list[StrictStr] = Field(default_factory=list)
    related_episodes: list[UUID] = Field(default_factory=list)


class StateIn(StateFields):
    model_config = _example(goal="Plan the move to Lisbon", active_context={"budget": 4000}, thoughts=["ask Rui for a van"])

    namespace: StrictStr = DEFAULT_NAMESPACE

    def state(self) -> SessionState:
        return SessionState(self.goal, self.active_context, tuple(self.thoughts), tuple(self.related_episodes))


class StatePatch(Body):
    """Only what is given changes; `thoughts` are added to those that are there."""

    model_config = _example(thoughts=["Rui has a van"])

    namespace: StrictStr = DEFAULT_NAMESPACE
    goal: StrictStr | None = None
    active_context: JsonObject | None = None
    thoughts: list[StrictStr] | None = None
    related_episodes: list[UUID] | None = None

    def applied_to(self, state: SessionState) -> SessionState:
        return SessionState(
            goal=self.goal if "goal" in self.model_fields_set else state.goal,
            active_context={**state.active_context, **(self.active_context or {})},
            thoughts=(*state.thoughts, *(self.thoughts or ())),
            related_episodes=tuple(dict.fromkeys((*state.related_episodes, *(self.related_episodes or ())))),
        )


class SessionOut(BaseModel):
    session_id: str
    namespace: str
    state: StateFields
    created_at: datetime
    last_message_at: datetime | None
    ended_at: datetime | None

    @classmethod
    def of(cls, record: SessionRecord) -> Self:
        return cls(
            session_id=record.session.session_id,
            namespace=record.session.namespace,
            state=StateFields(
                goal=record.state.goal,
                active_context=dict(record.state.active_context),
                thoughts=list(record.state.thoughts),
                related_episodes=list(record.state.related_episodes),
            ),
            created_at=record.created_at,
            last_message_at=record.last_message_at,
            ended_at=record.ended_at,
        )


class ScratchIn(Body):
    model_config = _example(value={"boxes": 12})

    namespace: StrictStr = DEFAULT_NAMESPACE
    value: Any = Field(description="Any JSON value")


class ScratchOut(BaseModel):
    key: str
    value: Any


# ── episodes and knowledge ────────────────────────────────────────────────────────────────────────────────────────


class EpisodeIn(Scoped):
    model_config = _example(
        kind="decision",
        perception={"backlog": 12, "velocity": 9},
        action={"decision": "plan nine stories"},
        steps=[{"did": "vote"}],
    )

    kind: EpisodeKind = EpisodeKind.DECISION
    session_id: StrictStr | None = None
    perception: JsonObject = Field(default_factory=dict, examples=[{"backlog": 12, "velocity": 9}])
    reasoning: JsonObject = Field(default_factory=dict)
    action: JsonObject = Field(default_factory=dict, examples=[{"decision": "plan nine stories"}])
    outcome: JsonObject | None = None
    outcome_quality: StrictFloat | None = Field(default=None, description="In [0, 1]")
    summary: StrictStr = ""
    started_at: Moment | None = None
    ended_at: Moment | None = None
    metadata: JsonObject = Field(default_factory=dict)
    steps: list[JsonObject] = Field(default_factory=list)

    def episode(self, now: datetime) -> Episode:
        started_at = self.started_at or self.ended_at or now
        return Episode(
            id=new_id(),
            kind=self.kind,
            scope=self.scope(self.session_id),
            started_at=started_at,
            ended_at=self.ended_at or started_at,
            perception=self.perception,
            reasoning=self.reasoning,
            action=self.action,
            outcome=self.outcome,
            outcome_quality=self.outcome_quality,
            summary=self.summary,
            metadata=self.metadata,
        )


class EpisodeOut(BaseModel):
    id: UUID
    kind: EpisodeKind
    namespace: str
    user_id: str | None
    agent_id: str | None
    session_id: str | None
    project_id: str | None
    started_at: datetime
    ended_at: datetime
    perception: JsonObject
    reasoning: JsonObject
    action: JsonObject
    outcome: JsonObject | None
    outcome_quality: float | None
    summary: str
    quality: float | None
    is_open: bool
    message_count: int
    token_count: int
    first_sequence: int
    last_sequence: int
    metadata: JsonObject
    schema_version: int

    @classmethod
    def of(cls, episode: Episode) -> Self:
        return cls.model_validate(_flat(episode))


class EpisodesOut(BaseModel):
    episodes: list[EpisodeOut]
    next: UUID | None = Field(description="Pass as `before` for the next page; null on the last one")


class OutcomeIn(Body):
    model_config = _example(outcome={"done": 8}, outcome_quality=0.9)

    namespace: StrictStr = DEFAULT_NAMESPACE
    outcome: JsonObject
    outcome_quality: StrictFloat | None = Field(default=None, description="In [0, 1]")


class StepsIn(Body):
    model_config = _example(steps=[{"did": "vote"}])

    namespace: StrictStr = DEFAULT_NAMESPACE
    steps: list[JsonObject]


class StepOut(BaseModel):
    index: int
    content: JsonObject
    created_at: datetime

    @classmethod
    def of(cls, step: EpisodeStep) -> Self:
        return cls(index=step.index, content=dict(step.content), created_at=step.created_at)


class StepsOut(BaseModel):
    steps: list[StepOut]
    next: int | None = Field(description="Pass as `after` for the next page; null on the last one")


class KnowledgeIn(Scoped):
    model_config = _example(kind="fact", description="Mara is allergic to walnuts.", confidence=0.9)

    kind: KnowledgeKind = KnowledgeKind.FACT
    session_id: StrictStr | None = None
    description: StrictStr = Field(examples=["Mara is allergic to walnuts."])
    content: JsonObject = Field(default_factory=dict)
    confidence: StrictFloat = Field(default=1.0, description="In [0, 1]")
    valid_from: Moment | None = None
    valid_to: Moment | None = None

    def knowledge(self, now: datetime) -> Knowledge:
        return Knowledge(
            id=new_id(),
            kind=self.kind,
            scope=self.scope(self.session_id),
            description=self.description,
            created_at=now,
            content=self.content,
            confidence=self.confidence,
            valid_from=self.valid_from,
            valid_to=self.valid_to,
        )


class KnowledgeOut(BaseModel):
    id: UUID
    kind: KnowledgeKind
    namespace: str
    user_id: str | None
    agent_id: str | None
    session_id: str | None
    project_id: str | None
    description: str
    content: JsonObject
    confidence: float
    supporting_episodes: list[UUID]
    contradicting_episodes: list[UUID]
    times_applied: int
    success_count: int
    failure_count: int
    created_at: datetime
    valid_from: datetime | None
    valid_to: datetime | None
    superseded_by: UUID | None

    @classmethod
    def of(cls, knowledge: Knowledge) -> Self:
        return cls.model_validate(_flat(knowledge))


class KnowledgeListOut(BaseModel):
    knowledge: list[KnowledgeOut]
    next: UUID | None = Field(description="Pass as `before` for the next page; null on the last one")


# ── recall ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Question(Scoped):
    text: StrictStr = Field(examples=["When does the cat see the vet?"])
    session_id: StrictStr | None = None
    kinds: list[RecordKind] | None = Field(default=None, description="All kinds, if left out")
    filter: dict[str, FilterValue] = Field(
        default_factory=dict,
        description="Field to value, or to several of which one must match; `metadata.<key>` reaches into metadata",
        examples=[{"author": "Mara", "metadata.channel": ["email", "chat"]}],
    )
    since: Moment | None = None
    until: Moment | None = None
    now: Moment | None = Field(default=None, description="What relative dates in the text are relative to")

    def query(self, limit: int, mode: Mode = Mode.HYBRID) -> Query:
        return Query(
            text=self.text,
            scope=self.scope(self.session_id),
            kinds=tuple(RecordKind) if self.kinds is None else tuple(self.kinds),
            filter=tuple(_term(field, value) for field, value in self.filter.items()),
            since=self.since,
            until=self.until,
            now=self.now,
            limit=limit,
            mode=mode,
        )


class SearchIn(Question):
    model_config = _example(text="When does the cat see the vet?", limit=5)

    limit: StrictInt = 10
    mode: Mode = Mode.HYBRID


class HitOut(BaseModel):
    id: UUID
    kind: RecordKind
    text: str
    score: float
    components: dict[str, float] = Field(description="The terms the score is the sum of")
    tier: str
    session_id: str | None
    created_at: datetime
    author: str | None
    role: str | None
    sequence: int | None
    metadata: JsonObject

    @classmethod
    def of(cls, hit: Hit) -> Self:
        return cls(
            id=hit.id,
            kind=hit.kind,
            text=hit.text,
            score=hit.score,
            components=dict(hit.components),
            tier=hit.tier.value,
            session_id=hit.scope.session_id,
            created_at=hit.created_at,
            author=hit.author,
            role=hit.role,
            sequence=hit.sequence,
            metadata=dict(hit.metadata),
        )


class SearchOut(BaseModel):
    hits: list[HitOut]
    degraded: list[str] = Field(description="Tiers and stages that did not answer in time")
    latency_ms: float

    @classmethod
    def of(cls, recollection: Recollection) -> Self:
        return cls(
            hits=[HitOut.of(h) for h in recollection.hits],
            degraded=list(recollection.degraded),
            latency_ms=round(recollection.latency_ms, 3),
        )


class ContextIn(Question):
    model_config = _example(text="When does the cat see the vet?", session_id="hello", budget_tokens=500)

    budget_tokens: StrictInt = 2000
    limit: StrictInt = Field(default=20, description="How many hits are recalled for packing")


class SectionOut(BaseModel):
    name: str
    budget_tokens: int
    spent_tokens: int
    included: int
    dropped: int


class ContextOut(BaseModel):
    text: str
    budget_tokens: int
    spent_tokens: int
    sections: list[SectionOut]
    citations: list[UUID]
    degraded: list[str]

    @classmethod
    def of(cls, context: AssembledContext) -> Self:
        return cls.model_validate(asdict(context))


# ── operations ────────────────────────────────────────────────────────────────────────────────────────────────────


class ConsolidateIn(Body):
    model_config = _example(namespace="default", session_id="hello")

    namespace: StrictStr | None = None
    session_id: StrictStr | None = None


class RunOut(BaseModel):
    id: UUID
    started_at: datetime
    finished_at: datetime
    duration_ms: float
    counts: dict[str, int]
    errors: list[str]

    @classmethod
    def of(cls, run: RunReport) -> Self:
        return cls(
            id=run.id,
            started_at=run.started_at,
            finished_at=run.finished_at,
            duration_ms=round(run.duration_ms, 3),
            counts=dict(run.counts),
            errors=list(run.errors),
        )


class RunsOut(BaseModel):
    runs: list[RunOut]


class BacklogOut(BaseModel):
    sessions: int
    messages: int
    oldest_at: datetime | None


class OutboxStatusOut(BaseModel):
    depth: int
    dead_letters: int
    oldest_at: datetime | None


class EmbeddingOut(BaseModel):
    space: str
    model: str
    dimension: int
    provider: str | None = Field(description="Who answered last; null before the first answer")


class StatusOut(BaseModel):
    backlog: BacklogOut | None
    outbox: OutboxStatusOut | None
    records: dict[str, int] | None = Field(description="What should be in the vector index, by kind")
    indexed_points: int | None
    drift: int | None = Field(description="Records less points; 0 when index and truth agree, null when a tier is away")
    embedding: EmbeddingOut | None = Field(description="Null while no provider has answered and the space is unknown")
    degraded: list[str]

    @classmethod
    def of(cls, status: ConsolidationStatus, embedding: EmbeddingOut | None) -> Self:
        backlog, store = status.backlog, status.store
        missing = {"working": backlog, "episodic": store, "semantic": status.indexed_points}
        return cls(
            backlog=None if backlog is None else BacklogOut(**asdict(backlog)),
            outbox=None
            if store is None
            else OutboxStatusOut(depth=store.outbox_depth, dead_letters=store.dead_letters, oldest_at=store.oldest_outbox_at),
            records=None if store is None else {kind.value: n for kind, n in store.indexable.items()},
            indexed_points=status.indexed_points,
            drift=status.drift,
            embedding=embedding,
            degraded=[tier for tier, answer in missing.items() if answer is None],
        )


class OutboxEntryOut(BaseModel):
    id: int
    op: str
    kind: str
    record_uid: UUID
    attempts: int
    next_attempt_at: datetime | None
    last_error: str | None
    is_dead: bool

    @classmethod
    def of(cls, entry: OutboxEntry) -> Self:
        return cls(
            id=entry.id,
            op=entry.op.value,
            kind=entry.kind.value,
            record_uid=entry.record_uid,
            attempts=entry.attempts,
            next_attempt_at=entry.next_attempt_at,
            last_error=entry.last_error,
            is_dead=entry.is_dead,
        )


class OutboxOut(BaseModel):
    entries: list[OutboxEntryOut]


class RetryIn(Body):
    model_config = _example(ids=[1])

    ids: list[OutboxId] | None = Field(default=None, max_length=_IDS_PER_CALL, description="All dead letters, if left out")


class RetryOut(BaseModel):
    retried: int


class ForgetIn(Body):
    model_config = _example(namespace="default", session_id="hello")

    namespace: StrictStr = Field(description="Has to be said: there is no default for forgetting")
    session_id: StrictStr | None = None


class ForgetOut(BaseModel):
    removed: dict[str, int]
    remaining: int
    degraded: list[str]

    @classmethod
    def of(cls, receipt: ForgetReceipt) -> Self:
        return cls(removed=dict(receipt.removed), remaining=receipt.remaining, degraded=list(receipt.degraded))


class TierOut(BaseModel):
    name: str
    is_up: bool
    latency_ms: float
    detail: str


class HealthOut(BaseModel):
    status: str = Field(examples=["ready"])
    tiers: list[TierOut]


class FieldProblem(BaseModel):
    field: str
    problem: str


class Problem(BaseModel):
    """Problem details as in RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str | None = None
    errors: list[FieldProblem] = Field(default_factory=list)


def _term(field: str, value: Scalar | list[Scalar]) -> FilterTerm:
    return FilterTerm(field, tuple(value) if isinstance(value, list) else (value,))


def _flat(record: Episode | Knowledge) -> Mapping[str, Any]:
    """The record's fields with its scope's among them."""
    fields = asdict(record)
    return {**fields, **fields.pop("scope")}
