"""`TrendStore` on PostgreSQL: daily figures of searches, and of episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, time
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Date, Row, delete, func, select, true
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from app.episodic.engine import Session, connected
from app.episodic.experiment_tables import memory_metrics
from app.episodic.tables import episodes
from app.records import DayValue, SearchUsage

_COUNTS: Final = ("searches", "failed", "degraded", "latency_ms")
_SAID: Final = (*_COUNTS, "buckets")
_AT_ONCE: Final = 1000


class PostgresTrends:
    """`TrendStore` on the engine it is given, which its maker disposes of."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def save_usage(self, process: UUID, usage: Sequence[SearchUsage]) -> None:
        async with connected(self._engine) as session:
            for start in range(0, len(usage), _AT_ONCE):
                await _save(session, process, usage[start : start + _AT_ONCE])
            await session.commit()

    async def usage(self, namespace: str | None, *, since: date) -> tuple[SearchUsage, ...]:
        is_asked = memory_metrics.c.day >= since
        if namespace is not None:
            is_asked &= memory_metrics.c.namespace == namespace
        sums = [func.sum(memory_metrics.c[name]).label(name) for name in _COUNTS]
        days = select(memory_metrics.c.day, *sums).where(is_asked).group_by(memory_metrics.c.day).order_by(memory_metrics.c.day)
        slot = func.unnest(memory_metrics.c.buckets).table_valued("count", with_ordinality="place", name="slot").render_derived()
        counts = (
            select(memory_metrics.c.day, slot.c.place, func.sum(slot.c.count).label("counted"))
            .select_from(memory_metrics.join(slot, true()))
            .where(is_asked)
            .group_by(memory_metrics.c.day, slot.c.place)
            .order_by(memory_metrics.c.day, slot.c.place)
        )
        async with connected(self._engine) as session:
            totals = await session.run("usage", days)
            buckets = await session.run("usage_buckets", counts)
        return tuple(_usage(namespace, row, [b.counted for b in buckets if b.day == row.day]) for row in totals)

    async def quality(self, namespace: str | None, *, since: date) -> Mapping[str, tuple[DayValue, ...]]:
        first = datetime.combine(since, time(), UTC)
        day = func.timezone("UTC", episodes.c.ended_at).cast(Date)
        quality, outcome = episodes.c.quality, episodes.c.outcome_quality
        figures = (func.avg(quality), func.count(quality), func.avg(outcome), func.count(outcome))
        statement = select(day.label("day"), *figures).where(episodes.c.ended_at >= first).group_by(day).order_by(day)
        if namespace is not None:
            statement = statement.where(episodes.c.namespace == namespace)
        async with connected(self._engine) as session:
            found = await session.run("daily_quality", statement)
        return {"quality": _values(found, 1), "outcome_quality": _values(found, 3)}

    async def retire_usage(self, before: date) -> int:
        statement = delete(memory_metrics).where(memory_metrics.c.day < before).returning(memory_metrics.c.day)
        async with connected(self._engine) as session:
            retired = await session.run("retire_usage", statement)
            await session.commit()
        return len(retired)


async def _save(session: Session, process: UUID, usage: Sequence[SearchUsage]) -> None:
    statement = insert(memory_metrics).values([{**asdict(u), "buckets": list(u.buckets), "process": process} for u in usage])
    key = (memory_metrics.c.day, memory_metrics.c.namespace, memory_metrics.c.process)
    said = {name: statement.excluded[name] for name in _SAID}
    await session.run("save_usage", statement.on_conflict_do_update(index_elements=list(key), set_=said))


def _usage(namespace: str | None, row: Row[Any], buckets: Sequence[int]) -> SearchUsage:
    counts = tuple(int(count) for count in buckets)
    return SearchUsage(namespace or "", row.day, int(row.searches), int(row.failed), int(row.degraded), row.latency_ms, counts)


def _values(rows: Sequence[Row[Any]], place: int) -> tuple[DayValue, ...]:
    """Days with a mean at `place`, beside which stands how many it is of."""
    return tuple(DayValue(row[0], row[place], row[place + 1]) for row in rows if row[place + 1])
