"""What observations make of a confidence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.learning.evidence import confidence_from, moved


@pytest.mark.parametrize(("supporting", "contradicting", "confidence"), [(0, 0, 0.5), (3, 0, 0.8), (3, 1, 4 / 6), (0, 3, 0.2)])
def test_episodes_alone_make_a_confidence(supporting: int, contradicting: int, confidence: float) -> None:
    """What nobody said anything about begins at one half, worth two observations."""
    assert confidence_from(supporting, contradicting) == pytest.approx(confidence)


@given(st.lists(st.booleans(), max_size=50), st.floats(0, 1), st.integers(0, 1000))
def test_the_order_of_observations_does_not_matter(observed: list[bool], confidence: float, before: int) -> None:
    """One by one or all at once, in whatever order: the same confidence, within [0, 1]."""
    at_once = moved(confidence, before, supporting=sum(observed), contradicting=len(observed) - sum(observed))
    one_by_one = confidence
    for position, is_for in enumerate(observed):
        one_by_one = moved(one_by_one, before + position, supporting=is_for, contradicting=not is_for)
    assert 0.0 <= one_by_one <= 1.0
    assert one_by_one == pytest.approx(at_once)


def test_the_more_it_rests_on_the_less_it_moves() -> None:
    """A contradiction weighs less against a hundred observations than against none."""
    light, heavy = (moved(0.8, observations, contradicting=1) for observations in (0, 98))
    assert light == pytest.approx(1.6 / 3)
    assert heavy == pytest.approx(80 / 101)
