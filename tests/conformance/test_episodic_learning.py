"""The exam of tier 2, on learning: the queue of episodes, evidence, marks, and what forgetting takes along."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from given import NOW, SCOPE, episode, filed, knowledge, message, stored

from app.learning.signatures import pattern
from app.ports import EpisodicMemory, Extraction, LearningStatus, Lesson, PatternQuery, StaleScope
from app.records import Episode, EpisodeKind, Origin, Pattern, PatternKind, PatternState, RecordKind, Scope

MINUTE = timedelta(minutes=1)
WHOLE = Scope("acme", project_id="move")


def task(**fields: Any) -> Episode:
    return episode(kind=EpisodeKind.TASK, **fields)


def seen(of: Episode, then: str = "ship", given: str = "risk high") -> Pattern:
    content = {"action": then}
    return pattern(PatternKind.DECISION_POINT, of, (given,), (then,), description=f"{given}: {then}", content=content)


async def claimed(
    memory: EpisodicMemory, limit: int = 100, *, now: datetime = NOW, namespace: str | None = None
) -> tuple[Extraction, ...]:
    async with memory.writing() as tx:
        return await tx.claim_extractions(limit, lease=MINUTE, now=now, namespace=namespace)


async def learned(memory: EpisodicMemory, *lessons: Lesson) -> frozenset[UUID]:
    async with memory.writing() as tx:
        return await tx.learn(lessons)


async def taught(memory: EpisodicMemory, of: Episode, *patterns: Pattern) -> None:
    """Have an episode be evidence of these patterns."""
    await stored(memory, of)
    due = {extraction.episode_id: extraction for extraction in await claimed(memory)}
    assert await learned(memory, Lesson(due[of.id], patterns)) == {of.id}


async def taken(memory: EpisodicMemory, limit: int = 100) -> tuple[Pattern, ...] | None:
    async with memory.writing() as tx:
        found = await tx.take_stale(limit)
        assert all(not p.supporting_episodes and not p.contradicting_episodes for p in found or ())
        return found and await tx.with_evidence(found)


async def weighed(memory: EpisodicMemory) -> Sequence[Pattern]:
    """Weigh all that is stale, as sure as can be."""
    async with memory.writing() as tx:
        patterns = await tx.take_stale(100) or ()
        for one in patterns:
            await tx.save_patterns([replace(one, confidence=0.9, state=PatternState.KEPT, weighed_at=NOW)])
    return patterns


async def status_of(memory: EpisodicMemory) -> LearningStatus:
    async with memory.reading() as reader:
        return replace(await reader.learning_status(), oldest_at=None)


async def test_closed_episodes_become_due(episodic: EpisodicMemory) -> None:
    """A closed episode is due when it is stored and whenever it changes; an open one, and a conversation without steps, not."""
    event, talk, going_on = task(), episode(), task(is_open=True)
    await stored(episodic, event, talk, going_on)
    assert [e.episode_id for e in await claimed(episodic)] == [event.id]
    assert await claimed(episodic) == ()
    async with episodic.writing() as tx:
        await tx.append_steps(talk.id, [{"tool": "search"}], NOW)
        await tx.save_episode(replace(going_on, is_open=False))
        assert not await tx.insert_episode(event)
    assert {e.episode_id for e in await claimed(episodic)} == {talk.id, going_on.id}
    assert await status_of(episodic) == LearningStatus(3, 0, 0, None, dict.fromkeys(PatternState, 0))


async def test_claims_are_fenced(episodic: EpisodicMemory) -> None:
    """Whoever claimed an episode that changed since, or that another one claimed after the lease, can teach nothing."""
    event = task()
    await stored(episodic, event)
    (first,) = await claimed(episodic)
    await stored(episodic, event)
    (second,) = await claimed(episodic)
    assert await learned(episodic, Lesson(first, (seen(event),))) == frozenset()
    (third,) = await claimed(episodic, now=NOW + 2 * MINUTE)
    assert await learned(episodic, Lesson(second, (seen(event),))) == frozenset()
    assert await taken(episodic) is None
    assert await learned(episodic, Lesson(third, (seen(event),))) == {event.id}
    assert await learned(episodic, Lesson(third, ())) == frozenset()
    assert (second.attempts, third.attempts) == (1, 2)


async def test_a_claim_is_of_its_namespace(episodic: EpisodicMemory) -> None:
    """Asked for a namespace, no other's episodes are claimed; the longest waiting come first."""
    mine, later, theirs = task(), task(), task(scope=Scope("rival"))
    await stored(episodic, theirs, mine, later)
    assert [e.episode_id for e in await claimed(episodic, limit=1, namespace="acme")] == [mine.id]
    assert [e.episode_id for e in await claimed(episodic)] == [theirs.id, later.id]


