"""The statistics of experiments, against published numbers and against simulated subjects whose effects are known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from experimenting import Draw, sample
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from app.learning.experiments.statistics import anytime, fixed, newcombe, sample_ratio_p, welch, wilson
from app.records import Estimate, Sample

ALPHA = 0.05
PLANNED = 400
LOOKS = tuple(range(30, 401, 20))
"""Subjects of each variant at which a curious person looks."""


def bernoulli(share: float) -> Callable[[np.random.Generator], Draw]:
    return lambda rng: lambda n: (rng.random(n) < share).astype(np.float64)


DRAWS: dict[str, Callable[[np.random.Generator], Draw]] = {
    "normal": lambda rng: lambda n: rng.normal(0.5, 0.2, n),
    "skewed": lambda rng: lambda n: rng.exponential(1.0, n),
    "even odds": bernoulli(0.5),
    "long odds": bernoulli(0.1),
}
every_draw = pytest.mark.parametrize("kind", DRAWS)


def share_of(runs: int, kind: str, claims: Callable[[Draw], bool]) -> float:
    """How often the claim is made, each time of other subjects."""
    return sum(claims(DRAWS[kind](np.random.default_rng(seed))) for seed in range(runs)) / runs


def is_claimed(found: Estimate, effect: float = 0.0) -> bool:
    return not found.low <= effect <= found.high


def at_each_look(draw: Draw, lift: float, estimate: Callable[[Sample, Sample], Estimate]) -> list[Estimate]:
    control, variant = draw(LOOKS[-1]), draw(LOOKS[-1]) + lift
    return [estimate(sample("control", control[:n]), sample("fresh", variant[:n])) for n in LOOKS]


def test_welch_agrees_with_scipy() -> None:
    """From means and variances alone the same interval and p-value as scipy finds from the values."""
    a, b = [27.5, 21.0, 19.0, 23.6, 17.0, 17.9, 16.9, 20.1], [27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0, 24.8, 30.5]
    theirs = stats.ttest_ind(b, a, equal_var=False)
    low, high = theirs.confidence_interval(0.95)
    found = welch(sample("a", a), sample("b", b), ALPHA)
    assert (found.low, found.high, found.p_value) == pytest.approx((low, high, theirs.pvalue))


def test_newcombe_agrees_with_the_published_example() -> None:
    """56/70 against 48/80, from Newcombe's paper (1998, table II, method 10): 0.0524 to 0.3339."""
    found = newcombe(Sample("c", 80, 80, 48 / 80, 0.24, True), Sample("v", 70, 70, 56 / 70, 0.16, True), ALPHA)
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert found.p_value == pytest.approx(0.0081, abs=5e-4)


def test_wilson_agrees_with_the_published_example() -> None:
    """81 of 263, from Newcombe's companion paper (1998, table I, method 3): 0.2553 to 0.3662."""
    found = wilson(Sample("v", 263, 263, 81 / 263, 0.2, True), ALPHA)
    assert found == pytest.approx((0.2553, 0.3662), abs=5e-5)


@every_draw
def test_one_look_errs_as_often_as_stated(kind: str) -> None:
    """With no difference the interval for one look misses 0 in about one of twenty experiments (600 simulated)."""

    def errs(draw: Draw) -> bool:
        return is_claimed(fixed(sample("control", draw(200)), sample("fresh", draw(200)), ALPHA))

    assert 0.03 <= share_of(600, kind, errs) <= 0.07


def ever_errs(kind: str, estimate: Callable[[Sample, Sample], Estimate]) -> float:
    """How often somebody who looks 19 times sees a difference that is not there."""
    return share_of(200, kind, lambda draw: any(map(is_claimed, at_each_look(draw, 0.0, estimate))))


@every_draw
def test_looking_all_the_time_errs_no_more_often(kind: str) -> None:
    """With no difference the always-valid interval ever misses 0 in at most one of twenty experiments."""
    assert ever_errs(kind, lambda a, b: anytime(a, b, ALPHA, PLANNED)) <= 0.05


def test_looking_all_the_time_at_the_other_interval_errs_often() -> None:
    """The interval for one look ever misses 0 at least three times as often: peeking is what it is not made for."""
    assert ever_errs("even odds", lambda a, b: fixed(a, b, ALPHA)) >= 0.15


def test_the_always_valid_interval_holds_the_effect_at_every_look() -> None:
    """With an effect of 0.1, all 19 intervals of an experiment hold it at once in at least 95 of 100 experiments."""

    def misses(draw: Draw) -> bool:
        looks = at_each_look(draw, 0.1, lambda a, b: anytime(a, b, ALPHA, PLANNED))
        return any(is_claimed(found, 0.1) for found in looks)

    assert share_of(200, "normal", misses) <= 0.05


