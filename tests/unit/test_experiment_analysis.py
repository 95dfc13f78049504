"""What an analysis says and advises."""

from __future__ import annotations

import numpy as np
import pytest
from experimenting import BOUGHT, CONTROL, FRESH, experiment, sample

from app.learning.experiments.analysis import analyse
from app.learning.experiments.statistics import anytime, fixed
from app.records import Analysis, Comparison, Metric, Plan, Recommendation, Sample, Variant

SATISFACTION = Metric("satisfaction")


def values(mean: float, subjects: int = 200, seed: int = 7) -> list[float]:
    """Spread by 0.2, and with that very mean."""
    drawn = np.random.default_rng(seed).normal(0, 0.2, subjects)
    return [float(v) for v in drawn - drawn.mean() + mean]


def judged(control: float, fresh: float, metric: Metric = SATISFACTION, subjects: int = 200, **plan: float) -> Analysis:
    given = experiment(metric=metric, plan=Plan(**plan))  # type: ignore[arg-type] # whole numbers where such are wanted
    samples = [sample("control", values(control, subjects)), sample("fresh", values(fresh, subjects, seed=8))]
    return analyse(given, metric, samples)


def test_an_analysis_says_it_all() -> None:
    """Samples in the experiment's order, the effect with both intervals, and what to do."""
    given = experiment()
    fresh, control = sample("fresh", values(0.7)), sample("control", values(0.5, seed=8))
    lasting, single = anytime(control, fresh, 0.05, 1000), fixed(control, fresh, 0.05)
    assert analyse(given, SATISFACTION, [fresh, control]) == Analysis(
        experiment=given,
        metric=SATISFACTION,
        confidence=0.95,
        samples=(control, fresh),
        comparisons=(Comparison("fresh", fresh.mean - control.mean, pytest.approx(0.4), lasting, single),),  # type: ignore[arg-type]
        recommendation=Recommendation.ROLL_OUT,
        reasons=(f"fresh is better than the control by 0.2, at least {lasting.low:.4g}",),
        variant="fresh",
        sample_ratio_p=1.0,
    )


@pytest.mark.parametrize(
    ("control", "fresh", "is_lower_better", "advice", "variant"),
    [
        (0.5, 0.7, False, Recommendation.ROLL_OUT, "fresh"),
        (0.7, 0.5, False, Recommendation.STOP, None),
        (0.7, 0.5, True, Recommendation.ROLL_OUT, "fresh"),
        (0.5, 0.7, True, Recommendation.STOP, None),
        (0.5, 0.51, False, Recommendation.KEEP_GOING, None),
    ],
)
def test_the_advice_follows_the_effect(
    control: float, fresh: float, is_lower_better: bool, advice: Recommendation, variant: str | None
) -> None:
    """Better is rolled out, worse is stopped, open goes on; what is better depends on the metric."""
    found = judged(control, fresh, Metric("satisfaction", is_lower_better=is_lower_better))
    assert (found.recommendation, found.variant) == (advice, variant)


def test_few_subjects_advise_nothing() -> None:
    """However large the effect, before each variant has its minimum of subjects the experiment goes on."""
    found = judged(0.1, 0.9, subjects=29)
    reasons = ("control has 29 of 30 subjects", "fresh has 29 of 30 subjects")
    assert (found.recommendation, found.variant, found.reasons) == (Recommendation.KEEP_GOING, None, reasons)
    assert judged(0.1, 0.9, subjects=30).recommendation is Recommendation.ROLL_OUT


def test_nothing_seen_is_nothing_said() -> None:
    """Without subjects there are no comparisons and no advice."""
    found = analyse(experiment(), SATISFACTION, [])
    assert (found.samples, found.comparisons) == ((Sample("control"), Sample("fresh")), ())
    assert found.recommendation is Recommendation.KEEP_GOING


def test_an_effect_too_small_to_have_is_not_waited_for() -> None:
    """Once the interval lies below the least effect worth having, the experiment is stopped, even if the effect is there."""
    found = judged(0.5, 0.51, subjects=20_000, minimum_effect=0.05)
    assert (found.recommendation, found.comparisons[0].anytime.low > 0) == (Recommendation.STOP, True)
    assert found.reasons == ("no variant is better than the control by 0.05, the least worth having",)


def test_a_split_that_is_off_forbids_belief() -> None:
    """Where a variant has far more subjects than its share, nothing is rolled out, whatever the effect says."""
    samples = [sample("control", values(0.5, 600)), sample("fresh", values(0.9, 400))]
    found = analyse(experiment(), SATISFACTION, samples)
    assert (found.recommendation, found.variant) == (Recommendation.STOP, None)
    assert found.reasons[0].startswith("the variants' shares of the subjects are not those planned (control 600, fresh 400)")


def test_several_variants_share_the_error() -> None:
    """With two variants each interval is wider, and the better one of those that are proven is rolled out."""
    given = experiment(variants=(CONTROL, FRESH, Variant("old")))
    samples = [sample("control", values(0.5)), sample("fresh", values(0.7)), sample("old", values(0.8))]
    found = analyse(given, SATISFACTION, samples)
    assert (found.confidence, found.recommendation, found.variant) == (0.975, Recommendation.ROLL_OUT, "old")
    alone = analyse(experiment(), SATISFACTION, samples[:2])
    assert found.comparisons[0].anytime.low < alone.comparisons[0].anytime.low


def test_proportions_are_compared_as_proportions() -> None:
    """Subjects that are 0 or 1 get Newcombe's interval; once a subject is in between, Welch's."""
    shares = [sample("control", [0.0, 1.0] * 50), sample("fresh", [1.0, 1.0, 0.0] * 33)]
    found = analyse(experiment(metric=BOUGHT), BOUGHT, shares)
    assert found.comparisons[0].fixed.method == "newcombe"
    mixed = [shares[0], sample("fresh", [1.0, 1.0, 0.5] * 33)]
    assert analyse(experiment(metric=BOUGHT), BOUGHT, mixed).comparisons[0].fixed.method == "welch"
