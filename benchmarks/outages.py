"""What an outage costs: engines stopped for real, under a service in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Final

import psutil

from app.records import Episode, EpisodeKind, Scope, Wait, new_id, utc_now
from app.service import HybridMemoryService
from benchmarks.in_process import Asking, Call
from benchmarks.report import Sample, time_each
from benchmarks.workload import NAMESPACE, Question, Workload

POSTGRES: Final = "postgres"
_TURN: Final = 50
_POLL_SECONDS: Final = 0.05
INDEX: Final = "app.semantic.worker"


@contextmanager
def hanging(word: str) -> Iterator[None]:
    """Stop every process below this one whose command line has `word`, and let them go on at the end."""
    stopped = [process for process in psutil.Process().children(recursive=True) if any(word in p for p in process.cmdline())]
    for process in stopped:
        process.suspend()
    try:
        yield
    finally:
        for process in stopped:
            process.resume()


async def time_appends(service: HybridMemoryService, workload: Workload, count: int) -> tuple[Sample, Sample]:
    """One message a call to sessions that exist: with PostgreSQL up, and while it hangs, by turns.

    The messages have ids of the caller's, which PostgreSQL is asked about while it is up.
    """
    calls = _appends(service, workload, 2 * count)
    up: list[float] = []
    down: list[float] = []
    for start in range(0, len(calls), 2 * _TURN):
        up += (await time_each(calls[start : start + _TURN])).milliseconds
        with hanging(POSTGRES):
            down += (await time_each(calls[start + _TURN : start + 2 * _TURN])).milliseconds
        await _until_back(service)
    return Sample(tuple(up)), Sample(tuple(down))


async def time_logging(service: HybridMemoryService, count: int) -> Sample:
    """Episodes that nobody waits for, while PostgreSQL hangs."""
    now = utc_now()
    episodes = [Episode(new_id(), EpisodeKind.TASK, Scope(NAMESPACE), now, now) for _ in range(count)]
    with hanging(POSTGRES):
        sample = await time_each(partial(service.store_episode, e, [{"did": "look"}], wait=Wait.NONE) for e in episodes)
    await _until_back(service)
    return sample


def _appends(service: HybridMemoryService, workload: Workload, count: int) -> list[Call]:
    drafts = [(talk.scope, replace(draft, id=new_id())) for talk in workload.talks for draft in talk.drafts]
    return [partial(service.append_messages, scope, [draft]) for scope, draft in drafts[:count]]


async def _until_back(service: HybridMemoryService) -> None:
    while any(tier.breaker != "closed" for tier in await service.health()):  # noqa: ASYNC110 - engines tell nobody
        await asyncio.sleep(_POLL_SECONDS)


async def time_searches(service: HybridMemoryService, questions: Sequence[Question]) -> tuple[Sample, int]:
    """Searches while the index hangs, from the first on, and how many of them said so."""
    asking = Asking(service)
    with hanging(INDEX):
        sample = await time_each(asking.calls(questions))
    return sample, asking.degraded
