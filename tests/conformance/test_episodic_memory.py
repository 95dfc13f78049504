"""The exam of tier 2, first part: messages, transactions, sessions, checkpoints and the books."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from given import NOW, SCOPE, SESSION, episode, filed, knowledge, message, queued, stored, upsert

from app.errors import Conflict, InvalidInput, VersionMismatch
from app.ports import Checkpoint, EpisodicMemory, MessageInContext, OutboxQuery, SessionRecord, StoreStatus
from app.records import EpisodeKind, RecordKind, Role, RunReport, Scope, SessionKey, SessionState, new_id


class UnrelatedError(Exception):
    """Something that goes wrong in the middle of a transaction."""


async def test_a_message_comes_back_as_it_was(episodic: EpisodicMemory) -> None:
    """Every field of a message survives being stored, odd characters and nested metadata included."""
    odd = message(
        1,
        "naïve 🙂\nsecond line \\ 'quoted' \"twice\" %s :name",
        role=Role.TOOL,
        name=None,
        scope=Scope("acme", session_id="s1"),
        metadata={"a": [1, 2.5, None, True, {"b": "ü"}], "": "empty key", "big": 2**53},
    )
    plain = message(2)
    await filed(episodic, [odd, plain])
    async with episodic.reading() as reader:
        assert await reader.history(SESSION, after=0, limit=10) == (odd, plain)


async def test_history_is_paged_by_sequence(episodic: EpisodicMemory) -> None:
    """History goes up from `after`, which itself is not shown, and stops at `limit`."""
    messages = [message(n) for n in (5, 1, 3, 2)]
    await filed(episodic, messages)
    async with episodic.reading() as reader:
        first = await reader.history(SESSION, after=0, limit=2)
        second = await reader.history(SESSION, after=2, limit=2)
        third = await reader.history(SESSION, after=5, limit=2)
    assert [[m.sequence for m in page] for page in (first, second, third)] == [[1, 2], [3, 5], []]


async def test_recent_shows_the_newest_in_order(episodic: EpisodicMemory) -> None:
    """Recent messages are the last ones, the oldest of them first; no message is shown for a limit of 0."""
    await filed(episodic, [message(n) for n in range(1, 6)])
    async with episodic.reading() as reader:
        assert [m.sequence for m in await reader.recent(SESSION, 3)] == [3, 4, 5]
        assert [m.sequence for m in await reader.recent(SESSION, 99)] == [1, 2, 3, 4, 5]
        assert await reader.recent(SESSION, 0) == ()


async def test_last_sequence_is_the_highest(episodic: EpisodicMemory) -> None:
    """A session's last sequence is its highest; a session without messages has 0."""
    await filed(episodic, [message(2), message(7), message(4)])
    async with episodic.reading() as reader:
        assert await reader.last_sequence(SESSION) == 7
        assert await reader.last_sequence(SessionKey("acme", "other")) == 0
        assert await reader.last_sequence(SessionKey("rival", "s1")) == 0


async def test_one_id_in_two_sessions_is_two_messages(episodic: EpisodicMemory) -> None:
    """A message is looked up by id within its session: the same id elsewhere is another message."""
    mine = message(1, "mine")
    theirs = message(1, "theirs", id=mine.id, scope=Scope("rival", session_id="s1"))
    next_door = message(1, "next door", id=mine.id, scope=Scope("acme", session_id="s2"))
    for each in (mine, theirs, next_door):
        await filed(episodic, [each])
    async with episodic.reading() as reader:
        assert await reader.messages_by_id(SESSION, [mine.id, new_id()]) == {mine.id: mine}
        assert await reader.messages_by_id(SessionKey("rival", "s1"), [mine.id]) == {mine.id: theirs}
        assert await reader.messages_by_id(SESSION, []) == {}


