"""What is believed of a success rate, and when something is given up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.learning.success import Estimate, SuccessPolicy, beta_cdf, estimate, is_given_up, verdict

COUNTS = st.integers(min_value=0, max_value=300)


@pytest.mark.parametrize(
    ("a", "b", "x", "probability"),
    [
        (1.0, 1.0, 0.3, 0.3),
        (2.0, 1.0, 0.5, 0.25),
        (1.0, 6.0, 0.4, 1.0 - 0.6**6),
        (2.0, 3.0, 0.4, 0.5248),
        (8.0, 4.0, 0.7, 0.5695623388),
        (3.0, 2.0, 0.0, 0.0),
        (3.0, 2.0, 1.0, 1.0),
    ],
)
def test_the_distribution_is_the_beta(a: float, b: float, x: float, probability: float) -> None:
    """Against closed forms: a Beta with whole parameters is a tail of a binomial distribution."""
    assert beta_cdf(a, b, x) == pytest.approx(probability, abs=1e-9)


@pytest.mark.parametrize(
    ("successes", "failures", "expected"),
    [
        (0, 0, Estimate(0.5, 0.05, 0.95)),
        (0, 5, Estimate(1 / 7, 0.0085124446, 0.3930377690)),
        (10, 0, Estimate(11 / 12, 0.7615958096, 0.9953478273)),
        (20_000, 30_000, Estimate(20_001 / 50_002, 0.3964003982, 0.4036075915)),
    ],
)
def test_an_estimate_has_bounds(successes: int, failures: int, expected: Estimate) -> None:
    """Mean and one-sided 95 % bounds of Beta(1 + successes, 1 + failures), also where a normal stands for it."""
    found = estimate(successes, failures)
    for name in ("mean", "lower", "upper"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=1e-4)


@given(COUNTS, COUNTS)
def test_a_success_raises_and_a_failure_lowers_the_belief(successes: int, failures: int) -> None:
    """Mean and both bounds follow each application, and stay in order within [0, 1]."""
    before, better, worse = (estimate(*c) for c in ((successes, failures), (successes + 1, failures), (successes, failures + 1)))
    assert 0.0 <= before.lower <= before.mean <= before.upper <= 1.0
    assert worse.mean < before.mean < better.mean
    assert worse.lower < before.lower < better.lower
    assert worse.upper < before.upper < better.upper


@given(COUNTS, COUNTS)
def test_what_is_given_up_stays_so_when_it_fails_again(successes: int, failures: int) -> None:
    """One more failure never speaks for something."""
    if is_given_up(successes, failures, since_activation=9):
        assert is_given_up(successes, failures + 1, since_activation=9)


def test_it_takes_failures_and_enough_of_them() -> None:
    """Five failures in a row are enough; four are not, nor are seven after a success; a success rate of half never is."""
    counts = [(0, 4), (0, 5), (1, 7), (1, 8), (500, 500)]
    assert [is_given_up(s, f, since_activation=s + f) for s, f in counts] == [False, True, False, True, False]
    assert not is_given_up(0, 20, since_activation=4)
    assert is_given_up(0, 3, since_activation=3, policy=SuccessPolicy(least_applications=3, tolerated_rate=0.7))


def test_a_verdict_says_why() -> None:
    """Counts, limit and certainty, for people."""
    assert verdict(0, 5) == (
        "succeeded in 0 of 5 applications: its success rate is below 40% with a probability of more than 95% (at most 39.3%)"
    )
