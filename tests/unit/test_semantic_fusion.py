"""Two legs become one exact ranking."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.semantic.fusion import Gaps, Score, best, fill_known, gaps
from app.semantic.plan import Search

SCORES = st.dictionaries(st.integers(0, 30), st.tuples(st.floats(-2, 2, width=16), st.floats(0, 20, width=16)), max_size=30)


def search(limit: int = 2, prefetch: int = 3, weight: float = 0.1, *, dense: bool = True, words: bool = True) -> Search:
    vector = np.ones(2, dtype=np.float32) if dense else None
    return Search((), "acme", vector, {1: 1.0} if words else None, limit, prefetch, weight, is_exact=False)


def top(scores: dict[int, float], size: int) -> dict[int, float]:
    return dict(sorted(scores.items(), key=lambda item: -item[1])[:size])


@given(SCORES, st.integers(1, 10), st.integers(10, 20), st.floats(0, 1, width=16))
def test_the_best_of_what_the_legs_brought_are_ranked_exactly(
    truth: dict[int, tuple[float, float]], limit: int, prefetch: int, weight: float
) -> None:
    """Closing the gaps gives the ranking that knowing every score of both legs' points would have given."""
    asked = search(limit, prefetch, weight)
    dense = top({i: d for i, (d, _) in truth.items()}, prefetch)
    bm25 = top({i: b for i, (_, b) in truth.items() if b > 0}, prefetch)
    brought = dense.keys() | bm25.keys()
    fill_known(asked, dense, bm25)
    lacking = gaps(asked, dense, bm25)
    dense |= {i: truth[i][0] for i in lacking.dense}
    bm25 |= {i: truth[i][1] for i in lacking.bm25}
    exact = sorted((truth[i][0] + weight * truth[i][1] for i in brought), reverse=True)
    assert [s.fused for s in best(asked, dense, bm25)][:limit] == exact[:limit]


def test_only_what_may_still_win_is_asked_for() -> None:
    """A half is not asked for when the most it can be would not lift the point among the best."""
    dense = {1: 0.9, 2: 0.8, 3: 0.1}
    bm25 = {1: 5.0, 4: 4.0, 5: 0.5}
    assert gaps(search(limit=1), dense, bm25) == Gaps(dense=set(), bm25=set())
    assert gaps(search(limit=2), dense, bm25) == Gaps(dense=set(), bm25={2})
    assert gaps(search(limit=3), dense, bm25) == Gaps(dense={4, 5}, bm25={2, 3})


def test_a_leg_that_brought_all_it_has_leaves_no_gap() -> None:
    """Fewer hits by words than were asked for: the other points have none of the words."""
    dense, bm25 = {1: 0.5, 2: 0.4}, {2: 3.0}
    fill_known(search(prefetch=2), dense, bm25)
    assert (dense, bm25) == ({1: 0.5, 2: 0.4}, {1: 0.0, 2: 3.0})


def test_a_leg_that_does_not_run_counts_nothing() -> None:
    """Without a vector every dense half is zero, without words every BM25 half."""
    dense, bm25 = dict[int, float](), {1: 2.0, 2: 1.0}
    fill_known(search(prefetch=2, dense=False), dense, bm25)
    assert dense == {1: 0.0, 2: 0.0}
    dense, bm25 = {1: 0.5, 2: 0.4}, {}
    fill_known(search(prefetch=2, words=False), dense, bm25)
    assert bm25 == {1: 0.0, 2: 0.0}


def test_ties_with_the_last_are_kept() -> None:
    """Who ties with the last of the best stays in, for the newest to be chosen; whose half is unknown does not count."""
    dense = {1: 0.9, 2: 0.5, 3: 0.5, 4: 0.1, 5: 9.0}
    bm25 = {1: 0.0, 2: 0.0, 3: 0.0, 4: 0.0}
    assert best(search(limit=2), dense, bm25) == [Score(1, 0.9, 0.0, 0.9), Score(2, 0.5, 0.0, 0.5), Score(3, 0.5, 0.0, 0.5)]