async def test_a_message_is_shown_with_the_two_before_it(episodic: EpisodicMemory) -> None:
    """Context is the two preceding messages of the same session, fewer at its beginning, gaps in the numbers or not."""
    first, second, third, fourth = (message(n) for n in (1, 2, 5, 6))
    neighbour = message(4, scope=replace(SCOPE, session_id="s2"))
    await filed(episodic, [first, second, third, fourth])
    await filed(episodic, [neighbour])
    async with episodic.reading() as reader:
        found = await reader.messages_in_context([fourth.uid, first.uid, second.uid, neighbour.uid, new_id()])
        assert (await reader.episodes_of([first.uid, new_id()])).keys() == {first.uid}
    assert {c.message.uid: c for c in found} == {
        first.uid: MessageInContext(first, ()),
        second.uid: MessageInContext(second, (first,)),
        fourth.uid: MessageInContext(fourth, (second, third)),
        neighbour.uid: MessageInContext(neighbour, ()),
    }


async def test_a_message_is_stored_once(episodic: EpisodicMemory) -> None:
    """A message that is there already is left as it is, and only what was new is reported."""
    known = message(1, "as first told")
    home = await filed(episodic, [known])
    retold, new = replace(known, content="as told again", sequence=9), message(2)
    async with episodic.writing() as tx:
        assert await tx.insert_messages([retold, new, new], [home.id] * 3) == {new.uid}
        assert await tx.insert_messages([], []) == frozenset()
    async with episodic.reading() as reader:
        assert await reader.history(SESSION, after=0, limit=10) == (known, new)


async def test_a_thousand_messages_go_in_at_once(episodic: EpisodicMemory) -> None:
    """A whole batch, spread over episodes, is stored by one call, each message in its episode."""
    early, late = episode(), episode()
    messages = [message(n) for n in range(1, 1001)]
    async with episodic.writing() as tx:
        await tx.save_episode(early)
        await tx.save_episode(late)
        new = await tx.insert_messages(messages, [early.id] * 400 + [late.id] * 600)
    assert new == {m.uid for m in messages}
    async with episodic.reading() as reader:
        assert await reader.episode_messages(late.id) == tuple(messages[400:])


async def test_a_taken_sequence_undoes_the_transaction(episodic: EpisodicMemory) -> None:
    """Another message with a sequence that is taken is a conflict, and nothing of its transaction stays."""
    known = message(1)
    home = await filed(episodic, [known])
    with pytest.raises(Conflict):
        async with episodic.writing() as tx:
            await tx.insert_messages([message(2), message(1, "another one")], [home.id] * 2)
    async with episodic.reading() as reader:
        assert await reader.history(SESSION, after=0, limit=10) == (known,)


async def test_an_unnumbered_message_is_refused(episodic: EpisodicMemory) -> None:
    """Sequences count from 1: a message that was never numbered cannot be stored."""
    home = episode()
    await stored(episodic, home)
    with pytest.raises(InvalidInput):
        async with episodic.writing() as tx:
            await tx.insert_messages([message(0)], [home.id])


async def test_a_message_needs_its_episode(episodic: EpisodicMemory) -> None:
    """A message cannot be put into an episode that does not exist."""
    with pytest.raises(Conflict):
        async with episodic.writing() as tx:
            await tx.insert_messages([message(1)], [new_id()])


async def test_an_error_undoes_everything(episodic: EpisodicMemory) -> None:
    """A write session that ends with an error leaves no trace of anything done in it."""
    with pytest.raises(UnrelatedError):
        await _write_and_fail(episodic)
    async with episodic.writing() as tx:
        assert await tx.lock_checkpoint(SESSION) == Checkpoint(SESSION, 0)
        assert await tx.count(Scope("acme")) == dict.fromkeys(RecordKind, 0)
        assert await tx.session(SESSION) is None
        assert await tx.list_outbox(OutboxQuery(limit=10), now=NOW) == ()


async def _write_and_fail(episodic: EpisodicMemory) -> None:
    home, said = episode(), message(1)
    async with episodic.writing() as tx:
        await tx.lock_checkpoint(SESSION)
        await tx.save_episode(home)
        await tx.insert_messages([said], [home.id])
        await tx.save_knowledge(knowledge())
        await tx.save_session(SESSION, state=STATE, last_message_at=NOW, now=NOW)
        await tx.save_checkpoint(Checkpoint(SESSION, 1))
        await tx.enqueue([upsert(said)])
        raise UnrelatedError


