"""The exam of tier 2, second part: episodes with their steps, and knowledge."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from given import NOW, SCOPE, SESSION, episode, filed, knowledge, message, stored

from app.errors import Conflict, InvalidInput, NewerRelease, NotFound
from app.ports import EpisodicMemory
from app.records import SCHEMA_VERSION, Episode, EpisodeKind, EpisodeStep, KnowledgeKind, Origin, Scope, new_id

FULL_EPISODE = Episode(
    id=new_id(),
    kind=EpisodeKind.NEGOTIATION,
    scope=SCOPE,
    started_at=NOW,
    ended_at=NOW + timedelta(minutes=3),
    perception={"offer": 900, "from": "landlord", "ids": [2**70, -1.5e300]},
    reasoning={"why": "the market\nis falling"},
    action={"counter": {"rent": 850}},
    outcome={"rent": 870},
    outcome_quality=0.75,
    summary="The rent was settled at 870.",
    quality=1.0,
    is_open=False,
    message_count=2,
    token_count=31,
    first_sequence=3,
    last_sequence=4,
    metadata={"tags": ["rent"]},
)


async def test_an_episode_comes_back_as_it_was(episodic: EpisodicMemory) -> None:
    """Every field of an episode survives being stored; nobody sees it from another namespace."""
    bare = Episode(new_id(), EpisodeKind.TASK, Scope("acme"), NOW, NOW)
    exact = replace(FULL_EPISODE, perception={"offer": 900})
    await stored(episodic, exact, bare)
    async with episodic.reading() as reader:
        assert await reader.episode("acme", exact.id) == exact
        assert await reader.episode("acme", bare.id) == bare
        assert await reader.episode("rival", exact.id) is None
        assert await reader.episode("acme", new_id()) is None
        found = await reader.episodes_by_uid([exact.id, bare.id, new_id()])
    assert {e.id: e for e in found} == {exact.id: exact, bare.id: bare}


async def test_an_episode_is_replaced(episodic: EpisodicMemory) -> None:
    """Saving an episode again replaces it, also where a value becomes nothing."""
    later = replace(FULL_EPISODE, outcome=None, outcome_quality=None, summary="", scope=Scope("acme"), metadata={})
    await stored(episodic, replace(FULL_EPISODE, perception={}), later := replace(later, perception={}))
    async with episodic.reading() as reader:
        assert await reader.episode("acme", FULL_EPISODE.id) == replace(later, version=2)


async def test_each_save_is_one_version_more(episodic: EpisodicMemory) -> None:
    """A record's version is the store's to count: it begins as given and rises by one, whatever the saved one says."""
    talk, fact = episode(), knowledge()
    async with episodic.writing() as tx:
        assert [await tx.save_episode(talk), await tx.save_knowledge(fact)] == [talk, fact]
        assert await tx.save_episode(replace(talk, summary="more")) == replace(talk, summary="more", version=2)
        assert await tx.save_knowledge(replace(fact, confidence=0.5)) == replace(fact, confidence=0.5, version=2)
    await stored(episodic, replace(talk, version=7), replace(fact, version=7))
    async with episodic.reading() as reader:
        assert await reader.episode("acme", talk.id) == replace(talk, version=3)
        assert await reader.knowledge("acme", fact.id) == replace(fact, version=3)


async def test_integers_of_any_size_are_stored(episodic: EpisodicMemory) -> None:
    """A number beyond 64 bits does not stop an episode from being stored."""
    await stored(episodic, FULL_EPISODE)
    async with episodic.reading() as reader:
        found = await reader.episode("acme", FULL_EPISODE.id)
    assert found is not None
    assert found.perception["ids"] == pytest.approx([2**70, -1.5e300])


async def test_an_id_of_another_namespace_is_taken(episodic: EpisodicMemory) -> None:
    """A record whose id belongs to another namespace is a conflict, and theirs is left as it is."""
    theirs, their_fact = episode(scope=Scope("rival")), knowledge(scope=Scope("rival"))
    await stored(episodic, theirs, their_fact)
    with pytest.raises(Conflict):
        await stored(episodic, replace(theirs, scope=SCOPE, summary="mine now"))
    with pytest.raises(Conflict):
        await stored(episodic, replace(their_fact, scope=SCOPE, description="mine now"))
    async with episodic.reading() as reader:
        assert await reader.episode("rival", theirs.id) == theirs
        assert await reader.knowledge("rival", their_fact.id) == their_fact


async def test_shares_lie_between_zero_and_one(episodic: EpisodicMemory) -> None:
    """Quality, the outcome's quality and confidence are shares: anything else is refused by the store itself."""
    for unfit in (episode(quality=1.01), episode(outcome_quality=-0.1), knowledge(confidence=2.0)):
        with pytest.raises(InvalidInput):
            await stored(episodic, unfit)


