"""From Redis into Postgres: every acknowledged message in exactly one episode, whatever is killed when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TypeAlias
from uuid import UUID

import pytest
from factories import (
    Tiers,
    append,
    check_books,
    contents_of,
    drain_of,
    episodes_of,
    history_of,
    ingestion_of,
    outbox_of,
    tiers,
)
from given import NOW, SESSION, message
from hypothesis import given, settings
from hypothesis import strategies as st

from app.consolidation.drain import DrainPolicy
from app.consolidation.segmentation import SegmentationPolicy
from app.errors import Conflict, TierUnavailable
from app.ports import OutboxOp, SessionRecord
from app.records import Appended, Draft, Role, Scope, SessionState, Tier
from app.testing.faults import Fault, Trouble, away, troubled
from app.testing.working import InMemoryWorkingMemory

SCOPE = Scope(SESSION.namespace, session_id=SESSION.session_id)
GAP = timedelta(minutes=30)
SMALL_EPISODES = SegmentationPolicy(idle_gap=GAP, max_messages=3)
MANY_BATCHES = DrainPolicy(batch=2)


async def record_of(tiers: Tiers) -> SessionRecord | None:
    async with tiers.episodic.reading() as reader:
        return await reader.session(SESSION)


async def test_a_drain_stores_messages_episodes_and_what_the_index_is_owed() -> None:
    """Messages keep their sequences, end in one episode each, and every message and closed episode is queued once."""
    given = tiers()
    await append(given, "a", "b", "c", "d")
    assert await drain_of(given, segmentation=SMALL_EPISODES).drain(SESSION) == 4
    assert [(m.content, m.sequence) for m in await history_of(given)] == [("a", 1), ("b", 2), ("c", 3), ("d", 4)]
    assert [(e.message_count, e.is_open) for e in await episodes_of(given)] == [(3, False), (1, True)]
    assert {e.op for e in await outbox_of(given)} == {OutboxOp.UPSERT}
    await check_books(given)


async def test_draining_again_does_nothing() -> None:
    """Without a new message a drain changes neither rows nor the outbox."""
    given = tiers()
    await append(given, "a", "b")
    drain = drain_of(given)
    await drain.drain(SESSION)
    before = await history_of(given), await episodes_of(given), await outbox_of(given), await record_of(given)
    assert await drain.drain(SESSION) == 0
    assert (await history_of(given), await episodes_of(given), await outbox_of(given), await record_of(given)) == before


async def test_an_open_episode_is_gone_on_with_over_drains_and_batches() -> None:
    """Where batches end does not matter: the episodes are those of one drain."""
    given = tiers()
    await append(given, "a", "b", "c", "d", "e")
    drain = drain_of(given, MANY_BATCHES, SMALL_EPISODES)
    assert await drain.drain(SESSION) == 5
    await append(given, "f", "g")
    await drain.drain(SESSION)
    assert [(e.message_count, e.is_open) for e in await episodes_of(given)] == [(3, False), (3, False), (1, True)]
    await check_books(given)


async def test_a_drained_session_is_clean_and_expires() -> None:
    """After the drain Redis has nothing undrained, and drops the session after the TTL."""
    given = tiers()
    await append(given, "a")
    await given.working.save_state(SESSION, SessionState(goal="move"))
    await drain_of(given, DrainPolicy(ttl=GAP)).drain(SESSION)
    backlog = await given.working.backlog()
    assert (backlog.sessions, backlog.messages, await given.working.dirty_sessions(9)) == (0, 0, ())
    assert await record_of(given) == SessionRecord(SESSION, SessionState(goal="move", version=1), NOW, NOW, None)
    given.clock.advance(GAP)
    assert await given.working.read(SESSION, after=0, limit=9) == ()


async def test_a_drain_of_nothing_leaves_no_session() -> None:
    """Draining a session that nobody wrote to does not make it one."""
    given = tiers()
    assert await drain_of(given).drain(SESSION) == 0
    assert await record_of(given) is None


@pytest.mark.parametrize(
    "call",
    ["lock_checkpoint", "unsettled", "load_state", "messages_by_id", "save_episode", "insert_messages", "enqueue",
     "save_session", "save_checkpoint", "commit", "committed", "settle"],
)  # fmt: skip
async def test_a_worker_killed_anywhere_loses_and_duplicates_nothing(call: str) -> None:
    """Killed before the commit, nothing happened; killed after it, the next drain only has to trim Redis."""
    given = tiers()
    await append(given, "a", "b", "c", "d", "e")
    killed = Fault(Killed(), call)
    dying = replace(given, working=troubled(given.working, killed), episodic=troubled(given.episodic, killed))
    with pytest.raises(Killed):
        await drain_of(dying, MANY_BATCHES, SMALL_EPISODES).drain(SESSION)
    assert await contents_of(given) == (["a", "b"] if call in {"committed", "settle"} else [])
    await drain_of(given, MANY_BATCHES, SMALL_EPISODES).drain(SESSION)
    assert await contents_of(given) == ["a", "b", "c", "d", "e"]
    assert await given.working.unsettled(SESSION, 9) == ()
    await check_books(given)


async def test_appends_made_without_redis_do_not_collide_with_those_it_held() -> None:
    """What Redis held while Postgres took appends directly is numbered after them, and so is what comes next."""
    given = tiers()
    await append(given, "held one", "held two")
    await append(replace(given, working=away(given.working, Tier.WORKING)), "direct one", "direct two", "direct three")
    await append(given, "back again")
    await drain_of(given).drain(SESSION)
    await append(given, "next")
    await drain_of(given).drain(SESSION)
    assert [(m.sequence, m.content) for m in await history_of(given)] == list(
        enumerate(["direct one", "direct two", "direct three", "held one", "held two", "back again", "next"], start=1)
    )
    await check_books(given)


async def test_a_message_sent_to_both_tiers_is_one_message() -> None:
    """An append that Redis took without answering, and that then went to Postgres, is stored once."""
    given = tiers()
    message_id = UUID(int=7)
    await ingestion_of(given).append(SCOPE, [Draft(Role.USER, "hello", id=message_id)])
    unheard = replace(given, working=away(given.working, Tier.WORKING))
    await ingestion_of(unheard).append(SCOPE, [Draft(Role.USER, "hello", id=message_id)])
    assert await drain_of(given).drain(SESSION) == 0
    assert [(m.id, m.content) for m in await history_of(given)] == [(message_id, "hello")]
    await check_books(given)


async def test_a_direct_store_numbers_on_and_knows_what_it_has() -> None:
    """Past Redis, messages Postgres has keep their sequence, in whatever order they come, and new ones follow."""
    given = tiers()
    old, *new = (message(content=f"message {n}", scope=SCOPE) for n in range(3))
    drain = drain_of(given)
    assert await drain.store(SESSION, [old]) == (Appended(old.id, 1),)
    receipt = await drain.store(SESSION, [new[0], old, new[1]])
    assert receipt == (Appended(new[0].id, 2), Appended(old.id, 1), Appended(new[1].id, 3))
    assert await contents_of(given) == ["message 0", "message 1", "message 2"]
    await check_books(given)


async def test_a_direct_store_refuses_an_id_that_is_taken() -> None:
    """What became of an id is decided under the session's lock, so that two callers cannot both have it."""
    given = tiers()
    first = message(content="first", scope=SCOPE)
    await drain_of(given).store(SESSION, [first])
    with pytest.raises(Conflict, match=r"messages\[1\].id: is taken by a message with other content"):
        await drain_of(given).store(SESSION, [message(content="new", scope=SCOPE), replace(first, content="second")])
    assert await contents_of(given) == ["first"]


