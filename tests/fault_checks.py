"""What must hold once everything has settled, whatever happened before: looked at from outside, on in-process engines."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from uuid import UUID

from factories import Tiers, episodes_of, history_of, recall_of
from fault_talk import Said, Talk, contents, expected_history

from app.records import Episode, Message, Query, RecordKind, Scope, SessionKey


async def check_talk(tiers: Tiers, talk: Talk) -> None:
    """Each promise kept once and in order, nothing half there, nothing forgotten seen again."""
    messages = await history_of(tiers, talk.session)
    assert [m.id for m in messages] == expected_history(talk, [m.id for m in messages]), _account(talk, messages)
    assert {m.id: m.content for m in messages}.items() <= contents(talk).items()
    assert all(before.sequence < after.sequence for before, after in pairwise(messages))
    assert await tiers.working.unsettled(talk.session, 1) == ()
    await _check_episodes(tiers, talk.session, messages)
    await _check_search(tiers, talk)


def _account(talk: Talk, messages: Sequence[Message]) -> str:
    """Each message that is there, and what its client knows of it."""
    known = {said.id: "acknowledged" for said in talk.acknowledged} | {said.id: "FORGOTTEN" for said in talk.forgotten}
    known |= {said.id: f"doubtful {n}" for n, batch in enumerate(talk.doubtful) for said in batch}
    missing = [str(said.id) for said in talk.acknowledged if said.id not in {m.id for m in messages}]
    there = [f"{m.sequence} {m.id} {known.get(m.id, 'UNKNOWN')}" for m in messages]
    return "\n".join([f"{talk.session} holds", *there, f"and lacks {missing}"])


async def _check_episodes(tiers: Tiers, session: SessionKey, messages: Sequence[Message]) -> None:
    episodes = sorted(await _episodes(tiers, session), key=lambda e: e.first_sequence)
    async with tiers.episodic.reading() as reader:
        homes = [await reader.episode_messages(e.id) for e in episodes]
    assert [m.uid for home in homes for m in home] == [m.uid for m in messages]
    counted = [(e.message_count, e.first_sequence, e.last_sequence) for e in episodes]
    assert counted == [(len(home), home[0].sequence, home[-1].sequence) for home in homes]
    assert sum(e.is_open for e in episodes) <= 1


async def _episodes(tiers: Tiers, session: SessionKey) -> tuple[Episode, ...]:
    return await episodes_of(tiers, Scope(session.namespace, session_id=session.session_id))


async def _check_search(tiers: Tiers, talk: Talk) -> None:
    """A word nobody else said finds its message, once; a forgotten one finds nothing."""
    for said in _some(talk.acknowledged):
        assert await _found(tiers, talk, said.word) == [said.id]
    for said in _some(talk.forgotten):
        assert await _found(tiers, talk, said.word) == []


def _some(items: Sequence[Said]) -> Sequence[Said]:
    return items[:: max(1, len(items) // 3)]


async def _found(tiers: Tiers, talk: Talk, word: str) -> list[UUID]:
    query = Query(word, Scope(talk.session.namespace), kinds=(RecordKind.MESSAGE,), limit=100)
    recollection = await recall_of(tiers).recall(query)
    assert recollection.degraded == ()
    return [hit.id for hit in recollection.hits if word in hit.text]


async def indexable(tiers: Tiers, sessions: Sequence[SessionKey]) -> set[UUID]:
    """The records of these sessions that must be in the index, and be all of theirs that is there."""
    uids: set[UUID] = set()
    for session in sessions:
        uids |= {m.uid for m in await history_of(tiers, session)}
        uids |= {e.id for e in await _episodes(tiers, session) if not e.is_open}
    return uids


async def indexed(tiers: Tiers) -> set[UUID]:
    """All points there are."""
    return {point.uid for point in await tiers.semantic.scroll(tiers.embedder.space, limit=100_000)}
