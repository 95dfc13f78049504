"""Forgetting: in all three tiers, with a second look."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from factories import (
    EVERYWHERE,
    Tiers,
    append,
    consolidation_of,
    episodes_of,
    forgetting_of,
    history_of,
    outbox_of,
    recall_of,
    tiers,
)
from given import NOW, SESSION, episode, knowledge, queued, stored, upsert

from app.errors import InvalidInput, TierUnavailable
from app.ports import OutboxOp
from app.records import ForgetReceipt, LoggedEpisode, Query, Scope, SessionKey, SessionState, Tier
from app.testing.faults import away

OTHER = SessionKey(SESSION.namespace, "s2")
ELSEWHERE = SessionKey("elsewhere", "s1")
THIS_SESSION = Scope(SESSION.namespace, session_id=SESSION.session_id)


async def remembered() -> Tiers:
    """Three sessions of two namespaces, indexed, each with one more message in its buffer, and a fact."""
    given = tiers()
    fact = knowledge("the key is under the mat", scope=Scope("acme"))
    await stored(given.episodic, fact)
    await queued(given.episodic, upsert(fact))
    for session in (SESSION, OTHER, ELSEWHERE):
        await append(given, f"key of {session.namespace} {session.session_id}", session=session)
    await consolidation_of(given).run()
    for session in (SESSION, OTHER, ELSEWHERE):
        await append(given, f"new key of {session.namespace} {session.session_id}", session=session)
    return given


async def found(tiers: Tiers, scope: Scope = EVERYWHERE) -> set[str]:
    return {h.text for h in (await recall_of(tiers).recall(Query("key", scope, limit=100))).hits}


async def test_a_session_is_forgotten_in_every_tier() -> None:
    """Nothing of the session is found, read or counted any more; the receipt says what there was and what is left."""
    given = await remembered()
    receipt = await forgetting_of(given).forget(THIS_SESSION)
    assert receipt == ForgetReceipt({"message": 1, "episode": 1, "buffered": 2}, remaining=0)
    assert await found(given) == {"key of acme s2", "new key of acme s2", "the key is under the mat"}
    assert (await history_of(given), await given.working.read(SESSION, after=0, limit=9)) == ((), ())
    assert await found(given, Scope("elsewhere")) == {"key of elsewhere s1", "new key of elsewhere s1"}


async def test_a_namespace_is_forgotten_in_every_tier() -> None:
    """All sessions and all knowledge of the namespace go; another namespace is untouched."""
    given = await remembered()
    receipt = await forgetting_of(given).forget(EVERYWHERE)
    assert receipt == ForgetReceipt({"message": 2, "episode": 2, "knowledge": 1, "buffered": 4}, remaining=0)
    assert (await found(given), await episodes_of(given), await given.working.sessions_of("acme")) == (set(), (), ())
    assert await found(given, Scope("elsewhere")) == {"key of elsewhere s1", "new key of elsewhere s1"}


async def test_state_and_scratchpad_are_forgotten_too() -> None:
    """What an agent noted about a session goes with it, archived or not."""
    given = await remembered()
    await given.working.save_state(SESSION, SessionState(goal="a secret"))
    await consolidation_of(given).run()
    await given.working.write_scratch(SESSION, "note", "a secret", timedelta(hours=1))
    await forgetting_of(given).forget(THIS_SESSION)
    assert (await given.working.load_state(SESSION), await given.working.read_scratch(SESSION)) == (None, {})
    async with given.episodic.reading() as reader:
        assert await reader.session(SESSION) is None


async def test_forgetting_again_finds_nothing() -> None:
    """A repeated call, or one for a session that never was, removes nothing and says so."""
    given = await remembered()
    await forgetting_of(given).forget(THIS_SESSION)
    assert await forgetting_of(given).forget(THIS_SESSION) == ForgetReceipt({}, remaining=0)


async def test_a_forgotten_session_may_begin_again() -> None:
    """A session of the same name starts from its first message."""
    given = await remembered()
    await forgetting_of(given).forget(THIS_SESSION)
    await append(given, "a new beginning")
    await consolidation_of(given).run()
    assert [(m.sequence, m.content) for m in await history_of(given)] == [(1, "a new beginning")]


@pytest.mark.parametrize(
    "scope", [replace(THIS_SESSION, user_id="ana"), Scope("acme", agent_id="bot"), Scope("acme", project_id="move")]
)
async def test_part_of_a_session_cannot_be_forgotten(scope: Scope) -> None:
    """A scope narrowed by user, agent or project is refused before anything is removed."""
    given = await remembered()
    before = await found(given)
    with pytest.raises(InvalidInput, match="scope: must be a whole session or a whole namespace"):
        await forgetting_of(given).forget(scope)
    assert await found(given) == before


async def test_an_index_that_is_away_follows_later() -> None:
    """Without the index rows and buffers go at once, the index is named, and the outbox sees to the points."""
    given = await remembered()
    dark = replace(given, semantic=away(given.semantic, Tier.SEMANTIC))
    receipt = await forgetting_of(dark).forget(THIS_SESSION)
    assert receipt == ForgetReceipt({"message": 1, "episode": 1, "buffered": 2}, remaining=0, degraded=("semantic",))
    assert {e.op for e in await outbox_of(given)} == {OutboxOp.DELETE}
    await consolidation_of(given).run()
    assert (await given.semantic.count(scope=THIS_SESSION), await outbox_of(given)) == (0, ())


async def test_a_point_that_stays_is_counted() -> None:
    """The second look counts what is still there, so that a receipt never claims more than was done."""
    given = await remembered()
    half_dark = replace(given, semantic=away(given.semantic, Tier.SEMANTIC, "forget"))
    receipt = await forgetting_of(half_dark).forget(THIS_SESSION)
    assert receipt == ForgetReceipt({"message": 1, "episode": 1, "buffered": 2}, remaining=1, degraded=("semantic",))


@pytest.mark.parametrize("tier", [Tier.WORKING, Tier.EPISODIC])
async def test_without_redis_or_postgres_nothing_is_promised(tier: Tier) -> None:
    """With Redis or Postgres away the call fails, and repeated when they are back it does its work."""
    given = await remembered()
    dark = replace(given, **{tier.value: away(getattr(given, tier.value), tier)})
    with pytest.raises(TierUnavailable):
        await forgetting_of(dark).forget(THIS_SESSION)
    assert [m.content for m in await history_of(given)] == ["key of acme s1"]
    assert (await forgetting_of(given).forget(THIS_SESSION)).remaining == 0
    assert not any("s1" in text for text in await found(given))


async def test_logged_episodes_are_forgotten_too() -> None:
    """An episode that is still on its way to Postgres does not arrive after its session was forgotten."""
    given, logged = tiers(), LoggedEpisode(episode(), (), NOW)
    await given.working.log_episode(logged)
    assert await forgetting_of(given).forget(THIS_SESSION) == ForgetReceipt({"buffered": 1}, remaining=0)
    await consolidation_of(given).run()
    assert (await episodes_of(given), await given.working.logged_episode("acme", logged.episode.id)) == ((), None)