async def test_failures_wait_and_die(episodic: EpisodicMemory) -> None:
    """Given back, an episode waits for its next attempt; given up on, for a retry or a change."""
    event = task()
    await stored(episodic, event)
    due = await claimed(episodic)
    async with episodic.writing() as tx:
        await tx.release_extractions(due, error="no luck", next_attempt_at=NOW + MINUTE, failures=1)
    assert await claimed(episodic) == ()
    due = await claimed(episodic, now=NOW + MINUTE)
    assert [(e.attempts, e.failures) for e in due] == [(2, 1)]
    async with episodic.writing() as tx:
        await tx.release_extractions(due, error="no luck", next_attempt_at=NOW, failures=1, is_dead=True)
    assert (await status_of(episodic)).dead_letters == 1
    assert await claimed(episodic, now=NOW + 9 * MINUTE) == ()
    async with episodic.writing() as tx:
        assert await tx.retry_extractions(NOW, namespace="rival") == 0
        assert await tx.retry_extractions(NOW) == 1
    assert [(e.attempts, e.failures) for e in await claimed(episodic)] == [(1, 0)]


async def test_evidence_is_a_set_of_episodes(episodic: EpisodicMemory) -> None:
    """Learning twice from an episode counts it once; learning something else takes the former back."""
    first, second = task(), task()
    await taught(episodic, first, seen(first))
    await taught(episodic, second, seen(second))
    (both,) = await taken(episodic) or ()
    assert both == replace(
        seen(first), confidence=0.0, supporting_episodes=tuple(sorted([first.id, second.id], reverse=True)), supporters=2
    )
    await taught(episodic, first, seen(first))
    assert await taken(episodic) is None
    await taught(episodic, first, seen(first, "wait"))
    counts = {p.conclusion: (p.supporters, p.contradictors, p.contradicting_episodes) for p in await taken(episodic) or ()}
    assert counts == {("wait",): (1, 1, (second.id,)), ("ship",): (1, 1, (first.id,))}
    await taught(episodic, first)
    assert {p.conclusion: p.supporters for p in await taken(episodic) or ()} == {("wait",): 0, ("ship",): 1}


async def test_an_episode_on_both_sides_is_a_supporter(episodic: EpisodicMemory) -> None:
    """An episode in which both rivals occur speaks for each and against none."""
    event = task()
    await taught(episodic, event, seen(event), seen(event, "wait"))
    assert [(p.supporters, p.contradictors) for p in await taken(episodic) or ()] == [(1, 0), (1, 0)]


async def test_patterns_are_listed_once_they_are_weighed(episodic: EpisodicMemory) -> None:
    """By id, of a namespace or a project, by kind, state and confidence, with their evidence."""
    event, elsewhere, foreign = task(), task(scope=replace(SCOPE, project_id=None)), task(scope=Scope("rival"))
    for one in (event, elsewhere, foreign):
        await taught(episodic, one, seen(one))
    async with episodic.reading() as reader:
        assert await reader.list_patterns(PatternQuery(Scope("acme"))) == ()
    await weighed(episodic)
    mine, other = (replace(seen(e), confidence=0.9, state=PatternState.KEPT, weighed_at=NOW) for e in (event, elsewhere))
    in_order = tuple(sorted((mine, other), key=lambda p: p.id))
    async with episodic.reading() as reader:
        assert await reader.list_patterns(PatternQuery(Scope("acme"))) == in_order
        assert await reader.list_patterns(PatternQuery(Scope("acme"), limit=1)) == in_order[:1]
        assert await reader.list_patterns(PatternQuery(Scope("acme"), after=in_order[0].id)) == in_order[1:]
        assert await reader.list_patterns(PatternQuery(WHOLE)) == (mine,)
        assert await reader.list_patterns(PatternQuery(WHOLE, min_confidence=0.95)) == ()
        assert await reader.list_patterns(PatternQuery(WHOLE, state=PatternState.CANDIDATE)) == ()
        assert await reader.list_patterns(PatternQuery(WHOLE, kind=PatternKind.TOOL_SEQUENCE)) == ()
    assert (await status_of(episodic)).patterns == {PatternState.KEPT: 3, PatternState.CANDIDATE: 0}


