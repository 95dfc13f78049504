"""The guard of an engine: who is let through, who is told to go on without it, and how it is found again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from pauses import Pauses

from app.breakers import BreakerPolicy, BreakerState, Guard
from app.errors import EngineRefused, InvalidInput, TierUnavailable
from app.observability import BREAKER_STATE

POLICY = BreakerPolicy(failure_threshold=2, late_after=timedelta(0), ping_deadline=timedelta(milliseconds=2))
PATIENT = replace(POLICY, ping_deadline=timedelta(hours=1))
NOBODY = TierUnavailable("semantic", "nobody there")


@dataclass
class Engine:
    """An engine with a guard. `hangs`: pings wait for `answer`, as slow calls do; `is_busy`: others are answered first."""

    policy: BreakerPolicy = POLICY
    guard: Guard = field(init=False)
    pauses: Pauses = field(default_factory=Pauses)
    problem: Exception | None = None
    hangs: bool = False
    is_busy: bool = False
    pings: int = 0
    pinged: asyncio.Event = field(default_factory=asyncio.Event)
    answer: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.guard = Guard("semantic", self.ping, policy=self.policy, pause=self.pauses)

    async def ping(self) -> None:
        self.pings += 1
        self.pinged.set()
        if self.is_busy:
            await self.call()
        if self.hangs:
            await self.answer.wait()
        if self.problem is not None:
            raise self.problem

    async def call(self) -> str:
        """A call that is answered at once, or fails with the engine's problem."""
        async with self.guard.calling():
            if self.problem is not None:
                raise self.problem
            return "answered"

    async def wait(self) -> str:
        """A call that is answered when the test says so."""
        async with self.guard.calling():
            await self.answer.wait()
            return "answered"

    async def probed(self) -> BreakerState:
        """What the next probe makes of the breaker."""
        await self.pauses.end()
        probing = self.guard._probing
        assert probing is not None
        await asyncio.wait([probing, asyncio.ensure_future(self.pauses.begun())], return_when=asyncio.FIRST_COMPLETED)
        return self.guard.state


@pytest.fixture
async def engine() -> Engine:
    return Engine()


async def problem_of(call: Awaitable[str]) -> str:
    with pytest.raises(TierUnavailable) as raised:
        await call
    return raised.value.problem


async def test_one_failure_is_no_outage(engine: Engine) -> None:
    """A single call that found nobody leaves the others alone, and an answer in between starts the count anew."""
    for _ in range(3):
        engine.problem = NOBODY
        assert await problem_of(engine.call()) == "nobody there"
        engine.problem = None
        assert await engine.call() == "answered"
    assert engine.guard.state is BreakerState.CLOSED


async def test_an_engine_that_is_away_is_left_alone(engine: Engine) -> None:
    """After the second failure in a row nobody is let through, whatever it would do now."""
    engine.problem = NOBODY
    for _ in range(2):
        await problem_of(engine.call())
    engine.problem = None
    assert (await problem_of(engine.call()), engine.guard.state) == ("nobody there", BreakerState.OPEN)
    await engine.guard.close()


@pytest.mark.parametrize("problem", [InvalidInput("content", "too long"), EngineRefused("semantic", "is full")])
async def test_what_an_engine_refuses_opens_nothing(engine: Engine, problem: Exception) -> None:
    """A caller's mistake, and an engine that is there but would not, are no outage."""
    engine.problem = problem
    for _ in range(5):
        with pytest.raises(type(problem)):
            await engine.call()
    assert (engine.guard.state, engine.pings) == (BreakerState.CLOSED, 0)


async def test_a_slow_call_goes_on_while_pings_are_answered(engine: Engine) -> None:
    """One long query has the engine pinged, and then all the time its own deadline gives it."""
    slow = asyncio.create_task(engine.wait())
    await engine.pinged.wait()
    assert await engine.call() == "answered"
    engine.answer.set()
    assert (await slow, engine.guard.state) == ("answered", BreakerState.CLOSED)


