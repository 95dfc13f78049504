"""Retrieval metrics, against values worked out by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.metrics import Interval, RankingScore, bootstrap_interval, macro_average, ndcg_at, recall_at, score_ranking

LOG2_3, LOG2_5 = math.log2(3), math.log2(5)

found_late = score_ranking(["b", "a", "b", "c", "a", "d"], {"a", "d"}, cutoffs=(1, 2, 4))
found_first = score_ranking(["a", "b"], {"a"}, cutoffs=(1, 2, 4))
not_found = score_ranking(["a", "b"], {"z"}, cutoffs=(1, 2, 4))

rankings = st.lists(st.sampled_from("abcdefghijklmnop"), max_size=30)
golds = st.sets(st.sampled_from("abcdefghijklmnop"), min_size=1)


def test_a_ranking_gets_the_marks_worked_out_by_hand() -> None:
    """Without its duplicates the ranking is b, a, c, d: gold stands at ranks 2 and 4."""
    assert found_late == RankingScore(
        recall={1: 0.0, 2: 0.5, 4: 1.0},
        hit={1: 0.0, 2: 1.0, 4: 1.0},
        ndcg_at_10=(1 / LOG2_3 + 1 / LOG2_5) / (1 + 1 / LOG2_3),
        reciprocal_rank=0.5,
    )


def test_a_perfect_ranking_gets_full_marks_and_a_useless_one_none() -> None:
    """Both ends of the scale are reached."""
    assert found_first == RankingScore({1: 1.0, 2: 1.0, 4: 1.0}, {1: 1.0, 2: 1.0, 4: 1.0}, 1.0, 1.0)
    assert not_found == RankingScore({1: 0.0, 2: 0.0, 4: 0.0}, {1: 0.0, 2: 0.0, 4: 0.0}, 0.0, 0.0)


def test_the_ideal_gain_is_cut_where_the_ranking_is_cut() -> None:
    """With more gold than places, filling every place is perfect."""
    assert ndcg_at(["a", "b", "x"], {"a", "b", "c", "d"}, 2) == 1.0


def test_the_average_weighs_every_question_the_same() -> None:
    """A question with two gold items counts no more than one with a single item."""
    assert macro_average([found_late, found_first, not_found]) == RankingScore(
        recall={1: 1 / 3, 2: 1.5 / 3, 4: 2 / 3},
        hit={1: 1 / 3, 2: 2 / 3, 4: 2 / 3},
        ndcg_at_10=(found_late.ndcg_at_10 + 1) / 3,
        reciprocal_rank=1.5 / 3,
    )


def test_what_cannot_be_scored_is_refused() -> None:
    """No gold, no scores and no values are errors, not zeros."""
    with pytest.raises(ValueError, match="without gold"):
        score_ranking(["a"], ())
    with pytest.raises(ValueError, match="at least one score"):
        macro_average([])
    with pytest.raises(ValueError, match="same cutoffs"):
        macro_average([found_first, score_ranking(["a"], {"a"}, cutoffs=(3,))])
    with pytest.raises(ValueError, match="at least one value"):
        bootstrap_interval([])


def test_the_interval_of_two_coin_sides_is_the_one_of_two_throws() -> None:
    """The mean of two throws is 0, ½ or 1 with odds ¼, ½, ¼: 60 % reaches both ends, 40 % stays in the middle."""
    assert bootstrap_interval([0.0, 1.0], seed=7, confidence=0.6) == Interval(0.5, 0.0, 1.0)
    assert bootstrap_interval([0.0, 1.0], seed=7, confidence=0.4) == Interval(0.5, 0.5, 0.5)


def test_the_interval_is_repeatable_and_depends_on_the_seed() -> None:
    """The same seed gives the same interval, another seed another one."""
    values = [i / 37 for i in range(37)]
    assert bootstrap_interval(values, seed=1) == bootstrap_interval(values, seed=1)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)


@given(rankings, golds)
def test_duplicates_change_nothing(ranked: list[str], gold: set[str]) -> None:
    """A ranking scores what it scores with every repetition taken out."""
    assert score_ranking(ranked, gold) == score_ranking(list(dict.fromkeys(ranked)), gold)


@given(rankings, golds)
def test_recall_never_falls_when_more_is_looked_at(ranked: list[str], gold: set[str]) -> None:
    """Recall rises with the cutoff and stays in [0, 1]; nDCG stays in [0, 1]."""
    recalls = [recall_at(ranked, gold, cutoff) for cutoff in range(1, 20)]
    assert recalls == sorted(recalls)
    assert 0 <= recalls[0] <= recalls[-1] <= 1
    assert 0 <= ndcg_at(ranked, gold, 10) <= 1 + 1e-12
