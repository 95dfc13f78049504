"""Episodes on the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from pydantic import (
    BaseModel,
    Field,
    StrictBool,
    StrictFloat,
    StrictStr,
)

from app.api.wire.base import Body, JsonObject, Moment, RecalledKind, Scoped, example
from app.records import (
    DEFAULT_NAMESPACE,
    ControlMode,
    Episode,
    EpisodeInFull,
    EpisodeKind,
    EpisodeReceipt,
    EpisodeStep,
    Feedback,
    Knowledge,
    OutcomeRevision,
    RecordKind,
    StepsPage,
    Verdict,
    new_id,
)


class EpisodeIn(Scoped):
    model_config = example(
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
    quality: StrictFloat | None = Field(default=None, description="In [0, 1]; left out, the quality validator says it")
    agent_version: StrictStr | None = None
    control_mode: ControlMode | None = None
    decision_source: StrictStr | None = None
    sprint_id: StrictStr | None = None
    chronicle_note_id: StrictStr | None = None
    patterns: list[StrictStr] = Field(default_factory=list, description="Names of what was seen in it")
    pinned: StrictBool = Field(default=False, description="Retention never touches it")
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
            pinned=self.pinned,
            quality=self.quality,
            agent_version=self.agent_version,
            control_mode=self.control_mode,
            decision_source=self.decision_source,
            sprint_id=self.sprint_id,
            chronicle_note_id=self.chronicle_note_id,
            patterns=tuple(self.patterns),
        )


class EpisodeRecordOut(BaseModel):
    """An episode as it is stored."""

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
    version: int = Field(description="What `ETag` says: one more after each change")
    pinned: bool
    archived_at: datetime | None = Field(description="From then on it is kept with its messages, but not searched")
    agent_version: str | None
    control_mode: ControlMode | None
    decision_source: str | None
    sprint_id: str | None
    chronicle_note_id: str | None
    patterns: list[str]
    is_quality_given: bool = Field(description="A caller said how good it is; otherwise the quality validator does")

    @classmethod
    def of_record(cls, episode: Episode) -> Self:
        return cls.model_validate(flat(episode))


class EpisodeOut(EpisodeRecordOut):
    is_learnable: bool = Field(description="Its quality is known and not below the threshold; otherwise nothing is learned of it")
    requires_embedding: bool = Field(description="The index has yet to learn of it, or of its last change")

    @classmethod
    def of(cls, episode: Episode, *, is_learnable: bool, requires_embedding: bool) -> Self:
        return cls.model_validate({**flat(episode), "is_learnable": is_learnable, "requires_embedding": requires_embedding})


class EpisodePatch(Body):
    """Only what is given changes, each field as a whole."""

    model_config = example(summary="Nine stories were planned, eight were done.", outcome={"done": 8}, outcome_quality=0.9)

    namespace: StrictStr = DEFAULT_NAMESPACE
    perception: JsonObject = Field(default_factory=dict)
    reasoning: JsonObject = Field(default_factory=dict)
    action: JsonObject = Field(default_factory=dict)
    outcome: JsonObject | None = None
    outcome_quality: StrictFloat | None = Field(default=None, description="In [0, 1]")
    summary: StrictStr = ""
    metadata: JsonObject = Field(default_factory=dict)
    quality: StrictFloat | None = Field(default=None, description="In [0, 1]; null leaves it to the quality validator again")
    agent_version: StrictStr | None = None
    control_mode: ControlMode | None = None
    decision_source: StrictStr | None = None
    sprint_id: StrictStr | None = None
    chronicle_note_id: StrictStr | None = None
    patterns: tuple[StrictStr, ...] = ()
    pinned: StrictBool = Field(default=False, description="Retention never touches it")

    def applied_to(self, episode: Episode) -> Episode:
        return replace(episode, **given(self))


class EpisodeStoredOut(EpisodeOut):
    stored_in: str | None = Field(examples=["episodic"], description="Null where it was not stored: `skipped` says why")
    degraded: list[str]
    skipped: str | None = Field(description="`episode-logging-disabled` while logging is switched off: nothing was kept")

    @classmethod
    def of_receipt(cls, receipt: EpisodeReceipt, *, is_learnable: bool) -> Self:
        stored_in = None if receipt.stored_in is None else receipt.stored_in.value
        where = {"stored_in": stored_in, "degraded": list(receipt.degraded), "skipped": receipt.skipped}
        claims = {"is_learnable": is_learnable, "requires_embedding": receipt.requires_embedding}
        return cls.model_validate({**flat(receipt.episode), **claims, **where})


class EpisodesOut(BaseModel):
    episodes: list[EpisodeOut]
    next: UUID | None = Field(description="Pass as `before` for the next page; null on the last one")


class OutcomeIn(Body):
    model_config = example(outcome={"done": 8}, outcome_quality=0.9)

    namespace: StrictStr = DEFAULT_NAMESPACE
    outcome: JsonObject
    outcome_quality: StrictFloat | None = Field(default=None, description="In [0, 1]")


class OutcomeRevisionOut(BaseModel):
    index: int
    outcome: JsonObject | None
    outcome_quality: float | None
    recorded_at: datetime = Field(description="Of one that the episode came with: when the episode ended")
    call: UUID | None = Field(description="The same for all that one call with an `Idempotency-Key` did")

    @classmethod
    def of(cls, revision: OutcomeRevision) -> Self:
        return cls.model_validate(asdict(revision))


class OutcomesOut(BaseModel):
    outcomes: list[OutcomeRevisionOut] = Field(description="In the order in which they became known: the last one holds")
    next: int | None = Field(description="Pass as `after` for the next page; null on the last one")


class FeedbackIn(Scoped):
    model_config = example(record_id="01890000-0000-7000-8000-0000000000e1", verdict="useful")

    session_id: StrictStr | None = Field(default=None, description="Of a message: its session")
    record_id: UUID = Field(description="The `id` of a hit")
    kind: RecalledKind | None = None
    verdict: Verdict
    query: StrictStr | None = Field(default=None, description="What it was recalled for")
    note: StrictStr | None = None
    search_id: UUID | None = Field(
        default=None,
        description="`experiment.search_id` of the answer it was in; its subject has `feedback` observed: 1 if useful, else 0",
    )


class FeedbackOut(BaseModel):
    id: UUID
    namespace: str
    user_id: str | None
    agent_id: str | None
    session_id: str | None
    project_id: str | None
    kind: RecordKind
    record_id: UUID
    verdict: Verdict
    query: str | None
    note: str | None
    created_at: datetime

    @classmethod
    def of(cls, feedback: Feedback) -> Self:
        return cls.model_validate(flat(feedback))


class StepsIn(Body):
    model_config = example(steps=[{"did": "vote"}])

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
    step_count: int = Field(description="How many the episode has in all")
    next: int | None = Field(description="Pass as `after` for the next page; null on the last one")

    @classmethod
    def of(cls, page: StepsPage) -> Self:
        return cls(steps=[StepOut.of(s) for s in page.steps], step_count=page.step_count, next=_next_step(page))


class EpisodeInFullOut(EpisodeOut):
    """An episode with its first steps; the others are at `/v1/episodes/{id}/steps`."""

    quality_reasons: list[str] = Field(description="Where the quality validator sees points lost, the most first")
    steps: list[StepOut]
    step_count: int = Field(description="How many there are in all")
    next: int | None = Field(description="Pass as `after` to GET …/steps for what follows; null when these are all")

    @classmethod
    def of_full(cls, found: EpisodeInFull, *, is_learnable: bool, reasons: Sequence[str]) -> Self:
        claims = {"is_learnable": is_learnable, "requires_embedding": found.requires_embedding}
        return cls.model_validate(
            {**flat(found.episode), **claims, "quality_reasons": list(reasons), **StepsOut.of(found.first).model_dump()}
        )


def _next_step(page: StepsPage) -> int | None:
    """The last index shown, if more follow."""
    if not page.steps or page.steps[-1].index + 1 >= page.step_count:
        return None
    return page.steps[-1].index


def given(patch: BaseModel) -> dict[str, Any]:
    """The fields that the caller gave."""
    return {name: getattr(patch, name) for name in patch.model_fields_set if name != "namespace"}


def flat(record: Episode | Knowledge | Feedback) -> Mapping[str, Any]:
    """The record's fields with its scope's among them."""
    fields = asdict(record)
    return {**fields, **fields.pop("scope")}
