"""The exam of tier 2: which knowledge is listed, what superseded what, and revisions."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from given import NOW, SCOPE, knowledge, stored

from app.errors import NotFound
from app.ports import EpisodicMemory
from app.records import Cause, Knowledge, KnowledgeCriteria, KnowledgeKind, Origin, Revision, Scope, new_id

DAY = timedelta(days=1)
ACME = Scope("acme")
CONDITIONAL = {"conditions": [{"field": "backlog", "op": "gt", "value": 3}]}


async def listed(episodic: EpisodicMemory, criteria: KnowledgeCriteria) -> set[str]:
    async with episodic.reading() as reader:
        found = await reader.list_knowledge(ACME, kind=None, before=None, limit=99, criteria=criteria)
    return {piece.description for piece in found}


async def test_knowledge_is_listed_by_criteria(episodic: EpisodicMemory) -> None:
    """Kinds, origin, activity, validity, confidence and conditions each narrow what is listed, alone and together."""
    pieces = [
        knowledge("plain"),
        knowledge("learned", origin=Origin.LEARNED, kind=KnowledgeKind.STRATEGY, content=CONDITIONAL),
        knowledge("retired", is_active=False, kind=KnowledgeKind.PATTERN, content={"conditions": []}),
        knowledge("over", valid_to=NOW, confidence=0.25),
        knowledge("to come", valid_from=NOW + DAY, confidence=0.5),
        knowledge("replaced", superseded_by=new_id(), content=CONDITIONAL),
    ]
    await stored(episodic, *pieces, knowledge("theirs", scope=Scope("rival")))
    criteria = [
        KnowledgeCriteria(),
        KnowledgeCriteria(kinds=(KnowledgeKind.STRATEGY, KnowledgeKind.PATTERN)),
        KnowledgeCriteria(origin=Origin.LEARNED),
        KnowledgeCriteria(is_active=False),
        KnowledgeCriteria(holds_at=NOW),
        KnowledgeCriteria(holds_at=NOW - DAY),
        KnowledgeCriteria(min_confidence=0.5),
        KnowledgeCriteria(has_conditions=True),
        KnowledgeCriteria(has_conditions=False, is_active=True, holds_at=NOW + DAY, min_confidence=0.5),
    ]
    for asked in criteria:
        assert await listed(episodic, asked) == {piece.description for piece in pieces if asked.admits(piece)}


async def chain(episodic: EpisodicMemory, knowledge_id: UUID, limit: int = 9) -> tuple[Knowledge, ...]:
    async with episodic.reading() as reader:
        return await reader.knowledge_chain("acme", knowledge_id, limit)


async def test_a_chain_is_found_from_each_of_its_links(episodic: EpisodicMemory) -> None:
    """Oldest first, whichever piece one begins with, so many on each side, and never out of the namespace."""
    ids = [new_id() for _ in range(4)]
    links = zip([None, *ids], ids, [*ids[1:], None], strict=False)
    pieces = tuple(knowledge(f"{i}", id=i, supersedes=older, superseded_by=newer) for older, i, newer in links)
    alone = knowledge("alone", supersedes=new_id())
    await stored(episodic, *pieces[::-1], alone)
    assert [await chain(episodic, piece.id) for piece in pieces] == [pieces] * 4
    assert await chain(episodic, ids[1], limit=1) == pieces[:3]
    assert (await chain(episodic, alone.id), await chain(episodic, new_id())) == ((alone,), ())
    async with episodic.reading() as reader:
        assert await reader.knowledge_chain("rival", ids[0], 9) == ()


async def test_a_ring_ends_a_chain(episodic: EpisodicMemory) -> None:
    """Damaged links that lead back to where they began are followed once."""
    one, other = knowledge("one"), knowledge("other")
    one, other = replace(one, superseded_by=other.id), replace(other, superseded_by=one.id, supersedes=one.id)
    await stored(episodic, one, other)
    assert {piece.description for piece in await chain(episodic, one.id)} == {"one", "other"}


async def test_revisions_are_numbered_and_paged(episodic: EpisodicMemory) -> None:
    """They count from 1 for each piece, in the order in which they were added."""
    fact, other = knowledge(), knowledge()
    await stored(episodic, fact, other)
    expected = tuple(Revision(n, NOW + n * DAY, cause, {"n": n}) for n, cause in enumerate(Cause, start=1))
    async with episodic.writing() as tx:
        added = [await tx.add_revision(fact.id, r.cause, r.changes, r.recorded_at) for r in expected]
        assert await tx.add_revision(other.id, Cause.STORED, {}, NOW) == Revision(1, NOW, Cause.STORED, {})
    assert tuple(added) == expected
    async with episodic.reading() as reader:
        assert await reader.revisions(fact.id, after=0, limit=4) == expected[:4]
        assert await reader.revisions(fact.id, after=4, limit=4) == expected[4:]
        assert await reader.revisions(new_id(), after=0, limit=4) == ()


async def test_a_revision_needs_its_piece(episodic: EpisodicMemory) -> None:
    """Nothing can be changed about what is not there."""
    with pytest.raises(NotFound):
        async with episodic.writing() as tx:
            await tx.add_revision(new_id(), Cause.CHANGED, {}, NOW)


async def test_revisions_added_at_once_are_all_numbered(episodic: EpisodicMemory) -> None:
    """Writers that change one piece at the same time neither lose nor repeat a number."""
    fact = knowledge()
    await stored(episodic, fact)

    async def add() -> None:
        async with episodic.writing() as tx:
            await tx.add_revision(fact.id, Cause.APPLIED, {}, NOW)

    await asyncio.gather(*(add() for _ in range(8)))
    async with episodic.reading() as reader:
        assert [r.number for r in await reader.revisions(fact.id, after=0, limit=99)] == list(range(1, 9))


async def test_revisions_go_with_their_piece(episodic: EpisodicMemory) -> None:
    """What is forgotten leaves no copy of what it once said."""
    fact = knowledge(scope=replace(SCOPE, user_id="ben"))
    await stored(episodic, fact)
    async with episodic.writing() as tx:
        await tx.add_revision(fact.id, Cause.STORED, {"description": "Ben snores"}, NOW)
        await tx.forget(Scope("acme", user_id="ben"))
    async with episodic.reading() as reader:
        assert await reader.revisions(fact.id, after=0, limit=9) == ()
