"""The exam of tier 2, third part: the outbox, whose entries are claimed, worked on, and ticked off or given back."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from given import NOW, SCOPE, SESSION, claimed, filed, knowledge, message, outbox_of, queued, upsert

from app.ports import EpisodicMemory, EpisodicWriter, OutboxEntry, OutboxOp, OutboxQuery, OutboxState
from app.records import RecordKind, SessionKey, new_id, utc_now

MINUTE = timedelta(minutes=1)


async def test_due_entries_are_claimed_oldest_first(episodic: EpisodicMemory) -> None:
    """A claim takes the oldest entries up to its limit; each claim counts as an attempt."""
    entries = [upsert(knowledge()) for _ in range(3)]
    for entry in entries:
        await queued(episodic, entry)
    first, second = await claimed(episodic, 2)
    (third,) = await claimed(episodic, 2)
    assert [e.id for e in (first, second, third)] == sorted(e.id for e in (first, second, third))
    assert [first, second, third] == [
        replace(entry, id=claim.id, generation=1, attempts=1)
        for entry, claim in zip(entries, (first, second, third), strict=True)
    ]


async def test_a_lease_keeps_others_away_until_it_ends(episodic: EpisodicMemory) -> None:
    """A claimed entry is not claimed again before its lease has run out; then it is, as the second attempt."""
    await queued(episodic, upsert(knowledge()))
    (first,) = await claimed(episodic, lease=MINUTE)
    assert await claimed(episodic, now=NOW + MINUTE / 2) == []
    (second,) = await claimed(episodic, now=NOW + MINUTE)
    assert second == replace(first, attempts=2)


async def test_an_entry_waits_for_its_time(episodic: EpisodicMemory) -> None:
    """An entry with a next attempt is not due before it."""
    await queued(episodic, replace(upsert(knowledge()), next_attempt_at=NOW + MINUTE))
    assert await claimed(episodic) == []
    (entry,) = await claimed(episodic, now=NOW + MINUTE)
    assert entry.next_attempt_at == NOW + MINUTE


async def test_two_workers_share_the_work(episodic: EpisodicMemory) -> None:
    """Workers that claim at the same time get different entries and do not wait for each other."""
    await queued(episodic, *(upsert(knowledge()) for _ in range(5)))
    async with episodic.writing() as one, episodic.writing() as other:
        mine = await one.claim_outbox(3, lease=MINUTE, now=NOW)
        theirs = await other.claim_outbox(3, lease=MINUTE, now=NOW)
    assert (len(mine), len(theirs)) == (3, 2)
    assert not {e.id for e in mine} & {e.id for e in theirs}


async def test_a_claim_that_is_rolled_back_never_was(episodic: EpisodicMemory) -> None:
    """A worker that dies before committing its claim leaves the entry due and the attempt uncounted."""
    await queued(episodic, upsert(knowledge()))
    with suppress(ZeroDivisionError):
        await _claim_and_die(episodic)
    (entry,) = await claimed(episodic)
    assert entry.attempts == 1


async def _claim_and_die(episodic: EpisodicMemory) -> None:
    async with episodic.writing() as tx:
        await tx.claim_outbox(1, lease=MINUTE, now=NOW)
        raise ZeroDivisionError


async def test_finished_entries_are_gone(episodic: EpisodicMemory) -> None:
    """Completing removes the entries named, no others."""
    done, waiting = upsert(knowledge()), upsert(knowledge())
    await queued(episodic, done, waiting)
    entries = await claimed(episodic)
    async with episodic.writing() as tx:
        await tx.complete_outbox([e for e in entries if e.record_uid == done.record_uid])
        await tx.complete_outbox([])
    assert await outbox_of(episodic) == {(OutboxOp.UPSERT, RecordKind.KNOWLEDGE, waiting.record_uid)}


async def test_older_work_cannot_tick_off_newer(episodic: EpisodicMemory) -> None:
    """A record that changes while it is worked on stays open: due at once when the older work ends, not before."""
    entry = upsert(knowledge())
    await queued(episodic, entry)
    (older,) = await claimed(episodic)
    await queued(episodic, entry)
    assert await claimed(episodic) == []
    async with episodic.writing() as tx:
        await tx.complete_outbox([older])
    assert await claimed(episodic) == [replace(older, generation=2, attempts=1)]


async def test_a_record_has_one_open_entry(episodic: EpisodicMemory) -> None:
    """A newer entry replaces the open one and starts afresh; of several in one call the last counts."""
    record = knowledge()
    removal = replace(upsert(record), op=OutboxOp.DELETE)
    await queued(episodic, upsert(record), upsert(record))
    (first,) = await claimed(episodic, lease=timedelta(0))
    async with episodic.writing() as tx:
        await tx.release_outbox([first], error="no model", next_attempt_at=NOW + MINUTE, is_dead=True)
        await tx.enqueue([upsert(record), removal])
    assert await claimed(episodic) == [replace(removal, id=first.id, generation=2, attempts=1)]


async def test_a_uid_of_two_kinds_is_two_records(episodic: EpisodicMemory) -> None:
    """Entries are told apart by kind as well as by uid."""
    uid = new_id()
    await queued(episodic, *(OutboxEntry(OutboxOp.UPSERT, kind, "acme", uid) for kind in RecordKind))
    assert await outbox_of(episodic) == {(OutboxOp.UPSERT, kind, uid) for kind in RecordKind}


async def test_failed_entries_come_back_later(episodic: EpisodicMemory) -> None:
    """A failed entry keeps its error and attempts and is due again at its next attempt, without its lease."""
    await queued(episodic, upsert(knowledge()))
    (entry,) = await claimed(episodic, lease=timedelta(hours=1))
    async with episodic.writing() as tx:
        await tx.release_outbox([entry], error="no model", next_attempt_at=NOW + MINUTE, is_dead=False)
    assert await claimed(episodic) == []
    expected = replace(entry, attempts=2, failures=1, last_error="no model", next_attempt_at=NOW + MINUTE)
    assert await claimed(episodic, now=NOW + MINUTE) == [expected]


async def test_older_work_cannot_fail_newer(episodic: EpisodicMemory) -> None:
    """A failure of work that has been overtaken is not held against the newer entry, which is due at once."""
    entry = upsert(knowledge())
    await queued(episodic, entry)
    (older,) = await claimed(episodic)
    async with episodic.writing() as tx:
        await tx.enqueue([entry])
        await tx.release_outbox([older], error="too long", next_attempt_at=NOW + MINUTE, is_dead=True)
    assert await claimed(episodic) == [replace(older, generation=2, attempts=1)]


@pytest.mark.parametrize("ending", ["complete", "release"])
async def test_whoever_was_overtaken_leaves_the_last_word_to_the_truth(episodic: EpisodicMemory, ending: str) -> None:
    """Work that ends after another worker finished the entry opens it again: it may have overwritten what the other wrote."""
    removal = replace(upsert(knowledge()), op=OutboxOp.DELETE)
    await queued(episodic, removal)
    (slow,) = await claimed(episodic, lease=MINUTE)
    (quick,) = await claimed(episodic, now=NOW + MINUTE)
    async with episodic.writing() as tx:
        await tx.complete_outbox([quick])
        await _ended(tx, slow, ending)
    assert await outbox_of(episodic) == {(OutboxOp.UPSERT, removal.kind, removal.record_uid)}


@pytest.mark.parametrize("ending", ["complete", "release"])
async def test_whoever_was_overtaken_keeps_the_other_from_ticking_off(episodic: EpisodicMemory, ending: str) -> None:
    """While another worker is at a newer entry, older work that ends has it done again: nobody knows who wrote last."""
    entry = upsert(knowledge())
    await queued(episodic, entry)
    (slow,) = await claimed(episodic, lease=MINUTE)
    await queued(episodic, entry)
    (quick,) = await claimed(episodic, now=NOW + MINUTE)
    async with episodic.writing() as tx:
        await _ended(tx, slow, ending)
        await tx.complete_outbox([quick])
    assert await outbox_of(episodic) == {(OutboxOp.UPSERT, entry.kind, entry.record_uid)}


async def _ended(tx: EpisodicWriter, entry: OutboxEntry, ending: str) -> None:
    if ending == "complete":
        await tx.complete_outbox([entry])
    else:
        await tx.release_outbox([entry], error="too long", next_attempt_at=NOW + MINUTE, is_dead=True)


async def test_dead_letters_wait_for_somebody(episodic: EpisodicMemory) -> None:
    """A dead letter is listed as such and never claimed, until it is retried, by number or all together."""
    await queued(episodic, *(upsert(knowledge()) for _ in range(3)))
    one, two, three = await claimed(episodic)
    async with episodic.writing() as tx:
        await tx.release_outbox([one, two], error="too long", next_attempt_at=NOW, is_dead=True)
        dead = [replace(e, last_error="too long", next_attempt_at=NOW, is_dead=True, failures=1) for e in (one, two)]
        listed = await tx.list_outbox(OutboxQuery(states=(OutboxState.DEAD,)), now=NOW)
        assert [q.entry for q in listed] == dead
        assert await tx.claim_outbox(9, lease=MINUTE, now=NOW) == ()
        assert (await tx.status()).dead_letters == 2
        assert await tx.retry_dead([two.id, three.id], NOW + MINUTE) == 1
        assert await tx.retry_dead(None, NOW) == 1
    revived = await claimed(episodic, now=NOW + MINUTE)
    assert [(e.id, e.attempts) for e in revived] == [(one.id, 1), (two.id, 1), (three.id, 2)]


async def test_the_next_due_time_is_known(episodic: EpisodicMemory) -> None:
    """A worker can sleep until the earliest entry is due: a lease or a next attempt, not a dead letter's."""
    soon = replace(upsert(knowledge()), next_attempt_at=NOW + MINUTE)
    late = replace(upsert(knowledge()), next_attempt_at=NOW + 5 * MINUTE)
    await queued(episodic, soon, late)
    async with episodic.writing() as tx:
        assert await tx.next_outbox_at() == NOW + MINUTE
        (entry,) = await tx.claim_outbox(1, lease=9 * MINUTE, now=NOW + MINUTE)
        assert await tx.next_outbox_at() == NOW + 5 * MINUTE
        await tx.release_outbox([entry], error="too long", next_attempt_at=NOW, is_dead=True)
        assert await tx.next_outbox_at() == NOW + 5 * MINUTE