async def test_a_session_has_one_open_conversation(episodic: EpisodicMemory) -> None:
    """A session's open conversation is found; a second one is a conflict, an open task or another session is not."""
    current = episode(is_open=True)
    others = [
        episode(is_open=True, kind=EpisodeKind.TASK),
        episode(is_open=True, scope=replace(SCOPE, session_id="s2")),
        episode(is_open=True, scope=replace(SCOPE, namespace="rival")),
        episode(),
    ]
    await stored(episodic, current, *others)
    with pytest.raises(Conflict):
        await stored(episodic, episode(is_open=True))
    async with episodic.writing() as tx:
        assert await tx.open_episode(SESSION) == current
        await tx.save_episode(replace(current, is_open=False))
        assert await tx.open_episode(SESSION) is None
        await tx.save_episode(successor := episode(is_open=True))
        assert await tx.open_episode(SESSION) == successor


async def test_idle_conversations_are_listed_oldest_first(episodic: EpisodicMemory) -> None:
    """Open conversations whose last message is older than the given time; all of them without one; nothing closed."""
    hours = [episode(is_open=True, ended_at=NOW - timedelta(hours=h), scope=replace(SCOPE, session_id=f"s{h}")) for h in range(4)]
    await stored(episodic, *hours, episode(), episode(is_open=True, kind=EpisodeKind.TASK, ended_at=NOW - timedelta(days=9)))
    async with episodic.reading() as reader:
        assert await reader.open_episodes(idle_since=None, limit=9) == (hours[3], hours[2], hours[1], hours[0])
        assert await reader.open_episodes(idle_since=NOW - timedelta(hours=1), limit=9) == (hours[3], hours[2])
        assert await reader.open_episodes(idle_since=NOW, limit=1) == (hours[3],)


async def test_episodes_are_listed_newest_first(episodic: EpisodicMemory) -> None:
    """Pages go back in time from `before`, within the scope and of the kind asked for."""
    talk, decision, older = episode(id=new_id()), episode(id=new_id(), kind=EpisodeKind.DECISION), episode(id=new_id())
    bens = episode(id=new_id(), scope=replace(SCOPE, user_id="ben"))
    await stored(episodic, older, bens, decision, talk, episode(scope=Scope("rival")))
    newest_first = sorted([talk, decision, older, bens], key=lambda e: e.id, reverse=True)
    async with episodic.reading() as reader:
        listed = await reader.list_episodes(Scope("acme"), kind=None, before=None, limit=3)
        rest = await reader.list_episodes(Scope("acme"), kind=None, before=listed[-1].id, limit=3)
        decisions = await reader.list_episodes(Scope("acme"), kind=EpisodeKind.DECISION, before=None, limit=3)
        of_ben = await reader.list_episodes(Scope("acme", user_id="ben"), kind=None, before=None, limit=3)
    assert [*listed, *rest] == newest_first
    assert (decisions, of_ben) == ((decision,), (bens,))


