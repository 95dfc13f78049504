"""Retrieval metrics, against values worked out by hand."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.metrics import Interval, RankingScore, bootstrap_intervals, ndcg_at, recall_at, recall_curve, score_ranking

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


def test_the_curve_is_the_mean_recall_at_every_cutoff() -> None:
    """A question with two gold items weighs as much as one with a single item; a short ranking finds nothing further on."""
    curve = recall_curve([(["b", "a", "b", "c", "a", "d"], {"a", "d"}), (["a"], {"a"}), ([], {"z"})], 5)
    assert curve == [1 / 3, 1.5 / 3, 1.5 / 3, 2 / 3, 2 / 3]


def test_what_cannot_be_scored_is_refused() -> None:
    """No gold, no rankings and no values are errors, not zeros; columns hold the same questions."""
    with pytest.raises(ValueError, match="without gold"):
        score_ranking(["a"], ())
    with pytest.raises(ValueError, match="at least one ranking"):
        recall_curve([], 10)
    malformed: list[list[list[float]]] = [[], [[]], [[1.0], [1.0, 0.0]]]
    for columns in malformed:
        with pytest.raises(ValueError, match="same length, with at least one value"):
            bootstrap_intervals(columns)


def test_the_interval_of_two_coin_sides_is_the_one_of_two_throws() -> None:
    """The mean of two throws is 0, ½ or 1 with odds ¼, ½, ¼: 60 % reaches both ends, 40 % stays in the middle."""
    assert bootstrap_intervals([[0.0, 1.0]], seed=7, confidence=0.6) == (Interval(0.5, 0.0, 1.0),)
    assert bootstrap_intervals([[0.0, 1.0]], seed=7, confidence=0.4) == (Interval(0.5, 0.5, 0.5),)


def test_intervals_are_those_of_resampling_one_value_after_the_other() -> None:
    """The 51st and the 1951st of 2000 resampled means, each drawn with the standard library's generator: 95 %."""
    values = [float(i % 3 == 0) for i in range(37)]
    rng = random.Random(0)
    means = sorted(sum(values[rng.randrange(37)] for _ in values) / 37 for _ in range(2000))
    assert bootstrap_intervals([values]) == (Interval(13 / 37, means[50], means[1950]),)


def test_columns_are_resampled_together() -> None:
    """A column gets what it gets alone; what lies a fixed step above another gets an interval a step above."""
    values = [i / 37 for i in range(37)]
    higher = [value + 0.25 for value in values]
    both = bootstrap_intervals([values, higher], seed=1)
    alone = bootstrap_intervals([values], seed=1)[0]
    assert (both[0].mean, both[0].low, both[0].high) == pytest.approx((alone.mean, alone.low, alone.high))
    assert (both[1].low - both[0].low, both[1].high - both[0].high) == pytest.approx((0.25, 0.25))
    assert bootstrap_intervals([values], seed=1) != bootstrap_intervals([values], seed=2)


@given(rankings, golds)
def test_duplicates_change_nothing(ranked: list[str], gold: set[str]) -> None:
    """A ranking scores what it scores with every repetition taken out."""
    assert score_ranking(ranked, gold) == score_ranking(list(dict.fromkeys(ranked)), gold)


@given(rankings, golds)
def test_recall_never_falls_when_more_is_looked_at(ranked: list[str], gold: set[str]) -> None:
    """Recall rises with the cutoff and stays in [0, 1]; nDCG stays in [0, 1]."""
    recalls = [recall_at(ranked, gold, cutoff) for cutoff in range(1, 20)]
    assert recalls == sorted(recalls)
    assert recalls == recall_curve([(ranked, gold)], 19)
    assert 0 <= recalls[0] <= recalls[-1] <= 1
    assert 0 <= ndcg_at(ranked, gold, 10) <= 1 + 1e-12
