"""How what callers said adds up, and fades."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from given import NOW
from hypothesis import given
from hypothesis import strategies as st

from app.standing import HALF_LIFE, MEMORY, Standing, Verdict, standing_of

OPINIONS = st.lists(st.tuples(st.sampled_from(Verdict), st.integers(0, 500).map(lambda days: NOW - timedelta(days=days))))


@pytest.mark.parametrize(
    ("verdicts", "favour"),
    [
        ("useful", 1 / 3),
        ("wrong", -1 / 3),
        ("outdated", -0.2),
        ("harmful", -0.6),
        ("useful useful useful harmful", 0.0),
        ("useful useful useful useful useful useful useful useful", 0.8),
    ],
)
def test_what_a_verdict_is_worth(verdicts: str, favour: float) -> None:
    """One opinion says something, many say more, and who came to harm weighs as much as three who were helped."""
    standing = standing_of([(Verdict(verdict), NOW) for verdict in verdicts.split()], NOW)
    assert standing is not None
    assert standing.favour(NOW) == pytest.approx(favour)


def test_an_opinion_counts_half_after_its_half_life() -> None:
    """Whether it fades before it is added up or after makes no difference; what lies ahead has not faded."""
    said = [(Verdict.USEFUL, NOW)]
    assert standing_of(said, NOW + HALF_LIFE) == Standing(0.5, 0.0, NOW + HALF_LIFE)
    assert Standing(1.0, 0.0, NOW).favour(NOW + HALF_LIFE) == pytest.approx(0.5 / 2.5)
    assert Standing(1.0, 0.0, NOW).favour(NOW - HALF_LIFE) == pytest.approx(1 / 3)


def test_where_nothing_is_said_there_is_no_standing() -> None:
    """Nor where what was said is too long ago to count."""
    assert standing_of([], NOW) is None
    assert standing_of([(Verdict.HARMFUL, NOW - MEMORY)], NOW) is None


@given(OPINIONS, st.integers(0, 100_000).map(lambda days: NOW + timedelta(days=days)))
def test_favour_is_bounded_and_nears_nothing(opinions: list[tuple[Verdict, datetime]], later: datetime) -> None:
    """However much is said it stays between -1 and 1, and it never grows by waiting."""
    standing = standing_of(opinions, NOW)
    now, then = (0.0, 0.0) if standing is None else (standing.favour(NOW), standing.favour(later))
    assert -1.0 < now < 1.0
    assert abs(then) <= abs(now)
    assert now * then >= 0.0


@given(OPINIONS)
def test_the_order_of_opinions_does_not_matter(opinions: list[tuple[Verdict, datetime]]) -> None:
    """What adds up is the same whoever spoke first."""
    forth, back = standing_of(opinions, NOW), standing_of(opinions[::-1], NOW)
    assert (forth is None) == (back is None)
    if forth is not None and back is not None:
        assert forth.favour(NOW) == pytest.approx(back.favour(NOW))
