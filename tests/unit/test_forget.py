"""Forgetting: in all three tiers, with a second look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from factories import (
    EVERYWHERE,
    Tiers,
    append,
    consolidation_of,
    contents_of,
    drain_of,
    episodes_of,
    forgetting_of,
    history_of,
    outbox_of,
    recall_of,
    tiers,
)
from given import NOW, SESSION, episode, knowledge, queued, stored, upsert

from app.consolidation.forget import Forgetting
from app.consolidation.logged_episodes import EpisodeDrain
from app.errors import TierUnavailable
from app.ports import Answer, Call, Claim, OutboxOp
from app.records import (
    EpisodeKind,
    ForgetReceipt,
    LoggedEpisode,
    Origin,
    Query,
    Scope,
    Selection,
    SessionKey,
    SessionState,
    Space,
    Tier,
    TierReceipt,
    new_id,
)
from app.testing.faults import away

OTHER = SessionKey(SESSION.namespace, "s2")
ELSEWHERE = SessionKey("elsewhere", "s1")
THIS_SESSION = Scope(SESSION.namespace, session_id=SESSION.session_id)


def receipt_of(
    working: dict[str, int], episodic: dict[str, int], semantic: dict[str, int], *,
    remaining: tuple[int | None, ...] = (0, 0, 0), pending: tuple[str, ...] = (),
) -> ForgetReceipt:  # fmt: skip
    """The receipt for what was removed from each tier."""
    removed = zip((Tier.WORKING, Tier.EPISODIC, Tier.SEMANTIC), (working, episodic, semantic), remaining, strict=True)
    return ForgetReceipt({tier: TierReceipt(counts, left) for tier, counts, left in removed}, pending)


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
    assert receipt == receipt_of({"message": 2}, {"message": 1, "episode": 1}, {"point": 1})
    assert await found(given) == {"key of acme s2", "new key of acme s2", "the key is under the mat"}
    assert (await history_of(given), await given.working.read(SESSION, after=0, limit=9)) == ((), ())
    assert await found(given, Scope("elsewhere")) == {"key of elsewhere s1", "new key of elsewhere s1"}


async def test_a_namespace_is_forgotten_in_every_tier() -> None:
    """All sessions and all knowledge of the namespace go; another namespace is untouched."""
    given = await remembered()
    receipt = await forgetting_of(given).forget(EVERYWHERE)
    assert receipt == receipt_of({"message": 4}, {"message": 2, "episode": 2, "knowledge": 1}, {"point": 3})
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
    assert await forgetting_of(given).forget(THIS_SESSION) == receipt_of({}, {}, {})


async def test_a_forgotten_session_may_begin_again() -> None:
    """A session of the same name starts from its first message."""
    given = await remembered()
    await forgetting_of(given).forget(THIS_SESSION)
    await append(given, "a new beginning")
    await consolidation_of(given).run()
    assert [(m.sequence, m.content) for m in await history_of(given)] == [(1, "a new beginning")]


async def test_a_user_is_forgotten_everywhere() -> None:
    """Of a shared session the others' messages stay, drained or buffered, and can still be drained and indexed."""
    given, scope = tiers(), Scope("acme", user_id="ana")
    await append(given, "ana's old key", user_id="ana")
    await append(given, "ben's old key", user_id="ben")
    await consolidation_of(given).run()
    await append(given, "ben's new key", user_id="ben")
    await append(given, "ana's new key", user_id="ana")
    receipt = await forgetting_of(given).forget(scope)
    assert receipt == receipt_of({"message": 2}, {"message": 1}, {"point": 1})
    await consolidation_of(given).run()
    assert [m.content for m in await history_of(given)] == ["ben's old key", "ben's new key"]
    assert await found(given) == {"ben's old key", "ben's new key"}
    assert (await given.working.backlog()).sessions == 0
    assert await given.working.unreleased_sessions(9) == ()


async def test_records_are_forgotten_by_name() -> None:
    """Messages stored or buffered, an episode with its messages, and knowledge go by their ids; a stranger's ids do not."""
    given = tiers()
    stored_id, kept_id = await append(given, "stored key", "kept key")
    (other_id,) = await append(given, "key of the episode", session=OTHER)
    (theirs,) = await append(given, "their key", session=ELSEWHERE)
    fact, their_fact = knowledge("the key is here"), knowledge("their key is there", scope=Scope("elsewhere"))
    await stored(given.episodic, fact, their_fact)
    await queued(given.episodic, upsert(fact), upsert(their_fact))
    await consolidation_of(given).run()
    (buffered_id,) = await append(given, "buffered key")
    (home,) = [e for e in await episodes_of(given) if e.scope.session_id == OTHER.session_id]
    selection = Selection("acme", "s1", (stored_id, buffered_id, theirs), (home.id,), (fact.id, their_fact.id))
    receipt = await forgetting_of(given).forget_records(selection)
    assert receipt == receipt_of({"message": 3}, {"message": 2, "episode": 1, "knowledge": 1}, {"point": 3})
    await consolidation_of(given).run()
    assert (await found(given), [m.id for m in await history_of(given)]) == ({"kept key"}, [kept_id])
    assert await found(given, Scope("elsewhere")) == {"their key", "their key is there"}
    assert other_id not in {m.id for m in await given.working.read(OTHER, after=0, limit=9)}


