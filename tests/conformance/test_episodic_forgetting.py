"""The exam of tier 2, last part: deleting and forgetting."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from given import NOW, SCOPE, SESSION, episode, filed, knowledge, message, outbox_of, queued, stored, upsert

from app.ports import Checkpoint, EpisodicMemory, OutboxOp
from app.records import EpisodeKind, Message, RecordKind, Scope, SessionKey, SessionState, new_id
from app.tokens import estimate_tokens

BEN = replace(SCOPE, user_id="ben")
NOTHING = dict.fromkeys(RecordKind, 0)


def gone(record: Message) -> tuple[OutboxOp, RecordKind, object]:
    return (OutboxOp.DELETE, RecordKind.MESSAGE, record.uid)


async def test_deleting_messages(episodic: EpisodicMemory) -> None:
    """Deleted are the messages named that are in the namespace; the index is told of each."""
    kept, removed = message(1), message(2)
    theirs = message(1, scope=Scope("rival", session_id="s1"))
    await filed(episodic, [kept, removed], episode(is_open=True))
    await filed(episodic, [theirs])
    async with episodic.writing() as tx:
        uids = [removed.uid, theirs.uid, new_id()]
        assert await tx.delete_records(RecordKind.MESSAGE, "acme", uids) == 1
        assert await tx.delete_records(RecordKind.MESSAGE, "acme", uids) == 0
    async with episodic.reading() as reader:
        assert await reader.history(SESSION, after=0, limit=9) == (kept,)
        assert await reader.history(theirs.session, after=0, limit=9) == (theirs,)
    assert await outbox_of(episodic) == {gone(removed)}


async def test_deleting_replaces_the_open_entry(episodic: EpisodicMemory) -> None:
    """A record that waited to be indexed waits to be removed instead."""
    fact = knowledge()
    await stored(episodic, fact)
    await queued(episodic, upsert(fact))
    async with episodic.writing() as tx:
        assert await tx.delete_records(RecordKind.KNOWLEDGE, "acme", [fact.id]) == 1
        assert await tx.knowledge("acme", fact.id) is None
    assert await outbox_of(episodic) == {(OutboxOp.DELETE, RecordKind.KNOWLEDGE, fact.id)}


async def test_deleting_an_episode_takes_its_messages_and_steps(episodic: EpisodicMemory) -> None:
    """An episode is deleted with its messages and steps; the index is told of it and of each message."""
    said = message(1)
    home = await filed(episodic, [said])
    other = await filed(episodic, [message(2)])
    async with episodic.writing() as tx:
        await tx.append_steps(home.id, [{}], NOW)
        assert await tx.delete_records(RecordKind.EPISODE, "rival", [home.id]) == 0
        assert await tx.delete_records(RecordKind.EPISODE, "acme", [home.id]) == 1
        assert await tx.steps(home.id, after=-1, limit=9) == ()
        assert await tx.list_episodes(Scope("acme"), kind=None, before=None, limit=9) == (other,)
        assert [m.sequence for m in await tx.history(SESSION, after=0, limit=9)] == [2]
    assert await outbox_of(episodic) == {gone(said), (OutboxOp.DELETE, RecordKind.EPISODE, home.id)}


async def test_an_emptied_conversation_goes_with_its_last_message(episodic: EpisodicMemory) -> None:
    """A conversation all of whose messages are deleted is deleted too; a task stays."""
    first, second = message(1), message(2)
    talk = await filed(episodic, [first])
    task = await filed(episodic, [second], episode(kind=EpisodeKind.TASK))
    async with episodic.writing() as tx:
        assert await tx.delete_records(RecordKind.MESSAGE, "acme", [first.uid, second.uid]) == 2
        assert await tx.list_episodes(Scope("acme"), kind=None, before=None, limit=9) == (task,)
    assert await outbox_of(episodic) == {gone(first), gone(second), (OutboxOp.DELETE, RecordKind.EPISODE, talk.id)}


async def test_a_namespace_is_forgotten_whole(episodic: EpisodicMemory) -> None:
    """Forgetting a namespace leaves nothing of it, waiting work and checkpoints included, and nothing else touched."""
    said, fact, theirs = message(1), knowledge(), message(1, scope=Scope("rival", session_id="s1"))
    home = await filed(episodic, [said])
    await filed(episodic, [theirs])
    await stored(episodic, fact)
    await queued(episodic, upsert(said), upsert(home))
    for key in (SESSION, theirs.session):
        await _archived(episodic, key)
    async with episodic.writing() as tx:
        assert await tx.forget(Scope("acme")) == dict.fromkeys(RecordKind, 1) | {RecordKind.ITEM: 0}
        assert await tx.forget(Scope("acme")) == NOTHING
    async with episodic.writing() as tx:
        assert await tx.count(Scope("acme")) == NOTHING
        assert await tx.count(Scope("rival")) == {**NOTHING, RecordKind.MESSAGE: 1, RecordKind.EPISODE: 1}
        assert (await tx.session(SESSION), await tx.lock_checkpoint(SESSION)) == (None, Checkpoint(SESSION, 0))
        assert await tx.session(theirs.session) is not None
        assert await tx.lock_checkpoint(theirs.session) == Checkpoint(theirs.session, 7)
    assert await outbox_of(episodic) == {
        gone(said),
        (OutboxOp.DELETE, RecordKind.EPISODE, home.id),
        (OutboxOp.DELETE, RecordKind.KNOWLEDGE, fact.id),
    }


async def _archived(episodic: EpisodicMemory, key: SessionKey) -> None:
    async with episodic.writing() as tx:
        await tx.save_session(key, state=SessionState(goal="move"), last_message_at=NOW, now=NOW)
        await tx.save_checkpoint(Checkpoint(key, 7))


async def test_a_session_is_forgotten_with_its_state(episodic: EpisodicMemory) -> None:
    """Forgetting a session takes its messages, episodes, knowledge, state and checkpoint; the next session stays."""
    next_door = message(1, scope=replace(SCOPE, session_id="s2"))
    await filed(episodic, [message(1), message(2)])
    await filed(episodic, [next_door])
    await stored(episodic, knowledge())
    for key in (SESSION, next_door.session):
        await _archived(episodic, key)
    async with episodic.writing() as tx:
        forgotten = await tx.forget(Scope("acme", session_id="s1"))
    assert forgotten == {RecordKind.MESSAGE: 2, RecordKind.EPISODE: 1, RecordKind.KNOWLEDGE: 1, RecordKind.ITEM: 0}
    async with episodic.writing() as tx:
        assert (await tx.session(SESSION), await tx.lock_checkpoint(SESSION)) == (None, Checkpoint(SESSION, 0))
        assert await tx.session(next_door.session) is not None
        assert await tx.lock_checkpoint(next_door.session) == Checkpoint(next_door.session, 7)
        assert await tx.history(next_door.session, after=0, limit=9) == (next_door,)


async def test_forgetting_a_user_keeps_the_sessions_they_were_in(episodic: EpisodicMemory) -> None:
    """A scope that names a user, but no session, leaves sessions' state and checkpoints alone."""
    await filed(episodic, [message(1)])
    await _archived(episodic, SESSION)
    async with episodic.writing() as tx:
        assert await tx.forget(Scope("acme", user_id="ana")) == {**NOTHING, RecordKind.MESSAGE: 1, RecordKind.EPISODE: 1}
        assert await tx.session(SESSION) is not None
        assert await tx.lock_checkpoint(SESSION) == Checkpoint(SESSION, 7)


