"""Appending messages: where they land, how they are numbered, and what happens when a tier is away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from factories import Tiers, append, drain_of, history_of, ingestion_of, tiers
from given import NOW, SESSION

from app.consolidation.drain import DrainPolicy
from app.errors import Conflict, InvalidInput, TierUnavailable
from app.records import Appended, AppendReceipt, Draft, Role, Scope, Tier, new_id
from app.testing.faults import away

SCOPE = Scope(SESSION.namespace, session_id=SESSION.session_id)
ONE, TWO, THREE = (UUID(int=n) for n in (1, 2, 3))


def draft(content: str, draft_id: UUID | None = None) -> Draft:
    return Draft(Role.USER, content, id=draft_id)


async def append_drafts(tiers: Tiers, *drafts: Draft) -> AppendReceipt:
    return await ingestion_of(tiers).append(SCOPE, drafts)


async def drain_to_the_last(tiers: Tiers) -> None:
    """Drain, and let Redis forget every message but not the session: as after a release with nothing retained."""
    await drain_of(tiers, DrainPolicy(retain=0)).drain(SESSION)
    await tiers.working.release(SESSION, through=10**12, retain=0)


async def expire(tiers: Tiers) -> None:
    """Drain and wait for longer than the TTL, so that Redis no longer knows the session."""
    await drain_of(tiers, DrainPolicy(ttl=timedelta(hours=1))).drain(SESSION)
    tiers.clock.advance(timedelta(hours=2))


async def buffered(tiers: Tiers) -> list[tuple[UUID, int, str]]:
    messages = await tiers.working.read(SESSION, after=0, limit=100)
    return [(m.id, m.sequence, m.content) for m in messages]


async def stored(tiers: Tiers) -> list[tuple[UUID, int, str]]:
    return [(m.id, m.sequence, m.content) for m in await history_of(tiers)]


async def test_the_receipt_follows_the_drafts() -> None:
    """Each draft has its id and sequence in the receipt at its own position, also when one is given twice."""
    receipt = await append_drafts(tiers(), draft("a", ONE), draft("b", TWO), draft("a", ONE))
    assert receipt == AppendReceipt((Appended(ONE, 1), Appended(TWO, 2), Appended(ONE, 1)), Tier.WORKING)


async def test_a_repeated_append_is_answered_as_the_first() -> None:
    """A retry with the same ids writes nothing and returns the same receipt."""
    given = tiers()
    first = await append_drafts(given, draft("a", ONE), draft("b", TWO))
    assert await append_drafts(given, draft("a", ONE), draft("b", TWO)) == first
    assert await buffered(given) == [(ONE, 1, "a"), (TWO, 2, "b")]


async def test_a_refused_draft_refuses_the_call() -> None:
    """One draft that breaks a limit, and nothing of the call is written."""
    given = tiers()
    with pytest.raises(InvalidInput, match=r"messages\[1\].content: must not be blank"):
        await append_drafts(given, draft("a"), draft(" "))
    assert (await buffered(given), await stored(given)) == ([], [])


async def test_other_content_is_a_conflict_in_the_buffer() -> None:
    """An id that is buffered with other content refuses the whole call."""
    given = tiers()
    await append_drafts(given, draft("a", ONE))
    with pytest.raises(Conflict):
        await append_drafts(given, draft("new", TWO), draft("other", ONE))
    assert await buffered(given) == [(ONE, 1, "a")]


async def test_a_cold_session_is_numbered_on_from_postgres() -> None:
    """When Redis has forgotten a session, its next message follows the last one in Postgres."""
    given = tiers()
    await append(given, "a", "b")
    await expire(given)
    assert await append_drafts(given, draft("c", THREE)) == AppendReceipt((Appended(THREE, 3),), Tier.WORKING)
    assert await buffered(given) == [(THREE, 3, "c")]


async def test_ids_known_to_postgres_keep_their_sequence_in_a_cold_session() -> None:
    """A retry long after the first call is still a retry: stored messages are not written again, new ones are."""
    given = tiers()
    await append_drafts(given, draft("a", ONE), draft("b", TWO))
    await expire(given)
    receipt = await append_drafts(given, draft("c", THREE), draft("b", TWO))
    assert receipt == AppendReceipt((Appended(THREE, 3), Appended(TWO, 2)), Tier.WORKING)
    assert await buffered(given) == [(THREE, 3, "c")]


async def test_a_call_of_nothing_new_is_stored_already() -> None:
    """When Postgres has all of a cold session's messages, the receipt says so and Redis is left alone."""
    given = tiers()
    await append_drafts(given, draft("a", ONE))
    await expire(given)
    assert await append_drafts(given, draft("a", ONE)) == AppendReceipt((Appended(ONE, 1),), Tier.EPISODIC)
    assert await buffered(given) == []


async def test_ids_known_to_postgres_keep_their_sequence_in_a_warm_session() -> None:
    """A message that was drained and dropped from the buffer is not written again when it is repeated."""
    given = tiers()
    await append_drafts(given, draft("a", ONE), draft("b", TWO))
    await drain_to_the_last(given)
    receipt = await append_drafts(given, draft("a", ONE), draft("c", THREE))
    assert receipt == AppendReceipt((Appended(ONE, 1), Appended(THREE, 3)), Tier.WORKING)
    assert await buffered(given) == [(THREE, 3, "c")]