def test_the_interval_for_one_look_holds_the_effect() -> None:
    """In 95 of 100 experiments, and not in nearly all: it is as narrow as it may be."""

    def misses(draw: Draw) -> bool:
        return is_claimed(fixed(sample("control", draw(200)), sample("fresh", draw(200) + 0.1), ALPHA), 0.1)

    assert 0.03 <= share_of(1000, "normal", misses) <= 0.07


@pytest.mark.parametrize(("lift", "least", "most"), [(0.1, 0.95, 1.0), (0.03, 0.1, 0.5)])
def test_an_effect_is_found_as_it_is_large(lift: float, least: float, most: float) -> None:
    """Half a standard deviation is found by 400 subjects nearly always, a seventh sometimes."""

    def found(draw: Draw) -> bool:
        return any(e.low > 0 for e in at_each_look(draw, lift, lambda a, b: anytime(a, b, ALPHA, PLANNED)))

    assert least <= share_of(200, "normal", found) <= most


def test_subjects_are_the_unit_not_their_events() -> None:
    """Twenty values of each of forty subjects that differ: counted by subject the error is as stated, by event it is not."""

    def events(draw: Draw) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        return draw(40)[:, None] + 0.1 * draw(800).reshape(40, 20)

    def by_subject(draw: Draw) -> bool:
        return is_claimed(fixed(sample("control", events(draw).mean(axis=1)), sample("fresh", events(draw).mean(axis=1)), ALPHA))

    def by_event(draw: Draw) -> bool:
        return is_claimed(fixed(sample("control", events(draw).ravel()), sample("fresh", events(draw).ravel()), ALPHA))

    assert share_of(500, "normal", by_subject) <= 0.08
    assert share_of(100, "normal", by_event) >= 0.5


def test_a_proportion_of_nobody_is_not_certain() -> None:
    """Nobody of 30 against nobody of 30 leaves a difference open, and says nothing for either."""
    nobody = sample("control", [0.0] * 30)
    for found in (anytime(nobody, nobody, ALPHA, PLANNED), fixed(nobody, nobody, ALPHA)):
        assert (found.low < -0.05, found.high > 0.05, found.p_value) == (True, True, 1.0)


def test_values_that_are_all_alike_are_not_certain() -> None:
    """Where a variant's subjects are all alike, the spread of both together stands in for its own."""
    found = anytime(sample("control", [0.5] * 30), sample("fresh", [0.9] * 30), ALPHA, PLANNED)
    assert 0 < found.low < 0.4 < found.high
    alike = welch(sample("control", [0.5] * 30), sample("fresh", [0.5] * 30), ALPHA)
    assert alike == Estimate(0.0, 0.0, 1.0, "welch")


@given(
    means=st.tuples(st.floats(-10, 10), st.floats(-10, 10)),
    variances=st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)),
    subjects=st.tuples(st.integers(2, 100_000), st.integers(2, 100_000)),
)
@settings(max_examples=100, deadline=None)
def test_the_always_valid_interval_is_the_wider_one(
    means: tuple[float, float], variances: tuple[float, float], subjects: tuple[int, int]
) -> None:
    """Around the same effect, symmetric, and wider than Gauss's; it excludes 0 exactly when its p-value is at most alpha."""
    control, variant = (Sample("x", n, n, m, v) for n, m, v in zip(subjects, means, variances, strict=True))
    found = anytime(control, variant, ALPHA, PLANNED)
    effect = variant.mean - control.mean
    error = (control.variance / control.subjects + variant.variance / variant.subjects) ** 0.5
    assert (found.low + found.high) / 2 == pytest.approx(effect, abs=1e-6)
    assert found.high - found.low > 2 * 1.96 * error
    if abs(found.p_value - ALPHA) > 1e-6:
        assert (found.low > 0 or found.high < 0) == (found.p_value < ALPHA)


def test_a_split_is_as_it_should_be_or_not() -> None:
    """Counts that agree with their weights are likely; a few points off among thousands are not."""
    assert sample_ratio_p([500, 500], [1, 1]) == 1.0
    assert sample_ratio_p([0, 0], [1, 1]) == 1.0
    assert sample_ratio_p([900, 100], [9, 1]) == 1.0
    assert sample_ratio_p([5300, 4700], [1, 1]) < 1e-5
    assert sample_ratio_p([900, 100], [1, 1]) < 1e-100


def test_a_sound_split_is_seldom_called_broken_however_often_one_looks() -> None:
    """Of 1000 sound experiments looked at after each of 500 subjects, hardly one ever falls below one in a thousand."""

    def least(seed: int) -> float:
        heads = np.cumsum(np.random.default_rng(seed).random(500) < 0.5)
        return min(sample_ratio_p([int(h), n - int(h)], [1, 1]) for n, h in list(enumerate(heads, 1))[9::10])

    assert sum(least(seed) < 0.001 for seed in range(1000)) <= 3
