"""The drain's promises on a real Valkey and a real PostgreSQL, whose locks and transactions the twins only imitate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import pytest
from factories import EVERYWHERE, Tiers, append, check_books, consolidation_of, contents_of, drain_of, forgetting_of
from given import NOW, SESSION
from sqlalchemy.ext.asyncio import AsyncEngine

from app.consolidation.drain import DrainPolicy
from app.consolidation.segmentation import SegmentationPolicy
from app.episodic.repository import PostgresRepository
from app.faultpoints import FaultPoint, armed
from app.records import ForgetReceipt, Scope, Tier
from app.testing.clock import FixedClock
from app.testing.faults import Fault, away, troubled
from app.working import RedisRepository, connect

SMALL_EPISODES = SegmentationPolicy(max_messages=3)
MANY_BATCHES = DrainPolicy(batch=2)


@pytest.fixture
async def engines(redis_url: str, engine: AsyncEngine) -> AsyncIterator[Tiers]:
    async with connect(redis_url) as client:
        yield Tiers(clock=FixedClock(NOW), working=RedisRepository(client), episodic=PostgresRepository(engine))


@pytest.mark.parametrize("call", ["insert_messages", "enqueue", "commit", "committed", "settle"])
async def test_a_worker_killed_anywhere_loses_and_duplicates_nothing(engines: Tiers, call: str) -> None:
    """Killed before the commit, nothing happened; killed after it, the next drain only has to trim Redis."""
    await append(engines, "a", "b", "c", "d", "e")
    killed = Fault(Killed(), call)
    dying = replace(engines, working=troubled(engines.working, killed), episodic=troubled(engines.episodic, killed))
    with pytest.raises(Killed):
        await drain_of(dying, MANY_BATCHES, SMALL_EPISODES).drain(SESSION)
    assert await contents_of(engines) == (["a", "b"] if call in {"committed", "settle"} else [])
    await drain_of(engines, MANY_BATCHES, SMALL_EPISODES).drain(SESSION)
    assert await contents_of(engines) == ["a", "b", "c", "d", "e"]
    assert await engines.working.unsettled(SESSION, 9) == ()
    await check_books(engines)


async def test_appends_made_without_redis_do_not_collide_with_those_it_held(engines: Tiers) -> None:
    """What Redis held while Postgres took appends directly is numbered after them, and so is what comes next."""
    await append(engines, "held")
    await append(replace(engines, working=away(engines.working, Tier.WORKING)), "direct one", "direct two")
    await drain_of(engines).drain(SESSION)
    await append(engines, "next")
    await drain_of(engines).drain(SESSION)
    assert await contents_of(engines) == ["direct one", "direct two", "held", "next"]
    await check_books(engines)


async def test_what_is_wanted_now_waits_for_the_other_worker(engines: Tiers) -> None:
    """A drain that a caller waits for is done when another worker has let go of the session, not before."""
    await append(engines, "a")
    tried = Reached("lock_checkpoint")
    async with engines.episodic.writing() as other:
        await other.lock_checkpoint(SESSION)
        watched = replace(engines, episodic=troubled(engines.episodic, tried))
        draining = asyncio.create_task(drain_of(watched).drain_now(SESSION))
        await tried.event.wait()
        assert not draining.done()
    assert await draining == 1
    await check_books(engines)


async def test_workers_side_by_side_store_each_message_once(engines: Tiers) -> None:
    """Five workers that drain, end and append at once leave books that agree."""
    await append(engines, *(f"message {n}" for n in range(20)))
    dark = replace(engines, working=away(engines.working, Tier.WORKING))
    await asyncio.gather(
        drain_of(engines, MANY_BATCHES, SMALL_EPISODES).drain(SESSION),
        drain_of(engines, MANY_BATCHES, SMALL_EPISODES).drain_now(SESSION),
        drain_of(engines, MANY_BATCHES, SMALL_EPISODES).end(SESSION),
        append(dark, *(f"direct {n}" for n in range(5))),
        append(engines, *(f"later {n}" for n in range(5))),
    )
    await drain_of(engines).drain(SESSION)
    said = [*(f"message {n}" for n in range(20)), *(f"direct {n}" for n in range(5)), *(f"later {n}" for n in range(5))]
    assert sorted(await contents_of(engines)) == sorted(said)
    await check_books(engines)


async def test_what_was_consolidated_can_be_forgotten(engines: Tiers) -> None:
    """From append to index and back to nothing, with a receipt that counts it."""
    await append(engines, "a", "b")
    report = await consolidation_of(engines).run()
    assert dict(report.counts) == {"messages_drained": 2, "episodes_closed": 0, "records_indexed": 2, "sessions_released": 1}
    receipt = await forgetting_of(engines).forget(EVERYWHERE)
    assert receipt == ForgetReceipt({"message": 2, "episode": 1, "buffered": 2}, remaining=0)
    assert (await contents_of(engines), await engines.semantic.count()) == ([], 0)


async def test_a_drain_under_way_does_not_bring_back_what_is_forgotten(engines: Tiers) -> None:
    """Whoever forgets a session waits for the drain that has read its buffer, also for the first one of the session."""
    await append(engines, "a secret")
    drain_has_read, forgetting_waits = asyncio.Event(), Reached("lock_checkpoint")

    async def hold_the_drain(point: FaultPoint) -> None:
        if point is FaultPoint.DRAIN_READ:
            drain_has_read.set()
            await forgetting_waits.event.wait()

    with armed(hold_the_drain):
        draining = asyncio.create_task(drain_of(engines).drain(SESSION))
        await drain_has_read.wait()
        watched = replace(engines, episodic=troubled(engines.episodic, forgetting_waits))
        receipt = await forgetting_of(watched).forget(Scope(SESSION.namespace, session_id=SESSION.session_id))
        await draining
    assert (receipt.remaining, await contents_of(engines)) == (0, [])


class Killed(Exception):
    """The process died here: nobody handles this."""


@dataclass
class Reached:
    """`event` is set once the named call was made."""

    call: str
    event: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, call: str) -> None:
        if call == self.call:
            self.event.set()
