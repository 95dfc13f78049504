"""Experiments over recall and ranking, and what was learned from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from app.ranking import Fusion
from app.records.asking import Mode, Query, Stage
from app.records.base import Json, Scope

OUTCOME_QUALITY: Final = "outcome_quality"
"""The metric that is joined from episodes by itself; every other one is observed by whoever runs the experiment."""
FEEDBACK: Final = "feedback"
"""The metric under which judgements of a search's hits are observed (1 useful, 0 not)."""


class ExperimentState(StrEnum):
    DRAFT = "draft"
    RUNNING = "running"
    STOPPED = "stopped"


class Unit(StrEnum):
    """What a subject is; of a `CUSTOM` one only the caller knows."""

    SESSION = "session"
    USER = "user"
    AGENT = "agent"
    CUSTOM = "custom"

    def subject_in(self, scope: Scope) -> str | None:
        """The subject that a scope names; None when it names none."""
        return None if self is Unit.CUSTOM else getattr(scope, f"{self.value}_id")


class MetricKind(StrEnum):
    BINARY = "binary"
    CONTINUOUS = "continuous"


class Recommendation(StrEnum):
    """What an analysis advises: take a variant for all, end it as it is, or wait for more subjects."""

    ROLL_OUT = "roll_out"
    STOP = "stop"
    KEEP_GOING = "keep_going"


@dataclass(frozen=True, slots=True)
class Variant:
    """Settings that differ from what a search asks for. `weight` is its share of the traffic, relative to the others'.

    `ranking` names fields of `Ranking`; what is None or not named stays as the search has it.
    """

    name: str
    weight: float = 1.0
    ranking: Json = field(default_factory=dict)
    mode: Mode | None = None
    stages: tuple[Stage, ...] | None = None
    limit: int | None = None

    def applied_to(self, query: Query) -> Query:
        """The query under this variant's settings.

        Raises:
            TypeError: `ranking` names what is no field of `Ranking`.
            ValueError: it names a fusion that there is not.
        """
        given = {"mode": self.mode, "stages": self.stages, "limit": self.limit}
        fields: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        weights: dict[str, Any] = dict(self.ranking)
        if "fusion" in weights:
            weights["fusion"] = Fusion(weights["fusion"])
        return replace(query, ranking=replace(query.ranking, **weights), **fields)


@dataclass(frozen=True, slots=True)
class Metric:
    """What an experiment is judged by: one value a subject, the mean of those observed."""

    name: str = OUTCOME_QUALITY
    kind: MetricKind = MetricKind.CONTINUOUS
    is_lower_better: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """How an experiment is judged, decided before it starts.

    `alpha`: how often a difference may be claimed that is not there, however often one looks. `minimum_subjects`: of each
    variant, before anything is advised. `planned_subjects`: in all; there the intervals are at their tightest for what they
    are, more or fewer are fine. `minimum_effect`: a smaller improvement is not worth having.
    """

    alpha: float = 0.05
    minimum_subjects: int = 30
    planned_subjects: int = 1000
    minimum_effect: float = 0.0


@dataclass(frozen=True, slots=True)
class Experiment:
    """Variants side by side in one namespace, the first of which is the control. Names are unique in a namespace."""

    id: UUID
    namespace: str
    name: str
    variants: tuple[Variant, ...]
    created_at: datetime
    description: str = ""
    unit: Unit = Unit.SESSION
    traffic_share: float = 1.0
    metric: Metric = Metric()
    plan: Plan = Plan()
    state: ExperimentState = ExperimentState.DRAFT
    started_at: datetime | None = None
    stopped_at: datetime | None = None

    @property
    def control(self) -> Variant:
        return self.variants[0]


@dataclass(frozen=True, slots=True)
class Exposure:
    """A search that was answered under a variant's settings."""

    experiment_id: UUID
    namespace: str
    subject: str
    search_id: UUID
    variant: str
    at: datetime


@dataclass(frozen=True, slots=True)
class ObservationDraft:
    """A value of a metric (the experiment's own, if none is named) that was seen of a subject."""

    subject: str
    value: float
    metric: str | None = None
    id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """A value of a metric seen of a subject, with the variant the subject is in."""

    id: UUID
    experiment_id: UUID
    metric: str
    subject: str
    variant: str
    value: float
    at: datetime


@dataclass(frozen=True, slots=True)
class ObservationReceipt:
    """How many were recorded, and how many were left out because their subjects are outside the experiment's traffic."""

    recorded: int
    outside: int


@dataclass(frozen=True, slots=True)
class Sample:
    """A variant's subjects. `mean` and `variance` (of a sample) are over subjects, each counted once by its own mean.

    `exposed`: subjects that searched under it. `is_binary`: every subject's value is 0 or 1.
    """

    variant: str
    exposed: int = 0
    subjects: int = 0
    mean: float = 0.0
    variance: float = 0.0
    is_binary: bool = False


@dataclass(frozen=True, slots=True)
class Estimate:
    """A difference with the bounds it lies between, and the evidence against there being none."""

    low: float
    high: float
    p_value: float
    method: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """A variant beside the control. `effect` is its mean less the control's; `relative` is that in parts of the control's.

    `anytime` holds however often and whenever one looks, `fixed` only at one look that was decided on in advance.
    """

    variant: str
    effect: float
    relative: float | None
    anytime: Estimate
    fixed: Estimate


@dataclass(frozen=True, slots=True)
class Analysis:
    """What an experiment says so far. `variant` is the one to roll out. `sample_ratio_p` is small when variants have other
    shares of the subjects than they should: then something is broken, and nothing else here can be believed."""

    experiment: Experiment
    metric: Metric
    confidence: float
    samples: tuple[Sample, ...]
    comparisons: tuple[Comparison, ...]
    recommendation: Recommendation
    reasons: tuple[str, ...]
    variant: str | None = None
    sample_ratio_p: float = 1.0


@dataclass(frozen=True, slots=True)
class SearchUsage:
    """What one process saw of a namespace's searches on a day. `buckets` count latencies: see `app.learning.usage`."""

    namespace: str
    day: date
    searches: int = 0
    failed: int = 0
    degraded: int = 0
    latency_ms: float = 0.0
    buckets: tuple[int, ...] = ()


class Direction(StrEnum):
    """Where a series goes: nowhere, unless that is statistically there; `UNKNOWN` with too few days to tell."""

    IMPROVING = "improving"
    WORSENING = "worsening"
    STEADY = "steady"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class DayValue:
    """A day's value, and how many things it is of."""

    day: date
    value: float
    count: int


@dataclass(frozen=True, slots=True)
class Trend:
    """Days with a value, oldest first; the median slope a day and the evidence against there being none."""

    points: tuple[DayValue, ...]
    mean: float | None
    slope_per_day: float | None
    p_value: float | None
    direction: Direction


@dataclass(frozen=True, slots=True)
class Trends:
    """Quality, latency and errors over the last days, today included; of one namespace, or of all (None)."""

    namespace: str | None
    days: int
    series: Mapping[str, Trend]
