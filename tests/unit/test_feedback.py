"""Feedback on recalled records: which record is meant, and what comes of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from factories import Tiers, append, consolidation_of, outbox_of, recall_of, tiers
from given import NOW, SESSION, episode, knowledge, queued, stored, upsert

from app.errors import InvalidInput, NotFound, TierUnavailable
from app.ingestion.feedback import Draining, FeedbackDraft, FeedbackIngestion
from app.ingestion.limits import Limits
from app.records import Feedback, Knowledge, LoggedEpisode, Query, RecordKind, Scope, SessionKey, Tier, Verdict, new_id
from app.testing.clock import FixedClock
from app.testing.faults import away

ACME = Scope("acme")


def feedback_of(tiers: Tiers) -> FeedbackIngestion:
    consolidation = consolidation_of(tiers)
    draining = Draining(consolidation.drain_session, consolidation.store_logged_episode)
    return FeedbackIngestion(
        tiers.working, tiers.episodic, tiers.semantic, draining=draining, limits=Limits(), clock=tiers.clock
    )  # fmt: skip


async def indexed_fact(tiers: Tiers) -> Knowledge:
    fact = knowledge(scope=ACME)
    await stored(tiers.episodic, fact)
    await queued(tiers.episodic, upsert(fact))
    await consolidation_of(tiers).run()
    return fact


async def favour_of(tiers: Tiers, text: str = "allergic to nuts", **asked: Any) -> list[float | None]:
    """What feedback adds to each hit, in units of its weight."""
    found = await recall_of(tiers).recall(Query(text, ACME, now=tiers.clock(), **asked))
    return [None if (term := h.components.get("feedback")) is None else round(term / 0.3, 3) for h in found.hits]


async def heard(tiers: Tiers) -> list[Feedback]:
    async with tiers.episodic.reading() as reader:
        return list(await reader.list_feedback("acme", after=None, limit=100))


async def test_feedback_is_felt_at_once_and_fades() -> None:
    """Without anything being indexed again; the more is said the more it counts, and less as time goes by."""
    given = tiers()
    fact = await indexed_fact(given)
    feedback, felt = feedback_of(given), [await favour_of(given)]
    for _ in range(2):
        await feedback.record(FeedbackDraft(ACME, fact.id, Verdict.USEFUL))
        felt.append(await favour_of(given))
    assert felt == [[None], [round(1 / 3, 3)], [0.5]]
    assert isinstance(given.clock, FixedClock)
    later = replace(given, clock=FixedClock(NOW + timedelta(days=30)))
    await consolidation_of(given).run()
    assert [await favour_of(given), await favour_of(later)] == [[0.5], [round(1 / 3, 3)]]
    await feedback_of(later).record(FeedbackDraft(ACME, fact.id, Verdict.HARMFUL))
    assert await favour_of(later) == [round((1 - 3) / (1 + 3 + 2), 3)]


async def test_an_index_that_is_away_learns_of_it_later() -> None:
    """The feedback is stored and acknowledged, and the record waits in the outbox."""
    given = tiers()
    fact = await indexed_fact(given)
    dark = replace(given, semantic=away(given.semantic, Tier.SEMANTIC, "judge"))
    await feedback_of(dark).record(FeedbackDraft(ACME, fact.id, Verdict.WRONG))
    assert [e.record_uid for e in await outbox_of(given)] == [fact.id]
    assert await favour_of(given) == [None]
    await consolidation_of(given).run()
    assert await favour_of(given) == [round(-1 / 3, 3)]


async def test_what_was_said_a_moment_ago_can_be_judged() -> None:
    """A message that is only buffered and an episode that is only logged are stored first."""
    given = tiers()
    (message,) = await append(given, "the cat sat")
    logged = episode(scope=ACME)
    await given.working.log_episode(LoggedEpisode(logged, (), NOW))
    said = [await feedback_of(given).record(FeedbackDraft(ACME, i, Verdict.USEFUL)) for i in (message, logged.id)]
    assert [(f.kind, f.record_id, f.scope.session_id) for f in said] == [
        (RecordKind.MESSAGE, message, "s1"),
        (RecordKind.EPISODE, logged.id, None),
    ]
    assert await heard(given) == sorted(said, key=lambda f: f.id)


async def test_a_call_is_made_once() -> None:
    """Repeated under its name it stores nothing more, and answers with what it stored, whatever the time."""
    given = tiers()
    fact, call = await indexed_fact(given), new_id()
    draft = FeedbackDraft(ACME, fact.id, Verdict.USEFUL, query="nuts?", note="it helped")
    first = await feedback_of(given).record(draft, call=call)
    later = replace(given, clock=FixedClock(NOW + timedelta(hours=1)))
    assert await feedback_of(later).record(draft, call=call) == first
    assert await heard(given) == [first]
    assert (first.query, first.note, first.created_at) == ("nuts?", "it helped", NOW)


async def test_a_name_that_means_two_records_is_refused() -> None:
    """The refusal says what has to be given besides, and with that the right one is judged."""
    given = tiers()
    fact = await indexed_fact(given)
    await stored(given.episodic, episode(id=fact.id, scope=ACME))
    (message,) = await append(given, "the cat sat")
    await consolidation_of(given).run()
    draft = FeedbackDraft(ACME, fact.id, Verdict.USEFUL)
    with pytest.raises(InvalidInput, match="kind: must be given: episode and knowledge have this id"):
        await feedback_of(given).record(draft)
    assert (await feedback_of(given).record(replace(draft, kind=RecordKind.KNOWLEDGE))).kind is RecordKind.KNOWLEDGE
    history = (await _stored_in(given, SESSION))[0]
    async with given.episodic.writing() as tx:
        twin = replace(history, scope=replace(history.scope, session_id="s2"))
        home = episode(scope=twin.scope)
        await tx.save_episode(home)
        await tx.insert_messages([twin], [home.id])
    draft = FeedbackDraft(ACME, message, Verdict.USEFUL)
    with pytest.raises(InvalidInput, match="session_id: must be given: 2 sessions have a message of this id"):
        await feedback_of(given).record(draft)
    of_second = await feedback_of(given).record(replace(draft, scope=Scope("acme", session_id="s2")))
    assert of_second.record_uid == twin.uid


async def _stored_in(tiers: Tiers, session: SessionKey) -> tuple[Any, ...]:
    async with tiers.episodic.reading() as reader:
        return await reader.history(session, after=0, limit=10)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"record_id": new_id()}, "no record"),
        ({"kind": RecordKind.EPISODE}, "no episode"),
        ({"kind": RecordKind.MESSAGE}, "no message"),
        ({"scope": Scope("rival")}, "no record"),
    ],
    ids=["unknown", "no such episode", "no such message", "another namespace"],
)
async def test_what_is_not_there_cannot_be_judged(change: dict[str, Any], error: str) -> None:
    """A record of another namespace is as unknown as one that never was, and nothing is stored."""
    given = tiers()
    fact = await indexed_fact(given)
    with pytest.raises(NotFound, match=error):
        await feedback_of(given).record(replace(FeedbackDraft(ACME, fact.id, Verdict.USEFUL), **change))
    assert (await heard(given), await outbox_of(given)) == ([], ())


async def test_what_may_be_in_redis_is_not_said_to_be_unknown() -> None:
    """While Redis is away, a record that Postgres does not have may be there: the call may be repeated."""
    given = tiers()
    dark = replace(given, working=away(given.working, Tier.WORKING))
    with pytest.raises(TierUnavailable):
        await feedback_of(dark).record(FeedbackDraft(ACME, new_id(), Verdict.USEFUL))


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"note": " "}, "note: must not be blank"),
        ({"note": "x" * 8193}, "note: must have at most 8192 bytes, has 8193"),
        ({"query": "a\x00"}, "query: must not contain NUL characters"),
        ({"scope": Scope("")}, "namespace: must not be blank"),
    ],
)
async def test_bad_feedback_is_refused_by_field(change: dict[str, Any], refusal: str) -> None:
    """The refusal names the field and its limit."""
    with pytest.raises(InvalidInput) as refused:
        await feedback_of(tiers()).record(replace(FeedbackDraft(ACME, new_id(), Verdict.USEFUL), **change))
    assert str(refused.value) == refusal
