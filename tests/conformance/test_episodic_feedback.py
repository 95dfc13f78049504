"""The exam of tier 2: how outcomes were revised, what callers said about records, and when recalls became wrong."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from given import NOW, SCOPE, claimed, episode, filed, knowledge, message, outbox_of, queued, stored, upsert

from app.errors import Conflict
from app.ports import EpisodicMemory, NamedRecord, OutboxOp
from app.records import (
    Episode,
    EpisodeKind,
    Feedback,
    Knowledge,
    Message,
    OutcomeRevision,
    RecordKind,
    Scope,
    Standing,
    Verdict,
    new_id,
)

DECISION = EpisodeKind.DECISION


def said(about: Message | Episode | Knowledge, verdict: Verdict = Verdict.USEFUL, **fields: Any) -> Feedback:
    kinds = {Message: RecordKind.MESSAGE, Episode: RecordKind.EPISODE, Knowledge: RecordKind.KNOWLEDGE}
    defaults: dict[str, Any] = {"id": new_id(), "scope": SCOPE, "created_at": NOW}
    named = {"kind": kinds[type(about)], "record_id": about.id, "record_uid": about.uid, "verdict": verdict}
    return Feedback(**(defaults | named | fields))


async def say(memory: EpisodicMemory, *given: Feedback) -> frozenset[Any]:
    async with memory.writing() as tx:
        return await tx.insert_feedback(given)


async def heard(memory: EpisodicMemory, namespace: str = "acme") -> list[Feedback]:
    async with memory.reading() as reader:
        return list(await reader.list_feedback(namespace, after=None, limit=100))


async def records_in(memory: EpisodicMemory) -> tuple[Message, Episode, Knowledge]:
    """A message, a decision and a fact, stored."""
    spoken, decision, fact = message(), episode(kind=DECISION), knowledge()
    await filed(memory, [spoken])
    await stored(memory, decision, fact)
    return spoken, decision, fact


# ── outcomes ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_revisions_are_kept_in_order(episodic: EpisodicMemory) -> None:
    """The first revision also keeps what the episode came with; what changes nothing is no revision."""
    before = episode(kind=DECISION, outcome={"done": 1}, outcome_quality=0.25)
    await stored(episodic, before)
    after = replace(before, outcome={"done": 8}, outcome_quality=0.75)
    taken_back = replace(before, outcome=None, outcome_quality=None)
    call, at = new_id(), NOW + timedelta(days=1)
    async with episodic.writing() as tx:
        await tx.revise_outcome(before, replace(before, summary="x"), at)
        assert await tx.outcomes(before.id, after=-1, limit=10) == ()
        await tx.revise_outcome(before, after, at, call=call)
        await tx.revise_outcome(after, taken_back, at)
    async with episodic.reading() as reader:
        assert await reader.outcomes(before.id, after=-1, limit=10) == (
            OutcomeRevision(0, {"done": 1}, 0.25, before.ended_at),
            OutcomeRevision(1, {"done": 8}, 0.75, at, call),
            OutcomeRevision(2, None, None, at),
        )
        assert [r.index for r in await reader.outcomes(before.id, after=0, limit=1)] == [1]
        assert await reader.outcomes(new_id(), after=-1, limit=10) == ()


async def test_a_first_outcome_has_nothing_before_it(episodic: EpisodicMemory) -> None:
    """The history of an episode that came without an outcome begins with the first that is recorded."""
    before = episode(kind=DECISION)
    await stored(episodic, before)
    async with episodic.writing() as tx:
        await tx.revise_outcome(before, replace(before, outcome={"done": 8}), NOW)
        assert await tx.outcomes(before.id, after=-1, limit=10) == (OutcomeRevision(0, {"done": 8}, None, NOW),)


async def test_revisions_are_inserted_once_and_go_with_their_episode(episodic: EpisodicMemory) -> None:
    """An import may bring the same ones again; nothing is left of them when the episode is deleted."""
    home = episode(kind=DECISION)
    await stored(episodic, home)
    revisions = [OutcomeRevision(n, {"n": n}, None, NOW) for n in range(3)]
    async with episodic.writing() as tx:
        assert await tx.insert_outcomes(home.id, revisions[:2]) == 2
        assert await tx.insert_outcomes(home.id, [replace(revisions[1], outcome={}), revisions[2]]) == 1
        assert await tx.outcomes(home.id, after=-1, limit=10) == tuple(revisions)
    async with episodic.writing() as tx:
        await tx.delete_records(RecordKind.EPISODE, "acme", [home.id])
    await stored(episodic, home)
    async with episodic.reading() as reader:
        assert await reader.outcomes(home.id, after=-1, limit=10) == ()


async def test_episodes_without_outcome_are_listed(episodic: EpisodicMemory) -> None:
    """Newest first, in pages, within the scope; neither open nor archived, and conversations only if asked for."""
    waiting = [episode(kind=DECISION, ended_at=NOW + timedelta(hours=n)) for n in range(3)]
    conversation = episode()
    others = [
        episode(kind=DECISION, outcome={}),
        episode(kind=DECISION, scope=Scope("rival")),
        episode(kind=DECISION, scope=Scope("acme", project_id="other")),
        episode(kind=DECISION, is_open=True),
        episode(kind=DECISION, archived_at=NOW),
    ]
    await stored(episodic, *waiting, conversation, *others)

    async with episodic.reading() as reader:

        async def listed(**asked: Any) -> list[Episode]:
            defaults = {"ended_before": None, "kind": None, "before": None, "limit": 10}
            return list(await reader.list_episodes_without_outcome(SCOPE, **(defaults | asked)))

        assert await listed() == waiting[::-1]
        assert await listed(ended_before=NOW + timedelta(hours=1)) == [waiting[0]]
        assert await listed(limit=2) == waiting[:0:-1]
        assert await listed(before=waiting[1].id) == [waiting[0]]
        assert await listed(kind=EpisodeKind.TASK) == []
        assert await listed(kind=EpisodeKind.CONVERSATION) == [conversation]


# ── feedback ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_feedback_comes_back_as_it_was(episodic: EpisodicMemory) -> None:
    """On records of every kind, each once by its id, by rising id; nobody sees it from another namespace."""
    spoken, decision, fact = await records_in(episodic)
    text = {"query": "when?", "note": "it was not so"}
    given = [said(spoken, Verdict.USEFUL, **text), said(decision, Verdict.WRONG, **text), said(fact, Verdict.OUTDATED, **text)]
    bare = said(decision, Verdict.HARMFUL, scope=Scope("acme"), query=None)
    assert await say(episodic, *given) == {f.id for f in given}
    assert await say(episodic, given[0], bare) == {bare.id}
    assert await heard(episodic) == [*given, bare]
    assert await heard(episodic, "rival") == []
    async with episodic.reading() as reader:
        assert await reader.list_feedback("acme", after=given[0].id, limit=2) == (given[1], given[2])
        assert await reader.feedback("acme", bare.id) == bare
        assert [await reader.feedback("rival", bare.id), await reader.feedback("acme", new_id())] == [None, None]


async def test_feedback_needs_its_record(episodic: EpisodicMemory) -> None:
    """What nobody knows cannot be judged, and nothing else of the call is written."""
    fact = knowledge()
    await stored(episodic, fact)
    with pytest.raises(Conflict):
        await say(episodic, said(fact), said(knowledge()))
    assert await heard(episodic) == []


async def test_records_are_found_by_their_name(episodic: EpisodicMemory) -> None:
    """By id within the namespace, of a kind or of any; an id that two sessions use names two messages."""
    spoken, decision, fact = await records_in(episodic)
    elsewhere = replace(spoken, scope=replace(SCOPE, session_id="s2"))
    await filed(episodic, [elsewhere])
    async with episodic.writing() as tx:
        assert await tx.hold_records("acme", decision.id, kind=None) == (NamedRecord(RecordKind.EPISODE, decision.id),)
        assert await tx.hold_records("acme", fact.id, kind=None) == (NamedRecord(RecordKind.KNOWLEDGE, fact.id),)
        assert await tx.hold_records("acme", fact.id, kind=RecordKind.EPISODE) == ()
        assert await tx.hold_records("rival", fact.id, kind=None) == ()
        assert set(await tx.hold_records("acme", spoken.id, kind=RecordKind.MESSAGE)) == {
            NamedRecord(RecordKind.MESSAGE, spoken.uid, "s1"),
            NamedRecord(RecordKind.MESSAGE, elsewhere.uid, "s2"),
        }


async def test_standings_add_up(episodic: EpisodicMemory) -> None:
    """Each opinion by its weight and age; records nobody spoke of, or too long ago, have no standing."""
    spoken, decision, fact = await records_in(episodic)
    month = timedelta(days=30)
    await say(
        episodic,
        *[said(spoken), said(spoken, Verdict.OUTDATED, created_at=NOW - month), said(spoken, Verdict.HARMFUL)],
        *[said(decision, created_at=NOW - 50 * month), said(fact, Verdict.WRONG, created_at=NOW + month)],
    )
    async with episodic.reading() as reader:
        found = await reader.standings([spoken.uid, decision.uid, fact.uid, new_id()], NOW)
        later = await reader.standings([spoken.uid], NOW + month)
        nothing = await reader.standings([], NOW)
    assert found == {spoken.uid: Standing(1.0, 3.25, NOW), fact.uid: Standing(0.0, 1.0, NOW)}
    assert later == {spoken.uid: Standing(0.5, 1.625, NOW + month)}
    assert nothing == {}


async def test_feedback_goes_with_its_record(episodic: EpisodicMemory) -> None:
    """However a record is deleted, what was said about it goes too, and what was said about others stays."""
    spoken, decision, fact = await records_in(episodic)
    given = [said(record) for record in (spoken, decision, fact)]
    await say(episodic, *given)
    async with episodic.writing() as tx:
        await tx.delete_records(RecordKind.MESSAGE, "acme", [spoken.uid])
        await tx.delete_records(RecordKind.KNOWLEDGE, "acme", [fact.id])
    assert await heard(episodic) == [given[1]]
    async with episodic.writing() as tx:
        await tx.forget(Scope("acme"))
    assert await heard(episodic) == []


async def test_whose_feedback_is_forgotten_leaves_the_record(episodic: EpisodicMemory) -> None:
    """A user who is forgotten takes along what they said of others' records, which are indexed anew without it."""
    shared = knowledge(scope=Scope("acme"))
    await stored(episodic, shared)
    kept = said(shared, scope=Scope("acme", user_id="ben"))
    await say(episodic, said(shared, scope=Scope("acme", user_id="ana")), kept)
    async with episodic.writing() as tx:
        await tx.forget(Scope("acme", user_id="ana"))
    assert await heard(episodic) == [kept]
    assert await outbox_of(episodic) == {(OutboxOp.UPSERT, RecordKind.KNOWLEDGE, shared.id)}