async def test_merged_patterns_hand_their_evidence_on(episodic: EpisodicMemory) -> None:
    """What one pattern was seen in, then and later, counts for the other; where both were seen it counts once."""
    both, only, later = task(), task(), task()
    await taught(episodic, both, seen(both), seen(both, "ship it now"))
    await taught(episodic, only, seen(only, "ship it now"))
    await weighed(episodic)
    async with episodic.writing() as tx:
        await tx.merge_pattern(seen(only, "ship it now"), seen(both))
    (one,) = await taken(episodic) or ()
    assert (one.conclusion, set(one.supporting_episodes), one.contradictors) == (("ship",), {both.id, only.id}, 0)
    await taught(episodic, later, seen(later, "ship it now"))
    (one,) = await taken(episodic) or ()
    assert set(one.supporting_episodes) == {both.id, only.id, later.id}
    async with episodic.reading() as reader:
        assert [p.id for p in await reader.list_patterns(PatternQuery(WHOLE))] == [one.id]


async def test_similar_patterns_are_of_the_same_kind_and_scope(episodic: EpisodicMemory) -> None:
    """Found by common words: weighed ones, and of new ones the older; never another project's or kind's."""
    event, newer, elsewhere = task(), task(ended_at=NOW + 2 * timedelta(hours=1)), task(scope=Scope("rival"))
    old = seen(event, "ship the release")
    await taught(episodic, event, old, seen(event, "wait for everybody in the team"))
    await taught(episodic, elsewhere, seen(elsewhere, "ship the release"))
    new = seen(newer, "ship release")
    await taught(episodic, newer, new)
    unweighed = replace(old, confidence=0.0, supporters=0, supporting_episodes=())
    async with episodic.writing() as tx:
        assert await tx.similar_patterns([new, old], 10) == {new.id: [unweighed]}
        assert await tx.similar_patterns([], 10) == {}


async def test_what_has_no_evidence_can_be_deleted(episodic: EpisodicMemory) -> None:
    """Patterns nobody speaks for go, with those that were merged into them; the others stay."""
    event, other = task(), task()
    await taught(episodic, event, seen(event), seen(event, "ship now"))
    await taught(episodic, other, seen(other, "wait"))
    await weighed(episodic)
    async with episodic.writing() as tx:
        await tx.merge_pattern(seen(event, "ship now"), seen(event))
    await taught(episodic, event)
    await taken(episodic)
    async with episodic.writing() as tx:
        await tx.delete_patterns([seen(event).id, seen(other, "wait").id])
    async with episodic.reading() as reader:
        assert [p.conclusion for p in await reader.list_patterns(PatternQuery(WHOLE))] == [("wait",)]
    await taught(episodic, event, seen(event, "ship now"))
    assert {p.conclusion for p in await taken(episodic) or ()} == {("ship now",), ("wait",)}


async def test_scopes_stay_stale_until_they_are_settled(episodic: EpisodicMemory) -> None:
    """Each scope whose episodes were learned from is named with its marks; what is marked meanwhile is not settled."""
    event, again, elsewhere = task(), task(), task(scope=Scope("rival"))
    await taught(episodic, event, seen(event))
    await taught(episodic, elsewhere)
    async with episodic.reading() as reader:
        stale = await reader.stale_scopes(10)
        assert await reader.stale_scopes(10, namespace="acme") == stale[:1]
        assert await reader.stale_scopes(1) == stale[:1]
    assert [s.scope for s in stale] == [WHOLE, Scope("rival")]
    await taught(episodic, again, seen(again))
    async with episodic.writing() as tx:
        for one in stale:
            await tx.settle_scope(one)
    async with episodic.reading() as reader:
        (left,) = await reader.stale_scopes(10)
    assert (left.scope, set(left.marks) & set(stale[0].marks)) == (WHOLE, set())
    assert isinstance(left, StaleScope)


async def test_deleting_an_episode_takes_back_what_it_taught(episodic: EpisodicMemory) -> None:
    """Patterns learned from it alone go, with the knowledge they had become; others lose a supporter and are stale."""
    alone, shared = task(), task()
    lonely = seen(alone, "wait", "risk low")
    await taught(episodic, alone, lonely, seen(alone))
    await taught(episodic, shared, seen(shared))
    await weighed(episodic)
    await stored(episodic, knowledge(id=lonely.id), knowledge(id=seen(shared).id))
    async with episodic.writing() as tx:
        assert await tx.delete_records(RecordKind.EPISODE, "acme", [alone.id]) == 1
    async with episodic.reading() as reader:
        assert [p.id for p in await reader.list_patterns(PatternQuery(WHOLE))] == [seen(shared).id]
        assert await reader.existing(RecordKind.KNOWLEDGE, "acme", [lonely.id, seen(shared).id]) == {seen(shared).id}
    assert [p.supporting_episodes for p in await taken(episodic) or ()] == [(shared.id,)]