@pytest.mark.parametrize("by", ["scope", "name"])
async def test_what_was_learned_from_the_forgotten_leaves_the_index_at_once(by: str) -> None:
    """Its owner is the namespace, not whose episode it was: it is not found any more when the receipt is there."""
    given = tiers()
    home = episode(kind=EpisodeKind.TASK, scope=Scope("acme", user_id="ana"), summary="lupus")
    lesson = knowledge("with lupus, rest", scope=Scope("acme"), origin=Origin.LEARNED, supporting_episodes=(home.id,))
    await stored(given.episodic, home, lesson)
    await queued(given.episodic, upsert(lesson))
    await consolidation_of(given).run()
    assert await given.semantic.present([lesson.id]) == 1
    forgetting, named = forgetting_of(given), Selection("acme", episodes=(home.id,))
    receipt = await (forgetting.forget(home.scope) if by == "scope" else forgetting.forget_records(named))
    assert (receipt.tiers[Tier.SEMANTIC].remaining, receipt.pending) == (0, ())
    if by == "scope":
        assert receipt.tiers[Tier.EPISODIC].removed == {"episode": 1, "knowledge": 1}
    assert await given.semantic.present([lesson.id]) == 0


async def test_vectors_of_what_was_forgotten_leave_the_cache() -> None:
    """What was embedded of a forgotten record, stored or buffered, is no longer in the cache; the rest is."""
    given = tiers()
    await append(given, "my secret. And another.")
    await append(given, "harmless", session=OTHER)
    await consolidation_of(given).run()
    await append(given, "new secret")
    cache = Remembered({"my secret. And another.", "And another.", "harmless", "new secret"})
    forgetting = Forgetting(
        given.working,
        given.episodic,
        given.semantic,
        answers=given.answers,
        cache=cache,
        on_forgotten=lambda _: None,
        clock=given.clock,
    )
    receipt = await forgetting.forget(THIS_SESSION)
    assert receipt.tiers[Tier.WORKING].removed == {"message": 2, "vector": 3}
    assert cache.texts == {"harmless"}


async def test_whoever_remembers_a_namespace_is_told() -> None:
    """Short-lived memories between calls are dropped, too."""
    given, told = await remembered(), list[str]()
    forgetting = Forgetting(
        given.working,
        given.episodic,
        given.semantic,
        answers=given.answers,
        cache=None,
        on_forgotten=told.append,
        clock=given.clock,
    )
    await forgetting.forget(THIS_SESSION)
    assert told == ["acme"]


async def test_an_index_that_is_away_follows_later() -> None:
    """Without the index rows and buffers go at once, the index is named, and the outbox sees to the points."""
    given = await remembered()
    dark = replace(given, semantic=away(given.semantic, Tier.SEMANTIC))
    receipt = await forgetting_of(dark).forget(THIS_SESSION)
    assert receipt == receipt_of({"message": 2}, {"message": 1, "episode": 1}, {}, remaining=(0, 0, None), pending=("semantic",))
    assert {e.op for e in await outbox_of(given)} == {OutboxOp.DELETE}
    await consolidation_of(given).run()
    assert (await given.semantic.count(scope=THIS_SESSION), await outbox_of(given)) == (0, ())


async def test_a_point_that_stays_is_counted() -> None:
    """The second look counts what is still there, so that a receipt never claims more than was done."""
    given = await remembered()
    half_dark = replace(given, semantic=away(given.semantic, Tier.SEMANTIC, "forget"))
    receipt = await forgetting_of(half_dark).forget(THIS_SESSION)
    removed = ({"message": 2}, {"message": 1, "episode": 1}, {"point": 1})
    assert receipt == receipt_of(*removed, remaining=(0, 0, 1), pending=("semantic",))
    assert receipt.remaining == 1


async def test_without_postgres_nothing_is_promised() -> None:
    """With Postgres away the call fails and nothing is removed; repeated when it is back it does its work."""
    given = await remembered()
    with pytest.raises(TierUnavailable):
        await forgetting_of(replace(given, episodic=away(given.episodic, Tier.EPISODIC))).forget(THIS_SESSION)
    assert "new key of acme s1" in await found(given)
    assert (await forgetting_of(given).forget(THIS_SESSION)).remaining == 0
    assert not any("s1" in text for text in await found(given))


