"""The terms of a score, one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ranking import Columns, Cues, Floats, Fusion, Ranking, Traits, content, cue_terms, out_of_bounds, session_term

DAY = 86_400.0
ALL = Ranking(author=0.5, date=0.4, session=0.3, assistant=0.2, recency=1.0, half_life_days=10.0, quality=0.1)
ANA = Traits("Ana", "s1", 20260504, 100 * DAY, 0.0)
BEN = Traits("Ben", "s1", 20260505, 90 * DAY, 0.5)
BOT = Traits("assistant", "s2", 20260601, 80 * DAY, 0.0, is_long_assistant=True)
EPISODE = Traits(None, None, 20260601, 120 * DAY, 1.0)
COLUMNS = Columns.of([ANA, BEN, BOT, EPISODE])


def listed(terms: dict[str, Floats]) -> dict[str, list[float]]:
    return {name: term.tolist() for name, term in terms.items()}


def test_each_cue_is_a_term() -> None:
    """Who, when, how old and how good; a long answer of an unnamed assistant pays; what is dated later counts as new."""
    cues = Cues("Ben", ((20260504, 20260504), (20260601, 20260630)), now=100 * DAY)
    assert listed(cue_terms(ALL, cues, COLUMNS)) == {
        "author": [0.0, 0.5, 0.0, 0.0],
        "date": [0.4, 0.0, 0.4, 0.4],
        "assistant": [0.0, 0.0, -0.2, 0.0],
        "recency": [1.0, 0.5, 0.25, 1.0],
        "quality": [0.0, 0.05, 0.0, 0.1],
    }


def test_terms_that_give_nothing_are_left_out() -> None:
    """Nobody named, no date, weights of zero, or an author whom no candidate has: no such component."""
    nothing = Ranking(assistant=0.0)
    assert cue_terms(nothing, Cues(now=100 * DAY), COLUMNS) == {}
    assert cue_terms(nothing, Cues(author="Cleo"), COLUMNS) == {}


def test_a_session_is_worth_its_best_message() -> None:
    """A share of the best content score of the session; who has no session is alone, and nobody loses by company."""
    term = session_term(ALL, np.array([1.0, 0.5, -1.0, 2.0]), COLUMNS)
    assert term.tolist() == pytest.approx([0.3, 0.3, 0.0, 0.6])


def test_content_is_linear_or_by_ranks() -> None:
    """dense + weight · BM25, or reciprocal ranks where a missing half gives nothing."""
    dense, bm25 = np.array([0.5, 0.9, np.nan]), np.array([10.0, np.nan, 20.0])
    np.testing.assert_allclose(content(Ranking(bm25=0.1), dense, bm25), [1.5, np.nan, np.nan])
    ranks = content(Ranking(fusion=Fusion.RRF, rrf_k=1), dense, bm25)
    np.testing.assert_allclose(ranks, [1 / 3 + 1 / 3, 1 / 2, 1 / 2])


@pytest.mark.parametrize(
    ("ranking", "problem"),
    [
        (Ranking(), None),
        (Ranking(author=-0.1), ("author", "must be between 0 and 10")),
        (Ranking(bm25=10.5), ("bm25", "must be between 0 and 10")),
        (Ranking(session=float("nan")), ("session", "must be between 0 and 10")),
        (Ranking(half_life_days=0.0), ("half_life_days", "must be between 0.01 and 36500")),
        (Ranking(rrf_k=0), ("rrf_k", "must be between 1 and 10000")),
    ],
)
def test_weights_are_bounded(ranking: Ranking, problem: tuple[str, str] | None) -> None:
    """The first weight out of its bounds is named with them."""
    assert out_of_bounds(ranking) == problem


@given(st.floats(0, 10), st.lists(st.floats(-2, 3), min_size=4, max_size=4))
def test_a_term_never_exceeds_its_weight(weight: float, contents: list[float]) -> None:
    """A bounded term stays bounded whatever the candidates are."""
    ranking = replace(ALL, author=weight, date=weight, recency=weight, quality=weight)
    terms = cue_terms(ranking, Cues("Ana", ((0, 99_999_999),), now=0.0), COLUMNS)
    assert all((np.abs(term) <= max(weight, ranking.assistant)).all() for term in terms.values())
    assert (session_term(ranking, np.array(contents), COLUMNS) <= ranking.session * max(0.0, *contents)).all()