async def test_deleting_an_episode_dissolves_what_others_were_merged_into(episodic: EpisodicMemory) -> None:
    """Whose words a merged pattern says is not known: it goes, and who is left is learned from again, in their own."""
    first, second = task(), task()
    worded, reworded = seen(first, "see Dr. Ana"), seen(second, "see a doctor")
    await taught(episodic, first, worded)
    await taught(episodic, second, reworded)
    await weighed(episodic)
    async with episodic.writing() as tx:
        await tx.merge_pattern(reworded, worded)
    await stored(episodic, knowledge(id=worded.id))
    async with episodic.writing() as tx:
        await tx.delete_records(RecordKind.EPISODE, "acme", [first.id])
    async with episodic.reading() as reader:
        assert await reader.list_patterns(PatternQuery(WHOLE)) == ()
        assert await reader.existing(RecordKind.KNOWLEDGE, "acme", [worded.id]) == set()
    (again,) = await claimed(episodic)
    assert again.episode_id == second.id
    assert await learned(episodic, Lesson(again, (reworded,))) == {second.id}
    await weighed(episodic)
    async with episodic.reading() as reader:
        (left,) = await reader.list_patterns(PatternQuery(WHOLE))
    assert (left.id, left.description, left.supporting_episodes) == (reworded.id, reworded.description, (second.id,))


async def test_deleting_episodes_takes_what_was_learned_from_them_alone(episodic: EpisodicMemory) -> None:
    """Learned knowledge without other evidence goes, and its point is owed; what people said stays."""
    alone, other = task(), task()
    await stored(episodic, alone, other)
    theirs = knowledge(origin=Origin.LEARNED, supporting_episodes=(alone.id,))
    shared = knowledge(origin=Origin.LEARNED, supporting_episodes=(alone.id,), contradicting_episodes=(other.id,))
    said = knowledge(supporting_episodes=(alone.id,))
    await stored(episodic, theirs, shared, said)
    async with episodic.writing() as tx:
        await tx.delete_records(RecordKind.EPISODE, "acme", [alone.id])
    async with episodic.reading() as reader:
        ids = [theirs.id, shared.id, said.id]
        assert await reader.existing(RecordKind.KNOWLEDGE, "acme", ids) == {shared.id, said.id}
        assert await reader.owed_deletions(RecordKind.KNOWLEDGE, "acme", 10) == (theirs.id,)
        assert await reader.owed_deletions(RecordKind.KNOWLEDGE, "acme", 0) == ()
        assert await reader.owed_deletions(RecordKind.KNOWLEDGE, "rival", 10) == ()


async def test_forgetting_a_namespace_forgets_its_patterns(episodic: EpisodicMemory) -> None:
    """Nothing learned from what was forgotten can be seen any more; what others have stays, and nothing of it waits."""
    event, foreign = task(), task(scope=Scope("rival"))
    await taught(episodic, event, seen(event))
    await taught(episodic, foreign, seen(foreign))
    await weighed(episodic)
    await stored(episodic, task())
    async with episodic.writing() as tx:
        await tx.forget(Scope("acme"))
    async with episodic.reading() as reader:
        assert await reader.list_patterns(PatternQuery(Scope("acme"))) == ()
        assert len(await reader.list_patterns(PatternQuery(Scope("rival")))) == 1
    assert (await status_of(episodic)).pending == 0


async def test_first_steps_of_several_episodes(episodic: EpisodicMemory) -> None:
    """The first steps of each, in order; an episode without steps is left out."""
    long, short, bare = task(), task(), task()
    await stored(episodic, long, short, bare)
    async with episodic.writing() as tx:
        await tx.append_steps(long.id, [{"tool": str(i)} for i in range(5)], NOW)
        await tx.append_steps(short.id, [{"tool": "only"}], NOW)
    async with episodic.reading() as reader:
        steps = await reader.first_steps([long.id, short.id, bare.id], 2)
    assert {i: list(contents) for i, contents in steps.items()} == {
        long.id: [{"tool": "0"}, {"tool": "1"}],
        short.id: [{"tool": "only"}],
    }


async def test_emptied_conversations_are_learned_from_again(episodic: EpisodicMemory) -> None:
    """When a message is forgotten, what its episode says is emptied: what it taught goes, and is looked at again."""
    said = [message(1), message(2)]
    home = await filed(episodic, said)
    async with episodic.writing() as tx:
        await tx.append_steps(home.id, [{"tool": "search"}], NOW)
    await learned(episodic, *(Lesson(e, (seen(home),)) for e in await claimed(episodic)))
    await weighed(episodic)
    async with episodic.writing() as tx:
        await tx.delete_records(RecordKind.MESSAGE, "acme", [said[0].uid])
    assert [e.episode_id for e in await claimed(episodic)] == [home.id]
    async with episodic.reading() as reader:
        assert await reader.list_patterns(PatternQuery(SCOPE)) == ()