async def test_all_who_wait_for_a_hanging_engine_are_told_at_once(engine: Engine) -> None:
    """One ping without an answer ends the wait of every caller, and later ones do not wait at all."""
    engine.hangs = True
    problems = await asyncio.gather(*(problem_of(engine.wait()) for _ in range(5)), problem_of(engine.wait()))
    assert set(problems) == {"hangs: no answer to a ping within 0.002 s"}
    assert await problem_of(engine.call()) == problems[0]
    assert engine.pings == 2  # one question, asked twice
    await engine.guard.close()


async def test_a_caller_with_a_shorter_deadline_still_finds_the_hang(engine: Engine) -> None:
    """Whoever leaves early has had the engine pinged: the callers after it do not wait."""
    engine.hangs = True
    leaving = asyncio.create_task(engine.wait())
    await engine.pinged.wait()
    leaving.cancel()
    await engine.pauses.begun()
    assert await problem_of(engine.call()) == "hangs: no answer to a ping within 0.002 s"
    await engine.guard.close()


async def test_an_engine_that_answers_others_does_not_hang(engine: Engine) -> None:
    """A ping may wait in a line: as long as any call is answered meanwhile, nobody is sent away."""
    engine.hangs = engine.is_busy = True
    waiting = asyncio.create_task(engine.wait())
    await engine.pinged.wait()
    assert engine.guard._looking is not None
    await engine.guard._looking
    engine.answer.set()
    assert (await waiting, engine.guard.state) == ("answered", BreakerState.CLOSED)


async def test_recovery_needs_no_caller(engine: Engine) -> None:
    """Pings alone go to an engine that is left alone; the first that is answered opens the way for everybody."""
    engine.problem = NOBODY
    for _ in range(2):
        await problem_of(engine.call())
    still_away = await engine.probed()
    engine.problem = None
    assert (still_away, await engine.probed(), await engine.call()) == (BreakerState.OPEN, BreakerState.CLOSED, "answered")
    assert engine.pings == 2


async def test_half_open_lets_nobody_through() -> None:
    """While a probe is under way callers are refused as before, and the metric says which state it is."""
    engine = Engine(PATIENT)
    engine.problem = NOBODY
    for _ in range(2):
        await problem_of(engine.call())
    seen = [BREAKER_STATE.labels("semantic")._value.get()]
    engine.hangs = True
    await engine.pauses.end()
    await engine.pinged.wait()
    seen.append(BREAKER_STATE.labels("semantic")._value.get())
    assert await problem_of(engine.call()) == "nobody there"
    engine.problem = None
    engine.answer.set()
    assert engine.guard._probing is not None
    await engine.guard._probing
    assert [*seen, BREAKER_STATE.labels("semantic")._value.get()] == [2, 1, 0]


async def test_a_fault_of_ours_in_a_ping_does_not_end_the_probing(engine: Engine) -> None:
    """An error that nobody foresaw is logged, and the next probe is made all the same."""
    engine.problem = NOBODY
    for _ in range(2):
        await problem_of(engine.call())
    engine.problem = ZeroDivisionError()
    faulty = await engine.probed()
    engine.problem = None
    assert (faulty, await engine.probed()) == (BreakerState.HALF_OPEN, BreakerState.CLOSED)


async def test_a_farewell_is_made_whatever_the_breaker_says(engine: Engine) -> None:
    """What has to be tried is tried, and ends with the engine's next unanswered ping."""
    engine.hangs = True
    await problem_of(engine.wait())

    async def farewell() -> str:
        async with engine.guard.waiting():
            await asyncio.Event().wait()
        return "said"

    assert await problem_of(farewell()) == "hangs: no answer to a ping within 0.002 s"
    await engine.guard.close()


async def test_closing_leaves_nothing_running(engine: Engine) -> None:
    """Neither a ping nor a probe outlives its guard."""
    engine.hangs = True
    await problem_of(engine.wait())
    await engine.guard.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}
