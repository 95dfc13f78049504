"""Knowledge on the wire: pieces, evidence, supersession, history, and what helps in a situation."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from pydantic import BaseModel, Field, StrictBool, StrictFloat, StrictInt, StrictStr

from app.api.wire.base import Body, JsonObject, Moment, Scoped, example
from app.api.wire.records import flat, given
from app.errors import InvalidInput
from app.learning.conditions import Met
from app.learning.evidence import confidence_from
from app.learning.strategies import LEARNABLE, LearnedStrategies, LearnedStrategy, Situation
from app.learning.success import Estimate, estimate
from app.records import (
    DEFAULT_NAMESPACE,
    Cause,
    Knowledge,
    KnowledgeHistory,
    KnowledgeKind,
    Origin,
    Revision,
    Success,
    new_id,
)


class _New(Body):
    """What a new piece of knowledge says, and what it rests on."""

    content: JsonObject = Field(
        default_factory=dict,
        description="Anything; of a strategy, heuristic, pattern or constraint `conditions` says when it applies: "
        "a list of `{field, op, value}`, op one of eq, ne, lt, lte, gt, gte, in, exists",
        examples=[{"conditions": [{"field": "backlog", "op": "gt", "value": 20}], "action": "split the sprint"}],
    )
    confidence: StrictFloat = Field(
        default=1.0, description="In [0, 1]; if left out, 1 for what was stated, and what its episodes make of what was learned"
    )
    origin: Origin = Field(default=Origin.STATED, description="What was learned names at least three supporting episodes")
    supporting_episodes: list[UUID] = Field(default_factory=list)
    contradicting_episodes: list[UUID] = Field(default_factory=list)
    valid_from: Moment | None = None
    valid_to: Moment | None = None
    pinned: StrictBool = Field(default=False, description="Retention never touches it")

    def _said(self) -> dict[str, Any]:
        sides = {"supporting_episodes", "contradicting_episodes", "confidence"}
        plain = {name: getattr(self, name) for name in _New.model_fields if name not in sides}
        return plain | {
            "supporting_episodes": tuple(self.supporting_episodes),
            "contradicting_episodes": tuple(self.contradicting_episodes),
            "confidence": self._confidence(),
        }

    def _confidence(self) -> float:
        if self.origin is Origin.STATED or "confidence" in self.model_fields_set:
            return self.confidence
        return confidence_from(len(set(self.supporting_episodes)), len(set(self.contradicting_episodes)))


class KnowledgeIn(Scoped, _New):
    model_config = example(kind="fact", description="Mara is allergic to walnuts.", confidence=0.9)

    kind: KnowledgeKind = KnowledgeKind.FACT
    session_id: StrictStr | None = None
    description: StrictStr = Field(examples=["Mara is allergic to walnuts."])

    def knowledge(self, now: datetime) -> Knowledge:
        return Knowledge(
            id=new_id(),
            kind=self.kind,
            scope=self.scope(self.session_id),
            description=self.description,
            created_at=now,
            **self._said(),
        )


class SupersedeIn(_New):
    """What holds instead. Kind and scope are those of the piece that it supersedes."""

    model_config = example(description="Mara is allergic to walnuts and pecans.")

    namespace: StrictStr = DEFAULT_NAMESPACE
    description: StrictStr | None = Field(default=None, description="As before, if left out")
    valid_from: Moment | None = Field(default=None, description="From when on; now, if left out. The older piece ends then")

    def successor(self, older: Knowledge, now: datetime) -> Knowledge:
        if self.description is None and not self.content:
            raise InvalidInput("description", "must be given, or content")
        description = older.description if self.description is None else self.description
        return Knowledge(id=new_id(), kind=older.kind, scope=older.scope, description=description, created_at=now, **self._said())


class EstimateOut(BaseModel):
    mean: float = Field(description="Of the Beta distribution that the applications make of Beta(1, 1)")
    lower: float = Field(description="The success rate is higher with a probability of 95 %")
    upper: float = Field(description="The success rate is lower with a probability of 95 %")

    @classmethod
    def of(cls, estimated: Estimate) -> Self:
        return cls(mean=estimated.mean, lower=round(estimated.lower, 6), upper=round(estimated.upper, 6))


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
    origin: Origin
    confidence: float
    evidence_count: int = Field(description="How many observations the confidence rests on")
    supporting_episodes: list[UUID]
    contradicting_episodes: list[UUID]
    times_applied: int
    success_count: int
    failure_count: int
    success_rate: float | None = Field(description="Successes among the applications; null before the first")
    estimated_success: EstimateOut = Field(description="What is believed of the success rate, however few the applications")
    is_active: bool = Field(description="If not, it is kept and not recalled")
    inactive_reason: str | None
    applied_when_activated: int = Field(description="How often it had been applied when somebody last made it active again")
    created_at: datetime
    valid_from: datetime | None
    valid_to: datetime | None = Field(description="It holds until before then")
    supersedes: UUID | None
    superseded_by: UUID | None
    version: int = Field(description="What `ETag` says: one more after each change")
    schema_version: int
    pinned: bool

    @classmethod
    def of(cls, knowledge: Knowledge) -> Self:
        estimated = EstimateOut.of(estimate(knowledge.success_count, knowledge.failure_count))
        return cls.model_validate({**flat(knowledge), "success_rate": knowledge.success_rate, "estimated_success": estimated})


class KnowledgePatch(Body):
    """Only what is given changes, each field as a whole."""

    model_config = example(description="Mara is allergic to walnuts and pecans.", confidence=0.95)

    namespace: StrictStr = DEFAULT_NAMESPACE
    description: StrictStr = ""
    content: JsonObject = Field(default_factory=dict)
    confidence: StrictFloat = Field(default=1.0, description="In [0, 1]")
    valid_from: Moment | None = None
    valid_to: Moment | None = None
    superseded_by: UUID | None = Field(
        default=None, description="Knowledge that is there already and holds instead; this one is kept and ends, now if not said"
    )
    is_active: StrictBool = Field(default=True, description="False takes it out of recall, true gives it another chance")
    inactive_reason: StrictStr | None = None
    pinned: StrictBool = Field(default=False, description="Retention never touches it")

    def applied_to(self, knowledge: Knowledge) -> Knowledge:
        return replace(knowledge, **given(self))


class ApplicationIn(Body):
    model_config = example(outcome="success")

    namespace: StrictStr = DEFAULT_NAMESPACE
    outcome: Success
    episode_id: UUID | None = Field(default=None, description="The episode in which it was applied")


class EvidenceIn(Body):
    model_config = example(supporting_episodes=["01890000-0000-7000-8000-0000000000e1"])

    namespace: StrictStr = DEFAULT_NAMESPACE
    supporting_episodes: list[UUID] = Field(default_factory=list)
    contradicting_episodes: list[UUID] = Field(default_factory=list)


class KnowledgeListOut(BaseModel):
    knowledge: list[KnowledgeOut]
    next: UUID | None = Field(description="Pass as `before` for the next page; null on the last one")


class RevisionOut(BaseModel):
    number: int
    recorded_at: datetime
    cause: Cause
    changes: JsonObject = Field(description="The new value of each changed field; of episodes those `added` and `removed`")

    @classmethod
    def of(cls, revision: Revision) -> Self:
        return cls.model_validate(asdict(revision))


class HistoryOut(BaseModel):
    versions: list[KnowledgeOut] = Field(description="The pieces that superseded each other, oldest first, this one among them")
    revisions: list[RevisionOut] = Field(description="The changes of this piece, in order")
    next: int | None = Field(description="Pass as `after` for the next page of revisions; null on the last one")

    @classmethod
    def of(cls, history: KnowledgeHistory, limit: int) -> Self:
        revisions = [RevisionOut.of(revision) for revision in history.revisions]
        return cls(
            versions=[KnowledgeOut.of(version) for version in history.versions],
            revisions=revisions,
            next=revisions[-1].number if len(revisions) == limit else None,
        )


class StrategiesIn(Scoped):
    model_config = example(context={"backlog": 25, "team": {"size": 4}}, min_confidence=0.6, limit=5)

    context: StrictStr | JsonObject = Field(
        description="The situation: JSON, which conditions look into, or a text", examples=[{"backlog": 25, "team": {"size": 4}}]
    )
    session_id: StrictStr | None = None
    min_confidence: StrictFloat | None = Field(default=None, description="In [0, 1]; 0.5, if left out")
    kinds: list[KnowledgeKind] | None = Field(default=None, description="All but facts, if left out")
    limit: StrictInt = 10
    as_of: Moment | None = Field(default=None, description="What held then; now, if left out")

    def situation(self) -> Situation:
        return Situation(
            context=self.context,
            scope=self.scope(self.session_id),
            min_confidence=self.min_confidence,
            kinds=LEARNABLE if self.kinds is None else tuple(dict.fromkeys(self.kinds)),
            limit=self.limit,
            as_of=self.as_of,
        )


class MetOut(BaseModel):
    field: str
    op: str
    value: Any
    found: Any = Field(description="What the context has there")

    @classmethod
    def of(cls, met: Met) -> Self:
        return cls(**asdict(met.condition), found=met.found)


class StrategyOut(BaseModel):
    knowledge: KnowledgeOut
    score: float
    components: dict[str, float] = Field(description="The terms the score is the sum of")
    matched_conditions: list[MetOut]
    why: list[str] = Field(description="The same in words")

    @classmethod
    def of(cls, strategy: LearnedStrategy) -> Self:
        return cls(
            knowledge=KnowledgeOut.of(strategy.knowledge),
            score=strategy.score,
            components=dict(strategy.components),
            matched_conditions=[MetOut.of(met) for met in strategy.matched_conditions],
            why=list(strategy.why),
        )


class StrategiesOut(BaseModel):
    strategies: list[StrategyOut] = Field(description="The most promising first")
    degraded: list[str] = Field(description="Tiers that did not answer in time")

    @classmethod
    def of(cls, learned: LearnedStrategies) -> Self:
        return cls(strategies=[StrategyOut.of(s) for s in learned.strategies], degraded=list(learned.degraded))
