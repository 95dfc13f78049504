"""Trends: counting searches, reading latencies from buckets, and calling a direction only where there is one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import date, timedelta
from uuid import UUID

import numpy as np
import pytest
from given import NOW, episode, stored
from hypothesis import given
from hypothesis import strategies as st

from app.errors import NotFound, TierUnavailable
from app.learning.trends.latency import BUCKETS, bucket_of, quantile_ms
from app.learning.trends.report import TrendReports
from app.learning.trends.tendency import trend
from app.learning.trends.usage import SearchLog
from app.ports import TrendStore
from app.records import DayValue, Direction, Recollection, SearchUsage, Trend, new_id
from app.testing.clock import FixedClock
from app.testing.episodic import InMemoryEpisodicMemory
from app.testing.experiments import InMemoryTrends

TODAY = NOW.date()


class Store(InMemoryTrends):
    """The twin, which can be away; it counts how often it was told something."""

    def __init__(self) -> None:
        super().__init__(InMemoryEpisodicMemory())
        self.is_away = False
        self.told = 0

    async def save_usage(self, process: UUID, usage: Sequence[SearchUsage]) -> None:
        if self.is_away:
            raise TierUnavailable("episodic", "is away")
        self.told += 1
        await super().save_usage(process, usage)


def series(*values: float, first: date = TODAY) -> list[DayValue]:
    return [DayValue(first + timedelta(days=n), value, 10) for n, value in enumerate(values)]


def log_of(store: TrendStore, clock: FixedClock) -> SearchLog:
    return SearchLog(store, process=new_id(), clock=clock)


async def answered(latency_ms: float = 10.0, *degraded: str) -> Recollection:
    return Recollection((), degraded, latency_ms)


async def failed(error: Exception) -> Recollection:
    raise error


# ── latencies ─────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.floats(0.3, 100_000))
def test_a_bucket_knows_its_latency_to_a_tenth(latency_ms: float) -> None:
    """Whatever took so long is read back as nearly as long."""
    counts = [0] * BUCKETS
    counts[bucket_of(latency_ms)] = 1
    assert quantile_ms(counts, 0.95) == pytest.approx(latency_ms, rel=0.1)


def test_a_quantile_is_exceeded_by_the_rest() -> None:
    """Of 100 searches the 95th slowest counts; of none there is nothing to say."""
    counts = [0] * BUCKETS
    counts[bucket_of(10.0)], counts[bucket_of(500.0)] = 95, 5
    assert quantile_ms(counts, 0.95) == pytest.approx(10.0, rel=0.1)
    assert quantile_ms(counts, 0.96) == pytest.approx(500.0, rel=0.1)
    assert quantile_ms([0] * BUCKETS, 0.95) is None
    assert (bucket_of(0.0), bucket_of(1e9)) == (0, BUCKETS - 1)


# ── directions ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_series_that_rises_every_day_is_called_so() -> None:
    """What is better rises, what is better low worsens by it; the slope is the median one."""
    points = series(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 5.0)
    found = trend(points)
    assert found == Trend(tuple(points), pytest.approx(7.1 / 7), pytest.approx(0.1), found.p_value, Direction.IMPROVING)  # type: ignore[arg-type]
    assert found.p_value == pytest.approx(2 / 5040)  # of all orders of seven values, two are as extreme
    assert trend(points, is_lower_better=True).direction is Direction.WORSENING
    assert trend(series(5, 4, 3, 2, 1)).direction is Direction.WORSENING


@pytest.mark.parametrize("values", [(1.0,) * 7, (3.0, 1.0, 2.0, 3.0, 1.0, 2.0, 2.0), (1.0, 2.0, 3.0, 4.0, 3.0, 2.0, 1.0)])
def test_a_series_that_goes_nowhere_is_steady(values: tuple[float, ...]) -> None:
    """Level, restless, or up and down again."""
    assert trend(series(*values)).direction is Direction.STEADY


def test_few_days_say_nothing() -> None:
    """Four days have no direction, however they run; no days have no mean."""
    points = series(1, 2, 3, 4)
    assert trend(points) == Trend(tuple(points), 2.5, None, None, Direction.UNKNOWN)
    assert trend([]) == Trend((), None, None, None, Direction.UNKNOWN)


@pytest.mark.parametrize("days", [7, 30])
def test_noise_is_called_a_direction_as_seldom_as_stated(days: int) -> None:
    """Of 1000 series of noise at most 60 are given a direction; with a slope that the noise cannot hide nearly all are."""

    def called(slope: float) -> int:
        noise = (np.random.default_rng(seed).normal(0, 1, days) for seed in range(1000))
        found = (trend(series(*(float(v) for v in n + slope * np.arange(days)))) for n in noise)
        return sum(t.direction is not Direction.STEADY for t in found)

    assert called(0.0) <= 60
    assert called(1.5 if days == 7 else 0.15) >= 900


# ── counting ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_searches_are_counted_by_day_and_namespace() -> None:
    """Answered, degraded and failed ones; what its caller got wrong is no failure of ours."""
    store, clock = Store(), FixedClock(NOW)
    log = log_of(store, clock)
    await log.observed("acme", answered(10.0))
    await log.observed("acme", answered(20.0, "semantic"))
    await log.observed("rival", answered(5.0))
    with pytest.raises(TierUnavailable):
        await log.observed("acme", failed(TierUnavailable("semantic", "is away")))
    with pytest.raises(NotFound):
        await log.observed("acme", failed(NotFound("experiment", "x")))
    clock.advance(timedelta(days=1))
    await log.observed("acme", answered(1.0))
    await log.settle()
    first, second = await store.usage("acme", since=TODAY)
    buckets = [0] * BUCKETS
    buckets[bucket_of(10.0)] = buckets[bucket_of(20.0)] = 1
    assert first == SearchUsage("acme", TODAY, 3, 1, 1, 30.0, tuple(buckets))
    assert (second.day, second.searches) == (TODAY + timedelta(days=1), 1)
    (theirs,) = await store.usage("rival", since=TODAY)
    assert theirs.searches == 1


async def test_totals_are_said_now_and_then() -> None:
    """Not at every search but after a minute, in the background; a store that is away is told later, all of it."""
    store, clock = Store(), FixedClock(NOW)
    log = log_of(store, clock)
    for _ in range(3):
        await log.observed("acme", answered())
    assert store.told == 0
    store.is_away = True
    clock.advance(timedelta(minutes=1))
    await log.observed("acme", answered())
    await log.close()
    store.is_away = False
    clock.advance(timedelta(minutes=1))
    await log.observed("acme", answered())
    await asyncio.gather(*(t for t in [log._saying] if t))
    assert [u.searches for u in await store.usage("acme", since=TODAY)] == [5]
    await log.close()
    await log.close()
    assert [u.searches for u in await store.usage("acme", since=TODAY)] == [5]


async def test_days_that_are_over_are_done_with() -> None:
    """Yesterday's totals are said once more and then let go; they stay in the store until they are out of every report."""
    store, clock = Store(), FixedClock(NOW)
    log = log_of(store, clock)
    await log.observed("acme", answered())
    clock.advance(timedelta(days=1))
    await log.settle()
    assert log._tallies == {}
    assert [u.searches for u in await store.usage("acme", since=TODAY)] == [1]
    clock.advance(timedelta(days=90))
    assert await log.retire() == 1
    assert await store.usage("acme", since=TODAY) == ()


