"""The in-memory twin of `WorkingMemory`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from app.errors import Conflict, IdTaken, VersionMismatch
from app.ports import Backlog, Clock, Settlement, Window
from app.records import Appended, LoggedEpisode, Message, Scope, SessionKey, SessionState, utc_now


@dataclass(slots=True)
class _Session:
    """One session's buffer. `last` is None until the first append; see `app.working.scripts` for the other numbers."""

    messages: dict[UUID, Message] = field(default_factory=dict)
    last: int | None = None
    settled: int = 0
    released: int = 0
    base: int = 0
    state: SessionState | None = None
    is_archived: bool = True
    dirty_since: datetime | None = None
    unreleased_since: datetime | None = None
    expires_at: datetime | None = None

    @property
    def version(self) -> int | None:
        return None if self.state is None else self.state.version

    @property
    def undrained(self) -> int:
        return (self.last or 0) - self.settled

    @property
    def is_drained(self) -> bool:
        return self.undrained == 0 and self.is_archived

    @property
    def is_released(self) -> bool:
        return (self.last or 0) <= self.released

    def touch(self, now: datetime) -> None:
        self.dirty_since = self.dirty_since or now
        self.expires_at = None

    def raise_to(self, floor: int) -> None:
        if floor > (self.last or 0):
            self.last = self.settled = self.base = floor

    def finish(self, retain: int, now: datetime) -> None:
        """Drop what may go, and note what the session still waits for."""
        through = min(self.settled, self.released, (self.last or 0) - retain)
        if any(m.sequence <= through for m in self.messages.values()):
            self.base = max(self.base, through)
        self.messages = {i: m for i, m in self.messages.items() if m.sequence > through}
        is_waiting = self.released < self.settled
        self.unreleased_since = (self.unreleased_since or self.dirty_since or now) if is_waiting else None
        self.dirty_since = None if self.is_drained else self.dirty_since


@dataclass(slots=True)
class _Pad:
    values: dict[str, object] = field(default_factory=dict)
    expires_at: datetime | None = None


