"""Which experiments and observations may enter (pure). Every refusal names the field and the limit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.errors import InvalidInput
from app.ingestion.limits import Limits, check_count, check_label, check_query, check_text
from app.records import Experiment, ObservationDraft, Participation, Query, Scope, Variant

_DESCRIPTION_BYTES: Final = 8192
_LARGEST_VALUE: Final = 1e12
"""Its square, summed over all subjects there may be, is still a number."""


@dataclass(frozen=True, slots=True)
class ExperimentLimits:
    """`alpha` and counts as (least, most)."""

    variants: tuple[int, int] = (2, 10)
    weight: tuple[float, float] = (0.001, 1000.0)
    alpha: tuple[float, float] = (0.0001, 0.5)
    minimum_subjects: tuple[int, int] = (2, 10_000_000)
    planned_subjects: tuple[int, int] = (10, 100_000_000)
    observations: int = 10_000


_LIMITS: Final = ExperimentLimits()


def admit_experiment(experiment: Experiment, limits: Limits) -> Experiment:
    """Return the experiment, all of whose variants are settings that a search could have.

    Raises:
        InvalidInput: the first field found to break a limit.
    """
    for field in ("namespace", "name"):
        check_label(field, getattr(experiment, field), limits)
    check_label("metric", experiment.metric.name, limits)
    if experiment.description:
        check_text("description", experiment.description, _DESCRIPTION_BYTES)
    if not 0 < experiment.traffic_share <= 1:
        raise InvalidInput("traffic_share", f"must be above 0 and at most 1, is {experiment.traffic_share}")
    _check_plan(experiment)
    least, most = _LIMITS.variants
    check_count("variants", len(experiment.variants), most, least=least)
    for position, variant in enumerate(experiment.variants):
        _check_variant(f"variants[{position}]", variant, limits)
        if variant.name in {other.name for other in experiment.variants[:position]}:
            raise InvalidInput(f"variants[{position}].name", "is that of another variant")
    return experiment


def _check_plan(experiment: Experiment) -> None:
    plan = experiment.plan
    _check_between("alpha", plan.alpha, _LIMITS.alpha)
    _check_between("minimum_subjects", plan.minimum_subjects, _LIMITS.minimum_subjects)
    _check_between("planned_subjects", plan.planned_subjects, _LIMITS.planned_subjects)
    _check_between("minimum_effect", plan.minimum_effect, (0.0, _LARGEST_VALUE))


def _check_variant(field: str, variant: Variant, limits: Limits) -> None:
    check_label(f"{field}.name", variant.name, limits)
    _check_between(f"{field}.weight", variant.weight, _LIMITS.weight)
    try:
        check_query(variant.applied_to(Query("any", Scope())), limits)
    except InvalidInput as error:
        raise InvalidInput(f"{field}.{error.field}", error.problem) from None
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{field}.ranking", f"cannot be applied: {error}") from None


def _check_between(field: str, value: float, bounds: tuple[float, float]) -> None:
    least, most = bounds
    if not least <= value <= most:  # false for NaN too
        raise InvalidInput(field, f"must be between {least:g} and {most:g}, is {value:g}")


def check_participation(asked: Participation, limits: Limits) -> Participation:
    check_label("experiment", asked.experiment, limits)
    if asked.subject is not None:
        check_label("subject", asked.subject, limits)
    return asked


def admit_observations(drafts: Sequence[ObservationDraft], limits: Limits) -> Sequence[ObservationDraft]:
    """Return the observations.

    Raises:
        InvalidInput: the first field found to break a limit.
    """
    check_count("observations", len(drafts), _LIMITS.observations)
    for position, draft in enumerate(drafts):
        field = f"observations[{position}]"
        check_label(f"{field}.subject", draft.subject, limits)
        if draft.metric is not None:
            check_label(f"{field}.metric", draft.metric, limits)
        if not (math.isfinite(draft.value) and abs(draft.value) <= _LARGEST_VALUE):
            raise InvalidInput(f"{field}.value", f"must be a finite number of at most {_LARGEST_VALUE:g}")
    return drafts
