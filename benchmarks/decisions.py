"""What logging a decision costs the one who decides: many agents at once, each thinking between its decisions."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from redis.asyncio import Redis

from app.embedded import start_valkey
from app.records import Scope
from app.service import HybridMemoryService
from benchmarks.report import Sample

AGENTS: Final = 100
_DECISIONS: Final = 5
_THINKING_SECONDS: Final = 2.0
"""At most: a decision a second and agent, on average, while the others make theirs."""
_SEED: Final = 7
_PROJECT: Final = "benchmarks-decisions"
_ENTRY_BYTES: Final = 900
"""What a logged decision takes in Redis."""

Log = Callable[[int], Awaitable[object]]


async def log_decisions(service: HybridMemoryService) -> tuple[Sample, float]:
    """How long each call took its caller, and the share of decisions that were stored in the end."""

    async def log(number: int) -> None:
        await service.log_episode(
            project_id=_PROJECT,
            perception={"backlog": number, "velocity": 9, "team": "alpha"},
            reasoning={"why": "the velocity of the last three sprints covers nine stories"},
            action={"decision": "plan nine stories"},
            steps=[{"did": "look at the backlog"}, {"did": "vote"}],
        )

    await _side_by_side(log, rounds=1)  # connections and scripts are there when it counts
    sample = await _side_by_side(log, rounds=_DECISIONS)
    await service.consolidate()
    return sample, await _stored(service) / (AGENTS * (_DECISIONS + 1))


async def append_bare(home: Path) -> Sample:
    """The same agents with nothing but an XADD of as many bytes, over redis-py."""
    server = await asyncio.to_thread(start_valkey, home, fsync="everysec")
    try:
        async with Redis.from_url(server.url) as client:

            async def append(_: int) -> None:
                await client.xadd("decisions", {"e": b"x" * _ENTRY_BYTES})

            await _side_by_side(append, rounds=1)
            return await _side_by_side(append, rounds=_DECISIONS)
    finally:
        await asyncio.to_thread(server.stop)


async def _side_by_side(log: Log, *, rounds: int) -> Sample:
    chance = random.Random(_SEED)  # noqa: S311 - a pause, not a secret
    taken: list[float] = []

    async def decide(agent: int) -> None:
        for number in range(rounds):
            await asyncio.sleep(chance.random() * _THINKING_SECONDS)
            started = time.perf_counter()
            await log(agent * rounds + number)
            taken.append((time.perf_counter() - started) * 1e3)

    await asyncio.gather(*(decide(agent) for agent in range(AGENTS)))
    return Sample(tuple(taken))


async def _stored(service: HybridMemoryService) -> int:
    count, before = 0, None
    while page := await service.list_episodes(Scope(project_id=_PROJECT), before=before, limit=1000):
        count, before = count + len(page), page[-1].id
    return count