@pytest.mark.parametrize("scope", [THIS_SESSION, EVERYWHERE, Scope("acme", user_id="ana")])
async def test_buffers_that_are_away_are_forgotten_when_they_are_back(scope: Scope) -> None:
    """With Redis away the removal there is owed, said so, and done before anything forgotten can be drained back.

    What is appended afterwards, through Postgres and through Redis, is kept.
    """
    given = tiers()
    await append(given, "old secret", user_id="ana")
    dark = replace(given, working=away(given.working, Tier.WORKING))
    receipt = await forgetting_of(dark).forget(scope)
    assert receipt == receipt_of({}, {}, {}, remaining=(None, 0, 0), pending=("working",))
    given.clock.advance(timedelta(seconds=1))
    await append(dark, "said meanwhile", user_id="ana")
    await append(given, "said afterwards", user_id="ana")
    assert await drain_of(given).drain_now(SESSION) == 1
    assert await contents_of(given) == ["said meanwhile", "said afterwards"]
    await consolidation_of(given).run()
    async with given.episodic.reading() as reader:
        assert (await reader.status()).erasures == 0
    assert await found(given) == {"said meanwhile", "said afterwards"}


async def test_a_drain_under_way_cannot_bring_back_what_is_forgotten() -> None:
    """While a worker drains a session of the namespace, forgetting waits for it (here: gives up) and removes nothing."""
    given = await remembered()
    async with given.episodic.writing() as worker:
        await worker.lock_checkpoint(SESSION)
        with pytest.raises(TierUnavailable):
            await forgetting_of(given).forget(EVERYWHERE)
    assert (await forgetting_of(given).forget(EVERYWHERE)).remaining == 0
    await consolidation_of(given).run()
    assert await found(given) == set()


LOGGED = LoggedEpisode(episode(kind=EpisodeKind.TASK), (), NOW)
BY_NAME = Selection("acme", episodes=(LOGGED.episode.id,))


async def forget_either(given: Tiers, what: Scope | Selection) -> ForgetReceipt:
    forgetting = forgetting_of(given)
    return await (forgetting.forget_records(what) if isinstance(what, Selection) else forgetting.forget(what))


@pytest.mark.parametrize("what", [THIS_SESSION, EVERYWHERE, BY_NAME])
async def test_logged_episodes_are_forgotten_too(what: Scope | Selection) -> None:
    """An episode that is still on its way to Postgres does not arrive after it was forgotten, in whatever way."""
    given = tiers()
    await given.working.log_episode(LOGGED)
    assert await forget_either(given, what) == receipt_of({"episode": 1}, {}, {})
    await consolidation_of(given).run()
    assert (await episodes_of(given), await given.working.logged_episode("acme", LOGGED.episode.id)) == ((), None)


@pytest.mark.parametrize("what", [THIS_SESSION, EVERYWHERE, BY_NAME])
async def test_logged_episodes_of_buffers_that_are_away_do_not_come_back(what: Scope | Selection) -> None:
    """With Redis away their removal is owed, and done before they can be drained; what is logged afterwards is kept."""
    given = tiers()
    await given.working.log_episode(LOGGED)
    receipt = await forget_either(replace(given, working=away(given.working, Tier.WORKING)), what)
    assert receipt.pending == ("working",)
    later = replace(LOGGED, episode=replace(LOGGED.episode, id=new_id()), logged_at=NOW + timedelta(seconds=1))
    await given.working.log_episode(later)
    drain = EpisodeDrain(given.working, given.episodic)
    await drain.drain_one("acme", LOGGED.episode.id)
    assert (await drain.drain(), await episodes_of(given)) == (1, (later.episode,))


async def test_an_episode_that_is_being_drained_is_waited_for() -> None:
    """While a worker brings logged episodes of the namespace to Postgres, forgetting waits (here: gives up)."""
    given = tiers()
    async with given.episodic.writing() as worker:
        await worker.share_namespace("acme")
        with pytest.raises(TierUnavailable):
            await forgetting_of(given).forget(EVERYWHERE)


@pytest.mark.parametrize("what", [THIS_SESSION, BY_NAME])
async def test_remembered_answers_are_forgotten_too(what: Scope | Selection) -> None:
    """They may quote what is to be forgotten: of the namespace all go, at once or when Redis is back."""
    given = tiers()
    call = Call("acme", new_id(), "request", new_id())
    for working, is_back in ((given.working, True), (away(given.working, Tier.WORKING), False)):
        answers = given.answers if is_back else away(given.answers, Tier.WORKING)
        await given.answers.claim(call, lease=timedelta(minutes=1), ttl=timedelta(hours=1))
        await given.answers.remember(call, Answer(201, b"a secret"), ttl=timedelta(hours=1))
        await forget_either(replace(given, working=working, answers=answers), what)
        await consolidation_of(given).run()
        assert await given.answers.claim(call, lease=timedelta(minutes=1), ttl=timedelta(hours=1)) is Claim.ANSWER_FORGOTTEN


@dataclass
class Remembered:
    """A cache of vectors, by the texts they are of."""

    texts: set[str]

    async def evict(self, texts: Sequence[str], _spaces: Sequence[Space]) -> int:
        gone = self.texts & set(texts)
        self.texts -= gone
        return len(gone)
