"""The exam of `WorkingMemory`, second part: erasing by scope, id and time, and what that does to what still waits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
from given import NOW, SESSION, episode, message

from app.ports import Erasure, Settlement, WorkingMemory
from app.records import EpisodeKind, LoggedEpisode, Message, Scope, SessionKey, SessionState
from app.testing.clock import FixedClock
from app.testing.working import InMemoryWorkingMemory
from app.working import RedisRepository, connect

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
OTHER = SessionKey("acme", "s2")
THIS_SESSION = Scope("acme", session_id="s1")


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOW)


@pytest.fixture(params=["twin", "redis", "cluster"])
async def memory(request: pytest.FixtureRequest, clock: FixedClock) -> AsyncIterator[WorkingMemory]:
    if request.param == "twin":
        yield InMemoryWorkingMemory(clock)
        return
    async with connect(request.getfixturevalue(f"{request.param}_url")) as client:
        await client.flushall()
        yield RedisRepository(client, clock=clock)


def said(content: str, user_id: str = "ana", session: SessionKey = SESSION) -> Message:
    return message(0, content, scope=Scope(session.namespace, user_id, session_id=session.session_id))


async def appended(memory: WorkingMemory, *messages: Message) -> None:
    for one in messages:
        await memory.append(one.session, [one], floor=0)


async def contents(memory: WorkingMemory, session: SessionKey = SESSION) -> list[str]:
    return [m.content for m in await memory.read(session, after=0, limit=100)]


async def test_a_user_is_erased_from_every_session(memory: WorkingMemory) -> None:
    """Only the user's messages go, in each session of the namespace; state and scratchpad are not the user's."""
    await appended(memory, said("a"), said("b", "ben"), said("c", session=OTHER), said("d", session=SessionKey("rival", "s1")))
    await memory.save_state(SESSION, SessionState(goal="move"))
    assert await memory.count(Scope("acme", "ana")) == 2
    assert await memory.erase(Erasure(Scope("acme", "ana"))) == 2
    assert await memory.erase(Erasure(Scope("acme", "ana"))) == 0
    assert (await contents(memory), await contents(memory, OTHER)) == (["b"], [])
    assert await contents(memory, SessionKey("rival", "s1")) == ["d"]
    assert await memory.load_state(SESSION) == SessionState(goal="move", version=1)
    assert (await memory.count(Scope("acme", "ana")), await memory.count(THIS_SESSION)) == (0, 2)


async def test_a_namespace_is_erased_whole(memory: WorkingMemory) -> None:
    """Every session with all it has; other namespaces stay."""
    await appended(memory, said("a"), said("c", session=OTHER), said("d", session=SessionKey("rival", "s1")))
    await memory.write_scratch(SESSION, "note", 1, HOUR)
    await memory.save_state(OTHER, SessionState(goal="move"))
    assert await memory.count(Scope("acme")) == 4
    assert await memory.erase(Erasure(Scope("acme"))) == 2
    assert (await memory.count(Scope("acme")), await memory.sessions_of("acme")) == (0, ())
    assert await contents(memory, SessionKey("rival", "s1")) == ["d"]


async def test_messages_are_erased_by_id(memory: WorkingMemory) -> None:
    """Those named, in the session named, and no others."""
    one, two, theirs = said("a"), said("b"), said("c", session=OTHER)
    await appended(memory, one, two, theirs)
    assert await memory.erase(Erasure(THIS_SESSION, ids=(one.id, theirs.id))) == 1
    assert (await contents(memory), await contents(memory, OTHER)) == (["b"], ["c"])


@pytest.mark.parametrize("scope", [THIS_SESSION, Scope("acme"), Scope("acme", "ana")])
async def test_what_was_appended_later_stays(memory: WorkingMemory, clock: FixedClock, scope: Scope) -> None:
    """An erasure that comes late removes what was there by its time, and nothing that came after it."""
    await appended(memory, said("before"))
    moment = clock()
    clock.advance(SECOND)
    await appended(memory, said("after"))
    assert await memory.erase(Erasure(scope, before=moment)) == 1
    assert (await contents(memory), [m.sequence for m in await memory.unsettled(SESSION, 9)]) == (["after"], [2])


async def test_an_id_given_again_later_stays(memory: WorkingMemory, clock: FixedClock) -> None:
    """A deleted message that its author sends again is a new one."""
    one = said("a")
    moment = clock()
    clock.advance(SECOND)
    await appended(memory, one)
    assert await memory.erase(Erasure(THIS_SESSION, moment, (one.id,))) == 0
    assert await contents(memory) == ["a"]


async def test_a_session_quiet_since_is_forgotten_whole(memory: WorkingMemory, clock: FixedClock) -> None:
    """With nothing newer, the session's counter and marks go as well: the next one of its name is new."""
    await appended(memory, said("a"))
    await memory.save_state(SESSION, SessionState(goal="move"))
    assert await memory.erase(Erasure(THIS_SESSION, before=clock())) == 1
    assert (await memory.dirty_sessions(9), await memory.sessions_of("acme")) == ((), ())
    assert await memory.append(SESSION, [said("b")]) is None