async def test_a_fresh_entry_is_due_now(episodic: EpisodicMemory) -> None:
    """An entry without a next attempt has been due since it was made."""
    await queued(episodic, upsert(knowledge()))
    async with episodic.reading() as reader:
        due = await reader.next_outbox_at()
    assert due is not None
    assert due <= utc_now()


async def test_a_session_is_indexed_up_to_the_first_that_waits(episodic: EpisodicMemory) -> None:
    """Everything before the first waiting message is indexed; all of it when none waits; nothing of the unknown."""
    messages = [message(n) for n in range(1, 6)]
    next_door = message(9, scope=replace(SCOPE, session_id="s2"))
    await filed(episodic, messages)
    await filed(episodic, [next_door])
    await queued(episodic, upsert(messages[2]), upsert(messages[4]))
    keys = [SESSION, SessionKey("acme", "s2"), SessionKey("acme", "unknown")]
    async with episodic.reading() as reader:
        assert await reader.indexed_through(keys) == {keys[0]: 2, keys[1]: 9, keys[2]: 0}
        assert await reader.indexed_through([]) == {}


async def test_dead_letters_hold_nothing_up(episodic: EpisodicMemory) -> None:
    """A message that was given up on counts neither as waiting nor as an open entry."""
    messages = [message(n) for n in range(1, 4)]
    await filed(episodic, messages)
    await queued(episodic, *map(upsert, messages))
    uids = [m.uid for m in messages]
    async with episodic.reading() as reader:
        assert await reader.open_entries([*uids, new_id()]) == 3
    entries = await claimed(episodic)
    async with episodic.writing() as tx:
        await tx.release_outbox(entries[:2], error="too long", next_attempt_at=NOW, is_dead=True)
    async with episodic.reading() as reader:
        assert await reader.indexed_through([SESSION]) == {SESSION: 2}
        assert await reader.open_entries(uids) == 1
        assert await reader.open_entries([]) == 0
