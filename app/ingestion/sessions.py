"""Session state and scratchpads: Redis while they are warm, the archived state from Postgres afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Final

from app.errors import InvalidInput, NotFound, TierUnavailable, VersionMismatch
from app.ingestion.limits import Limits, check_document, check_label, check_text
from app.ports import Clock, EpisodicMemory, SessionRecord, WorkingMemory
from app.records import SessionKey, SessionState, Tier, newest_state

_MOST_ATTEMPTS: Final = 200
"""Each lost race means that another writer won it: this many are lost only if as many writers came in between."""


class SessionIngestion:
    """Keeps what an agent notes about a session besides its messages."""

    def __init__(
        self, working: WorkingMemory, episodic: EpisodicMemory, *,
        limits: Limits, scratch_ttl: timedelta, clock: Clock
    ) -> None:  # fmt: skip
        self._working = working
        self._episodic = episodic
        self._limits = limits
        self._scratch_ttl = scratch_ttl
        self._clock = clock

    async def save_state(self, session: SessionKey, state: SessionState, *, expected_version: int | None = None) -> int:
        """Replace the session's state: in Redis, from where it is archived; straight in Postgres when Redis is away.

        Returns the state's version now. What is saved while one of the tiers cannot be asked is numbered from the
        clock: above whatever the other tier may hold, so that it is the newer one when both are back.

        Raises:
            InvalidInput: the state breaks a limit.
            VersionMismatch: the state is not at `expected_version` (0: none was saved); nothing was written.
            TierUnavailable: neither tier took it, or the version cannot be told from the tier that is left.
        """
        self._check_session(session)
        self._check_state(state)
        try:
            return await self._save_warm(session, state, expected_version)
        except TierUnavailable as error:
            if error.tier != Tier.WORKING:
                raise
        async with self._episodic.writing() as tx:
            return await tx.replace_state(
                session, state, expected=expected_version, floor=self._floor_of_clock(), now=self._clock()
            )

    async def change_state(
        self, session: SessionKey, change: Callable[[SessionState], SessionState], *, expected_version: int | None = None
    ) -> int:
        """Save what `change` makes of the newest state; of several changes at once none is lost. Returns the version.

        Raises:
            NotFound: the session is in no tier.
            VersionMismatch: the state is not at `expected_version`; or others kept changing it.
        """
        for _ in range(_MOST_ATTEMPTS):
            state = (await self.load(session)).state
            if expected_version not in {None, state.version}:
                raise VersionMismatch("state", state.version)
            try:
                return await self.save_state(session, change(state), expected_version=state.version)
            except VersionMismatch:
                if expected_version is not None:
                    raise
        raise VersionMismatch("state", state.version)

    async def _save_warm(self, session: SessionKey, state: SessionState, expected: int | None) -> int:
        """Postgres is asked for its version first: it is ahead after a save that Redis was away for."""
        try:
            floor: int | None = await self._archived_version(session)
        except TierUnavailable:
            floor = self._floor_of_clock() if expected is None else None
        version = await self._working.save_state(session, state, expected=expected, floor=floor)
        if version is None:
            raise TierUnavailable(Tier.EPISODIC, "the version of the session's state cannot be looked up")
        return version

    async def _archived_version(self, session: SessionKey) -> int:
        async with self._episodic.reading() as reader:
            record = await reader.session(session)
        return 0 if record is None else record.state.version

    def _floor_of_clock(self) -> int:
        """Microseconds since 1970: counting up by one a save never gets there."""
        return int(self._clock().timestamp() * 1_000_000)

    async def load(self, session: SessionKey) -> SessionRecord:
        """The session with its newest state, from whichever tier has it; of one that is only warm, no times are known.

        Raises:
            NotFound: the session is in no tier.
            TierUnavailable: the tiers that are up do not have it.
        """
        self._check_session(session)
        warm, degraded = await self._warm_state(session)
        try:
            async with self._episodic.reading() as reader:
                record = await reader.session(session)
        except TierUnavailable as error:
            if warm is None:
                raise
            return SessionRecord(session, warm, self._clock(), None, None, (error.tier,))
        if record is not None:
            state = record.state if warm is None else newest_state(warm, record.state)
            return replace(record, state=state, degraded=degraded)
        if warm is not None or (await self._working.recent(session, 1)).messages:
            return SessionRecord(session, warm or SessionState(), self._clock(), None, None)
        raise NotFound("session", session.session_id)

    async def _warm_state(self, session: SessionKey) -> tuple[SessionState | None, tuple[str, ...]]:
        """The state in Redis, and the tiers that could not be asked: Postgres then answers with the archived state."""
        try:
            return await self._working.load_state(session), ()
        except TierUnavailable as error:
            return None, (error.tier,)

    async def write_scratch(self, session: SessionKey, key: str, value: object) -> None:
        """Keep a JSON value under `key`; gone when the session has been quiet for the scratchpad's TTL.

        Raises:
            InvalidInput: key or value breaks a limit.
            TierUnavailable: Redis is away; scratchpads live nowhere else.
        """
        self._check_session(session)
        check_label("key", key, self._limits)
        check_document("value", value, max_bytes=self._limits.message_bytes, max_depth=self._limits.document_depth)
        await self._working.write_scratch(session, key, value, self._scratch_ttl)

    async def read_scratch(self, session: SessionKey) -> Mapping[str, object]:
        self._check_session(session)
        return await self._working.read_scratch(session)

    async def delete_scratch(self, session: SessionKey, key: str) -> None:
        self._check_session(session)
        if not await self._working.delete_scratch(session, key):
            raise NotFound("scratchpad key", key)

    def _check_session(self, session: SessionKey) -> None:
        check_label("namespace", session.namespace, self._limits)
        check_label("session_id", session.session_id, self._limits)

    def _check_state(self, state: SessionState) -> None:
        if state.goal is not None:
            check_text("goal", state.goal, self._limits.message_bytes)
        for field, items in (("thoughts", state.thoughts), ("related_episodes", state.related_episodes)):
            if len(items) > self._limits.state_items:
                raise InvalidInput(field, f"must have at most {self._limits.state_items} items, has {len(items)}")
        for position, thought in enumerate(state.thoughts):
            check_text(f"thoughts[{position}]", thought, self._limits.message_bytes)
        check_document(
            "active_context", state.active_context,
            max_bytes=self._limits.message_bytes, max_depth=self._limits.document_depth,
        )  # fmt: skip
