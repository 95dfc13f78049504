"""Experiments and trends on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import date, datetime
from typing import Any, Self
from uuid import UUID

from pydantic import BaseModel, Field, StrictBool, StrictFloat, StrictInt, StrictStr

from app.api.wire.base import Body, JsonObject, example
from app.api.wire.recall import RankingIn
from app.records import (
    DEFAULT_NAMESPACE,
    OUTCOME_QUALITY,
    Analysis,
    Arm,
    Direction,
    Experiment,
    ExperimentState,
    Metric,
    MetricKind,
    Mode,
    ObservationDraft,
    ObservationReceipt,
    Plan,
    Recommendation,
    Sample,
    Stage,
    Trends,
    Unit,
    Variant,
    new_id,
)

_METRIC = Metric()
_PLAN = Plan()


class VariantIn(Body):
    """Settings that differ from what a search asks for; what is left out stays as the search has it."""

    name: StrictStr
    weight: StrictFloat = Field(default=1.0, description="Its share of the traffic, relative to the others'")
    ranking: RankingIn | None = None
    mode: Mode | None = None
    stages: list[Stage] | None = None
    limit: StrictInt | None = None

    def variant(self) -> Variant:
        weights = {} if self.ranking is None else self.ranking.model_dump(mode="json", exclude_unset=True)
        stages = None if self.stages is None else tuple(dict.fromkeys(self.stages))
        return Variant(self.name, self.weight, weights, self.mode, stages, self.limit)


class ExperimentIn(Body):
    model_config = example(
        name="fresher-first",
        variants=[{"name": "control"}, {"name": "fresh", "ranking": {"recency": 0.3, "half_life_days": 14.0}}],
    )

    namespace: StrictStr = DEFAULT_NAMESPACE
    name: StrictStr
    description: StrictStr = ""
    variants: list[VariantIn] = Field(description="The first one is the control; give it no settings to compare with what is")
    unit: Unit = Field(default=Unit.SESSION, description="What a subject is; each gets one variant and counts once")
    traffic_share: StrictFloat = Field(default=1.0, description="Of the subjects, the part that takes part; above 0, at most 1")
    metric: StrictStr = Field(default=_METRIC.name, description=f"`{OUTCOME_QUALITY}` is joined from episodes by itself")
    metric_kind: MetricKind = _METRIC.kind
    lower_is_better: StrictBool = False
    alpha: StrictFloat = Field(default=_PLAN.alpha, description="How often a difference may be claimed that is not there")
    minimum_subjects: StrictInt = Field(default=_PLAN.minimum_subjects, description="Of each variant, before anything is advised")
    planned_subjects: StrictInt = Field(default=_PLAN.planned_subjects, description="In all; intervals are tightest there")
    minimum_effect: StrictFloat = Field(default=_PLAN.minimum_effect, description="A smaller improvement is not worth having")

    def experiment(self, experiment_id: UUID | None, now: datetime) -> Experiment:
        return Experiment(
            id=experiment_id or new_id(),
            namespace=self.namespace,
            name=self.name,
            variants=tuple(v.variant() for v in self.variants),
            created_at=now,
            description=self.description,
            unit=self.unit,
            traffic_share=self.traffic_share,
            metric=Metric(self.metric, self.metric_kind, self.lower_is_better),
            plan=Plan(self.alpha, self.minimum_subjects, self.planned_subjects, self.minimum_effect),
        )


class VariantOut(BaseModel):
    name: str
    weight: float
    ranking: JsonObject
    mode: Mode | None
    stages: list[Stage] | None
    limit: int | None


class ExperimentOut(BaseModel):
    id: UUID
    namespace: str
    name: str
    description: str
    variants: list[VariantOut]
    unit: Unit
    traffic_share: float
    metric: str
    metric_kind: MetricKind
    lower_is_better: bool
    alpha: float
    minimum_subjects: int
    planned_subjects: int
    minimum_effect: float
    state: ExperimentState
    created_at: datetime
    started_at: datetime | None
    stopped_at: datetime | None

    @classmethod
    def of(cls, experiment: Experiment) -> Self:
        return cls.model_validate({**asdict(experiment), **asdict(experiment.plan), **_metric(experiment.metric)})


class ExperimentsOut(BaseModel):
    experiments: list[ExperimentOut]
    next: str | None = Field(description="Pass as `after` for the next page; null on the last one")


class TransitionIn(Body):
    model_config = example(namespace="default")

    namespace: StrictStr = DEFAULT_NAMESPACE


class AssignmentOut(BaseModel):
    """Who gets what: `variant` is null where the subject is answered as anybody is, and `enrolment` says why."""

    experiment: str
    subject: str
    variant: str | None
    enrolment: str = Field(examples=["assigned"])

    @classmethod
    def of(cls, arm: Arm) -> Self:
        return cls(experiment=arm.experiment, subject=arm.subject, variant=arm.variant, enrolment=arm.enrolment.value)


class ObservationIn(Body):
    subject: StrictStr
    value: StrictFloat = Field(description="0 or 1 of a binary metric")
    metric: StrictStr | None = Field(default=None, description="The experiment's own, if left out")
    id: UUID | None = Field(default=None, description="Sent again under the same id it counts once")

    def draft(self, made_id: UUID | None) -> ObservationDraft:
        return ObservationDraft(self.subject, self.value, self.metric, self.id or made_id)


class ObservationsIn(Body):
    model_config = example(observations=[{"subject": "session-17", "value": 0.8}])

    namespace: StrictStr = DEFAULT_NAMESPACE
    observations: list[ObservationIn]


class ObservedOut(BaseModel):
    recorded: int
    outside: int = Field(description="Left out: their subjects are outside the experiment's traffic")

    @classmethod
    def of(cls, receipt: ObservationReceipt) -> Self:
        return cls(recorded=receipt.recorded, outside=receipt.outside)


class SampleOut(BaseModel):
    variant: str
    exposed: int = Field(description="Subjects that searched under it")
    subjects: int = Field(description="Subjects of which the metric is known; each counts once, by its mean")
    mean: float | None
    variance: float | None


class EstimateOut(BaseModel):
    low: float
    high: float
    p_value: float
    method: str


class ComparisonOut(BaseModel):
    variant: str
    effect: float = Field(description="Its mean less the control's")
    relative: float | None = Field(description="The effect in parts of the control's mean")
    low: float = Field(description="With `high`, the interval that holds however often one looks: what the advice follows")
    high: float
    p_value: float
    fixed: EstimateOut = Field(description="The narrower interval, for one look that was decided on in advance")


class AnalysisOut(BaseModel):
    experiment: str
    state: ExperimentState
    metric: str
    lower_is_better: bool
    confidence: float = Field(description="Of each interval; all together hold with 1 - alpha")
    control: str
    variants: list[SampleOut]
    comparisons: list[ComparisonOut]
    recommendation: Recommendation
    variant: str | None = Field(description="The one to roll out")
    reasons: list[str]
    sample_ratio_p: float = Field(description="Small when variants have other shares of the subjects than they should")

    @classmethod
    def of(cls, analysis: Analysis) -> Self:
        return cls(
            experiment=analysis.experiment.name,
            state=analysis.experiment.state,
            metric=analysis.metric.name,
            lower_is_better=analysis.metric.is_lower_better,
            confidence=analysis.confidence,
            control=analysis.experiment.control.name,
            variants=[_sample(sample) for sample in analysis.samples],
            comparisons=[
                ComparisonOut(
                    variant=c.variant, effect=c.effect, relative=c.relative, low=c.anytime.low, high=c.anytime.high,
                    p_value=c.anytime.p_value, fixed=EstimateOut(**asdict(c.fixed)),
                )
                for c in analysis.comparisons
            ],
            recommendation=analysis.recommendation,
            variant=analysis.variant,
            reasons=list(analysis.reasons),
            sample_ratio_p=analysis.sample_ratio_p,
        )  # fmt: skip


class DayOut(BaseModel):
    day: date
    value: float
    count: int


class TrendOut(BaseModel):
    mean: float | None
    slope_per_day: float | None = Field(description="The median slope; null with too few days")
    p_value: float | None
    direction: Direction = Field(description="`steady` unless a change is statistically there")
    points: list[DayOut] = Field(description="Days with a value, oldest first")


class TrendsOut(BaseModel):
    namespace: str | None
    days: int
    series: dict[str, TrendOut]

    @classmethod
    def of(cls, trends: Trends) -> Self:
        return cls.model_validate({**asdict(trends), "series": {name: asdict(t) for name, t in trends.series.items()}})


def _metric(metric: Metric) -> Mapping[str, Any]:
    return {"metric": metric.name, "metric_kind": metric.kind, "lower_is_better": metric.is_lower_better}


def _sample(sample: Sample) -> SampleOut:
    return SampleOut(
        variant=sample.variant,
        exposed=sample.exposed,
        subjects=sample.subjects,
        mean=sample.mean if sample.subjects else None,
        variance=sample.variance if sample.subjects > 1 else None,
    )
