"""Two legs become one exact ranking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ranking import NO_CUES, Cues, Fusion, Ranking, Traits
from app.semantic.fusion import Gaps, Pool, Score, best, gaps
from app.semantic.plan import Search

SCORES = st.dictionaries(st.integers(0, 30), st.tuples(st.floats(-2, 2, width=16), st.floats(0, 20, width=16)), max_size=30)
PLAIN = Ranking(bm25=0.1, author=0.0, date=0.0, session=0.0, assistant=0.0)


def search(
    limit: int = 2, prefetch: int = 3, ranking: Ranking = PLAIN, cues: Cues = NO_CUES, *, dense: bool = True, words: bool = True
) -> Search:
    vector = np.ones(2, dtype=np.float32) if dense else None
    return Search((), "acme", vector, {1: 1.0} if words else None, limit, prefetch, ranking, cues, is_exact=False)


def plain(ids: Sequence[int]) -> list[Traits]:
    return [Traits() for _ in ids]


def by_parity(ids: Sequence[int]) -> list[Traits]:
    """Even ids said by Ana, and three sessions."""
    return [Traits(author="Ana" if i % 2 == 0 else "Ben", session=f"s{i % 3}") for i in ids]


def top(scores: Mapping[int, float], size: int) -> dict[int, float]:
    return dict(sorted(scores.items(), key=lambda item: -item[1])[:size])


def halves(pool: Pool[int]) -> tuple[dict[int, float], dict[int, float]]:
    return dict(zip(pool.ids, pool.dense.tolist(), strict=True)), dict(zip(pool.ids, pool.bm25.tolist(), strict=True))


@given(SCORES, st.integers(1, 10), st.integers(10, 20), st.floats(0, 1, width=16))
def test_the_best_of_what_the_legs_brought_are_ranked_exactly(
    truth: dict[int, tuple[float, float]], limit: int, prefetch: int, weight: float
) -> None:
    """Closing the gaps gives the ranking that knowing every score of both legs' points would have given."""
    asked = search(limit, prefetch, replace(PLAIN, bm25=weight, author=0.5), Cues(author="Ana"))
    dense = top({i: d for i, (d, _) in truth.items()}, prefetch)
    bm25 = top({i: b for i, (_, b) in truth.items() if b > 0}, prefetch)
    pool = Pool.of(asked, dense, bm25, by_parity)
    lacking = gaps(asked, pool)
    pool.fill({i: truth[i][0] for i in lacking.dense}, {i: truth[i][1] for i in lacking.bm25}, lacking)
    exact = sorted((truth[i][0] + weight * truth[i][1] + 0.5 * (i % 2 == 0) for i in dense.keys() | bm25.keys()), reverse=True)
    assert [s.fused for s in best(asked, pool)][:limit] == pytest.approx(exact[:limit])


@given(SCORES, st.integers(1, 5))
def test_terms_add_up_with_every_term_at_work(truth: dict[int, tuple[float, float]], limit: int) -> None:
    """What a score is made of is its sum, whatever the engine was not asked for."""
    asked = search(limit, 10, Ranking(), Cues(author="Ana", days=((0, 1),)))
    dense = top({i: d for i, (d, _) in truth.items()}, 10)
    pool = Pool.of(asked, dense, top({i: b for i, (_, b) in truth.items()}, 10), by_parity)
    lacking = gaps(asked, pool)
    pool.fill({i: truth[i][0] for i in lacking.dense}, {i: truth[i][1] for i in lacking.bm25}, lacking)
    for score in best(asked, pool):
        assert score.fused == pytest.approx(sum(score.terms.values()))
        assert (score.dense, score.bm25) == truth[score.id]


def test_only_what_may_still_win_is_asked_for() -> None:
    """A half is not asked for when the most it can be would not lift the point among the best."""
    dense = {1: 0.9, 2: 0.8, 3: 0.1}
    bm25 = {1: 5.0, 4: 4.0, 5: 0.5}
    asked = {n: search(limit=n) for n in (1, 2, 3)}
    assert gaps(asked[1], Pool.of(asked[1], dense, bm25, plain)) == Gaps(dense=[], bm25=[])
    assert gaps(asked[2], Pool.of(asked[2], dense, bm25, plain)) == Gaps(dense=[], bm25=[2])
    assert gaps(asked[3], Pool.of(asked[3], dense, bm25, plain)) == Gaps(dense=[4, 5], bm25=[2, 3])


def test_a_leg_that_brought_all_it_has_leaves_no_gap() -> None:
    """Fewer hits by words than were asked for: the other points have none of the words."""
    pool = Pool.of(search(prefetch=2), {1: 0.5, 2: 0.4}, {2: 3.0}, plain)
    assert halves(pool) == ({1: 0.5, 2: 0.4}, {1: 0.0, 2: 3.0})


def test_a_leg_that_does_not_run_counts_nothing() -> None:
    """Without a vector every dense half is zero, without words every BM25 half."""
    by_words = Pool.of(search(prefetch=2, dense=False), {}, {1: 2.0, 2: 1.0}, plain)
    assert halves(by_words)[0] == {1: 0.0, 2: 0.0}
    by_meaning = Pool.of(search(prefetch=2, words=False), {1: 0.5, 2: 0.4}, {}, plain)
    assert halves(by_meaning)[1] == {1: 0.0, 2: 0.0}


def test_ties_with_the_last_are_kept() -> None:
    """Who ties with the last of the best stays in, for the newest to be chosen; whose half is unknown does not count."""
    asked = search(limit=2, prefetch=1)
    pool = Pool.of(asked, {1: 0.9, 2: 0.5, 3: 0.5, 4: 0.1}, {1: 0.0, 2: 0.0, 3: 0.0, 4: 0.0, 5: 9.0}, plain)
    assert best(asked, pool) == [Score(i, d, 0.0, d, {"dense": d, "bm25": 0.0}) for i, d in ((1, 0.9), (2, 0.5), (3, 0.5))]


def test_ranks_can_be_fused_instead_of_scores() -> None:
    """Reciprocal ranks of each leg; a leg that did not bring a point gives nothing, and nothing is asked for."""
    asked = search(limit=3, ranking=replace(PLAIN, fusion=Fusion.RRF, rrf_k=1))
    pool = Pool.of(asked, {1: 0.9, 2: 0.8, 3: 0.1}, {3: 7.0, 1: 2.0, 4: 1.0}, plain)
    assert gaps(asked, pool) == Gaps([], [])
    assert [(s.id, s.terms) for s in best(asked, pool)] == [
        (1, {"dense": 1 / 2, "bm25": 1 / 3}),
        (3, {"dense": 1 / 4, "bm25": 1 / 2}),
        (2, {"dense": 1 / 3, "bm25": 0.0}),
    ]