async def test_an_id_taken_while_nobody_could_tell_stays_with_its_first_message() -> None:
    """A message under a taken id that Redis accepted while Postgres was away changes nothing, and holds nothing up."""
    given = tiers()
    first = message(content="first", scope=SCOPE)
    await drain_of(given).store(SESSION, [first])
    await given.working.append(SESSION, [replace(first, content="second"), message(content="next", scope=SCOPE)], floor=1)
    assert await drain_of(given).drain(SESSION) == 1
    assert await contents_of(given) == ["first", "next"]
    assert await given.working.dirty_sessions(9) == ()
    await check_books(given)


async def test_a_redis_that_lost_its_newest_counts_loses_no_message() -> None:
    """After a failover to an older copy Redis gives numbers again; the messages behind them are new all the same."""
    given = tiers()
    await append(given, "a", "b", "c")
    await drain_of(given).drain(SESSION)
    older = replace(given, working=InMemoryWorkingMemory(given.clock))
    first, *_ = await history_of(given)
    again = [replace(first, id=UUID(int=n), content=f"new {n}") for n in (1, 2)]
    await older.working.append(SESSION, again, floor=1)
    await drain_of(older).drain(SESSION)
    assert [(m.sequence, m.content) for m in await history_of(given)] == [
        (1, "a"), (2, "b"), (3, "c"), (4, "new 1"), (5, "new 2"),
    ]  # fmt: skip
    await check_books(given)