@pytest.mark.parametrize("leave", [drain_to_the_last, expire])
async def test_other_content_is_a_conflict_in_postgres(leave: Callable[[Tiers], Awaitable[None]]) -> None:
    """An id that Postgres holds with other content refuses the whole call, in a warm session as in a cold one."""
    given = tiers()
    await append_drafts(given, draft("a", ONE))
    await leave(given)
    with pytest.raises(Conflict, match=r"messages\[1\].id: is taken by a message with other content"):
        await append_drafts(given, draft("new", TWO), draft("other", ONE))
    assert (await buffered(given), await stored(given)) == ([], [(ONE, 1, "a")])


async def test_without_redis_messages_go_straight_to_postgres() -> None:
    """With Redis away, Postgres takes the messages, numbered on, and the receipt names the tier that is missing."""
    given = tiers()
    await append(given, "a")
    await drain_of(given).drain(SESSION)
    without_redis = replace(given, working=away(given.working, Tier.WORKING))
    receipt = await append_drafts(without_redis, draft("b", TWO), draft("c", THREE), draft("b", TWO))
    assert receipt == AppendReceipt((Appended(TWO, 2), Appended(THREE, 3), Appended(TWO, 2)), Tier.EPISODIC, ("working",))
    assert (await stored(given))[1:] == [(TWO, 2, "b"), (THREE, 3, "c")]


async def test_without_redis_a_repeated_append_writes_nothing() -> None:
    """Straight to Postgres, too, a retry with the same ids keeps them; as nothing is missing, nothing is degraded."""
    given = tiers()
    given = replace(given, working=away(given.working, Tier.WORKING))
    await append_drafts(given, draft("a", ONE))
    assert await append_drafts(given, draft("a", ONE)) == AppendReceipt((Appended(ONE, 1),), Tier.EPISODIC)
    assert await stored(given) == [(ONE, 1, "a")]


async def test_without_redis_other_content_is_a_conflict() -> None:
    """Straight to Postgres, too, an id that is taken by other content refuses the whole call."""
    given = tiers()
    given = replace(given, working=away(given.working, Tier.WORKING))
    await append_drafts(given, draft("a", ONE))
    with pytest.raises(Conflict, match=r"messages\[1\].id: is taken by a message with other content"):
        await append_drafts(given, draft("new", TWO), draft("other", ONE))
    assert await stored(given) == [(ONE, 1, "a")]


async def test_with_both_tiers_away_nothing_is_written() -> None:
    """With neither tier there is an error, and when both are back there is no trace of the call."""
    given = tiers()
    dark = replace(given, working=away(given.working, Tier.WORKING), episodic=away(given.episodic, Tier.EPISODIC))
    with pytest.raises(TierUnavailable) as failed:
        await append_drafts(dark, draft("a"))
    assert failed.value.tier == Tier.EPISODIC
    assert (await buffered(given), await stored(given)) == ([], [])


@pytest.mark.parametrize("call", ["insert_messages", "enqueue", "commit"])
async def test_postgres_lost_half_way_leaves_nothing(call: str) -> None:
    """When Postgres goes away in the middle of a direct append, nothing of it stays."""
    given = tiers()
    dark = replace(given, working=away(given.working, Tier.WORKING), episodic=away(given.episodic, Tier.EPISODIC, call))
    with pytest.raises(TierUnavailable):
        await append_drafts(dark, draft("a"), draft("b"))
    assert await stored(given) == []


async def test_a_cold_session_is_numbered_from_the_clock_without_postgres() -> None:
    """With Postgres away nobody knows a cold session's last number; the clock's seconds lie above any count."""
    given = tiers()
    without_postgres = replace(given, episodic=away(given.episodic, Tier.EPISODIC))
    first, second = new_id(), new_id()
    receipt = await append_drafts(without_postgres, draft("a", first), draft("b", second))
    base = int(NOW.timestamp())
    assert receipt == AppendReceipt((Appended(first, base + 1), Appended(second, base + 2)), Tier.WORKING, ("episodic",))


async def test_a_warm_session_needs_no_postgres() -> None:
    """With Postgres away a session that Redis knows is numbered on as ever; only a given id cannot be looked up."""
    given = tiers()
    await append(given, "a")
    without_postgres = replace(given, episodic=away(given.episodic, Tier.EPISODIC))
    receipt = await append_drafts(without_postgres, draft("b"))
    assert ([a.sequence for a in receipt.messages], receipt.stored_in, receipt.degraded) == ([2], Tier.WORKING, ())
    receipt = await append_drafts(without_postgres, draft("c", THREE))
    assert receipt == AppendReceipt((Appended(THREE, 3),), Tier.WORKING, ("episodic",))


async def test_a_cold_sessions_numbers_from_the_clock_are_gone_on_with() -> None:
    """Messages numbered from the clock drain in order, after what Postgres had before."""
    given = tiers()
    await append(given, "a")
    await expire(given)
    await append(replace(given, episodic=away(given.episodic, Tier.EPISODIC)), "b")
    await append(given, "c")
    await drain_of(given).drain(SESSION)
    assert [content for _, _, content in await stored(given)] == ["a", "b", "c"]