async def test_an_episode_that_was_shared_forgets(episodic: EpisodicMemory) -> None:
    """Of a conversation shared with somebody else, only the other's part is left, and no word of what was made of all of it."""
    mine, bens = message(1, "my secret"), [message(n, "Ben says hello", scope=BEN) for n in (2, 3)]
    shared = episode(
        summary="Ana told her secret",
        perception={"heard": "secret"},
        reasoning={"why": "trust"},
        action={"said": "nothing"},
        quality=0.5,
        message_count=3,
        metadata={"topic": 1},
    )
    await filed(episodic, [mine, *bens], shared)
    async with episodic.writing() as tx:
        assert await tx.forget(Scope("acme", user_id="ana")) == {**NOTHING, RecordKind.MESSAGE: 1}
    left = replace(
        shared,
        scope=replace(SCOPE, user_id=None),
        summary="",
        perception={},
        reasoning={},
        action={},
        message_count=2,
        token_count=2 * estimate_tokens("Ben says hello"),
        first_sequence=2,
        last_sequence=3,
        started_at=bens[0].created_at,
        ended_at=bens[1].created_at,
        version=2,
    )
    async with episodic.reading() as reader:
        assert await reader.episode("acme", shared.id) == left
        assert await reader.episode_messages(shared.id) == tuple(bens)
        assert await reader.count(Scope("acme", user_id="ana")) == NOTHING
    assert await outbox_of(episodic) == {gone(mine), (OutboxOp.UPSERT, RecordKind.EPISODE, shared.id)}


async def test_a_shared_episode_of_another_owner_stays_theirs(episodic: EpisodicMemory) -> None:
    """Forgetting a guest's words does not take the episode away from its owner; while open, it is not queued."""
    guests, bens = message(1), message(2, scope=BEN)
    bens_episode = episode(scope=BEN, is_open=True, ended_at=NOW + timedelta(hours=9))
    await filed(episodic, [guests, bens], bens_episode)
    async with episodic.writing() as tx:
        assert await tx.forget(Scope("acme", user_id="ana")) == {**NOTHING, RecordKind.MESSAGE: 1}
        kept = await tx.open_episode(SESSION)
    assert kept is not None
    assert (kept.scope, kept.message_count, kept.ended_at, kept.is_open) == (BEN, 1, bens.created_at, True)
    assert await outbox_of(episodic) == {gone(guests)}