async def test_a_session_held_by_another_worker_is_left_to_it() -> None:
    """A background drain does not wait for a lock; the messages stay for whoever holds it."""
    given = tiers()
    await append(given, "a")
    async with given.episodic.writing() as other:
        await other.lock_checkpoint(SESSION)
        assert await drain_of(given).drain(SESSION) == 0
    assert await contents_of(given) == []
    assert await drain_of(given).drain(SESSION) == 1


async def drain_now(tiers: Tiers) -> None:
    await drain_of(tiers).drain_now(SESSION)


async def end(tiers: Tiers) -> None:
    await drain_of(tiers).end(SESSION)


async def store_directly(tiers: Tiers) -> None:
    await append(replace(tiers, working=away(tiers.working, Tier.WORKING)), "direct")


@pytest.mark.parametrize(("work", "expected"), [(drain_now, ["a"]), (end, ["a"]), (store_directly, ["direct"])])
async def test_work_that_is_wanted_now_waits_for_the_other_worker(
    work: Callable[[Tiers], Coroutine[None, None, None]], expected: list[str]
) -> None:
    """Where a caller waits for the outcome, a held session is waited for, and nothing is left behind."""
    given = tiers()
    await append(given, "a")
    tried = Reached("lock_checkpoint")
    async with given.episodic.writing() as other:
        await other.lock_checkpoint(SESSION)
        waiting = asyncio.create_task(work(replace(given, episodic=troubled(given.episodic, tried))))
        await tried.event.wait()
        assert not waiting.done()
    await waiting
    assert await contents_of(given) == expected
    await check_books(given)


@pytest.mark.parametrize("work", ["drain_now", "end"])
async def test_patience_with_another_worker_ends(work: str) -> None:
    """A session that stays held is an error that says so, and may be repeated."""
    given = tiers()
    drain = drain_of(given, DrainPolicy(lock_patience=timedelta(0)))
    async with given.episodic.writing() as other:
        await other.lock_checkpoint(SESSION)
        with pytest.raises(TierUnavailable, match="session 's1' stayed locked by another worker"):
            await getattr(drain, work)(SESSION)


async def test_an_ended_session_is_drained_and_closed() -> None:
    """Ending loses nothing: what was undrained is stored, the episode is closed and queued, the end is noted."""
    given = tiers()
    await append(given, "a", "b")
    drain = drain_of(given)
    await drain.end(SESSION)
    assert await contents_of(given) == ["a", "b"]
    assert [(e.message_count, e.is_open) for e in await episodes_of(given)] == [(2, False)]
    assert await record_of(given) == SessionRecord(SESSION, SessionState(), NOW, NOW, NOW)
    await check_books(given)


async def test_a_session_may_go_on_after_its_end() -> None:
    """New messages after the end begin a new episode, and the session is no longer ended."""
    given = tiers()
    await append(given, "a")
    await drain_of(given).end(SESSION)
    await append(given, "b")
    await drain_of(given).drain(SESSION)
    assert [(e.message_count, e.is_open) for e in await episodes_of(given)] == [(1, False), (1, True)]
    assert await record_of(given) == SessionRecord(SESSION, SessionState(), NOW, NOW, None)
    await check_books(given)


async def test_an_episode_is_closed_when_its_session_has_been_quiet() -> None:
    """After the idle gap, and not before, an open episode is closed and queued, once."""
    given = tiers()
    await append(given, "a")
    drain = drain_of(given, segmentation=SMALL_EPISODES)
    await drain.drain(SESSION)
    assert await drain.close_idle(NOW + GAP) == 0
    assert [e.is_open for e in await episodes_of(given)] == [True]
    assert await drain.close_idle(NOW + GAP + timedelta(seconds=1)) == 1
    assert [e.is_open for e in await episodes_of(given)] == [False]
    assert await drain.close_idle(NOW + 2 * GAP) == 0
    await check_books(given)


async def test_an_episode_somebody_is_at_work_on_is_not_closed() -> None:
    """A session that another worker holds is not idle."""
    given = tiers()
    await append(given, "a")
    drain = drain_of(given, segmentation=SMALL_EPISODES)
    await drain.drain(SESSION)
    async with given.episodic.writing() as other:
        await other.lock_checkpoint(SESSION)
        assert await drain.close_idle(NOW + 2 * GAP) == 0


