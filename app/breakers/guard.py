"""The guard of one engine: every call passes it, and nobody waits for an engine that is known to be away.

How long a call takes says little: a long query is no outage. So a call that is late only has the engine pinged, beside
it. If the ping is answered the call goes on for as long as its own deadline allows; if not, the engine hangs: the
breaker opens, and whoever waits is told at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import structlog

from app.breakers.state import Breaker, BreakerPolicy, BreakerState
from app.errors import EmbedderUnavailable, EngineRefused, TierUnavailable
from app.observability import BACKGROUND_ERRORS, BREAKER_STATE
from app.ports import Clock
from app.records import utc_now

log = structlog.get_logger(__name__)

Ping = Callable[[], Awaitable[object]]
Pause = Callable[[float], Awaitable[None]]
Outage = type[TierUnavailable] | type[EmbedderUnavailable]

_PING_ATTEMPTS: Final = 2
"""A process that was stopped or starved sees its first ping expire before it has read the answer."""


class Guard:
    """The breaker of one engine. `ping` asks the engine itself, past this guard, and raises `outage` if it is away.

    `probe` is what has to succeed before an engine that was left alone is asked again: the ping, unless that says too
    little.
    """

    def __init__(
        self, engine: str, ping: Ping, *, probe: Ping | None = None, outage: Outage = TierUnavailable,
        policy: BreakerPolicy | None = None, clock: Clock = utc_now, pause: Pause = asyncio.sleep,
    ) -> None:  # fmt: skip
        self._engine = engine
        self._ping = ping
        self._probe = probe or ping
        self._outage = outage
        self._clock = clock
        self._pause = pause
        self._breaker = Breaker(policy or BreakerPolicy())
        self._waiting: set[asyncio.Timeout] = set()
        self._answers = 0
        self._looking: asyncio.Task[None] | None = None
        self._probing: asyncio.Task[None] | None = None
        BREAKER_STATE.labels(engine).set(BreakerState.CLOSED)

    @property
    def state(self) -> BreakerState:
        return self._breaker.state

    @property
    def is_closed(self) -> bool:
        return self._breaker.is_closed

    @property
    def is_missed(self) -> bool:
        """Whether it is worth a warning that it is away."""
        return self._breaker.policy.is_missed or self._answers > 0

    @asynccontextmanager
    async def calling(self) -> AsyncIterator[None]:
        """Around one call to the engine.

        Raises:
            TierUnavailable: (or `outage`) the engine is known to be away, and was not asked; or it turned out to hang.
        """
        if not self._breaker.is_closed:
            raise self._refusal()
        async with self.waiting():
            try:
                yield
            except EngineRefused:
                raise  # it is there: what it refuses says nothing about the next call
            except self._outage as error:
                self._become(self._breaker.failed(self._clock(), error.problem))
                raise
        self._note_answer()

    @asynccontextmanager
    async def waiting(self) -> AsyncIterator[None]:
        """Around work that may wait for the engine and has to be tried whatever the breaker says, such as a farewell.

        Raises:
            TierUnavailable: (or `outage`) the engine turned out to hang.
        """
        late = asyncio.get_running_loop().call_later(self._breaker.policy.late_after.total_seconds(), self._look)
        until_hung = asyncio.timeout(None)
        try:
            async with until_hung:
                self._waiting.add(until_hung)
                yield
        except TimeoutError:
            if until_hung.expired():
                raise self._refusal() from None
            raise
        finally:
            late.cancel()
            self._waiting.discard(until_hung)

    async def close(self) -> None:
        """End what goes on in the background."""
        tasks = [task for task in (self._looking, self._probing) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _refusal(self) -> TierUnavailable | EmbedderUnavailable:
        return self._outage(self._engine, self._breaker.problem)

    def _note_answer(self) -> None:
        self._answers += 1
        if self._breaker.failures or not self._breaker.is_closed:
            self._become(self._breaker.answered())

    def _look(self) -> None:
        """Somebody waits longer than usual: find out whether the engine is there, once for all who wait."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._find_out(self._ping))

    async def _find_out(self, ping: Ping) -> None:
        answers = self._answers
        try:
            await self._ask(ping)
        except self._outage as error:
            self._become(self._breaker.opened(self._clock(), error.problem))
        except TimeoutError:
            # One that answers others is there, however long the line is in which the ping waits.
            if self._answers == answers:
                self._become(self._breaker.opened(self._clock(), self._hangs))
                self._release_all()
        except Exception:  # an engine that is left alone must not stay so for a fault of ours
            BACKGROUND_ERRORS.labels("ping").inc()
            log.exception("ping_failed", engine=self._engine)
        else:
            self._note_answer()

    async def _ask(self, ping: Ping) -> None:
        """Ping. Raises TimeoutError when there is no answer."""
        deadline = self._breaker.policy.ping_deadline.total_seconds() / _PING_ATTEMPTS
        for attempt in range(_PING_ATTEMPTS):
            try:
                async with asyncio.timeout(deadline):
                    await ping()
                    return
            except TimeoutError:
                if attempt == _PING_ATTEMPTS - 1:
                    raise

    @property
    def _hangs(self) -> str:
        return f"hangs: no answer to a ping within {self._breaker.policy.ping_deadline.total_seconds():g} s"

    async def _probe_until_back(self) -> None:
        while not self._breaker.is_closed:
            await self._pause(self._breaker.policy.probe_every.total_seconds())
            self._become(self._breaker.probed())
            await self._find_out(self._probe)

    def _become(self, breaker: Breaker) -> None:
        before, self._breaker = self._breaker, breaker
        BREAKER_STATE.labels(self._engine).set(breaker.state)
        if before.is_closed and not breaker.is_closed:
            level = logging.WARNING if self.is_missed else logging.DEBUG
            log.log(level, "engine_left_alone", engine=self._engine, problem=breaker.problem)
            if self._probing is None or self._probing.done():
                self._probing = asyncio.create_task(self._probe_until_back())
        elif breaker.is_closed and before.opened_at is not None:
            away = (self._clock() - before.opened_at).total_seconds()
            log.warning("engine_is_back", engine=self._engine, away_seconds=round(away, 1))

    def _release_all(self) -> None:
        """Have everybody who waits for the engine go on without it."""
        now = asyncio.get_running_loop().time()
        for until_hung in self._waiting:
            until_hung.reschedule(now)
        self._waiting.clear()
