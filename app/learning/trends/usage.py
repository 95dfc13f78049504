"""What this process sees of searches, day by day, and how it gets to the store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Final
from uuid import UUID

import structlog

from app.errors import Conflict, HybridMemoryError, InvalidInput, NotFound, TierUnavailable
from app.learning.trends.latency import BUCKETS, bucket_of
from app.ports import Clock, TrendStore
from app.records import Recollection, SearchUsage

log = structlog.get_logger(__name__)

_CALLERS_FAULT: Final = (InvalidInput, NotFound, Conflict)
_MOST_KEYS: Final = 10_000


@dataclass(frozen=True, slots=True)
class UsagePolicy:
    """`every`: how often a process says what it saw; one that is killed keeps the last part of it to itself.

    `kept_for`: after that long a day is dropped. `last_words`: how long closing may take.
    """

    every: timedelta = timedelta(minutes=1)
    kept_for: timedelta = timedelta(days=90)
    last_words: timedelta = timedelta(seconds=5)


@dataclass(slots=True)
class _Tally:
    searches: int = 0
    failed: int = 0
    degraded: int = 0
    latency_ms: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * BUCKETS)


class SearchLog:
    """Counts searches by day and namespace, and says so far as it got every now and then, in the background.

    It says totals, not what is new: said twice, or after a failure, they are as right as said once.
    """

    def __init__(self, store: TrendStore, *, process: UUID, clock: Clock, policy: UsagePolicy | None = None) -> None:
        self._store = store
        self._process = process
        self._clock = clock
        self._policy = policy or UsagePolicy()
        self._tallies: dict[tuple[date, str], _Tally] = {}
        self._said_at = clock()
        self._saying: asyncio.Task[None] | None = None

    async def observed(self, namespace: str, search: Awaitable[Recollection]) -> Recollection:
        """What the search finds; that it did, how long it took, or that it failed, is counted."""
        try:
            found = await search
        except _CALLERS_FAULT:
            raise
        except HybridMemoryError:
            self._tally(namespace).failed += 1
            raise
        finally:
            self._say_when_due()
        self._count(self._tally(namespace), found)
        return found

    def _count(self, tally: _Tally, found: Recollection) -> None:
        tally.searches += 1
        tally.degraded += bool(found.degraded)
        tally.latency_ms += found.latency_ms
        tally.buckets[bucket_of(found.latency_ms)] += 1

    def _tally(self, namespace: str) -> _Tally:
        key = (self._today(), namespace)
        if key not in self._tallies and len(self._tallies) >= _MOST_KEYS:
            return _Tally()  # counted for nobody: memory has its limits
        return self._tallies.setdefault(key, _Tally())

    def _today(self) -> date:
        return self._clock().astimezone(UTC).date()

    def _say_when_due(self) -> None:
        is_idle = self._saying is None or self._saying.done()
        if is_idle and self._clock() - self._said_at >= self._policy.every:
            self._said_at = self._clock()
            self._saying = asyncio.create_task(self._say_unless_away())

    async def _say_unless_away(self) -> None:
        try:
            await self.settle()
        except TierUnavailable as error:
            log.warning("usage_waits", problem=error.problem)

    async def settle(self) -> None:
        """Say what was seen so far. Days that are over are then done with."""
        today = self._today()
        said = [_usage(day, namespace, tally) for (day, namespace), tally in self._tallies.items()]
        if said:
            await self._store.save_usage(self._process, said)
        self._tallies = {key: tally for key, tally in self._tallies.items() if key[0] >= today}

    async def retire(self) -> int:
        """Drop days that are out of every report; returns how many rows."""
        return await self._store.retire_usage(self._today() - self._policy.kept_for)

    async def close(self) -> None:
        """Say what is left, if that does not take too long."""
        try:
            async with asyncio.timeout(self._policy.last_words.total_seconds()):
                await self._say_unless_away()
        except TimeoutError:
            log.warning("usage_lost")


def _usage(day: date, namespace: str, tally: _Tally) -> SearchUsage:
    answered = tally.searches
    return SearchUsage(
        namespace, day, answered + tally.failed, tally.failed, tally.degraded, tally.latency_ms, tuple(tally.buckets)
    )


def first_day(now: datetime, days: int) -> date:
    """The first of `days` days that end today."""
    return now.astimezone(UTC).date() - timedelta(days=days - 1)