# ── generations ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_generation_ends_when_an_episodes_point_may_have_changed(episodic: EpisodicMemory) -> None:
    """However an episode's outbox entry is given back; other kinds and other namespaces change nothing."""
    home, fact, foreign = episode(), knowledge(), episode(scope=Scope("rival"))
    await stored(episodic, home, fact, foreign)

    async def generations() -> tuple[Any, Any]:
        async with episodic.reading() as reader:
            return await reader.episode_generation("acme"), await reader.episode_generation("rival")

    assert await generations() == (None, None)
    seen = [None]
    for give_back in ("complete", "delay", "release"):
        await queued(episodic, upsert(home), upsert(fact))
        entries = await claimed(episodic)
        about_fact = [e for e in entries if e.kind is RecordKind.KNOWLEDGE]
        async with episodic.writing() as tx:
            await tx.complete_outbox(about_fact)
        assert await generations() == (seen[-1], None)
        about_episode = [e for e in entries if e.kind is RecordKind.EPISODE]
        async with episodic.writing() as tx:
            match give_back:
                case "complete":
                    await tx.complete_outbox(about_episode)
                case "delay":
                    await tx.delay_outbox(about_episode, error="x", next_attempt_at=NOW)
                case _:
                    await tx.release_outbox(about_episode, error="x", next_attempt_at=NOW, is_dead=False)
        acme, rival = await generations()
        assert (acme in seen, rival) == (False, None)
        seen.append(acme)


async def test_a_generation_is_ended_by_name(episodic: EpisodicMemory) -> None:
    """Each renewal brings one that was never there; what is rolled back was not renewed."""
    seen = set()
    for _ in range(3):
        async with episodic.writing() as tx:
            await tx.renew_episode_generation("acme")
        async with episodic.reading() as reader:
            seen.add(await reader.episode_generation("acme"))
            assert await reader.episode_generation("rival") is None
    assert (len(seen), None in seen) == (3, False)
