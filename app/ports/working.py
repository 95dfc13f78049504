"""Tier 1: what the working memory promises."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from app.ports.engines import Pingable
from app.records import Appended, LoggedEpisode, Message, Scope, SessionKey, SessionState


@dataclass(frozen=True, slots=True)
class Window:
    """The newest messages a buffer holds, in order. `is_complete`: no older message was left out for being absent."""

    messages: tuple[Message, ...]
    is_complete: bool


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits to be drained; `oldest_at` is when the longest-waiting session became dirty.

    `malformed` entries could not be read by anybody and were set aside.
    """

    sessions: int
    messages: int
    oldest_at: datetime | None
    malformed: int = 0
    episodes: int = 0


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a drain brought to Postgres: messages up to sequence `through`, and the state of that version.

    `stored` is the highest sequence Postgres has for the session, which other paths may have raised above `through`.
    """

    through: int
    state: SessionState | None = None
    stored: int = 0


@dataclass(frozen=True, slots=True)
class Erasure:
    """What has to go from the buffers: all that `scope` admits, or, with `ids`, the records of these names.

    Those are messages of `scope.session_id`, or, where the scope names no session, logged episodes of its namespace. What
    was appended or logged after `before` stays; with None everything goes that is there now. A scope that does not narrow
    within a session takes the session's state and scratchpad too.
    """

    scope: Scope
    before: datetime | None = None
    ids: tuple[UUID, ...] | None = None

    @property
    def is_of_answers_too(self) -> bool:
        """Not where single messages of a session were deleted: their author may go on repeating named calls."""
        return self.ids is None or self.scope.session_id is None

    def within(self, session: SessionKey) -> Erasure | None:
        """Of this, what concerns the session; None when nothing does."""
        if self.scope.namespace != session.namespace or self.scope.session_id not in {None, session.session_id}:
            return None
        if self.ids is not None and self.scope.session_id is None:
            return None
        return replace(self, scope=replace(self.scope, session_id=session.session_id))

    def covers(self, logged: LoggedEpisode) -> bool:
        """Whether the logged episode has to go."""
        if self.before is not None and logged.logged_at > self.before:
            return False
        if self.ids is None:
            return self.scope.admits(logged.episode.scope)
        return self.scope == Scope(logged.namespace) and logged.episode.id in self.ids


@dataclass(frozen=True, slots=True)
class OwedErasure:
    """An erasure that is still owed to the buffers."""

    id: int
    erasure: Erasure


class WorkingMemory(Pingable, Protocol):
    """Conversation buffers, session state and scratchpads, each session's parts together in one cluster slot."""

    async def append(
        self, session: SessionKey, messages: Sequence[Message], *, floor: int | None = None
    ) -> tuple[Appended, ...] | None:
        """Append atomically: all of `messages` or none, in order, numbered on from the session's last sequence.

        A message whose id is buffered already with the same content keeps its sequence and is not written again.
        A session never seen here (or expired) has no counter: without `floor` nothing is written and None returned;
        with it, numbering goes on from `floor`. On return the messages survive the death of any process and are
        seen by `unindexed` from every process.

        Raises:
            Conflict: an id is buffered already with other content; nothing was written.
            TierUnavailable: nothing is known to be written; repeating the call is safe.
        """
        ...

    async def recent(self, session: SessionKey, limit: int) -> Window:
        """The newest `limit` messages, drained or not, by rising sequence."""
        ...

    async def read(self, session: SessionKey, *, after: int, limit: int) -> tuple[Message, ...]:
        """Buffered messages with a sequence above `after`, by rising sequence, at most `limit`."""
        ...

    async def unsettled(self, session: SessionKey, limit: int) -> tuple[Message, ...]:
        """The oldest messages not settled yet, by rising sequence, at most `limit`.

        Decided by this tier's own mark, not by what Postgres has: after a power cut the counter may lie behind it, and
        a message that was given a number again must not be taken for one that is stored.

        An entry that nobody can read is set aside, counted in `backlog`, and holds up nothing. One that a newer release
        wrote is left to it, with all that comes after it.

        Raises:
            NewerRelease: the very oldest was written by a newer release.
        """
        ...

    async def unindexed(self, scope: Scope, limit: int) -> tuple[Message, ...]:
        """The newest messages that `scope` admits and the vector index may not have yet, at most `limit`.

        By falling `created_at`. One round trip when nothing waits, the usual case: every search comes by here.
        """
        ...

    async def dirty_sessions(self, limit: int, *, namespace: str | None = None) -> tuple[SessionKey, ...]:
        """Sessions with messages or state not yet settled, the longest-waiting first, at most `limit`."""
        ...

    async def unreleased_sessions(self, limit: int, *, namespace: str | None = None) -> tuple[SessionKey, ...]:
        """Settled sessions with messages not yet released, the longest-waiting first, at most `limit`."""
        ...

    async def settle(self, session: SessionKey, mark: Settlement, *, retain: int, ttl: timedelta) -> None:
        """Note what is in Postgres. Idempotent.

        Raises the session's counter, if it has one, to at least `mark.stored`, once nothing undrained is left. A state
        of another version than `mark.state`'s was saved meanwhile and is undrained. When nothing undrained is left the
        session stops being dirty, and expires after `ttl`; while something is, it never does. Messages stay until they
        are released.
        """
        ...

    async def release(self, session: SessionKey, *, through: int, retain: int) -> bool:
        """Note that everything up to sequence `through` is in the vector index. Idempotent.

        Returns whether this call released the last of the session's messages.

        Drops messages both settled and released, but for the newest `retain`, kept for `recent`.
        """
        ...

    async def save_state(
        self, session: SessionKey, state: SessionState, *, expected: int | None = None, floor: int | None = 0
    ) -> int | None:
        """Replace the session's state and mark the session dirty, so that the state is archived; returns its version.

        The version follows the one known here or `floor`, whichever is higher; `state.version` does not count. A
        session with no state here (never saved, or expired) has no version: if the floor is not known either (None),
        nothing is written and None returned. Comparing with `expected` and writing is one step.

        Raises:
            VersionMismatch: the state is not at version `expected`; nothing was written.
        """
        ...

    async def load_state(self, session: SessionKey) -> SessionState | None:
        """The state with its version; None when there is none here, or one that nobody can read, which is set aside.

        Raises:
            NewerRelease: a newer release wrote it.
        """
        ...

    async def write_scratch(self, session: SessionKey, key: str, value: object, ttl: timedelta) -> None:
        """Keep any JSON `value` under `key` in the session's scratchpad; the whole pad expires after `ttl`."""
        ...

    async def read_scratch(self, session: SessionKey) -> Mapping[str, object]:
        """The whole scratchpad; empty when there is none."""
        ...

    async def delete_scratch(self, session: SessionKey, key: str) -> bool: ...

    async def log_episode(self, logged: LoggedEpisode) -> None:
        """Append to the episodes logged, which never expire. Idempotent by namespace and id.

        On return it survives the death of any process and is seen by `logged_episode` from every process.

        Raises:
            Conflict: the id is logged already with other content; nothing was written.
            TierUnavailable: it is not known to be written; repeating the call is safe.
        """
        ...

    async def logged_episode(self, namespace: str, episode_id: UUID) -> LoggedEpisode | None:
        """None when it was never logged here, or is settled.

        Raises:
            NewerRelease: a newer release wrote it.
            Unreadable: it is damaged.
        """
        ...

    def logged_episodes(self, *, namespace: str | None = None) -> AsyncIterator[Sequence[LoggedEpisode]]:
        """Everything logged and not settled, in batches, in bounded memory. What cannot be read is passed over."""
        ...

    async def settle_episodes(self, logged: Sequence[LoggedEpisode]) -> None:
        """Drop these: they are in Postgres. Idempotent."""
        ...

    async def forget_episodes(self, scope: Scope) -> int:
        """Drop every logged episode that `scope` admits; returns how many. Walks them all."""
        ...

    async def erase(self, erasure: Erasure) -> int:
        """Remove what the erasure names; returns how many messages and logged episodes went. Idempotent.

        A session of which nothing is left is forgotten whole: the next one of its name is new. Without a session in the
        scope this walks the key space: not for traffic.
        """
        ...

    async def count(self, scope: Scope) -> int:
        """How many buffered messages, logged episodes, states and scratchpads `scope` admits.

        States and scratchpads have no owner but a session. Without a session in the scope this walks the key space.
        """
        ...

    async def sessions_of(self, namespace: str) -> tuple[SessionKey, ...]:
        """Every session of the namespace that has any key here. Walks the key space: for `forget`, not for traffic."""
        ...

    async def backlog(self) -> Backlog: ...
