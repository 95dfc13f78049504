"""The exam of tier 2, last part: what moving a namespace asks of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from given import NOW, SCOPE, episode, filed, knowledge, message, stored

from app.ports import EpisodicMemory, FiledMessage
from app.records import Scope, SessionKey, SessionState, new_id


async def test_sessions_are_paged_by_id(episodic: EpisodicMemory) -> None:
    """A namespace's sessions come in the order of their ids, each once, and no other namespace's."""
    keys = [SessionKey("acme", name) for name in ("s1", "s10", "s2", "s3")]
    async with episodic.writing() as tx:
        for key in [*reversed(keys), SessionKey("rival", "s1")]:
            await tx.save_session(key, state=SessionState(goal=key.session_id), last_message_at=None, now=NOW)
    async with episodic.reading() as reader:
        first = await reader.list_sessions("acme", after="", limit=3)
        second = await reader.list_sessions("acme", after=first[-1].session.session_id, limit=3)
        third = await reader.list_sessions("acme", after=second[-1].session.session_id, limit=3)
    assert [record.session for record in (*first, *second)] == keys
    assert [record.state.goal for record in first] == ["s1", "s10", "s2"]
    assert third == ()


async def test_messages_are_paged_session_by_session(episodic: EpisodicMemory) -> None:
    """A namespace's messages come session by session, each by rising sequence, with their episodes, and no other's."""
    here = [message(n) for n in (1, 2, 7)]
    there = [message(n, scope=replace(SCOPE, session_id="s2")) for n in (3, 4)]
    rival = message(1, scope=Scope("rival", session_id="s1"))
    homes = [await filed(episodic, messages) for messages in (there, here, [rival])]
    async with episodic.reading() as reader:
        first = await reader.list_messages("acme", after=("", 0), limit=4)
        second = await reader.list_messages("acme", after=("s2", 3), limit=4)
    assert first == (*(FiledMessage(m, homes[1].id) for m in here), FiledMessage(there[0], homes[0].id))
    assert second == (FiledMessage(there[1], homes[0].id),)


async def test_episodes_are_recounted_by_their_messages(episodic: EpisodicMemory) -> None:
    """Counts, sequences and times follow the messages; what was made from them, and episodes without any, stay."""
    wrong = episode(message_count=9, token_count=9, first_sequence=9, last_sequence=9, metadata={"a": 1}, quality=0.5)
    task = episode(summary="no messages")
    early, late = message(4, "one two", created_at=NOW + timedelta(days=2)), message(6, "three", created_at=NOW)
    await filed(episodic, [early, late], wrong)
    await stored(episodic, task)
    async with episodic.writing() as tx:
        await tx.recount_episodes([wrong.id, task.id, new_id()])
        await tx.recount_episodes([])
    async with episodic.reading() as reader:
        assert await reader.episode("acme", wrong.id) == replace(
            wrong, message_count=2, token_count=3, first_sequence=4, last_sequence=6, started_at=NOW,
            ended_at=NOW + timedelta(days=2),
        )  # fmt: skip
        assert await reader.episode("acme", task.id) == task


async def test_a_frozen_reader_sees_one_moment(episodic: EpisodicMemory) -> None:
    """What is committed after its first look is not seen by a second one; what was deleted is still there."""
    kept, gone = knowledge("kept"), knowledge("gone")
    await stored(episodic, kept, gone)
    async with episodic.frozen() as reader:
        before = await reader.list_knowledge(Scope("acme"), kind=None, before=None, limit=9)
        await stored(episodic, knowledge("new"))
        async with episodic.writing() as tx:
            await tx.forget(Scope("acme", user_id="ana"))
        assert await reader.list_knowledge(Scope("acme"), kind=None, before=None, limit=9) == before == (gone, kept)
        assert len(await reader.list_sessions("acme", after="", limit=9)) == 0
