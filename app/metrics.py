"""How good a ranking is, against gold that is binary: an item answers the question or it does not.

Items are ids. In a ranking a duplicate counts once, at its best rank. All values are in [0, 1].
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

import numpy as np
from numpy.typing import NDArray

CUTOFFS: Final = (1, 5, 10, 20, 50)
NDCG_CUTOFF: Final = 10


@dataclass(frozen=True, slots=True)
class RankingScore:
    """One ranking's marks. `recall` and `hit` are keyed by cutoff."""

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


def bootstrap_intervals(
    columns: Sequence[Sequence[float]], *, seed: int = 0, resamples: int = 2000, confidence: float = 0.95
) -> tuple[Interval, ...]:
    """The percentile bootstrap interval of each column's mean, the same for the same seed.

    Columns hold a value a question, in the same order: all are resampled by the same draws. To compare two systems pass
    their differences question by question: the interval is then the paired one.

    Raises:
        ValueError: there is nothing to average, or the columns differ in length.
    """
    if len({len(column) for column in columns}) != 1 or not columns[0]:
        raise ValueError("intervals need columns of the same length, with at least one value")
    table = np.asarray(columns, dtype=np.float64)
    means = np.sort(_draws(table.shape[1], resamples, seed) @ table.T / table.shape[1], axis=0)
    tail = round((1 - confidence) / 2 * resamples)
    lows, highs = means[tail].tolist(), means[resamples - tail].tolist()
    return tuple(Interval(_mean(c), low, high) for c, low, high in zip(columns, lows, highs, strict=True))


def _draws(size: int, resamples: int, seed: int) -> NDArray[np.float64]:
    """(resamples, size): how often each of `size` values is drawn, `size` times with replacement.

    Drawn by the standard library, so that other programs can draw the same.
    """
    rng = random.Random(seed)  # noqa: S311 - statistics, not secrets
    draws = ([rng.randrange(size) for _ in range(size)] for _ in range(resamples))
    return np.array([np.bincount(draw, minlength=size) for draw in draws], dtype=np.float64)


def recall_curve(rankings: Sequence[tuple[Sequence[str], Collection[str]]], depth: int) -> list[float]:
    """Mean recall at 1, 2, … `depth`, of rankings each with its gold.

    Raises:
        ValueError: there are no rankings.
    """
    if not rankings:
        raise ValueError("a curve needs at least one ranking")
    return [_mean(at_cutoff) for at_cutoff in zip(*(_recalls(ranked, gold, depth) for ranked, gold in rankings), strict=True)]


def _recalls(ranked: Sequence[str], gold: Collection[str], depth: int) -> list[float]:
    wanted, items = set(gold), _distinct(ranked)[:depth]
    found = list(accumulate(int(item in wanted) for item in items)) or [0]
    return [hits / len(wanted) for hits in found + found[-1:] * (depth - len(found))]


def _distinct(ranked: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(ranked))


def _discount(rank: int) -> float:
    return 1 / math.log2(rank + 1)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
