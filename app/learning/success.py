"""How often applying something succeeds, and when it is given up (pure).

Successes and failures are Bernoulli trials of one unknown rate, believed in as a Beta distribution. The prior is
Beta(1, 1): before the first application every rate is as likely as any other. It is worth two applications, one of each
kind, so that a single success does not count as certainty.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Final

_STEPS: Final = 40
"""Of halving: the quantiles are exact to 1e-12."""
_MOST_TERMS: Final = 1000
_TINY: Final = 1e-300
_ENOUGH: Final = 1e-14
_LARGE: Final = 10_000
"""Trials from which on a normal distribution stands for the Beta; it is then off by less than 0.0005."""


@dataclass(frozen=True, slots=True)
class SuccessPolicy:
    """The prior, in applications, and when to give up.

    What was applied `least_applications` times is given up as soon as its rate lies, with probability `certainty`, below
    `tolerated_rate`.
    """

    prior_successes: float = 1.0
    prior_failures: float = 1.0
    least_applications: int = 5
    tolerated_rate: float = 0.4
    certainty: float = 0.95


DEFAULT_SUCCESS: Final = SuccessPolicy()


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is believed of a success rate: its mean, and bounds that it each passes with one minus the policy's certainty."""

    mean: float
    lower: float
    upper: float


def estimate(successes: int, failures: int, policy: SuccessPolicy = DEFAULT_SUCCESS) -> Estimate:
    """The belief after so many applications."""
    a, b = policy.prior_successes + successes, policy.prior_failures + failures
    tail = 1.0 - policy.certainty
    return Estimate(a / (a + b), _quantile(a, b, tail), _quantile(a, b, 1.0 - tail))


def is_given_up(successes: int, failures: int, *, since_activation: int, policy: SuccessPolicy = DEFAULT_SUCCESS) -> bool:
    """Whether it fails too often to go on. `since_activation`: applications since somebody last said it should be used."""
    if since_activation < policy.least_applications:
        return False
    return estimate(successes, failures, policy).upper < policy.tolerated_rate


def verdict(successes: int, failures: int, policy: SuccessPolicy = DEFAULT_SUCCESS) -> str:
    """Why something was given up, for people."""
    upper = estimate(successes, failures, policy).upper
    return (
        f"succeeded in {successes} of {successes + failures} applications: its success rate is below "
        f"{policy.tolerated_rate:.0%} with a probability of more than {policy.certainty:.0%} (at most {upper:.1%})"
    )


@lru_cache(maxsize=4096)
def _quantile(a: float, b: float, probability: float) -> float:
    """The rate below which a Beta(a, b) lies with this probability."""
    if a + b > _LARGE:
        return _normal_quantile(a, b, probability)
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if beta_cdf(a, b, middle) < probability else (low, middle)
    return (low + high) / 2


def _normal_quantile(a: float, b: float, probability: float) -> float:
    mean = a / (a + b)
    deviation = math.sqrt(mean * (1.0 - mean) / (a + b + 1.0))
    return min(1.0, max(0.0, NormalDist(mean, deviation).inv_cdf(probability)))


def beta_cdf(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b): the probability that a Beta(a, b) lies below `x`."""
    if x <= 0.0 or x >= 1.0:
        return float(x >= 1.0)
    weight = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    if x < (a + 1.0) / (a + b + 2.0):
        return weight * _fraction(a, b, x) / a
    return 1.0 - weight * _fraction(b, a, 1.0 - x) / b


def _fraction(a: float, b: float, x: float) -> float:
    """The continued fraction of the incomplete beta function (DLMF 8.17.22) by Lentz's method."""
    c, d = 1.0, 1.0 / _away_from_zero(1.0 - (a + b) * x / (a + 1.0))
    total = d
    for m in range(1, _MOST_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1.0 / _away_from_zero(1.0 + term * d)
            c = _away_from_zero(1.0 + term / c)
            total *= c * d
        if abs(c * d - 1.0) < _ENOUGH:
            break
    return total


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
