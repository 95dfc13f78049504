"""Whether a series of days goes anywhere (pure).

Kendall's test for a trend with Sen's slope (Mann 1945; Sen, JASA 63, 1968): made of the order of the values alone, so that one
bad day, or a distribution with a long tail, calls no trend. It takes days as independent: a slow wave over weeks is read as a
trend while it rises.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Final

from app.records import DayValue, Direction, Trend

ALPHA: Final = 0.05
LEAST_DAYS: Final = 5
"""With fewer no order of values is rare enough to be called a trend."""


def trend(points: Sequence[DayValue], *, is_lower_better: bool = False) -> Trend:
    """The tendency of days, oldest first; those without a value are simply not there."""
    values = [point.value for point in points]
    mean = fmean(values) if values else None
    if len(points) < LEAST_DAYS:
        return Trend(tuple(points), mean, None, None, Direction.UNKNOWN)
    slope, p_value = _slope(points)
    return Trend(tuple(points), mean, slope, p_value, _direction(slope, p_value, is_lower_better=is_lower_better))


def _slope(points: Sequence[DayValue]) -> tuple[float, float]:
    from scipy import stats  # half a second, and only a report needs it

    days = [point.day.toordinal() for point in points]
    values = [point.value for point in points]
    if len(set(values)) == 1:
        return 0.0, 1.0
    return float(stats.theilslopes(values, days).slope), float(stats.kendalltau(days, values).pvalue)


def _direction(slope: float, p_value: float, *, is_lower_better: bool) -> Direction:
    if p_value >= ALPHA or slope == 0:
        return Direction.STEADY
    return Direction.IMPROVING if (slope < 0) == is_lower_better else Direction.WORSENING