async def test_a_report_reads_it_all() -> None:
    """A week of searches and episodes: p95, error rate, degraded rate and quality, each with its direction."""
    store, clock = Store(), FixedClock(NOW)
    log = log_of(store, clock)
    for day in range(7):
        for _ in range(9):
            await log.observed("acme", answered(10.0 * 1.5**day))
        if day > 3:
            with pytest.raises(TierUnavailable):
                await log.observed("acme", failed(TierUnavailable("semantic", "is away")))
        await stored(store._episodic, episode(ended_at=clock(), quality=0.5 + day / 20, outcome_quality=None))
        clock.advance(timedelta(days=1))
    clock.advance(timedelta(days=-1))
    found = await TrendReports(store, log, clock=clock).over(7, "acme")
    assert (found.namespace, found.days) == ("acme", 7)
    assert {name: t.direction for name, t in found.series.items()} == {
        "quality": Direction.IMPROVING,
        "outcome_quality": Direction.UNKNOWN,
        "recall_latency_p95_ms": Direction.WORSENING,
        "error_rate": Direction.WORSENING,
        "degraded_rate": Direction.STEADY,
    }
    assert [p.value for p in found.series["error_rate"].points] == [0, 0, 0, 0, 0.1, 0.1, 0.1]
    assert found.series["recall_latency_p95_ms"].points[0].value == pytest.approx(10.0, rel=0.1)
    short = await TrendReports(store, log, clock=clock).over(7, "nobody")
    assert {t.direction for t in short.series.values()} == {Direction.UNKNOWN}