async def test_an_episode_that_went_on_meanwhile_is_not_closed() -> None:
    """A message that arrives between looking and closing keeps its episode open."""
    given = tiers()
    await append(given, "a")
    await drain_of(given).drain(SESSION)
    given.clock.advance(GAP * 0.9)

    async def go_on(call: str) -> None:
        if call == "writing":
            await append(given, "b")
            await drain_of(given).drain(SESSION)

    late = replace(given, episodic=troubled(given.episodic, go_on))
    assert await drain_of(late).close_idle(NOW + GAP * 1.5) == 0
    assert [(e.message_count, e.is_open) for e in await episodes_of(given)] == [(2, True)]


async def release_all(tiers: Tiers) -> None:
    """As if everything was indexed: Redis drops all that is settled."""
    await tiers.working.release(SESSION, through=10**12, retain=0)


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


@dataclass
class KilledAt:
    """Dies after `left` more calls, whichever they are."""

    left: int

    async def __call__(self, call: str) -> None:  # noqa: ARG002 - every call counts
        self.left -= 1
        if self.left < 0:
            raise Killed


@dataclass(frozen=True)
class Say:
    """Append messages, the first `repeated` of them said before; through Redis or past it; killed at some call or never."""

    count: int
    repeated: int
    is_direct: bool
    survives: int


@dataclass(frozen=True)
class Work:
    """Drain, end, close or release; killed at some call or never."""

    what: str
    survives: int


@dataclass(frozen=True)
class Wait:
    minutes: int


Step: TypeAlias = Say | Work | Wait

survived_calls = st.one_of(st.integers(0, 25), st.just(10**6))
steps = st.one_of(
    st.builds(Say, st.integers(1, 4), st.integers(0, 3), st.booleans(), survived_calls),
    st.builds(Work, st.sampled_from(["drain", "drain_now", "end", "close_idle", "release"]), survived_calls),
    st.builds(Wait, st.sampled_from([1, 20, 40, 3000])),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(steps, max_size=25))
def test_whatever_dies_when_each_acknowledged_message_is_in_one_episode(script: Sequence[Step]) -> None:
    """Appends, repeats, outages, deaths and idle times in any order: what was acknowledged is stored once, and only that."""
    asyncio.run(Play().run(script))


class Play:
    """Carries a script out on the twins and compares the books with what the caller was told."""

    def __init__(self) -> None:
        self._tiers = tiers()
        self._said: dict[UUID, str] = {}
        self._acknowledged: set[UUID] = set()

    async def run(self, script: Sequence[Step]) -> None:
        for step in script:
            await self._carry_out(step)
        await drain_of(self._tiers, MANY_BATCHES, SMALL_EPISODES).drain(SESSION)
        messages = await history_of(self._tiers)
        assert self._acknowledged <= {m.id for m in messages}
        assert {m.id: m.content for m in messages}.items() <= self._said.items()
        assert await self._tiers.working.dirty_sessions(9) == ()
        await check_books(self._tiers)

    async def _carry_out(self, step: Step) -> None:
        match step:
            case Wait():
                self._tiers.clock.advance(timedelta(minutes=step.minutes))
            case Say():
                await self._say(step)
            case Work():
                await self._work(step)

    async def _say(self, step: Say) -> None:
        new = [UUID(int=len(self._said) + n + 1) for n in range(step.count)]
        ids = [*list(self._said)[-step.repeated :][: step.repeated], *new]
        self._said |= {message_id: f"message {message_id.int}" for message_id in new}
        drafts = [Draft(Role.USER, self._said[i], id=i) for i in ids]
        mortal = self._mortal(KilledAt(step.survives))
        if step.is_direct:
            mortal = replace(mortal, working=away(mortal.working, Tier.WORKING))
        with suppress(Killed):
            await ingestion_of(mortal).append(SCOPE, drafts)
            self._acknowledged |= set(ids)

    async def _work(self, step: Work) -> None:
        mortal = self._mortal(KilledAt(step.survives))
        drain = drain_of(mortal, MANY_BATCHES, SMALL_EPISODES)
        work: dict[str, Callable[[], Coroutine[None, None, object]]] = {
            "drain": lambda: drain.drain(SESSION),
            "drain_now": lambda: drain.drain_now(SESSION),
            "end": lambda: drain.end(SESSION),
            "close_idle": lambda: drain.close_idle(self._tiers.clock()),
            "release": lambda: release_all(mortal),
        }
        with suppress(Killed):
            await work[step.what]()

    def _mortal(self, trouble: Trouble) -> Tiers:
        given = self._tiers
        return replace(given, working=troubled(given.working, trouble), episodic=troubled(given.episodic, trouble))
