"""How good a ranking is, against gold that is binary: an item answers the question or it does not.

Items are ids. In a ranking a duplicate counts once, at its best rank. All values are in [0, 1].
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

CUTOFFS: Final = (1, 5, 10, 20, 50)
NDCG_CUTOFF: Final = 10


@dataclass(frozen=True, slots=True)
class RankingScore:
    """One ranking's marks, or the mean of many. `recall` and `hit` are keyed by cutoff."""

    recall: Mapping[int, float]
    hit: Mapping[int, float]
    ndcg_at_10: float
    reciprocal_rank: float


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and the bounds between which resampled means fall."""

    mean: float
    low: float
    high: float


def recall_at(ranked: Sequence[str], gold: Collection[str], cutoff: int) -> float:
    """The fraction of `gold` among the first `cutoff` items."""
    return len(set(gold).intersection(_distinct(ranked)[:cutoff])) / len(set(gold))


def hit_at(ranked: Sequence[str], gold: Collection[str], cutoff: int) -> float:
    """1 when any of `gold` is among the first `cutoff` items, else 0."""
    return float(not set(gold).isdisjoint(_distinct(ranked)[:cutoff]))


def ndcg_at(ranked: Sequence[str], gold: Collection[str], cutoff: int) -> float:
    """Discounted gain of the first `cutoff` items over that of the best ranking possible (Järvelin & Kekäläinen 2002)."""
    wanted = set(gold)
    gains = (_discount(rank) for rank, item in enumerate(_distinct(ranked)[:cutoff], 1) if item in wanted)
    return sum(gains) / sum(_discount(rank) for rank in range(1, min(cutoff, len(wanted)) + 1))


def reciprocal_rank(ranked: Sequence[str], gold: Collection[str]) -> float:
    """One over the rank of the first gold item; 0 when none was ranked."""
    return next((1 / rank for rank, item in enumerate(_distinct(ranked), 1) if item in gold), 0.0)


def score_ranking(ranked: Sequence[str], gold: Collection[str], cutoffs: Iterable[int] = CUTOFFS) -> RankingScore:
    """All marks of one ranking, best item first.

    Raises:
        ValueError: `gold` is empty; a question that nothing answers cannot be scored.
    """
    if not gold:
        raise ValueError("a ranking cannot be scored without gold items")
    ks = tuple(cutoffs)
    return RankingScore(
        recall={k: recall_at(ranked, gold, k) for k in ks},
        hit={k: hit_at(ranked, gold, k) for k in ks},
        ndcg_at_10=ndcg_at(ranked, gold, NDCG_CUTOFF),
        reciprocal_rank=reciprocal_rank(ranked, gold),
    )


def macro_average(scores: Sequence[RankingScore]) -> RankingScore:
    """The mean over questions, each weighing the same whatever the number of its gold items.

    Raises:
        ValueError: there are no scores, or their cutoffs differ.
    """
    if len({tuple(score.recall) for score in scores}) != 1:
        raise ValueError("an average needs at least one score, and the same cutoffs in all of them")
    ks = tuple(scores[0].recall)
    return RankingScore(
        recall={k: _mean([score.recall[k] for score in scores]) for k in ks},
        hit={k: _mean([score.hit[k] for score in scores]) for k in ks},
        ndcg_at_10=_mean([score.ndcg_at_10 for score in scores]),
        reciprocal_rank=_mean([score.reciprocal_rank for score in scores]),
    )


def bootstrap_interval(values: Sequence[float], *, seed: int = 0, resamples: int = 2000, confidence: float = 0.95) -> Interval:
    """The percentile bootstrap interval of the mean of `values`, the same for the same seed.

    To compare two systems pass the differences question by question: the interval is then the paired one.

    Raises:
        ValueError: `values` is empty.
    """
    if not values:
        raise ValueError("an interval needs at least one value")
    rng, size, tail = random.Random(seed), len(values), (1 - confidence) / 2  # noqa: S311 - statistics, not secrets
    means = sorted(_mean([values[rng.randrange(size)] for _ in range(size)]) for _ in range(resamples))
    return Interval(_mean(values), means[int(tail * resamples)], means[int((1 - tail) * resamples)])


def _distinct(ranked: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(ranked))


def _discount(rank: int) -> float:
    return 1 / math.log2(rank + 1)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