async def test_a_writer_sees_its_own_work_and_others_do_not_yet(episodic: EpisodicMemory) -> None:
    """What a write session did is seen by itself at once, and by everybody else when it is committed."""
    fact = knowledge()
    async with episodic.writing() as tx, episodic.reading() as reader:
        await tx.save_knowledge(fact)
        assert await tx.knowledge("acme", fact.id) == fact
        assert await reader.knowledge("acme", fact.id) is None
    async with episodic.reading() as reader:
        assert await reader.knowledge("acme", fact.id) == fact


STATE = SessionState(goal="move", active_context={"city": "Porto"}, thoughts=("pack", "sell"), related_episodes=(new_id(),))


async def test_a_session_is_archived_piece_by_piece(episodic: EpisodicMemory) -> None:
    """What a save leaves out stays as it is; the newest message counts, in whatever order they come."""
    async with episodic.writing() as tx:
        await tx.save_session(SESSION, state=None, last_message_at=NOW, now=NOW)
        assert await tx.session(SESSION) == SessionRecord(SESSION, SessionState(), NOW, NOW, None)
        await tx.save_session(SESSION, state=STATE, last_message_at=None, now=NOW + timedelta(hours=1))
        assert await tx.session(SESSION) == SessionRecord(SESSION, STATE, NOW, NOW, None)
        await tx.save_session(SESSION, state=None, last_message_at=NOW - timedelta(days=1), now=NOW + timedelta(hours=2))
        assert await tx.session(SESSION) == SessionRecord(SESSION, STATE, NOW, NOW, None)
    async with episodic.reading() as reader:
        assert await reader.session(SessionKey("rival", "s1")) is None


async def test_an_older_state_does_not_replace_a_newer_one(episodic: EpisodicMemory) -> None:
    """What is archived late is kept out by its version; its messages count all the same."""
    newer, older = replace(STATE, version=7), SessionState(goal="older", version=6)
    async with episodic.writing() as tx:
        await tx.save_session(SESSION, state=newer, last_message_at=None, now=NOW)
        await tx.save_session(SESSION, state=older, last_message_at=NOW, now=NOW)
        assert await tx.session(SESSION) == SessionRecord(SESSION, newer, NOW, NOW, None)
        await tx.save_session(SESSION, state=replace(older, version=8), last_message_at=None, now=NOW)
        assert await tx.session(SESSION) == SessionRecord(SESSION, replace(older, version=8), NOW, NOW, None)


async def test_a_state_is_replaced_over_the_version_expected(episodic: EpisodicMemory) -> None:
    """The version follows the stored one or the floor; another expectation is refused with the stored version."""
    async with episodic.writing() as tx:
        with pytest.raises(VersionMismatch) as refused:
            await tx.replace_state(SESSION, STATE, expected=1, floor=0, now=NOW)
        assert (refused.value.current, await tx.session(SESSION)) == (0, None)
        expectations = ((0, 0), (None, 0), (2, 9), (10, 3))
        assert [await tx.replace_state(SESSION, STATE, expected=e, floor=f, now=NOW) for e, f in expectations] == [1, 2, 10, 11]
        for expected in (0, 10, 12):
            with pytest.raises(VersionMismatch) as refused:
                await tx.replace_state(SESSION, SessionState(), expected=expected, floor=0, now=NOW)
            assert refused.value.current == 11
        assert await tx.session(SESSION) == SessionRecord(SESSION, replace(STATE, version=11), NOW, None, None)


@pytest.mark.parametrize("expected", [0, 1])
async def test_of_states_with_one_expectation_one_is_saved(episodic: EpisodicMemory, expected: int) -> None:
    """Of eight transactions at once that expect the same version one wins, also where there was no state yet."""
    if expected:
        async with episodic.writing() as tx:
            await tx.replace_state(SESSION, STATE, expected=None, floor=0, now=NOW)

    async def save() -> int:
        async with episodic.writing() as tx:
            return await tx.replace_state(SESSION, STATE, expected=expected, floor=0, now=NOW)

    outcomes = await asyncio.gather(*(save() for _ in range(8)), return_exceptions=True)
    assert outcomes.count(expected + 1) == 1
    assert [o.current for o in outcomes if isinstance(o, VersionMismatch)] == [expected + 1] * 7


