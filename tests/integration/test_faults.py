"""Seeded runs on a real Valkey, PostgreSQL and Edge, in which the product dies, loses answers and is late."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from random import Random
from typing import Final
from uuid import UUID

import pytest
from factories import Tiers
from fault_process import Kind, Mishap, Outage
from fault_run import NOW, POINTS, Life, Plan, Run, planned
from fault_talk import BEGIN, Append, Consolidate, End, Forget, Said, Step, Talk
from given import knowledge, queued, upsert
from sqlalchemy.ext.asyncio import AsyncEngine
from volatile import volatile_directory

from app.embedding.chain import EmbedderChain
from app.embedding.hashing import HashingEmbedder
from app.episodic.repository import PostgresRepository
from app.faultpoints import FaultPoint
from app.records import SessionKey, Tier, Wait
from app.semantic.bm25 import Bm25Encoder
from app.semantic.edge import EdgeRepository
from app.testing.clock import TickingClock
from app.working import RedisRepository, connect

CHUNKS: Final = 8
"""Seeds share engines: those of a chunk come one after the other."""


@pytest.fixture
async def engines(redis_url: str, engine: AsyncEngine) -> AsyncIterator[Tiers]:
    """Three empty engines that nobody stops."""
    clock = TickingClock(NOW)
    with volatile_directory() as directory:
        index = await EdgeRepository.open(directory, encoder=Bm25Encoder())
        async with connect(redis_url) as client:
            working = RedisRepository(client, clock=clock)
            yield Tiers(
                clock=clock,
                working=working,
                episodic=PostgresRepository(engine),
                semantic=index,
                embedder=EmbedderChain([HashingEmbedder()]),
            )
        await index.close()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("chunk", range(CHUNKS))
async def test_what_was_acknowledged_survives_whatever_the_seed_brings(
    engines: Tiers, fault_seeds: Sequence[int], chunk: int
) -> None:
    """Each acknowledged message in one episode, in order, indexed once and found; nothing half there; nothing comes back."""
    for seed in fault_seeds[chunk::CHUNKS]:
        with replayable(seed):
            await Run(engines, planned(seed)).carry_out()


@contextmanager
def replayable(seed: int) -> Iterator[None]:
    """Have a failure say which seed it was, and how to see it again."""
    try:
        yield
    except BaseException as failure:
        failure.add_note(f"seed {seed}; to replay it: python -m pytest {__file__} -k the_seed_brings --fault-seed {seed}")
        raise


@pytest.mark.timeout(600)
async def test_dying_at_any_arrow_breaks_no_promise(engines: Tiers) -> None:
    """A process dies at each point once, another takes over: every promise is kept, and every point was really reached."""
    untouched = []
    for point in POINTS:
        lives = [Life(Mishap(point, 1, Kind.DIE), Outage(_AWAY[point], 0, 3) if point in _AWAY else None)]
        await queued(engines.episodic, upsert(knowledge()))  # of a record that is gone by the time it is indexed
        run = Run(engines, Plan([everything(f"at-{point}")], lives))
        await run.carry_out()
        untouched += [] if run.happened else [point]
    assert untouched == []


_REDIS_AWAY: Final = dict.fromkeys((FaultPoint.APPEND_BYPASSING, FaultPoint.APPEND_BYPASSED), Tier.WORKING)
_INDEX_AWAY: Final = dict.fromkeys((FaultPoint.INDEX_GIVING_BACK, FaultPoint.INDEX_GIVEN_BACK), Tier.SEMANTIC)
_AWAY: Final = _REDIS_AWAY | _INDEX_AWAY
"""Points that are come to when an engine is away from its first call on."""


def everything(name: str) -> Talk:
    """A talk in which all happens that can: new and old sessions, idle episodes, ends, and something to forget."""
    random = Random(name)
    said = [
        Said(UUID(int=random.getrandbits(128), version=4), f"x{random.getrandbits(48):012x}", BEGIN + timedelta(hours=3 * n))
        for n in range(12)
    ]
    script: list[Step] = [
        Append(tuple(said[:5]), Wait.INDEXED),
        Append(tuple(said[4:7]), Wait.NONE),
        Consolidate(),
        Append(tuple(said[7:9]), Wait.STORED),
        End(),
        Consolidate(),
        Forget(),
        Consolidate(),
        Append(tuple(said[9:]), Wait.NONE),
        Consolidate(),
    ]
    return Talk(SessionKey(name, "s"), script, random)
