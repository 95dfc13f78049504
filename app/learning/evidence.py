"""What observations make of a confidence (pure).

A confidence is the mean of a belief that rests on as many observations as were made, and on a prior worth two: one for,
one against, so that what nobody has observed yet is worth 0.5. Each further observation counts like each one before, in
whatever order they come:

    confidence' = (n · confidence + observations for) / (n + all new observations),   n = 2 + observations before
"""

from __future__ import annotations

from typing import Final

LEAST_SUPPORTERS: Final = 3
"""Distinct episodes that what was learned rests on at least."""
PRIOR_OBSERVATIONS: Final = 2
NOTHING_KNOWN: Final = 0.5


def confidence_from(supporting: int, contradicting: int) -> float:
    """The confidence of what nobody said anything about, after so many observations."""
    return moved(NOTHING_KNOWN, 0, supporting=supporting, contradicting=contradicting)


def moved(confidence: float, observations: int, *, supporting: int = 0, contradicting: int = 0) -> float:
    """The confidence that rested on so many `observations` after further ones, within [0, 1]."""
    weight = PRIOR_OBSERVATIONS + observations
    return min(1.0, max(0.0, (weight * confidence + supporting) / (weight + supporting + contradicting)))