class InMemoryWorkingMemory:
    """Keeps everything in this process; sits the same exam as the engines. `clock` decides what has expired."""

    def __init__(self, clock: Clock = utc_now) -> None:
        self._clock = clock
        self._sessions: dict[SessionKey, _Session] = {}
        self._pads: dict[SessionKey, _Pad] = {}
        self._logged: dict[tuple[str, UUID], LoggedEpisode] = {}

    async def ping(self) -> str:
        return "in-memory working tier"

    async def append(
        self, session: SessionKey, messages: Sequence[Message], *, floor: int | None = None
    ) -> tuple[Appended, ...] | None:
        if not messages:
            return ()
        known = self._known(session)
        if known.last is None and floor is None:
            return None
        fresh = _fresh(known, messages)
        buffer = self._sessions.setdefault(session, known)
        if buffer.last is None:
            buffer.last = buffer.settled = buffer.released = buffer.base = floor or 0
        for message in fresh:
            buffer.last += 1
            buffer.messages[message.id] = message.numbered(buffer.last)
        if fresh:
            buffer.touch(self._clock())
        return tuple(Appended(m.id, buffer.messages[m.id].sequence) for m in messages)

    async def recent(self, session: SessionKey, limit: int) -> Window:
        buffer = self._known(session)
        messages = tuple(buffer.messages.values())[-limit:] if limit > 0 else ()
        is_full = len(messages) >= limit and all(m.sequence > buffer.base for m in messages)
        return Window(messages, is_complete=buffer.last is not None and (buffer.base == 0 or is_full))

    async def read(self, session: SessionKey, *, after: int, limit: int) -> tuple[Message, ...]:
        return tuple(m for m in self._known(session).messages.values() if m.sequence > after)[:limit]

    async def unsettled(self, session: SessionKey, limit: int) -> tuple[Message, ...]:
        return await self.read(session, after=self._known(session).settled, limit=limit)

    async def unindexed(self, scope: Scope, limit: int) -> tuple[Message, ...]:
        buffers = [self._known(session) for session in tuple(self._sessions)]
        waiting = [m for b in buffers for m in b.messages.values() if m.sequence > b.released and scope.admits(m.scope)]
        return tuple(sorted(waiting, key=lambda m: (m.created_at, m.sequence), reverse=True)[:limit])

    async def dirty_sessions(self, limit: int, *, namespace: str | None = None) -> tuple[SessionKey, ...]:
        return _longest_waiting({s: b.dirty_since for s, b in self._sessions.items()}, namespace)[:limit]

    async def unreleased_sessions(self, limit: int, *, namespace: str | None = None) -> tuple[SessionKey, ...]:
        return _longest_waiting({s: b.unreleased_since for s, b in self._sessions.items()}, namespace)[:limit]

    async def settle(self, session: SessionKey, mark: Settlement, *, retain: int, ttl: timedelta) -> None:
        buffer = self._known(session)
        if buffer.last is not None:
            buffer.settled = max(buffer.settled, min(mark.through, buffer.last))
            if buffer.undrained == 0:
                buffer.raise_to(max(mark.through, mark.stored))
        buffer.is_archived = buffer.is_archived or (mark.state is not None and buffer.version == mark.state.version)
        buffer.finish(retain, self._clock())
        if buffer.is_drained:
            buffer.expires_at = self._clock() + ttl

    async def release(self, session: SessionKey, *, through: int, retain: int) -> bool:
        buffer = self._known(session)
        was_released = buffer.is_released
        buffer.released = min(buffer.last or 0, max(buffer.released, through))
        buffer.finish(retain, self._clock())
        return buffer.is_released and not was_released

    async def save_state(
        self, session: SessionKey, state: SessionState, *, expected: int | None = None, floor: int | None = 0
    ) -> int | None:
        known = self._known(session)
        if known.version is None and floor is None:
            return None
        current = max(known.version or 0, floor or 0)
        if expected not in {None, current}:
            raise VersionMismatch("state", current)
        buffer = self._sessions.setdefault(session, known)
        buffer.state, buffer.is_archived = replace(state, version=current + 1), False
        buffer.touch(self._clock())
        return current + 1

    async def load_state(self, session: SessionKey) -> SessionState | None:
        return self._known(session).state

    async def write_scratch(self, session: SessionKey, key: str, value: object, ttl: timedelta) -> None:
        pad = self._pads.setdefault(session, self._pad(session))
        pad.values[key] = value
        pad.expires_at = self._clock() + ttl

    async def read_scratch(self, session: SessionKey) -> Mapping[str, object]:
        return dict(self._pad(session).values)

    async def delete_scratch(self, session: SessionKey, key: str) -> bool:
        return self._pad(session).values.pop(key, _ABSENT) is not _ABSENT

    async def log_episode(self, logged: LoggedEpisode) -> None:
        known = self._logged.setdefault((logged.namespace, logged.episode.id), logged)
        if (known.episode, known.steps) != (logged.episode, logged.steps):
            raise Conflict("id", "is taken by an episode with other content")

    async def logged_episode(self, namespace: str, episode_id: UUID) -> LoggedEpisode | None:
        return self._logged.get((namespace, episode_id))

    async def logged_episodes(self, *, namespace: str | None = None) -> AsyncIterator[Sequence[LoggedEpisode]]:
        wanted = [logged for logged in self._logged.values() if namespace in {None, logged.namespace}]
        for start in range(0, len(wanted), _EPISODES_A_BATCH):
            yield wanted[start : start + _EPISODES_A_BATCH]

    async def settle_episodes(self, logged: Sequence[LoggedEpisode]) -> None:
        for one in logged:
            self._logged.pop((one.namespace, one.episode.id), None)

    async def forget_episodes(self, scope: Scope) -> int:
        forgotten = [one for one in self._logged.values() if scope.admits(one.episode.scope)]
        await self.settle_episodes(forgotten)
        return len(forgotten)

    async def forget_session(self, session: SessionKey) -> int:
        self._pads.pop(session, None)
        return len(self._sessions.pop(session, _Session()).messages)

    async def sessions_of(self, namespace: str) -> tuple[SessionKey, ...]:
        buffered = {s for s in tuple(self._sessions) if self._known(s).last is not None or self._known(s).state}
        noted = {s for s in tuple(self._pads) if self._pad(s).values}
        return tuple(sorted(s for s in buffered | noted if s.namespace == namespace))

    async def backlog(self) -> Backlog:
        waiting = [b for b in self._sessions.values() if not b.is_drained]
        oldest = min((b.dirty_since for b in waiting if b.dirty_since), default=None)
        return Backlog(len(waiting), sum(b.undrained for b in waiting), oldest, len(self._logged))

    def _known(self, session: SessionKey) -> _Session:
        """The session's buffer, or an empty one that is not kept."""
        buffer = self._sessions.get(session, _Session())
        if buffer.expires_at is None or buffer.expires_at > self._clock():
            return buffer
        self._sessions[session] = _Session(unreleased_since=buffer.unreleased_since)
        return self._sessions[session]

    def _pad(self, session: SessionKey) -> _Pad:
        """The session's pad, or an empty one that is not kept."""
        pad = self._pads.get(session, _Pad())
        if pad.expires_at is not None and pad.expires_at <= self._clock():
            del self._pads[session]
            return _Pad()
        return pad


_ABSENT = object()
_EPISODES_A_BATCH = 100


def _longest_waiting(since: Mapping[SessionKey, datetime | None], namespace: str | None) -> tuple[SessionKey, ...]:
    waiting = sorted((at, session) for session, at in since.items() if at is not None)
    return tuple(session for _, session in waiting if namespace in {None, session.namespace})


def _fresh(buffer: _Session, messages: Sequence[Message]) -> list[Message]:
    """Those not buffered yet, each once, or the conflict of the first whose id is taken by other content."""
    seen = dict(buffer.messages)
    for position, message in enumerate(messages):
        if seen.setdefault(message.id, message).content != message.content:
            raise IdTaken(position)
    return [message for message_id, message in seen.items() if message_id not in buffer.messages]
