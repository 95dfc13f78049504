"""Episodes on their way through Redis: where they land, how they are found meanwhile, and that they arrive once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import nullcontext
from dataclasses import replace

import pytest
from factories import Tiers, consolidation_of, outbox_of, tiers
from given import NOW, SCOPE, episode, stored
from hypothesis import given as given_values
from hypothesis import strategies as st

from app.consolidation.logged_episodes import EpisodeDrain
from app.errors import Conflict, InvalidInput, NotFound, TierUnavailable
from app.ingestion.episode_log import EpisodeLog
from app.ingestion.episodes import RecordIngestion
from app.ingestion.limits import Limits
from app.ports import EpisodicMemory
from app.records import (
    Episode,
    EpisodeKind,
    EpisodeReceipt,
    EpisodeStep,
    LoggedEpisode,
    RecordKind,
    Scope,
    Tier,
    Wait,
    new_id,
)
from app.retrieval.episodes import EpisodeReader
from app.testing.clock import FixedClock
from app.testing.episodic import InMemoryEpisodicMemory
from app.testing.faults import Fault, away, troubled
from app.working import RedisRepository, connect

STEPS = ({"say": "yes"}, {"say": "no"})


@pytest.fixture
async def both(request: pytest.FixtureRequest, episodic: EpisodicMemory) -> AsyncIterator[Tiers]:
    """The twins, and a real Valkey with a real PostgreSQL."""
    if isinstance(episodic, InMemoryEpisodicMemory):
        yield replace(tiers(), episodic=episodic)
        return
    async with connect(request.getfixturevalue("redis_url")) as client:
        yield Tiers(clock=FixedClock(NOW), working=RedisRepository(client), episodic=episodic)


def task(**fields: object) -> Episode:
    return episode(**({"kind": EpisodeKind.TASK, "started_at": NOW, "ended_at": NOW} | fields))


def log_of(tiers: Tiers) -> EpisodeLog:
    records = RecordIngestion(tiers.episodic, limits=Limits(), clock=tiers.clock)
    return EpisodeLog(tiers.working, records)


def drain_of(tiers: Tiers) -> EpisodeDrain:
    return EpisodeDrain(tiers.working, tiers.episodic)


def without_redis(tiers: Tiers, *calls: str) -> Tiers:
    return replace(tiers, working=away(tiers.working, Tier.WORKING, *calls))


def without_postgres(tiers: Tiers, *calls: str) -> Tiers:
    return replace(tiers, episodic=away(tiers.episodic, Tier.EPISODIC, *calls))


async def found(tiers: Tiers, record: Episode) -> Episode:
    return await EpisodeReader(tiers.working, tiers.episodic).one(record.scope.namespace, record.id)


async def logged_in(tiers: Tiers) -> list[LoggedEpisode]:
    return [one for batch in [b async for b in tiers.working.logged_episodes()] for one in batch]


async def kept(tiers: Tiers, record: Episode) -> tuple[Episode | None, tuple[EpisodeStep, ...], int]:
    """What Postgres has of an episode: itself, its steps, and how often it is queued."""
    async with tiers.episodic.reading() as reader:
        stored = await reader.episode(record.scope.namespace, record.id)
        steps = await reader.steps(record.id, after=-1, limit=100)
    queued = [e for e in await outbox_of(tiers) if (e.kind, e.record_uid) == (RecordKind.EPISODE, record.id)]
    return stored, steps, len(queued)


def whole(record: Episode) -> tuple[Episode, tuple[EpisodeStep, ...], int]:
    return record, tuple(EpisodeStep(n, step, NOW) for n, step in enumerate(STEPS)), 1


# ── where an episode lands ────────────────────────────────────────────────────────────────────────────────────────


async def test_an_episode_goes_to_postgres() -> None:
    """Unless asked otherwise it is stored when the call returns, and never in Redis."""
    given, record = tiers(), task()
    assert await log_of(given).store(record, STEPS, Wait.STORED) == EpisodeReceipt(record, Tier.EPISODIC)
    assert (await kept(given, record), await logged_in(given)) == (whole(record), [])


async def test_without_a_wait_it_is_logged_in_redis_alone() -> None:
    """Postgres is not asked at all, so that it cannot keep the caller waiting; the next run stores it."""
    given, record = tiers(), task()
    assert await log_of(without_postgres(given)).store(record, STEPS, Wait.NONE) == EpisodeReceipt(record, Tier.WORKING)
    assert await logged_in(given) == [LoggedEpisode(record, STEPS, NOW)]
    report = await consolidation_of(given).run()
    assert (report.counts["episodes_drained"], report.errors) == (1, ())
    stored, steps, _ = await kept(given, record)
    assert ((stored, steps), await logged_in(given)) == (whole(record)[:2], [])


async def test_while_postgres_is_away_it_waits_in_redis() -> None:
    """The receipt says where it is and which tier was away; when that is back, it gets there."""
    given, record = tiers(), task()
    receipt = await log_of(without_postgres(given)).store(record, STEPS, Wait.STORED)
    assert receipt == EpisodeReceipt(record, Tier.WORKING, ("episodic",))
    assert await drain_of(given).drain() == 1
    assert (await kept(given, record), await logged_in(given)) == (whole(record), [])


async def test_while_redis_is_away_it_goes_straight_to_postgres() -> None:
    """Whoever does not want to wait gets the slower tier rather than an error."""
    given, record = tiers(), task()
    receipt = await log_of(without_redis(given)).store(record, STEPS, Wait.NONE)
    assert (receipt, await kept(given, record)) == (EpisodeReceipt(record, Tier.EPISODIC, ("working",)), whole(record))


@pytest.mark.parametrize("wait", list(Wait))
async def test_without_both_tiers_nothing_is_half_written(wait: Wait) -> None:
    """With neither tier there is an error, and when both are back there is no trace of the call."""
    given, record = tiers(), task()
    with pytest.raises(TierUnavailable):
        await log_of(without_redis(without_postgres(given))).store(record, STEPS, wait)
    assert (await kept(given, record), await logged_in(given)) == ((None, (), 0), [])


@pytest.mark.parametrize("wait", list(Wait))
async def test_a_bad_episode_is_refused_before_any_tier(wait: Wait) -> None:
    """A limit is a limit, wherever the episode would go."""
    given, record = tiers(), task(outcome_quality=2.0)
    with pytest.raises(InvalidInput, match="outcome_quality"):
        await log_of(given).store(record, STEPS, wait)
    assert (await kept(given, record), await logged_in(given)) == ((None, (), 0), [])


@pytest.mark.parametrize("call", ["insert_episode", "append_steps", "enqueue", "commit", "committed"])
async def test_an_episode_both_tiers_were_given_is_one(both: Tiers, call: str) -> None:
    """Postgres lost at any moment, also after it had taken it: the episode waits in Redis, and arrives once."""
    record = task()
    receipt = await log_of(without_postgres(both, call)).store(record, STEPS, Wait.STORED)
    await drain_of(both).drain()
    assert (receipt.stored_in, await kept(both, record), await logged_in(both)) == (Tier.WORKING, whole(record), [])


# ── how it gets there ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("call", ["insert_episode", "append_steps", "enqueue", "commit", "committed", "settle_episodes"])
async def test_a_drain_killed_anywhere_stores_it_once(both: Tiers, call: str) -> None:
    """Killed before the commit, nothing happened; killed after it, the next drain only has to drop the entry."""
    record, killed = task(), Fault(Killed(), call)
    await log_of(both).store(record, STEPS, Wait.NONE)
    dying = replace(both, working=troubled(both.working, killed), episodic=troubled(both.episodic, killed))
    with pytest.raises(Killed):
        await drain_of(dying).drain()
    assert len(await logged_in(both)) == 1
    await drain_of(both).drain()
    assert (await kept(both, record), await logged_in(both)) == (whole(record), [])


async def test_two_workers_store_it_once(both: Tiers) -> None:
    """Whoever comes second finds the id taken, and appends no steps."""
    records = [task() for _ in range(20)]
    for record in records:
        await log_of(both).store(record, STEPS, Wait.NONE)
    assert sum(await asyncio.gather(*(drain_of(both).drain() for _ in range(4)))) == len(records)
    assert [await kept(both, record) for record in records] == [whole(record) for record in records]


async def test_a_changed_episode_is_not_overwritten_by_its_log() -> None:
    """What happened to an episode after it was stored is kept, though its entry is seen again."""
    given, record = tiers(), task()
    await log_of(given).store(record, STEPS, Wait.NONE)
    with pytest.raises(TierUnavailable):
        await drain_of(without_redis(given, "settle_episodes")).drain()
    await stored(given.episodic, changed := replace(record, outcome={"went": "well"}))
    await drain_of(given).drain()
    assert await kept(given, record) == (replace(changed, version=2), *whole(record)[1:])


async def test_one_that_postgres_refuses_keeps_no_other_waiting() -> None:
    """It stays where it is, to be looked at; the rest of its batch is stored."""
    given, bad, good = tiers(), task(), task()
    for record in (bad, good):
        await log_of(given).store(record, STEPS, Wait.NONE)

    async def refuse(call: str) -> None:
        if call == "insert_episode" and len(await logged_in(given)) == refusals.pop(0):
            raise InvalidInput("value", "outside what the table allows")

    refusals = [2, 2, 0]  # the batch, then the first of it alone
    assert await drain_of(replace(given, episodic=troubled(given.episodic, refuse))).drain() == 1
    assert [one.episode for one in await logged_in(given)] == [min(bad, good, key=lambda record: record.id)]


async def test_an_id_of_another_namespace_is_left_alone() -> None:
    """An episode under a stolen id never replaces the one that has it, and blocks nothing."""
    given, theirs = tiers(), task(scope=Scope("theirs"))
    await stored(given.episodic, theirs)
    await log_of(given).store(task(id=theirs.id), STEPS, Wait.NONE)
    assert (await drain_of(given).drain(), await logged_in(given)) == (0, [])
    assert (await kept(given, theirs))[0] == theirs


async def test_stored_again_it_has_its_steps_once() -> None:
    """A retry with the same id stores nothing twice."""
    given, record = tiers(), task()
    for _ in range(2):
        await log_of(given).store(record, STEPS, Wait.STORED)
    assert await kept(given, record) == (replace(record, version=2), *whole(record)[1:])


async def test_other_content_under_a_logged_id_is_refused() -> None:
    """The first counts: what was acknowledged is not replaced behind anybody's back."""
    given, record = tiers(), task()
    await log_of(given).store(record, STEPS, Wait.NONE)
    with pytest.raises(Conflict):
        await log_of(given).store(replace(record, summary="something else"), STEPS, Wait.NONE)


