"""Erasing and counting what a scope admits, session by session."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from app.breakers import Guard
from app.ports import Erasure
from app.records import Message, Scope, SessionKey
from app.working import scripts
from app.working.calls import Call, answer, calling, run
from app.working.client import Client
from app.working.entries import Entry, id_of, readable, sequence_of
from app.working.keys import session_keys
from app.working.window import narrows_within_session, to_microseconds

_ENTRIES_A_ROUND: Final = 1000


async def erase_in(client: Client, guard: Guard, session: SessionKey, erasure: Erasure) -> tuple[int, bytes | None]:
    """Erase in one session; how many messages went, and when the newest append was if nothing is left of the session."""
    if erasure.ids is not None:
        return await _erase(client, guard, session, [str(i) for i in erasure.ids], erasure), None
    if narrows_within_session(erasure.scope):
        admitted = [str(m.id) async for m in _messages(client, guard, session) if erasure.scope.admits(m.scope)]
        return await _erase(client, guard, session, admitted, erasure), None
    return await _forget(client, guard, session, erasure)


async def count_in(client: Client, guard: Guard, session: SessionKey, scope: Scope) -> int:
    """What `scope` admits of one session: messages, and, where it does not narrow within it, all else there is."""
    if narrows_within_session(scope):
        return len([m async for m in _messages(client, guard, session) if scope.admits(m.scope)])
    keys = session_keys(session)
    pipeline = client.pipeline(transaction=False)
    pipeline.xlen(keys.messages)
    pipeline.xlen(keys.malformed)
    pipeline.exists(keys.state)
    pipeline.exists(keys.scratch)
    async with calling(guard, "count"):
        return sum(await pipeline.execute())


async def _forget(client: Client, guard: Guard, session: SessionKey, erasure: Erasure) -> tuple[int, bytes | None]:
    keys, before = session_keys(session), _before(erasure)
    whole = (
        keys.messages, keys.meta, keys.ids, keys.state, keys.dirty, keys.unreleased,
        keys.scratch, keys.malformed, keys.malformed_counts,
    )  # fmt: skip
    async with calling(guard, "forget_session"):
        count, *at = await run(client, Call(scripts.FORGET, whole, (keys.member, before)))
    if count >= 0:
        return int(count), at[0]
    older = [id_of(entry) async for entry in _entries(client, guard, session)]
    notes = (keys.meta, keys.state, keys.scratch, keys.malformed, keys.malformed_counts)
    async with calling(guard, "erase_notes"):
        await run(client, Call(scripts.ERASE_NOTES, notes, (keys.member, before)))
    return await _erase(client, guard, session, older, erasure), None


async def _erase(client: Client, guard: Guard, session: SessionKey, ids: Sequence[str], erasure: Erasure) -> int:
    keys = session_keys(session)
    erased = 0
    for start in range(0, len(ids), _ENTRIES_A_ROUND):
        arguments = (_before(erasure), *ids[start : start + _ENTRIES_A_ROUND])
        async with calling(guard, "erase"):
            erased += await run(client, Call(scripts.ERASE, (keys.messages, keys.meta, keys.ids), arguments))
    return erased


async def _messages(client: Client, guard: Guard, session: SessionKey) -> AsyncIterator[Message]:
    async for entry in _entries(client, guard, session):
        for message in readable(session, [entry]):
            yield message


async def _entries(client: Client, guard: Guard, session: SessionKey) -> AsyncIterator[Entry]:
    """Every entry of the buffer, in order."""
    after = 0
    while True:
        async with calling(guard, "entries"):
            page: Any = await answer(client.xrange(session_keys(session).messages, min=str(after + 1), count=_ENTRIES_A_ROUND))
        for entry in page:
            yield entry
        if len(page) < _ENTRIES_A_ROUND:
            return
        after = sequence_of(page[-1])


def _before(erasure: Erasure) -> int | str:
    return "" if erasure.before is None else to_microseconds(erasure.before)
