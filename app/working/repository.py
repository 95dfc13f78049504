"""`WorkingMemory` on Redis or Valkey, one server or a cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final, TypeVar
from uuid import UUID

import structlog

from app.breakers import Guard
from app.errors import Conflict, IdTaken, NewerRelease, Unreadable, VersionMismatch
from app.faultpoints import FaultPoint, reached
from app.lineage import Damaged, NewerVersion
from app.ports import Backlog, Clock, Erasure, Settlement, Window
from app.records import Appended, LoggedEpisode, Message, Scope, SessionKey, SessionState, utc_now
from app.working import scripts
from app.working.calls import Call, answer, calling, guard_of, run, run_then
from app.working.client import Client
from app.working.codec import (
    decode_episode,
    decode_scratch,
    decode_state,
    encode_episode,
    encode_message,
    encode_scratch,
    encode_state,
)
from app.working.entries import Entry, note_unread, readable, sorted_out
from app.working.erasing import count_in, erase_in
from app.working.keys import (
    PARTITIONS,
    SessionKeys,
    dirty_key,
    episode_keys,
    episodes_key,
    index_key,
    malformed_counts_key,
    match_namespace,
    session_keys,
    session_of_key,
    session_of_listed,
    session_of_member,
    unreleased_key,
)
from app.working.together import Together
from app.working.window import Waiting, backlog, from_microseconds, narrows_within_session, newest, to_microseconds, window

_T = TypeVar("_T")

log = structlog.get_logger(__name__)

_LISTED_SESSIONS: Final = 1000
"""A search looks at no more sessions of a namespace than these, the last appended to first."""
_SESSIONS_A_ROUND: Final = 16
_WHOLE_TAIL: Final = 10_000
"""Messages of one session looked at when the scope admits some of them only."""
_METAS_A_ROUND: Final = 500
_EPISODES_A_PAGE: Final = 100
_MILLISECOND: Final = timedelta(milliseconds=1)


class RedisRepository:
    """Conversation buffers, session state and scratchpads. The client is the caller's to close."""

    def __init__(self, client: Client, *, guard: Guard | None = None, clock: Clock = utc_now) -> None:
        self._client = client
        self._guard = guard or guard_of(client)
        self._clock = clock
        self._logging = Together(client, self._guard, "log_episode")

    async def ping(self) -> str:
        async with self._calling("ping"):
            info: Mapping[str, object] = await self._client.execute_command("INFO", "server")
        name = str(info.get("server_name", "redis"))
        return f"{name} {info.get(f'{name}_version', 'of unknown version')}"

    # ── messages ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def append(
        self, session: SessionKey, messages: Sequence[Message], *, floor: int | None = None
    ) -> tuple[Appended, ...] | None:
        if not messages:
            return ()
        keys, at = session_keys(session), to_microseconds(self._clock())
        call = Call(scripts.APPEND, _script_keys(keys), ["" if floor is None else floor, at, keys.member, *_packed(messages)])
        async with self._calling("append"):
            outcome, *facts = await run_then(self._client, call, *_listing(keys, at))
            await reached(FaultPoint.APPEND_SCRIPTED)
            if outcome == b"ok" and facts[0] and int(facts[0]) > at:  # our clock lags behind another's
                await self._client.execute_command(*_listing(keys, int(facts[0])))
        if outcome == b"conflict":
            raise IdTaken(int(facts[0]))
        if outcome == b"cold":
            return None
        return tuple(Appended(m.id, int(sequence)) for m, sequence in zip(messages, facts[1:], strict=True))

    async def recent(self, session: SessionKey, limit: int) -> Window:
        keys = session_keys(session)
        async with self._calling("recent"):
            base, entries = await run(self._client, Call(scripts.RECENT, (keys.messages, keys.meta), (limit,)))
        messages = readable(session, ((i, dict(zip(fields[::2], fields[1::2], strict=True))) for i, fields in reversed(entries)))
        return window(messages, base=None if base is None else int(base), limit=limit)

    async def read(self, session: SessionKey, *, after: int, limit: int) -> tuple[Message, ...]:
        if limit < 1:
            return ()
        return readable(session, await self._entries(session, after, limit))

    async def unsettled(self, session: SessionKey, limit: int) -> tuple[Message, ...]:
        async with self._calling("unsettled"):
            settled = await answer(self._client.hget(session_keys(session).meta, "settled"))
        while True:
            found = sorted_out(session, await self._entries(session, int(settled or 0), limit))
            if not found.damaged:
                break
            await self._set_aside(session, found.damaged)
        if found.newer is not None and not found.messages:
            raise NewerRelease("buffer of session", session.session_id, str(found.newer))
        return found.messages

    async def unindexed(self, scope: Scope, limit: int) -> tuple[Message, ...]:
        if scope.session_id is not None:
            return newest(await self._tail(SessionKey(scope.namespace, scope.session_id), scope, limit), scope, limit)
        found: list[Message] = []
        listed = await self._listed(scope.namespace)
        for round_ in _chunks(listed, _SESSIONS_A_ROUND):
            tails = await self._tails([session for session, _ in round_], scope, limit)
            await self._unlist([entry for entry, tail in zip(round_, tails, strict=True) if not tail])
            found += newest((m for tail in tails for m in tail), scope, limit)
            if len(found) >= limit:
                break
        return newest(found, scope, limit)

    async def settle(self, session: SessionKey, mark: Settlement, *, retain: int, ttl: timedelta) -> None:
        keys = session_keys(session)
        archived = "" if mark.state is None else mark.state.version
        arguments = (mark.through, retain, ttl // _MILLISECOND, archived, keys.member, mark.stored)
        call = Call(scripts.SETTLE, _script_keys(keys), arguments)
        async with self._calling("settle"):
            at = await run(self._client, call)
        await reached(FaultPoint.SETTLE_SCRIPTED)
        await self._unlist([(session, at)])

    async def release(self, session: SessionKey, *, through: int, retain: int) -> bool:
        keys = session_keys(session)
        async with self._calling("release"):
            is_last, at = await run(self._client, Call(scripts.RELEASE, _script_keys(keys), (through, retain, keys.member)))
        await reached(FaultPoint.RELEASE_SCRIPTED)
        await self._unlist([(session, at)])
        return bool(is_last)

    # ── state and scratchpad ──────────────────────────────────────────────────────────────────────────────────────

    async def save_state(
        self, session: SessionKey, state: SessionState, *, expected: int | None = None, floor: int | None = 0
    ) -> int | None:
        keys = session_keys(session)
        conditions = ("" if number is None else number for number in (expected, floor))
        arguments = (to_microseconds(self._clock()), keys.member, encode_state(state), *conditions)
        async with self._calling("save_state"):
            outcome, *version = await run(self._client, Call(scripts.SAVE_STATE, _script_keys(keys), arguments))
        if outcome == b"mismatch":
            raise VersionMismatch("state", int(version[0]))
        return int(version[0]) if outcome == b"ok" else None

    async def load_state(self, session: SessionKey) -> SessionState | None:
        keys = session_keys(session)
        async with self._calling("load_state"):
            found = await run(self._client, Call(scripts.LOAD_STATE, (keys.meta, keys.state)))
        if found is None:
            return None
        try:
            return decode_state(found[1], version=int(found[0]))
        except NewerVersion as error:
            raise NewerRelease("state of session", session.session_id, str(error)) from error
        except Damaged as error:
            note_unread(session, "state", error)
            await self._set_state_aside(session, found[1])
            return None

    async def write_scratch(self, session: SessionKey, key: str, value: object, ttl: timedelta) -> None:
        arguments = (key, encode_scratch(value), ttl // _MILLISECOND)
        async with self._calling("write_scratch"):
            await run(self._client, Call(scripts.WRITE_SCRATCH, (session_keys(session).scratch,), arguments))

    async def read_scratch(self, session: SessionKey) -> Mapping[str, object]:
        async with self._calling("read_scratch"):
            pad = await answer(self._client.hgetall(session_keys(session).scratch))
        return dict(_notes(session, pad))

    async def delete_scratch(self, session: SessionKey, key: str) -> bool:
        async with self._calling("delete_scratch"):
            return bool(await self._client.hdel(session_keys(session).scratch, key))

    # ── episodes logged ───────────────────────────────────────────────────────────────────────────────────────────

    async def log_episode(self, logged: LoggedEpisode) -> None:
        keys = episode_keys(logged.namespace, logged.episode.id)
        encoded, digest = encode_episode(logged)
        is_there = await self._logging.run(Call(scripts.LOG_EPISODE, (keys.stream, keys.ids), (keys.member, digest, encoded)))
        if not is_there:
            raise Conflict("id", "is taken by an episode with other content")

    async def logged_episode(self, namespace: str, episode_id: UUID) -> LoggedEpisode | None:
        keys = episode_keys(namespace, episode_id)
        async with self._calling("logged_episode"):
            raw = await run(self._client, Call(scripts.FIND_EPISODE, (keys.stream, keys.ids), (keys.member,)))
        try:
            return None if raw is None else decode_episode(raw)
        except NewerVersion as error:
            raise NewerRelease("logged episode", str(episode_id), str(error)) from error
        except Damaged as error:
            raise Unreadable("logged episode", str(episode_id), str(error)) from error

    async def logged_episodes(self, *, namespace: str | None = None) -> AsyncIterator[Sequence[LoggedEpisode]]:
        after = dict.fromkeys(range(PARTITIONS), "-")
        while after:
            for partition, entries in (await self._pages(after)).items():
                if batch := _readable(entries, namespace):
                    yield batch
                if len(entries) < _EPISODES_A_PAGE:
                    del after[partition]
                else:
                    after[partition] = f"({entries[-1][0].decode()}"

    async def settle_episodes(self, logged: Sequence[LoggedEpisode]) -> None:
        await self._drop_episodes(logged)

    async def forget_episodes(self, scope: Scope) -> int:
        return await self._drop_admitted(scope.namespace, lambda logged: scope.admits(logged.episode.scope))

    # ── sessions ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def dirty_sessions(self, limit: int, *, namespace: str | None = None) -> tuple[SessionKey, ...]:
        return await self._longest_waiting(dirty_key, limit, namespace)

    async def unreleased_sessions(self, limit: int, *, namespace: str | None = None) -> tuple[SessionKey, ...]:
        return await self._longest_waiting(unreleased_key, limit, namespace)

    async def erase(self, erasure: Erasure) -> int:
        erased = await self._drop_admitted(erasure.scope.namespace, erasure.covers)
        for session in await self._sessions_with(erasure):
            count, at = await erase_in(self._client, self._guard, session, erasure)
            await self._unlist([(session, at)])
            erased += count
        return erased

    async def count(self, scope: Scope) -> int:
        batches = [batch async for batch in self.logged_episodes(namespace=scope.namespace)]
        logged = sum(scope.admits(one.episode.scope) for batch in batches for one in batch)
        sessions = await self._sessions_in(scope)
        return logged + sum([await count_in(self._client, self._guard, session, scope) for session in sessions])

    async def sessions_of(self, namespace: str) -> tuple[SessionKey, ...]:
        async with self._calling("sessions_of"):
            keys = self._client.scan_iter(match=match_namespace(namespace), count=1000)
            return tuple(sorted({session_of_key(key.decode()) async for key in keys}))

    async def backlog(self) -> Backlog:
        waiting: list[Waiting] = []
        for round_ in _chunks(await self._queue(dirty_key), _METAS_A_ROUND):
            waiting += await self._waiting(round_)
        return replace(backlog(waiting), malformed=await self._malformed(), episodes=await self._count_episodes())

    def _calling(self, operation: str) -> AbstractAsyncContextManager[None]:
        return calling(self._guard, operation)

    # ── parts ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _sessions_in(self, scope: Scope) -> Sequence[SessionKey]:
        if scope.session_id is not None:
            return (SessionKey(scope.namespace, scope.session_id),)
        return await self.sessions_of(scope.namespace)

    async def _sessions_with(self, erasure: Erasure) -> Sequence[SessionKey]:
        """Named records without a session are logged episodes: they are in no session."""
        is_of_episodes = erasure.ids is not None and erasure.scope.session_id is None
        return () if is_of_episodes else await self._sessions_in(erasure.scope)

    async def _drop_admitted(self, namespace: str, is_going: Callable[[LoggedEpisode], bool]) -> int:
        batches = [batch async for batch in self.logged_episodes(namespace=namespace)]
        return await self._drop_episodes([logged for batch in batches for logged in batch if is_going(logged)])

    async def _entries(self, session: SessionKey, after: int, limit: int) -> Sequence[Entry]:
        async with self._calling("read"):
            entries: Sequence[Entry] = await answer(
                self._client.xrange(session_keys(session).messages, min=str(after + 1), count=limit)
            )
        return entries

    async def _set_aside(self, session: SessionKey, damaged: Iterable[int]) -> None:
        keys = session_keys(session)
        involved = (keys.messages, keys.ids, keys.malformed, keys.malformed_counts)
        async with self._calling("set_aside"):
            for sequence in damaged:
                await run(self._client, Call(scripts.SET_ASIDE, involved, (keys.member, sequence)))

    async def _set_state_aside(self, session: SessionKey, raw: bytes) -> None:
        keys = session_keys(session)
        involved = (keys.meta, keys.state, keys.malformed, keys.malformed_counts)
        async with self._calling("set_aside"):
            await run(self._client, Call(scripts.SET_STATE_ASIDE, involved, (keys.member, raw)))

    async def _malformed(self) -> int:
        """How many entries were set aside, in all sessions."""
        pipeline = self._client.pipeline(transaction=False)
        for partition in range(PARTITIONS):
            pipeline.hvals(malformed_counts_key(partition))
        async with self._calling("backlog"):
            partitions = await pipeline.execute()
        return sum(int(count) for counts in partitions for count in counts)

    async def _longest_waiting(self, key: Callable[[int], str], limit: int, namespace: str | None) -> tuple[SessionKey, ...]:
        waiting = await self._queue(key, limit if namespace is None else None)
        return tuple(session for session, _ in waiting if namespace in {None, session.namespace})[:limit]

    async def _queue(self, key: Callable[[int], str], limit: int | None = None) -> list[tuple[SessionKey, float]]:
        """The sessions in the partitions' sets, each with since when, the longest-waiting first; `limit` a partition."""
        pipeline = self._client.pipeline(transaction=False)
        for partition in range(PARTITIONS):
            pipeline.zrange(key(partition), 0, -1 if limit is None else limit - 1, withscores=True)
        async with self._calling("queue"):
            partitions = await pipeline.execute()
        members = sorted((entry for partition in partitions for entry in partition), key=lambda entry: entry[1])
        return [(session_of_member(member.decode()), since) for member, since in members]

    async def _pages(self, after: Mapping[int, str]) -> dict[int, list[tuple[bytes, dict[bytes, bytes]]]]:
        """The next entries of each partition's episodes, in one round trip."""
        pipeline = self._client.pipeline(transaction=False)
        for partition, start in after.items():
            pipeline.xrange(episodes_key(partition), min=start, count=_EPISODES_A_PAGE)
        async with self._calling("logged_episodes"):
            return dict(zip(after, await pipeline.execute(), strict=True))

    async def _drop_episodes(self, logged: Sequence[LoggedEpisode]) -> int:
        members: dict[tuple[str, str], list[str]] = {}
        for keys in (episode_keys(one.namespace, one.episode.id) for one in logged):
            members.setdefault((keys.stream, keys.ids), []).append(keys.member)
        async with self._calling("drop_episodes"):
            return sum([int(await run(self._client, Call(scripts.SETTLE_EPISODES, k, m))) for k, m in members.items()])

    async def _count_episodes(self) -> int:
        pipeline = self._client.pipeline(transaction=False)
        for partition in range(PARTITIONS):
            pipeline.xlen(episodes_key(partition))
        async with self._calling("backlog"):
            return sum(await pipeline.execute())

    async def _waiting(self, dirty: Sequence[tuple[SessionKey, float]]) -> list[Waiting]:
        pipeline = self._client.pipeline(transaction=False)
        for session, _ in dirty:
            pipeline.hmget(session_keys(session).meta, ["last", "settled", "unarchived"])
        async with self._calling("backlog"):
            metas = await pipeline.execute()
        return [
            Waiting(from_microseconds(since), int(last or 0) - int(settled or 0), unarchived is not None)
            for (_, since), (last, settled, unarchived) in zip(dirty, metas, strict=True)
        ]

    async def _listed(self, namespace: str) -> list[tuple[SessionKey, float]]:
        """Sessions that may have unindexed messages, the last appended to first, each with when that was."""
        async with self._calling("unindexed"):
            members = await answer(self._client.zrevrange(index_key(namespace), 0, _LISTED_SESSIONS - 1, withscores=True))
        return [(session_of_listed(namespace, member.decode()), at) for member, at in members]

    async def _tail(self, session: SessionKey, scope: Scope, limit: int) -> list[Message]:
        return (await self._tails([session], scope, limit))[0]

    async def _tails(self, sessions: Sequence[SessionKey], scope: Scope, limit: int) -> list[list[Message]]:
        """For each session its newest unindexed messages, newest first."""
        count = _WHOLE_TAIL if narrows_within_session(scope) else limit
        pipeline = self._client.pipeline(transaction=False)
        for keys in map(session_keys, sessions):
            pipeline.hget(keys.meta, "released")
            pipeline.xrevrange(keys.messages, count=count)
        async with self._calling("unindexed"):
            answers = await pipeline.execute()
        return [
            _above(int(released or 0), session, entries)
            for session, released, entries in zip(sessions, answers[::2], answers[1::2], strict=True)
        ]

    async def _unlist(self, seen: Iterable[tuple[SessionKey, float | bytes | None]]) -> None:
        """Take sessions out of their namespace's index, but for those appended to after what was seen of them."""
        async with self._calling("unlist"):
            for session, at in seen:
                if at is not None:
                    keys = session_keys(session)
                    score = at if isinstance(at, bytes) else f"{at:.0f}"
                    await run(self._client, Call(scripts.UNLIST, (keys.index,), (keys.listed, score)))


def _readable(entries: Sequence[tuple[bytes, Mapping[bytes, bytes]]], namespace: str | None) -> list[LoggedEpisode]:
    """What another release wrote stays where it is, and keeps nothing behind it waiting."""
    readable = []
    for entry_id, found in entries:
        try:
            logged = decode_episode(found.get(b"e", b""))
        except (Damaged, NewerVersion) as error:
            log.warning("logged_episode_unreadable", entry=entry_id.decode(), problem=type(error).__name__)
        else:
            readable.append(logged)
    return [logged for logged in readable if namespace in {None, logged.namespace}]


def _script_keys(keys: SessionKeys) -> tuple[str, ...]:
    return keys.messages, keys.meta, keys.ids, keys.state, keys.dirty, keys.unreleased


def _packed(messages: Sequence[Message]) -> Iterable[str | bytes]:
    for message in messages:
        yield from (str(message.id), message.content_sha256[:32], encode_message(message))


def _listing(keys: SessionKeys, at: int) -> tuple[Any, ...]:
    """The command that puts a session into its namespace's index; GT, so that two appends may arrive in any order."""
    return ("ZADD", keys.index, "GT", at, keys.listed)


def _notes(session: SessionKey, pad: Mapping[bytes, bytes]) -> Iterable[tuple[str, object]]:
    for key, raw in pad.items():
        try:
            yield key.decode(), decode_scratch(raw)
        except ValueError as error:
            note_unread(session, "scratchpad", error)


def _above(released: int, session: SessionKey, entries: Sequence[Entry]) -> list[Message]:
    return [message for message in readable(session, entries) if message.sequence > released]


def _chunks(items: Sequence[_T], size: int) -> Iterable[Sequence[_T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
