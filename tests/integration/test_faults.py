"""Seeded runs on a real Valkey, PostgreSQL and Edge, in which the product dies, loses answers and is late."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

import pytest
from factories import Tiers
from fault_process import Kind, Mishap
from fault_run import NOW, POINTS, Life, Plan, Run, planned
from fault_talk import BEGIN, Append, Consolidate, End, Forget, Said, Step, Talk
from sqlalchemy.ext.asyncio import AsyncEngine
from volatile import volatile_directory
from random import Random
from uuid import UUID
from datetime import timedelta

from app.episodic.repository import PostgresRepository
from app.faultpoints import FaultPoint
from app.records import SessionKey, Wait
from app.semantic.bm25 import Bm25Encoder
from app.semantic.edge import EdgeRepository
from app.testing.clock import FixedClock
from app.working import RedisRepository, connect

CHUNKS: Final = 4
"""Seeds share engines: those of a chunk come one after the other."""


@pytest.fixture
async def engines(redis_url: str, engine: AsyncEngine) -> AsyncIterator[Tiers]:
    """Three empty engines that nobody stops."""
    clock = FixedClock(NOW)
    with volatile_directory() as directory:
        index = await EdgeRepository.open(directory, encoder=Bm25Encoder())
        async with connect(redis_url) as client:
            working = RedisRepository(client, clock=clock)
            yield Tiers(clock=clock, working=working, episodic=PostgresRepository(engine), semantic=index)
        await index.close()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("chunk", range(CHUNKS))
async def test_what_was_acknowledged_survives_whatever_the_seed_brings(
    engines: Tiers, fault_seeds: Sequence[int], chunk: int
) -> None:
    """Each acknowledged message in one episode, in order, indexed once and found; nothing half there; nothing comes back."""
    broken = {}
    for seed in fault_seeds[chunk::CHUNKS]:
        try:
            await Run(engines, planned(seed)).carry_out()
        except AssertionError as error:
            broken[seed] = str(error)
            break  # what is left of it would be taken for the next one's
    assert broken == {}, replay(broken)


def replay(broken: dict[int, str]) -> str:
    command = "python -m pytest tests/integration/test_faults.py -k whatever_the_seed_brings --fault-seed"
    return "\n".join(f"seed {seed} breaks a promise; to replay it: {command} {seed}\n{why}" for seed, why in broken.items())