async def test_an_episodes_messages_are_in_order(episodic: EpisodicMemory) -> None:
    """An episode shows its own messages by rising sequence."""
    first, second, third = message(1), message(2), message(3)
    home = await filed(episodic, [third, first])
    await filed(episodic, [second])
    async with episodic.reading() as reader:
        assert await reader.episode_messages(home.id) == (first, third)
        assert await reader.episode_messages(new_id()) == ()


async def test_what_a_newer_version_wrote_is_left_out(episodic: EpisodicMemory) -> None:
    """An episode of a newer schema does not stop a page from being read; asked for by itself, it is unavailable."""
    newer, mine = episode(schema_version=SCHEMA_VERSION + 1), episode()
    await stored(episodic, newer, mine)
    async with episodic.reading() as reader:
        assert await reader.list_episodes(Scope("acme"), kind=None, before=None, limit=9) == (mine,)
        assert await reader.episodes_by_uid([newer.id, mine.id]) == (mine,)
        with pytest.raises(NewerRelease):
            await reader.episode("acme", newer.id)


async def test_steps_are_numbered_on(episodic: EpisodicMemory) -> None:
    """New steps continue the numbers from 0, in the order given, and are paged by index."""
    home = episode()
    await stored(episodic, home)
    contents = [{"n": n, "text": "line\n" * n} for n in range(4)]
    steps = tuple(EpisodeStep(n, content, NOW) for n, content in enumerate(contents))
    async with episodic.writing() as tx:
        assert await tx.append_steps(home.id, contents[:3], NOW) == steps[:3]
        assert await tx.append_steps(home.id, contents[3:], NOW) == steps[3:]
    async with episodic.reading() as reader:
        assert await reader.steps(home.id, after=-1, limit=2) == steps[:2]
        assert await reader.steps(home.id, after=1, limit=9) == steps[2:]
        assert await reader.steps(new_id(), after=-1, limit=9) == ()


async def test_the_steps_of_a_call_are_known(episodic: EpisodicMemory) -> None:
    """Which steps a named call brought can be told, in order; those of others and of no name are not among them."""
    home, other, mine = episode(), episode(), new_id()
    await stored(episodic, home, other)
    async with episodic.writing() as tx:
        await tx.append_steps(home.id, [{"n": 0}], NOW)
        await tx.append_steps(home.id, [{"n": 1}, {"n": 2}], NOW, call=mine)
        await tx.append_steps(home.id, [{"n": 3}], NOW, call=new_id())
        assert await tx.steps_of_call(home.id, mine) == (EpisodeStep(1, {"n": 1}, NOW), EpisodeStep(2, {"n": 2}, NOW))
        assert await tx.steps_of_call(other.id, mine) == ()


async def test_a_call_is_noted_once(episodic: EpisodicMemory) -> None:
    """The first note counts, with its record; a transaction that fails leaves none; expired notes go, oldest first."""
    call, record = new_id(), new_id()
    with pytest.raises(Conflict):
        await note_and_fail(episodic, call)
    async with episodic.writing() as tx:
        assert await tx.note_call(call, record, NOW) is None
        assert await tx.note_call(call, new_id(), NOW) == record
    later, latest = new_id(), new_id()
    async with episodic.writing() as tx:
        assert await tx.note_call(call, new_id(), NOW) == record
        assert await tx.note_call(latest, record, NOW + timedelta(hours=2)) is None
        assert await tx.note_call(later, record, NOW + timedelta(hours=1)) is None
    async with episodic.writing() as tx:
        assert await tx.delete_expired_calls(NOW, 9) == 0
        assert await tx.delete_expired_calls(NOW + timedelta(hours=2), 1) == 1
        assert [await tx.note_call(known, new_id(), NOW) for known in (later, latest)] == [record, record]
        assert await tx.note_call(call, record, NOW) is None


async def note_and_fail(episodic: EpisodicMemory, call: UUID) -> None:
    async with episodic.writing() as tx:
        await tx.note_call(call, new_id(), NOW)
        raise Conflict("test", "fails")


