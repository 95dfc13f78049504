"""The drain's promises on a real Valkey and a real PostgreSQL, whose locks and transactions the twins only imitate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from factories import EVERYWHERE, Tiers, append, check_books, consolidation_of, contents_of, drain_of, forgetting_of
from given import NOW, SESSION, episode
from sqlalchemy.ext.asyncio import AsyncEngine

from app.consolidation.drain import DrainPolicy
from app.consolidation.logged_episodes import EpisodeDrain
from app.consolidation.segmentation import SegmentationPolicy
from app.episodic.repository import PostgresRepository
from app.faultpoints import FaultPoint, armed
from app.records import EpisodeKind, ForgetReceipt, LoggedEpisode, Scope, Tier, TierReceipt
from app.testing.clock import FixedClock
from app.testing.faults import Fault, away, troubled
from app.working import RedisRepository, connect

SMALL_EPISODES = SegmentationPolicy(max_messages=3)
MANY_BATCHES = DrainPolicy(batch=2)


@pytest.fixture
async def engines(redis_url: str, engine: AsyncEngine) -> AsyncIterator[Tiers]:
    async with connect(redis_url) as client:
        clock = FixedClock(NOW)
        yield Tiers(clock=clock, working=RedisRepository(client, clock=clock), episodic=PostgresRepository(engine))


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
    assert receipt == ForgetReceipt(
        {
            Tier.WORKING: TierReceipt({"message": 2}, 0),
            Tier.EPISODIC: TierReceipt({"message": 2, "episode": 1}, 0),
            Tier.SEMANTIC: TierReceipt({"point": 2}, 0),
        }
    )
    assert (await contents_of(engines), await engines.semantic.count()) == ([], 0)


async def test_a_drain_under_way_is_waited_for(engines: Tiers) -> None:
    """Forgetting while a worker drains begins when the drain has ended, and takes what it drained, too."""
    await append(engines, "a secret")
    arrived = Gate("unsettled")
    draining = asyncio.create_task(drain_of(replace(engines, working=troubled(engines.working, arrived))).drain(SESSION))
    await arrived.is_reached.wait()
    asked = Reached("hold_namespace")
    forgetting = asyncio.create_task(
        forgetting_of(replace(engines, episodic=troubled(engines.episodic, asked))).forget(EVERYWHERE)
    )
    await asked.event.wait()
    assert not forgetting.done()
    arrived.opened.set()
    assert (await draining, (await forgetting).remaining) == (1, 0)
    await consolidation_of(engines).run()
    assert (await contents_of(engines), await engines.working.count(EVERYWHERE)) == ([], 0)


async def test_no_drain_begins_while_one_forgets(engines: Tiers) -> None:
    """A worker that comes while the rows are gone and the buffers not yet leaves the session alone."""
    await append(engines, "a secret")
    arrived = Gate("erase")
    forgetting = asyncio.create_task(
        forgetting_of(replace(engines, working=troubled(engines.working, arrived))).forget(EVERYWHERE)
    )
    await arrived.is_reached.wait()
    assert await drain_of(engines).drain(SESSION) == 0
    arrived.opened.set()
    assert (await forgetting).remaining == 0
    await drain_of(engines).drain(SESSION)
    assert await contents_of(engines) == []


async def test_a_logged_episode_that_was_forgotten_meanwhile_is_not_drained(engines: Tiers) -> None:
    """A worker that read what is logged before it was forgotten looks again, and stores nothing."""
    logged = LoggedEpisode(episode(kind=EpisodeKind.TASK), (), NOW)
    await engines.working.log_episode(logged)
    arrived = Gate("share_namespace")
    draining = asyncio.create_task(EpisodeDrain(engines.working, troubled(engines.episodic, arrived)).drain())
    await arrived.is_reached.wait()
    assert (await forgetting_of(engines).forget(EVERYWHERE)).tiers[Tier.WORKING] == TierReceipt({"episode": 1}, 0)
    arrived.opened.set()
    assert await draining == 0
    async with engines.episodic.reading() as reader:
        assert await reader.episode("acme", logged.episode.id) is None


async def test_a_logged_episode_that_is_being_drained_is_waited_for(engines: Tiers) -> None:
    """Forgetting while a worker stores logged episodes begins when it has, and takes what it stored, too."""
    logged = LoggedEpisode(episode(kind=EpisodeKind.TASK), (), NOW)
    await engines.working.log_episode(logged)
    arrived, asked = Gate("insert_episode"), Reached("hold_namespace")
    draining = asyncio.create_task(EpisodeDrain(engines.working, troubled(engines.episodic, arrived)).drain())
    await arrived.is_reached.wait()
    forgetting = asyncio.create_task(
        forgetting_of(replace(engines, episodic=troubled(engines.episodic, asked))).forget(EVERYWHERE)
    )
    await asked.event.wait()
    assert not forgetting.done()
    arrived.opened.set()
    assert (await draining, (await forgetting).remaining) == (1, 0)
    async with engines.episodic.reading() as reader:
        assert await reader.episode("acme", logged.episode.id) is None


async def test_what_was_forgotten_while_redis_was_away_never_comes_back(engines: Tiers) -> None:
    """The buffer's old messages are erased before the first drain, and those appended since are kept."""
    await append(engines, "old secret", "another")
    receipt = await forgetting_of(replace(engines, working=away(engines.working, Tier.WORKING))).forget(EVERYWHERE)
    assert (receipt.pending, receipt.tiers[Tier.WORKING].remaining) == (("working",), None)
    engines.clock.advance(timedelta(milliseconds=1))
    await append(engines, "kept")
    assert await drain_of(engines).drain_now(SESSION) == 1
    assert await contents_of(engines) == ["kept"]
    await consolidation_of(engines).run()
    async with engines.episodic.reading() as reader:
        assert (await reader.owed_erasures(9), (await reader.status()).erasures) == ((), 0)
    assert await contents_of(engines) == ["kept"]


async def test_a_drain_under_way_does_not_bring_back_what_is_forgotten(engines: Tiers) -> None:
    """Whoever forgets a session waits for the drain that has read its buffer, also for the first one of the session."""
    await append(engines, "a secret")
    drain_has_read, forgetting_waits = asyncio.Event(), Reached("hold_namespace")

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
class Gate:
    """The named call waits until the gate is opened."""

    call: str
    is_reached: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, call: str) -> None:
        if call == self.call:
            self.is_reached.set()
            await self.opened.wait()


@dataclass
class Reached:
    """`event` is set once the named call was made."""

    call: str
    event: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, call: str) -> None:
        if call == self.call:
            self.event.set()