async def test_a_session_that_speaks_again_is_no_longer_ended(episodic: EpisodicMemory) -> None:
    """An end stays, also when the state is saved or it is ended again, until the next message."""
    later = NOW + timedelta(hours=1)
    async with episodic.writing() as tx:
        await tx.save_session(SESSION, state=None, last_message_at=NOW, now=NOW)
        await tx.end_session(SESSION, later)
        await tx.end_session(SESSION, later + timedelta(hours=1))
        await tx.save_session(SESSION, state=STATE, last_message_at=None, now=later)
        assert await tx.session(SESSION) == SessionRecord(SESSION, STATE, NOW, NOW, later)
        await tx.save_session(SESSION, state=None, last_message_at=later, now=later)
        assert await tx.session(SESSION) == SessionRecord(SESSION, STATE, NOW, later, None)


async def test_a_session_can_end_before_it_was_archived(episodic: EpisodicMemory) -> None:
    """Ending a session that was only ever in the working tier makes its record."""
    async with episodic.writing() as tx:
        await tx.end_session(SESSION, NOW)
        assert await tx.session(SESSION) == SessionRecord(SESSION, SessionState(), NOW, None, NOW)


async def test_sessions_expire_when_ended_or_idle(episodic: EpisodicMemory) -> None:
    """The state of sessions ended or idle since before the given time is dropped, oldest first; messages stay."""
    said = message(1)
    await filed(episodic, [said])
    days_ago = {name: NOW - timedelta(days=days) for name, days in (("idle", 40), ("ended", 35), ("fresh", 1))}
    keys = {name: SessionKey("acme", name) for name in days_ago} | {"s1": SESSION}
    async with episodic.writing() as tx:
        for name, at in days_ago.items():
            await tx.save_session(keys[name], state=None, last_message_at=at, now=at)
        await tx.end_session(keys["ended"], days_ago["ended"])
        await tx.save_session(SESSION, state=STATE, last_message_at=days_ago["idle"], now=NOW)
    async with episodic.writing() as tx:
        assert await tx.delete_expired_sessions(NOW - timedelta(days=30), limit=1) == 1
        assert await tx.session(keys["idle"]) is None
        assert await tx.delete_expired_sessions(NOW - timedelta(days=30), limit=10) == 1
        assert [name for name, key in keys.items() if await tx.session(key)] == ["fresh", "s1"]
        assert await tx.history(SESSION, after=0, limit=10) == (said,)


async def test_a_checkpoint_starts_at_zero_and_moves(episodic: EpisodicMemory) -> None:
    """A session's checkpoint is made at 0 by the first to lock it, and found where it was last saved."""
    async with episodic.writing() as tx:
        assert await tx.lock_checkpoint(SESSION) == Checkpoint(SESSION, 0)
        await tx.save_checkpoint(Checkpoint(SESSION, 12))
    async with episodic.writing() as tx:
        assert await tx.lock_checkpoint(SESSION) == Checkpoint(SESSION, 12)
        assert await tx.lock_checkpoint(SessionKey("rival", "s1")) == Checkpoint(SessionKey("rival", "s1"), 0)


@pytest.mark.parametrize("is_known", [False, True])
async def test_a_checkpoint_is_held_by_one_worker(episodic: EpisodicMemory, is_known: bool) -> None:
    """A second worker is told at once that a session is held, new or known, and gets it when the first has ended."""
    if is_known:
        async with episodic.writing() as tx:
            await tx.save_checkpoint(Checkpoint(SESSION, 3))
    async with episodic.writing() as first:
        mine = await first.lock_checkpoint(SESSION)
        assert mine == Checkpoint(SESSION, 3 if is_known else 0)
        async with episodic.writing() as second, asyncio.timeout(2):
            assert await second.lock_checkpoint(SESSION) is None
            assert await second.lock_checkpoint(SessionKey("acme", "s2")) is not None
        assert await first.lock_checkpoint(SESSION) == mine
        await first.save_checkpoint(Checkpoint(SESSION, 8))
    async with episodic.writing() as third:
        assert await third.lock_checkpoint(SESSION) == Checkpoint(SESSION, 8)