@given_values(st.lists(st.sampled_from(["log", "drain", "die", "retry"]), max_size=30))
def test_whatever_happens_every_episode_arrives_once(events: list[str]) -> None:
    """Random logging, retries, drains and deaths after the commit: in the end each is there once, with its steps."""

    async def play() -> None:
        given, records = tiers(), [task()]
        for event in events:
            match event:
                case "log":
                    records.append(task())
                    await log_of(given).store(records[-1], STEPS, Wait.NONE)
                case "retry":
                    await log_of(given).store(records[0], STEPS, Wait.NONE)
                case "die":
                    with pytest.raises(TierUnavailable) if await logged_in(given) else nullcontext():
                        await drain_of(without_redis(given, "settle_episodes")).drain()
                case _:
                    await drain_of(given).drain()
        await drain_of(given).drain()
        arrived = records if "retry" in events else records[1:]
        assert [await kept(given, record) for record in arrived] == [whole(record) for record in arrived]
        assert await logged_in(given) == []

    asyncio.run(play())


# ── how it is found meanwhile ─────────────────────────────────────────────────────────────────────────────────────


async def test_it_is_found_by_its_id_wherever_it_is(both: Tiers) -> None:
    """Logged, drained but not dropped yet, and stored: the same episode; from another namespace it is none."""
    record = task()
    await log_of(both).store(record, STEPS, Wait.NONE)
    logged = await found(both, record)
    with pytest.raises(TierUnavailable):
        await drain_of(without_redis(both, "settle_episodes")).drain()
    twice = await found(both, record)
    await drain_of(both).drain()
    assert [logged, twice, await found(both, record)] == [record] * 3
    with pytest.raises(NotFound):
        await found(both, replace(record, scope=Scope("another tenant")))