async def test_steps_need_their_episode(episodic: EpisodicMemory) -> None:
    """Steps of an episode that does not exist are refused by name."""
    with pytest.raises(NotFound):
        async with episodic.writing() as tx:
            await tx.append_steps(new_id(), [{}], NOW)


async def test_steps_appended_at_once_are_all_numbered(episodic: EpisodicMemory) -> None:
    """Writers that append to one episode at the same time neither lose nor repeat a number."""
    home = episode()
    await stored(episodic, home)

    async def append() -> None:
        async with episodic.writing() as tx:
            await tx.append_steps(home.id, [{}, {}], NOW)

    await asyncio.gather(*(append() for _ in range(8)))
    async with episodic.reading() as reader:
        assert [step.index for step in await reader.steps(home.id, after=-1, limit=99)] == list(range(16))


FULL_KNOWLEDGE = knowledge(
    kind=KnowledgeKind.STRATEGY,
    content={"do": "name a number first"},
    confidence=0.5,
    supporting_episodes=(new_id(), new_id()),
    contradicting_episodes=(new_id(),),
    times_applied=3,
    success_count=2,
    failure_count=1,
    valid_from=NOW,
    valid_to=NOW + timedelta(days=1),
    superseded_by=new_id(),
    origin=Origin.LEARNED,
    is_active=False,
    inactive_reason="retired",
    supersedes=new_id(),
    evidence_count=6,
    applied_when_activated=2,
)


async def test_knowledge_comes_back_as_it_was(episodic: EpisodicMemory) -> None:
    """Every field of a piece of knowledge survives being stored; nobody sees it from another namespace."""
    bare = knowledge(scope=Scope("acme"))
    await stored(episodic, FULL_KNOWLEDGE, bare)
    async with episodic.reading() as reader:
        assert await reader.knowledge("acme", FULL_KNOWLEDGE.id) == FULL_KNOWLEDGE
        assert await reader.knowledge("rival", FULL_KNOWLEDGE.id) is None
        assert await reader.knowledge("acme", new_id()) is None
        found = await reader.knowledge_by_uid([FULL_KNOWLEDGE.id, bare.id, new_id()])
    assert {k.id: k for k in found} == {FULL_KNOWLEDGE.id: FULL_KNOWLEDGE, bare.id: bare}


async def test_knowledge_is_replaced_but_for_its_beginning(episodic: EpisodicMemory) -> None:
    """Saving knowledge again replaces all of it but when it was first known."""
    later = knowledge("Ana moves in June", id=FULL_KNOWLEDGE.id, created_at=NOW + timedelta(days=3))
    await stored(episodic, FULL_KNOWLEDGE, later)
    async with episodic.reading() as reader:
        assert await reader.knowledge("acme", later.id) == replace(later, created_at=NOW, version=2)


async def test_knowledge_is_listed_newest_first(episodic: EpisodicMemory) -> None:
    """Pages go back in time from `before`, within the scope and of the kind asked for, superseded pieces included."""
    fact, strategy, bens = knowledge(), replace(FULL_KNOWLEDGE, id=new_id()), knowledge(scope=replace(SCOPE, user_id="ben"))
    await stored(episodic, fact, strategy, bens, knowledge(scope=Scope("rival")))
    newest_first = sorted([fact, strategy, bens], key=lambda k: k.id, reverse=True)
    async with episodic.reading() as reader:
        listed = await reader.list_knowledge(Scope("acme"), kind=None, before=None, limit=2)
        rest = await reader.list_knowledge(Scope("acme"), kind=None, before=listed[-1].id, limit=2)
        strategies = await reader.list_knowledge(Scope("acme"), kind=KnowledgeKind.STRATEGY, before=None, limit=9)
        of_ben = await reader.list_knowledge(Scope("acme", user_id="ben"), kind=None, before=None, limit=9)
    assert [*listed, *rest] == newest_first
    assert (strategies, of_ben) == ((strategy,), (bens,))