async def test_a_lock_shows_what_was_committed_before_it(episodic: EpisodicMemory) -> None:
    """A worker whose transaction began earlier still sees the checkpoint and messages committed before it locks."""
    said = message(1)
    async with episodic.writing() as late:
        await late.last_sequence(SESSION)
        async with episodic.writing() as early:
            await early.lock_checkpoint(SESSION)
            await early.save_episode(home := episode())
            await early.insert_messages([said], [home.id])
            await early.save_checkpoint(Checkpoint(SESSION, 1))
        assert await late.lock_checkpoint(SESSION) == Checkpoint(SESSION, 1)
        assert await late.last_sequence(SESSION) == 1


async def test_runs_are_listed_newest_first(episodic: EpisodicMemory) -> None:
    """The journal of consolidation runs shows the newest first, each as it was recorded."""
    runs = [
        RunReport(new_id(), NOW + timedelta(hours=h), NOW + timedelta(hours=h, seconds=2), {"messages": h}, ("no model",) * h)
        for h in range(3)
    ]
    async with episodic.writing() as tx:
        for run in runs:
            await tx.record_run(run)
    async with episodic.reading() as reader:
        assert await reader.runs(2) == (runs[2], runs[1])


async def test_the_books_say_what_should_be_indexed(episodic: EpisodicMemory) -> None:
    """Indexable are all messages, the episodes that are not open and the knowledge that is active, superseded or not."""
    said = message(1)
    await filed(episodic, [said], episode(is_open=True))
    newer = knowledge("Ana moves in June")
    older = knowledge("Ana moves in May", superseded_by=newer.id)
    retired = knowledge("Ana moves in July", is_active=False, inactive_reason="wrong")
    await stored(episodic, newer, older, retired, episode(), episode(kind=EpisodeKind.DECISION))
    await queued(episodic, upsert(said), upsert(newer))
    async with episodic.reading() as reader:
        status = await reader.status()
    assert status == StoreStatus(
        outbox_depth=2,
        dead_letters=0,
        indexable={RecordKind.MESSAGE: 1, RecordKind.EPISODE: 2, RecordKind.KNOWLEDGE: 2, RecordKind.ITEM: 0},
        oldest_outbox_at=status.oldest_outbox_at,
    )
    assert status.oldest_outbox_at is not None


async def test_empty_books(episodic: EpisodicMemory) -> None:
    """A new store has nothing in its books."""
    async with episodic.reading() as reader:
        assert await reader.status() == StoreStatus(0, 0, dict.fromkeys(RecordKind, 0), None)
        assert await reader.next_outbox_at() is None


async def test_count_is_of_what_the_scope_admits(episodic: EpisodicMemory) -> None:
    """Counting follows the scope: the namespace is a wall, each further field narrows."""
    await filed(episodic, [message(1), message(2, scope=replace(SCOPE, user_id="ben"))])
    await stored(episodic, knowledge(), knowledge(scope=Scope("rival")))
    counts = {RecordKind.MESSAGE: 2, RecordKind.EPISODE: 1, RecordKind.KNOWLEDGE: 1, RecordKind.ITEM: 0}
    async with episodic.reading() as reader:
        assert await reader.count(Scope("acme")) == counts
        assert await reader.count(Scope("acme", user_id="ben")) == {**dict.fromkeys(RecordKind, 0), RecordKind.MESSAGE: 1}
        assert await reader.count(Scope("rival", user_id="ana")) == dict.fromkeys(RecordKind, 0)


async def test_ping_names_the_engine(episodic: EpisodicMemory) -> None:
    """A store that is up answers a ping with its name."""
    assert (await episodic.ping()).startswith(("PostgreSQL 1", "in-memory"))
