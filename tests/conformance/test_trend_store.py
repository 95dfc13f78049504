"""The exam of `TrendStore`: the twin and PostgreSQL sit it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone

from given import episode, stored

from app.ports import EpisodicMemory, TrendStore
from app.records import DayValue, Scope, SearchUsage, new_id

MONDAY, TUESDAY = date(2026, 5, 4), date(2026, 5, 5)
SEEN = SearchUsage("acme", MONDAY, searches=10, failed=1, degraded=2, latency_ms=120.5, buckets=(0, 6, 3))


async def test_a_process_replaces_what_it_said(trends: TrendStore) -> None:
    """Said twice it counts once; said later it is the later one that counts."""
    process = new_id()
    more = replace(SEEN, searches=20, buckets=(0, 12, 7))
    await trends.save_usage(process, [SEEN, replace(SEEN, day=TUESDAY)])
    for _ in range(2):
        await trends.save_usage(process, [more])
    assert await trends.usage("acme", since=MONDAY) == (more, replace(SEEN, day=TUESDAY))


async def test_processes_are_added_up(trends: TrendStore) -> None:
    """Day by day; of a namespace, or of all; buckets by place, also where one process has more of them."""
    await trends.save_usage(new_id(), [SEEN])
    await trends.save_usage(new_id(), [SEEN, replace(SEEN, namespace="rival", buckets=(1, 0, 0, 5))])
    twice = SearchUsage("acme", MONDAY, 20, 2, 4, 241.0, (0, 12, 6))
    assert await trends.usage("acme", since=MONDAY) == (twice,)
    assert await trends.usage(None, since=MONDAY) == (SearchUsage("", MONDAY, 30, 3, 6, 361.5, (1, 12, 6, 5)),)
    assert await trends.usage("nobody", since=MONDAY) == ()


async def test_days_before_are_left_out_and_retired(trends: TrendStore) -> None:
    """What is asked since a day begins with it; what is retired is gone."""
    await trends.save_usage(new_id(), [SEEN, replace(SEEN, day=TUESDAY)])
    assert await trends.usage("acme", since=TUESDAY) == (replace(SEEN, day=TUESDAY),)
    assert await trends.retire_usage(TUESDAY) == 1
    assert await trends.usage("acme", since=MONDAY) == (replace(SEEN, day=TUESDAY),)


async def test_quality_is_averaged_by_day(episodic: EpisodicMemory, trends: TrendStore) -> None:
    """By the UTC day episodes ended; those without the value do not count; days without one are not there."""
    noon = datetime(2026, 5, 4, 12, tzinfo=UTC)
    late = datetime(2026, 5, 4, 23, tzinfo=timezone(timedelta(hours=-2)))  # Tuesday in UTC
    await stored(
        episodic,
        episode(ended_at=noon, quality=0.5, outcome_quality=1.0),
        episode(ended_at=noon, quality=1.0),
        episode(started_at=noon, ended_at=late.astimezone(UTC), outcome_quality=0.25),
        episode(started_at=noon - timedelta(days=2), ended_at=noon - timedelta(days=1), quality=0.0),
        episode(scope=Scope("rival"), ended_at=noon, quality=0.0),
    )
    assert await trends.quality("acme", since=MONDAY) == {
        "quality": (DayValue(MONDAY, 0.75, 2),),
        "outcome_quality": (DayValue(MONDAY, 1.0, 1), DayValue(TUESDAY, 0.25, 1)),
    }
    assert (await trends.quality(None, since=MONDAY))["quality"] == (DayValue(MONDAY, 0.5, 3),)
    assert await trends.quality("nobody", since=MONDAY) == {"quality": (), "outcome_quality": ()}
