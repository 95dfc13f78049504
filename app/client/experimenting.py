"""Answers about experiments as values (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.client.answers import Document, document, given, valued
from app.client.reply import Reply
from app.records import Estimate, Experiment, ExperimentState, Recommendation


@dataclass(frozen=True, slots=True)
class VariantSample:
    """A variant's subjects. `mean` and `variance` are None with too few to have one."""

    variant: str
    exposed: int
    subjects: int
    mean: float | None
    variance: float | None


@dataclass(frozen=True, slots=True)
class VariantComparison:
    """A variant beside the control. `low` and `high` hold however often one looks, `fixed` at one look decided on in advance."""

    variant: str
    effect: float
    relative: float | None
    low: float
    high: float
    p_value: float
    fixed: Estimate


@dataclass(frozen=True, slots=True)
class ExperimentAnalysis:
    """What an experiment says so far. `variant` is the one to roll out; `confidence` is that of each interval.

    `sample_ratio_p` is small when variants have other shares of the subjects than they should: then nothing else can be
    believed.
    """

    experiment: str
    state: ExperimentState
    metric: str
    lower_is_better: bool
    confidence: float
    control: str
    variants: tuple[VariantSample, ...]
    comparisons: tuple[VariantComparison, ...]
    recommendation: Recommendation
    variant: str | None
    reasons: tuple[str, ...]
    sample_ratio_p: float


def experiment(found: Document) -> Experiment:
    """An experiment, whose metric and plan are values of their own."""
    metric = {"name": given(found, "metric"), "kind": found.get("metric_kind"), "is_lower_better": found.get("lower_is_better")}
    return valued(Experiment, {**found, "metric": metric, "plan": found})


def one_experiment(reply: Reply) -> Experiment:
    answer: Any = document(reply)
    return experiment(answer)
