"""What an experiment says, and what to do about it (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from app.learning.experiments.statistics import anytime, fixed, sample_ratio_p
from app.records import Analysis, Comparison, Estimate, Experiment, Metric, Recommendation, Sample

_BROKEN_BELOW: Final = 0.001
"""Of the sample ratio's p-value: such a split happens once in a thousand sound experiments, at whatever look."""
_COMPARABLE: Final = 2
"""Subjects without which there is no variance."""


def analyse(experiment: Experiment, metric: Metric, samples: Sequence[Sample]) -> Analysis:
    """Compare each variant with the control and advise. A variant of which nothing was seen has an empty sample.

    α is shared among the variants (Bonferroni), so that all bounds hold together.
    """
    known = {sample.variant: sample for sample in samples}
    whole = tuple(known.get(v.name, Sample(v.name)) for v in experiment.variants)
    alpha = experiment.plan.alpha / (len(experiment.variants) - 1)
    comparisons = tuple(
        _compared(whole[0], sample, alpha, experiment.plan.planned_subjects)
        for sample in whole[1:]
        if min(sample.subjects, whole[0].subjects) >= _COMPARABLE
    )
    found = Analysis(
        experiment=experiment,
        metric=metric,
        confidence=1 - alpha,
        samples=whole,
        comparisons=comparisons,
        recommendation=Recommendation.KEEP_GOING,
        reasons=(),
        sample_ratio_p=_sample_ratio(experiment, whole),
    )
    return _advised(found)


def _compared(control: Sample, sample: Sample, alpha: float, planned: int) -> Comparison:
    effect = sample.mean - control.mean
    relative = effect / abs(control.mean) if control.mean else None
    lasting, single = anytime(control, sample, alpha, planned), fixed(control, sample, alpha)
    return Comparison(sample.variant, effect, relative, lasting, single)


def _sample_ratio(experiment: Experiment, samples: Sequence[Sample]) -> float:
    """Of the subjects that searched; of those observed where searches are made elsewhere."""
    exposed = [sample.exposed for sample in samples]
    counts = exposed if any(exposed) else [sample.subjects for sample in samples]
    return sample_ratio_p(counts, [variant.weight for variant in experiment.variants])


def _advised(found: Analysis) -> Analysis:
    """The analysis with its recommendation: first what forbids one, then what commands one."""
    if found.sample_ratio_p < _BROKEN_BELOW:
        shares = ", ".join(f"{s.variant} {s.exposed or s.subjects}" for s in found.samples)
        reason = f"the variants' shares of the subjects are not those planned ({shares}): find out why before believing anything"
        return replace(found, recommendation=Recommendation.STOP, reasons=(reason,))
    least = found.experiment.plan.minimum_subjects
    if few := [f"{s.variant} has {s.subjects} of {least} subjects" for s in found.samples if s.subjects < least]:
        return replace(found, reasons=tuple(few))
    return _decided(found)


def _decided(found: Analysis) -> Analysis:
    gains = {c.variant: _gain(c.anytime, found.metric) for c in found.comparisons}
    wanted = found.experiment.plan.minimum_effect
    proven = [c for c in found.comparisons if gains[c.variant][0] > 0 and gains[c.variant][1] > wanted]
    if proven:
        best = max(proven, key=lambda c: abs(c.effect))
        reason = f"{best.variant} is better than the control by {abs(best.effect):.4g}, at least {gains[best.variant][0]:.4g}"
        return replace(found, recommendation=Recommendation.ROLL_OUT, variant=best.variant, reasons=(reason,))
    if all(high <= wanted for _, high in gains.values()):
        margin = f" by {wanted:g}, the least worth having" if wanted else ""
        return replace(found, recommendation=Recommendation.STOP, reasons=(f"no variant is better than the control{margin}",))
    open_ones = tuple(
        f"{name} may be anything from {low:+.4g} to {high:+.4g} better" for name, (low, high) in gains.items() if high > wanted
    )
    return replace(found, reasons=open_ones)


def _gain(estimate: Estimate, metric: Metric) -> tuple[float, float]:
    """The bounds turned so that above 0 is better."""
    return (-estimate.high, -estimate.low) if metric.is_lower_better else (estimate.low, estimate.high)
