"""The exam of tier 2, last part but one: the archive, erasures that are owed, and the outbox as an operator sees it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from given import NOW, SCOPE, SESSION, claimed, episode, filed, knowledge, message, outbox_of, queued, stored, upsert

from app.ports import (
    Cutoffs,
    EpisodicMemory,
    Erasure,
    Expired,
    OutboxEntry,
    OutboxOp,
    OutboxQuery,
    OutboxState,
    Taken,
)
from app.records import Query, RecordKind, Scope, SessionKey, SessionState

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
EVERYTHING = Cutoffs(NOW, NOW, NOW)
THIS_SESSION = Scope("acme", session_id="s1")


async def test_archiving_takes_the_oldest_with_their_messages(episodic: EpisodicMemory) -> None:
    """A batch is bounded and takes the oldest closed episodes that are not pinned; the index is told of all that went."""
    older, newer = episode(ended_at=NOW - 2 * DAY), episode(ended_at=NOW - DAY)
    said = [message(1), message(2)]
    await filed(episodic, said, older)
    await filed(episodic, [message(3)], newer)
    spared = [episode(ended_at=NOW), episode(ended_at=NOW - 9 * DAY, pinned=True), episode(ended_at=NOW - 9 * DAY, is_open=True)]
    await stored(episodic, *spared)
    assert await expired_of(episodic, EVERYTHING) == Expired(0, 2, 3, 0, 0)
    async with episodic.writing() as tx:
        assert await tx.archive_episodes(NOW, at=NOW, limit=1) == Taken(episodes=1, messages=2)
    async with episodic.reading() as reader:
        assert await reader.episode("acme", older.id) == replace(older, archived_at=NOW, version=2)
        assert await reader.list_episodes(Scope("acme"), kind=None, before=None, limit=9, archived=True) == (
            replace(older, archived_at=NOW, version=2),
        )
        in_sight = await reader.list_episodes(Scope("acme"), kind=None, before=None, limit=9)
        assert {e.id for e in in_sight} == {newer.id, *(e.id for e in spared)}
        assert len(await reader.list_episodes(Scope("acme"), kind=None, before=None, limit=9, archived=None)) == 5
        assert [m.content for m in await reader.history(SESSION, after=0, limit=9)] == ["the cat sat"] * 3
    assert await outbox_of(episodic) == {
        (OutboxOp.DELETE, RecordKind.EPISODE, older.id),
        *((OutboxOp.DELETE, RecordKind.MESSAGE, m.uid) for m in said),
    }
    assert await expired_of(episodic, EVERYTHING) == Expired(0, 1, 1, 0, 0)


async def expired_of(episodic: EpisodicMemory, cutoffs: Cutoffs) -> Expired:
    async with episodic.reading() as reader:
        return await reader.expired(cutoffs)


async def test_the_archive_is_not_searched_and_not_owed_to_the_index(episodic: EpisodicMemory) -> None:
    """Full text finds neither an archived episode nor its messages, and neither counts as missing from the index."""
    home = await filed(episodic, [message(1, "walnuts")], episode(summary="walnuts", ended_at=NOW - DAY))
    async with episodic.writing() as tx:
        assert len(await tx.search_text(Query("walnuts", Scope("acme")))) == 2
        await tx.archive_episodes(NOW, at=NOW, limit=9)
        assert await tx.search_text(Query("walnuts", Scope("acme"))) == ()
        assert (await tx.status()).indexable == dict.fromkeys(RecordKind, 0)
        uids = [home.id, *(message.uid for message in await tx.episode_messages(home.id))]
        (context,) = await tx.messages_in_context(uids[1:])
        assert await tx.scroll_indexable(after=None, limit=9, namespace=None) == ()
        assert await tx.indexable(uids) == ()
    assert context.is_archived


async def test_a_message_filed_in_the_archive_is_archived(episodic: EpisodicMemory) -> None:
    """What an import brings of an archived episode is no more searched than the episode."""
    await filed(episodic, [message(1, "walnuts")], episode(archived_at=NOW))
    async with episodic.reading() as reader:
        assert await reader.search_text(Query("walnuts", Scope("acme"))) == ()
        assert (await reader.status()).indexable == dict.fromkeys(RecordKind, 0)


async def test_deleting_from_the_archive(episodic: EpisodicMemory) -> None:
    """What has been in the archive for long enough and is not pinned goes with messages and steps; buffers are owed theirs."""
    gone, kept = episode(archived_at=NOW - DAY), episode(archived_at=NOW)
    pinned = episode(archived_at=NOW - DAY, pinned=True)
    said = message(1)
    await filed(episodic, [said], gone)
    await stored(episodic, kept, pinned)
    async with episodic.writing() as tx:
        await tx.append_steps(gone.id, [{}], NOW)
    assert await expired_of(episodic, EVERYTHING) == Expired(0, 0, 0, 1, 1)
    async with episodic.writing() as tx:
        assert await tx.delete_archived(NOW, limit=9) == Taken(1, 1)
        assert await tx.delete_archived(NOW, limit=9) == Taken(0, 0)
        assert await tx.steps(gone.id, after=-1, limit=9) == ()
        assert await tx.list_episodes(Scope("acme"), kind=None, before=None, limit=9, archived=None) == (pinned, kept)
        (owed,) = await tx.owed_erasures(9)
    assert (owed.erasure.scope, owed.erasure.ids) == (THIS_SESSION, (said.id,))


async def test_no_cutoff_spares_everything(episodic: EpisodicMemory) -> None:
    """What has no cutoff has not expired, however old."""
    await stored(episodic, episode(ended_at=NOW - 999 * DAY), episode(archived_at=NOW - 999 * DAY))
    async with episodic.writing() as tx:
        await tx.save_session(SESSION, state=SessionState(), last_message_at=None, now=NOW - 999 * DAY)
    assert await expired_of(episodic, Cutoffs(None, None, None)) == Expired()
    assert await expired_of(episodic, EVERYTHING) == Expired(1, 1, 0, 1, 0)


async def test_deleted_messages_are_owed_to_the_buffers(episodic: EpisodicMemory) -> None:
    """An erasure a session, of exactly the messages that were deleted; forgetting a scope owes none by itself."""
    mine, also, theirs = message(1), message(2), message(1, scope=replace(SCOPE, session_id="s2"))
    await filed(episodic, [mine, also, theirs])
    async with episodic.writing() as tx:
        await tx.delete_records(RecordKind.MESSAGE, "acme", [mine.uid, theirs.uid])
        await tx.forget(THIS_SESSION)
    async with episodic.reading() as reader:
        owed = {o.erasure.scope.session_id: o.erasure.ids for o in await reader.owed_erasures(9)}
    assert owed == {"s1": (mine.id,), "s2": (theirs.id,)}


async def test_owed_erasures_are_listed_and_settled(episodic: EpisodicMemory) -> None:
    """Oldest first, all or those that concern a session, until they are ticked off."""
    erasures = [
        Erasure(THIS_SESSION, NOW),
        Erasure(Scope("acme", user_id="ana"), NOW + MINUTE),
        Erasure(Scope("acme", session_id="s2"), NOW),
        Erasure(Scope("rival"), NOW),
    ]
    async with episodic.writing() as tx:
        for erasure in erasures:
            await tx.owe_erasure(erasure)
    async with episodic.writing() as tx:
        owed = await tx.owed_erasures(9)
        assert [o.erasure for o in owed] == erasures
        assert [o.erasure for o in await tx.owed_erasures(9, session=SESSION)] == erasures[:2]
        assert [o.erasure for o in await tx.owed_erasures(1)] == erasures[:1]
        assert (await tx.status()).erasures == 4
        await tx.settle_erasures([o.id for o in owed[1:]])
        assert await tx.owed_erasures(9) == owed[:1]


async def test_a_held_namespace_is_drained_by_nobody(episodic: EpisodicMemory) -> None:
    """While one forgets in a namespace no session of it can be locked; those of others can; afterwards all can."""
    async with episodic.writing() as forgetting, episodic.writing() as draining:
        await forgetting.hold_namespace("acme")
        assert await draining.lock_checkpoint(SESSION) is None
        assert await draining.lock_checkpoint(SessionKey("rival", "s1")) is not None
    async with episodic.writing() as draining:
        assert await draining.lock_checkpoint(SESSION) is not None


async def test_a_namespace_is_shared_by_many(episodic: EpisodicMemory) -> None:
    """Any number share a namespace at once, with drains of its sessions; afterwards one can have it alone."""
    async with episodic.writing() as one, episodic.writing() as other, episodic.writing() as draining:
        for sharer in (one, other):
            await sharer.share_namespace("acme")
        assert await draining.lock_checkpoint(SESSION) is not None
    async with episodic.writing() as forgetting:
        await forgetting.hold_namespace("acme")


async def test_records_are_listed_by_uid(episodic: EpisodicMemory) -> None:
    """Page after page, those that the scope admits and no others."""
    facts = sorted([knowledge() for _ in range(3)], key=lambda k: k.id)
    await stored(episodic, *facts, knowledge(scope=Scope("rival")))
    async with episodic.reading() as reader:
        first = await reader.uids(RecordKind.KNOWLEDGE, Scope("acme"), after=None, limit=2)
        rest = await reader.uids(RecordKind.KNOWLEDGE, Scope("acme"), after=first[-1], limit=2)
        assert (*first, *rest) == tuple(k.id for k in facts)
        assert await reader.uids(RecordKind.KNOWLEDGE, Scope("acme", user_id="ben"), after=None, limit=9) == ()


async def test_which_records_are_there(episodic: EpisodicMemory) -> None:
    """Rows of the namespace, and nothing about rows of another."""
    mine, theirs = knowledge(), knowledge(scope=Scope("rival"))
    await stored(episodic, mine, theirs)
    async with episodic.reading() as reader:
        asked = [mine.id, theirs.id, message(1).uid]
        assert await reader.existing(RecordKind.KNOWLEDGE, "acme", asked) == {mine.id}
        assert await reader.existing(RecordKind.MESSAGE, "acme", asked) == frozenset()


async def test_the_outbox_is_listed_by_state(episodic: EpisodicMemory) -> None:
    """Due, waiting for its time, leased to a worker, or dead; by namespace, and in pages."""
    entries = [upsert(knowledge()) for _ in range(4)]
    entries.append(upsert(knowledge(scope=Scope("rival"))))
    for entry in entries:
        await queued(episodic, entry)
    dead, waiting, *leased = await claimed(episodic, 3, lease=9 * MINUTE)
    async with episodic.writing() as tx:
        await tx.release_outbox([dead], error="too long", next_attempt_at=NOW, is_dead=True)
        await tx.delay_outbox([waiting], error="away", next_attempt_at=NOW + MINUTE)
    assert await states_of(episodic, OutboxQuery()) == ["dead", "waiting", "leased", "due", "due"]
    assert await states_of(episodic, OutboxQuery(namespace="rival")) == ["due"]
    assert await states_of(episodic, OutboxQuery(states=(OutboxState.DEAD, OutboxState.LEASED))) == ["dead", "leased"]
    assert await states_of(episodic, OutboxQuery(limit=2, after=waiting.id)) == ["leased", "due"]
    assert await states_of(episodic, OutboxQuery(), after=9 * MINUTE) == ["dead", "due", "due", "due", "due"]
    assert [e.id for e in leased] == [waiting.id + 1]


async def states_of(episodic: EpisodicMemory, query: OutboxQuery, after: timedelta = timedelta(0)) -> list[str]:
    async with episodic.reading() as reader:
        return [q.state.value for q in await reader.list_outbox(query, now=NOW + after)]


async def test_an_outage_is_not_held_against_a_record(episodic: EpisodicMemory) -> None:
    """A delayed entry has one more attempt, no failure, and says why it waits."""
    await queued(episodic, upsert(knowledge()))
    (entry,) = await claimed(episodic)
    async with episodic.writing() as tx:
        await tx.delay_outbox([entry], error="away", next_attempt_at=NOW + MINUTE)
    expected = replace(entry, attempts=2, failures=0, last_error="away", next_attempt_at=NOW + MINUTE)
    assert await claimed(episodic, now=NOW + MINUTE) == [expected]


async def test_dead_letters_of_one_namespace(episodic: EpisodicMemory) -> None:
    """Retried and dropped are those of the namespace named; the rest, and what is not dead, stays."""
    mine, theirs, alive = await dead_letters(episodic)
    async with episodic.writing() as tx:
        assert await tx.dead_letters([mine.record_uid, theirs.record_uid, alive.record_uid]) == 2
        assert await tx.retry_dead(None, NOW, namespace="nobody") == 0
        assert await tx.drop_dead([mine.id, theirs.id, alive.id], namespace="acme") == 1
        assert await tx.retry_dead([mine.id, theirs.id], NOW, namespace="acme") == 0
        assert await tx.retry_dead([theirs.id], NOW, namespace="rival") == 1
        queue = await tx.list_outbox(OutboxQuery(), now=NOW)
    assert [(q.entry.id, q.entry.attempts, q.entry.failures) for q in queue] == [(theirs.id, 0, 0), (alive.id, 0, 0)]


async def dead_letters(episodic: EpisodicMemory) -> tuple[OutboxEntry, ...]:
    """A dead letter of ours, one of a rival, and an entry that is alive."""
    for entry in (upsert(knowledge()), upsert(knowledge(scope=Scope("rival")))):
        await queued(episodic, entry)
    dead = await claimed(episodic)
    async with episodic.writing() as tx:
        await tx.release_outbox(dead, error="too long", next_attempt_at=NOW, is_dead=True)
    await queued(episodic, upsert(knowledge()))
    async with episodic.reading() as reader:
        return tuple(q.entry for q in await reader.list_outbox(OutboxQuery(), now=NOW))


@pytest.mark.parametrize("pinned", [True, False])
async def test_pins_are_kept(episodic: EpisodicMemory, pinned: bool) -> None:
    """Whether a record is pinned comes back as it was stored."""
    event, fact = episode(pinned=pinned), knowledge(pinned=pinned)
    await stored(episodic, event, fact)
    async with episodic.reading() as reader:
        assert (await reader.episode("acme", event.id), await reader.knowledge("acme", fact.id)) == (event, fact)
