"""Concurrent questions share trips to the engine."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence

import pytest

from app.semantic.lane import SearchLane


class Engine:
    """Squares numbers, when it is let; remembers how it was asked."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()

    async def ask(self, numbers: Sequence[int]) -> list[int]:
        self.batches.append(list(numbers))
        await self.gate.wait()
        if -1 in numbers:
            raise ValueError("negative")
        return [n * n for n in numbers]


async def waiting(lane: SearchLane[int, int], engine: Engine, numbers: Sequence[int]) -> list[asyncio.Task[int]]:
    """Questions put one after the other, none answered yet."""
    tasks = [asyncio.create_task(lane.put(n)) for n in numbers]
    while not engine.batches:  # noqa: ASYNC110 - each turn lets the tasks take one step; nothing here waits for time
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def test_a_lone_question_goes_at_once() -> None:
    """Nothing waits for company."""
    engine = Engine()
    engine.gate.set()
    assert await SearchLane(engine.ask).put(3) == 9
    assert engine.batches == [[3]]


async def test_what_comes_while_the_engine_is_busy_goes_together() -> None:
    """Two trips are under way at most; the rest waits and then goes as one batch, each with its own answer."""
    engine = Engine()
    tasks = await waiting(SearchLane(engine.ask), engine, range(8))
    assert engine.batches == [[0], [1]]
    engine.gate.set()
    assert await asyncio.gather(*tasks) == [n * n for n in range(8)]
    assert engine.batches == [[0], [1], [2, 3, 4, 5, 6, 7]]


async def test_a_batch_has_a_largest_size() -> None:
    """More than 16 questions take several trips."""
    engine = Engine()
    tasks = await waiting(SearchLane(engine.ask), engine, range(40))
    engine.gate.set()
    await asyncio.gather(*tasks)
    assert [len(batch) for batch in engine.batches] == [1, 1, 16, 16, 6]


async def test_an_error_reaches_those_who_asked_together() -> None:
    """A failed batch fails its own questions, and the lane goes on."""
    engine = Engine()
    lane = SearchLane(engine.ask)
    tasks = await waiting(lane, engine, [1, 2, -1, 4])
    engine.gate.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert answers[:2] == [1, 4]
    assert [str(answer) for answer in answers[2:]] == ["negative", "negative"]
    assert await lane.put(5) == 25


async def test_who_is_cancelled_disturbs_nobody() -> None:
    """A caller that gives up takes nobody's answer away, and its question is not asked."""
    engine = Engine()
    tasks = await waiting(SearchLane(engine.ask), engine, range(4))
    tasks[0].cancel()
    tasks[2].cancel()
    engine.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await tasks[2]
    assert (await tasks[1], await tasks[3], engine.batches) == (1, 9, [[0], [1], [3]])


async def test_an_error_that_nobody_waits_for_is_no_complaint() -> None:
    """When all who asked have gone, the failure of their batch is nobody's business any more."""
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    engine = Engine()
    (task,) = await waiting(SearchLane(engine.ask), engine, [-1])
    task.cancel()
    engine.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    gc.collect()
    assert complaints == []
