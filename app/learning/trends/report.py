"""Trends of the last days, from daily figures."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from app.learning.trends.latency import quantile_ms
from app.learning.trends.tendency import trend
from app.learning.trends.usage import SearchLog, first_day
from app.ports import Clock, TrendStore
from app.records import DayValue, SearchUsage, Trend, Trends

_SLOW: Final = 0.95


class TrendReports:
    """Reads daily figures; what this process has not said yet is said first."""

    def __init__(self, store: TrendStore, log: SearchLog, *, clock: Clock) -> None:
        self._store = store
        self._log = log
        self._clock = clock

    async def over(self, days: int, namespace: str | None) -> Trends:
        """Trends over the last `days` days, today included; of one namespace, or of all."""
        await self._log.settle()
        since = first_day(self._clock(), days)
        usage = await self._store.usage(namespace, since=since)
        quality = await self._store.quality(namespace, since=since)
        # In a thread: the first report of a process imports scipy, which takes a second or two.
        return Trends(namespace, days, await asyncio.to_thread(_series, usage, quality))


def _series(usage: Sequence[SearchUsage], quality: Mapping[str, Sequence[DayValue]]) -> Mapping[str, Trend]:
    return {
        "quality": trend(quality["quality"]),
        "outcome_quality": trend(quality["outcome_quality"]),
        "recall_latency_p95_ms": trend(_daily(usage, _latency), is_lower_better=True),
        "error_rate": trend(_daily(usage, _error_rate), is_lower_better=True),
        "degraded_rate": trend(_daily(usage, _degraded_rate), is_lower_better=True),
    }


def _daily(usage: Sequence[SearchUsage], figure: Callable[[SearchUsage], float | None]) -> tuple[DayValue, ...]:
    return tuple(DayValue(u.day, value, u.searches) for u in usage if (value := figure(u)) is not None)


def _latency(usage: SearchUsage) -> float | None:
    return quantile_ms(usage.buckets, _SLOW)


def _error_rate(usage: SearchUsage) -> float:
    return usage.failed / usage.searches


def _degraded_rate(usage: SearchUsage) -> float:
    return usage.degraded / usage.searches