@pytest.mark.parametrize("is_older", [True, False])
async def test_a_state_goes_by_its_own_time(memory: WorkingMemory, clock: FixedClock, is_older: bool) -> None:
    """In a session that goes on, an older state is erased and a newer one kept, still to be archived."""
    if is_older:
        await memory.save_state(SESSION, SessionState(goal="old"))
    moment = clock()
    clock.advance(SECOND)
    if not is_older:
        await memory.save_state(SESSION, SessionState(goal="new"))
    await appended(memory, said("after"))
    await memory.erase(Erasure(THIS_SESSION, before=moment))
    assert await memory.load_state(SESSION) == (None if is_older else SessionState(goal="new", version=1))
    await memory.settle(SESSION, Settlement(1), retain=9, ttl=HOUR)
    assert await memory.dirty_sessions(9) == (() if is_older else (SESSION,))


@pytest.mark.parametrize("users", ["aab", "aba", "baa", "aaa", "bab"])
async def test_gaps_hold_nothing_up(memory: WorkingMemory, users: str) -> None:
    """Wherever erased messages lay, what is left can be drained and indexed, and the session then waits for nothing."""
    await appended(memory, *(said(f"{n}", user) for n, user in enumerate(users)))
    await memory.erase(Erasure(Scope("acme", "a", session_id="s1")))
    left = await memory.unsettled(SESSION, 9)
    assert [m.scope.user_id for m in left] == ["b"] * users.count("b")
    through = left[-1].sequence if left else 0
    await memory.settle(SESSION, Settlement(through, stored=through), retain=0, ttl=HOUR)
    assert (await memory.dirty_sessions(9), (await memory.backlog()).messages) == ((), 0)
    await memory.release(SESSION, through=through, retain=0)
    assert (await memory.unreleased_sessions(9), await memory.unindexed(Scope("acme"), 9)) == ((), ())
    appended_next = await memory.append(SESSION, [said("next")])
    assert [a.sequence for a in appended_next or ()] == [4]


async def test_what_came_while_it_was_drained_is_not_taken_for_a_gap(memory: WorkingMemory) -> None:
    """A message appended after the drain has read stays undrained, whatever was erased before it."""
    await appended(memory, said("a"), said("b", "ben"))
    await memory.erase(Erasure(Scope("acme", "ben", session_id="s1")))
    await appended(memory, said("c"))
    await memory.settle(SESSION, Settlement(1, stored=1), retain=9, ttl=HOUR)
    assert [m.content for m in await memory.unsettled(SESSION, 9)] == ["c"]
    assert await memory.dirty_sessions(9) == (SESSION,)


async def test_an_erasure_within_a_session() -> None:
    """Of what is owed, a session gets what concerns it, narrowed to itself."""
    wide, narrow = Erasure(Scope("acme", "ana"), NOW), Erasure(THIS_SESSION, NOW)
    assert wide.within(SESSION) == replace(wide, scope=Scope("acme", "ana", session_id="s1"))
    assert (narrow.within(SESSION), narrow.within(OTHER)) == (narrow, None)
    assert Erasure(Scope("rival"), NOW).within(SESSION) is None


def logged(session_id: str = "s1", namespace: str = "acme", at: timedelta = timedelta(0)) -> LoggedEpisode:
    scope = Scope(namespace, "ana", session_id=session_id)
    return LoggedEpisode(episode(kind=EpisodeKind.TASK, scope=scope), ({"say": "850"},), NOW + at)


async def left_of(memory: WorkingMemory, *logged: LoggedEpisode) -> list[bool]:
    """Which of these are still there."""
    return [await memory.logged_episode(one.namespace, one.episode.id) is not None for one in logged]


@pytest.mark.parametrize("scope", [THIS_SESSION, Scope("acme", "ana", session_id="s1")])
async def test_logged_episodes_are_erased_by_scope_and_time(memory: WorkingMemory, scope: Scope) -> None:
    """Episodes logged of the session go, but for those logged after the erasure was asked for; they are counted, too."""
    await appended(memory, said("a"))
    given = (logged(), logged(at=SECOND), logged("s2"), logged(namespace="rival"))
    for one in given:
        await memory.log_episode(one)
    assert await memory.count(scope) == 3
    assert await memory.erase(Erasure(scope, before=NOW)) == 2
    assert await left_of(memory, *given) == [False, True, True, True]
    assert (await memory.erase(Erasure(Scope("acme"))), await memory.count(Scope("acme"))) == (2, 0)
    assert await left_of(memory, *given) == [False, False, False, True]


async def test_logged_episodes_are_erased_by_name(memory: WorkingMemory) -> None:
    """Names without a session are of logged episodes of the namespace; messages and other tenants' episodes stay."""
    one = said("a")
    await appended(memory, one)
    mine, theirs, late = logged(), logged(namespace="rival"), logged(at=SECOND)
    for given in (mine, theirs, late):
        await memory.log_episode(given)
    named = (mine.episode.id, theirs.episode.id, late.episode.id, one.id)
    assert await memory.erase(Erasure(Scope("acme"), NOW, named)) == 1
    assert await memory.erase(Erasure(THIS_SESSION, NOW, (late.episode.id,))) == 0
    assert (await left_of(memory, mine, theirs, late), await contents(memory)) == ([False, True, True], ["a"])