@pytest.mark.parametrize(
    ("outage", "answer"),
    [(without_postgres, "logged"), (without_redis, "stored")],
    ids=["without Postgres", "without Redis"],
)
async def test_with_one_tier_away_the_other_answers(outage: Callable[[Tiers], Tiers], answer: str) -> None:
    """An episode that the tier that is up has is found; one it lacks may be in the other, so that is no `not found`."""
    given, records = tiers(), {"logged": task(), "stored": task()}
    await log_of(given).store(records["logged"], STEPS, Wait.NONE)
    await log_of(given).store(records["stored"], STEPS, Wait.STORED)
    dark = outage(given)
    assert await found(dark, records.pop(answer)) is not None
    for missing in (*records.values(), task()):
        with pytest.raises(TierUnavailable):
            await found(dark, missing)


async def test_what_is_only_logged_can_be_changed(both: Tiers) -> None:
    """Whoever wants to change it has it stored first; without Redis, what Postgres has is all there is."""
    record = task(scope=SCOPE)
    await log_of(both).store(record, STEPS, Wait.NONE)
    await drain_of(both).drain_one(SCOPE.namespace, record.id)
    assert (await kept(both, record), await logged_in(both)) == (whole(record), [])
    await drain_of(without_redis(both)).drain_one(SCOPE.namespace, new_id())


class Killed(Exception):
    """The process died here: nobody handles this."""
