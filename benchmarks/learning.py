"""Figures of learning from episodes: how many a second, without a model."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Final

import asyncpg
from sqlalchemy import make_url

from app.embedded import start_postgres
from app.records import Episode, EpisodeKind, Scope, new_id
from app.service import HybridMemoryService
from benchmarks.workload import NAMESPACE

_BEGIN: Final = datetime(2026, 1, 1, tzinfo=UTC)
_TOOLS: Final = ("search", "read", "edit", "test", "deploy", "restart", "ask")
_TABLE: Final = "CREATE TABLE evidence (pattern_id uuid, episode_id uuid, PRIMARY KEY (pattern_id, episode_id))"


async def store_tasks(service: HybridMemoryService, count: int) -> None:
    """Tasks of ten steps with six perceived values each, as an agent leaves them."""
    random = Random(0)  # noqa: S311 - the same every time
    for number in range(count):
        await service.store_episode(_task(random, number), [_step(random) for _ in range(10)])


def _task(random: Random, number: int) -> Episode:
    perception = {
        "backlog_size": random.randrange(5, 60), "team_size": random.randrange(2, 10), "risk": random.choice(["low", "high"]),
        "stage": random.choice(["plan", "build", "ship"]), "is_late": random.random() < 0.3, "morale": round(random.random(), 2),
    }  # fmt: skip
    is_good = random.random() < 0.6
    at = _BEGIN + timedelta(minutes=number)
    return Episode(
        new_id(), EpisodeKind.TASK, Scope(NAMESPACE), at, at, perception=perception,
        action={"choice": random.choice(["cut scope", "hire", "go on"])}, outcome={"good": is_good},
        outcome_quality=float(is_good), quality=1.0,
    )  # fmt: skip


def _step(random: Random) -> dict[str, object]:
    step: dict[str, object] = {"tool": random.choice(_TOOLS), "input": {"at": random.randrange(9)}}
    return step | ({"error": "TimeoutError: too slow"} if random.random() < 0.1 else {"result": "fine"})


@dataclass(frozen=True, slots=True)
class Learned:
    """Seconds until all patterns were found and weighed, and further seconds until the heuristics were."""

    patterns_seconds: float
    heuristics_seconds: float
    evidence: int


async def time_learning(service: HybridMemoryService) -> Learned:
    """Learn from everything that is due, which is of one namespace and project: its heuristics are the last that is counted."""
    moments = [time.perf_counter()]
    report = await service.learn(progress=lambda _: moments.append(time.perf_counter()))
    if report.errors:
        raise RuntimeError(f"learning went wrong: {report.errors}")
    begun, *_, weighed, done = moments
    return Learned(weighed - begun, done - weighed, report.counts["patterns_found"])


async def insert_evidence(home: Path, rows: int) -> float:
    """Seconds in which PostgreSQL takes as many rows of evidence from asyncpg."""
    server = await asyncio.to_thread(start_postgres, home)
    try:
        url = make_url(server.url).set(drivername="postgresql").render_as_string(hide_password=False)
        connection = await asyncpg.connect(url)
        await connection.execute(_TABLE)
        evidence = [(new_id(), new_id()) for _ in range(rows)]
        started = time.perf_counter()
        await connection.executemany("INSERT INTO evidence VALUES ($1, $2)", evidence)
        seconds = time.perf_counter() - started
        await connection.close()
        return seconds
    finally:
        await asyncio.to_thread(server.stop)
