"""Entries in Redis that cannot be read: set aside and counted when nobody can, left alone when a newer release wrote them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
from factories import Tiers, append, consolidation_of, contents_of, drain_of, tiers
from given import NOW, SESSION
from redis.asyncio import Redis

from app.errors import NewerRelease
from app.ports import Backlog, Erasure
from app.records import Scope, SessionKey, SessionState
from app.testing.clock import FixedClock
from app.working import RedisRepository, connect
from app.working.keys import session_keys

KEYS = session_keys(SESSION)
OTHER = SessionKey(SESSION.namespace, "s2")
DAMAGED = [b"", b"{", b"[]", b"7", b'{"v":1}', b'{"v":"1"}', b'{"v":0}', b'{"v":1,"id":"x"}', b"\xff\xfe"]


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    async with connect(redis_url) as client:
        assert isinstance(client, Redis)
        yield client


@pytest.fixture
def given(client: Redis) -> Tiers:
    """Twins, but for Redis itself."""
    return replace(tiers(), working=RedisRepository(client, clock=FixedClock(NOW)))


async def entries(client: Redis, key: str) -> list[tuple[Any, dict[Any, Any]]]:
    """A stream's entries; the driver's types allow for more than it answers."""
    found: Any = await client.xrange(key)
    return list(found)


async def append_raw(client: Redis, raw: bytes) -> None:
    """What a faulty or newer writer leaves: an entry like any other, but for its bytes."""
    sequence = await client.hincrby(KEYS.meta, "last", 1)
    await client.xadd(KEYS.messages, {"id": f"id-{sequence}", "m": raw, "at": 1}, id=f"{sequence}-0")


@pytest.mark.parametrize("raw", DAMAGED)
async def test_an_entry_that_nobody_can_read_is_set_aside(given: Tiers, client: Redis, raw: bytes) -> None:
    """The messages around it are drained in order; it is kept as it was, and counted; nothing waits for it."""
    await append(given, "before")
    await append_raw(client, raw)
    await append(given, "after")
    report = await consolidation_of(given).run()
    assert (report.counts["messages_drained"], report.errors) == (2, ())
    assert await contents_of(given) == ["before", "after"]
    assert await given.working.backlog() == Backlog(0, 0, None, malformed=1)
    ((_, kept),) = await entries(client, KEYS.malformed)
    assert (kept[b"m"], kept[b"sequence"]) == (raw, b"2")
    assert await given.working.dirty_sessions(9) == ()


async def test_reading_goes_around_it(given: Tiers, client: Redis) -> None:
    """Before it is set aside, every way to read the buffer leaves it out."""
    await append(given, "before")
    await append_raw(client, b"{")
    await append(given, "after")
    expected = ["before", "after"]
    assert [m.content for m in await given.working.read(SESSION, after=0, limit=9)] == expected
    assert [m.content for m in (await given.working.recent(SESSION, 9)).messages] == expected
    assert [m.content for m in await given.working.unindexed(Scope("acme"), 9)] == expected[::-1]
    assert await given.working.count(Scope("acme", session_id="s1")) == 3


async def test_what_a_newer_release_wrote_is_left_to_it(given: Tiers, client: Redis) -> None:
    """What lies before it is drained; it and what follows waits, in order; other sessions do not."""
    await append(given, "before")
    await append_raw(client, b'{"v":2}')
    await append(given, "after")
    await append(given, "elsewhere", session=OTHER)
    await consolidation_of(given).run()
    await consolidation_of(given).run()
    assert await contents_of(given) == ["before"]
    async with given.episodic.reading() as reader:
        assert [m.content for m in await reader.history(OTHER, after=0, limit=9)] == ["elsewhere"]
    assert await given.working.dirty_sessions(9) == (SESSION,)
    assert (await given.working.backlog()).malformed == 0
    with pytest.raises(NewerRelease, match="buffer of session s1: schema version 2, this release reads up to 1"):
        await drain_of(given).drain(SESSION)


async def test_a_state_that_nobody_can_read_is_set_aside(given: Tiers, client: Redis) -> None:
    """The session's messages are drained without it, and a new state takes its place."""
    await append(given, "said")
    await given.working.save_state(SESSION, SessionState(goal="x"))
    await client.set(KEYS.state, b"{")
    await consolidation_of(given).run()
    assert await contents_of(given) == ["said"]
    assert await given.working.backlog() == Backlog(0, 0, None, malformed=1)
    ((_, kept),) = await entries(client, KEYS.malformed)
    assert kept == {b"state": b"{"}
    await given.working.save_state(SESSION, SessionState(goal="y"))
    assert await given.working.load_state(SESSION) == SessionState(goal="y", version=1)


async def test_a_state_of_a_newer_release_is_left_to_it(given: Tiers, client: Redis) -> None:
    """Messages are drained; the state stays where it is and keeps waiting."""
    await append(given, "said")
    await given.working.save_state(SESSION, SessionState(goal="x"))
    raw = orjson.dumps({"v": 2})
    await client.set(KEYS.state, raw)
    await consolidation_of(given).run()
    assert (await contents_of(given), await client.get(KEYS.state)) == (["said"], raw)
    assert await given.working.dirty_sessions(9) == (SESSION,)
    with pytest.raises(NewerRelease):
        await given.working.load_state(SESSION)


async def test_a_note_that_nobody_can_read_is_left_out(given: Tiers, client: Redis) -> None:
    """The rest of the scratchpad is there."""
    await client.hset(KEYS.scratch, mapping={"good": "1", "bad": "{"})
    assert await given.working.read_scratch(SESSION) == {"good": 1}


async def test_what_was_set_aside_is_forgotten_with_its_session(given: Tiers, client: Redis) -> None:
    """Nothing of a forgotten session stays, readable or not."""
    await append(given, "said")
    await append_raw(client, b"{")
    await consolidation_of(given).run()
    scope = Scope("acme", session_id="s1")
    assert await given.working.count(scope) == 2
    await given.working.erase(Erasure(scope))
    assert (await given.working.count(scope), (await given.working.backlog()).malformed) == (0, 0)
    assert await client.keys("hm:*s1*") == []


async def test_entries_of_the_release_before_are_older_than_any_erasure(given: Tiers, client: Redis) -> None:
    """An entry without a time of its own, as the release before wrote them, is erased by any erasure."""
    await append(given, "old")
    ((entry_id, fields),) = await entries(client, KEYS.messages)
    await client.delete(KEYS.messages)
    await client.xadd(KEYS.messages, {"id": fields[b"id"], "m": fields[b"m"]}, id=entry_id)
    await client.hset(KEYS.meta, "at", 1)
    assert await given.working.erase(Erasure(Scope("acme", session_id="s1"), before=NOW)) == 1
