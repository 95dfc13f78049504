"""The service as a process, killed and its engines killed and stopped, life after life in one data directory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Final
from uuid import UUID

import pytest
from fault_service import AtPoint, Fault, check, die, fault, live
from fault_talk import BEGIN, Append, Said, Talk, talks
from service_process import Home, kill_all, running_in
from volatile import volatile_directory

from app.faultpoints import Action, FaultPoint, Planned
from app.records import SessionKey, Wait

REACHED_SOON: Final = tuple(point for point in FaultPoint if not point.startswith(("edge.", "learn.")))
"""Points that a talk of a few messages can come to: an index is rebuilt after thousands, and talks teach nothing."""
LIVES: Final = 3


@pytest.fixture
def home() -> Iterator[Home]:
    """A data directory in memory, in which nothing runs any more when the test is over."""
    with volatile_directory() as directory:
        directory.chmod(0o755)
        yield Home.at(
            directory,
            MEMORY_CONSOLIDATION_INTERVAL_SECONDS="0.02",
            MEMORY_EPISODE_MAX_MESSAGES="4",
            MEMORY_RECALL_DEADLINE_MS="10000",  # a busy machine must not change an answer
        )
        left = running_in(directory)
        kill_all(left)
        assert left == []


async def suffer(home: Home, seed: str, faults: Sequence[Fault]) -> None:
    """New clients in every life, besides those that were left waiting in the lives before; then look at everything."""
    random = Random(seed)
    heard: list[Talk] = []
    for number, next_fault in enumerate(faults):
        heard += talks(random, f"life{number}")
        await live(home, heard, next_fault)
    await check(home, heard)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
async def test_what_was_acknowledged_survives_the_lives_of_a_seed(home: Home, fault_seeds: Sequence[int], number: int) -> None:
    """Killed at points and moments, its engines killed and stopped: every promise of every life is kept at the end."""
    if number >= len(fault_seeds):
        pytest.skip("one seed is replayed")
    seed = f"processes {fault_seeds[number]}"
    random = Random(seed)
    try:
        await suffer(home, seed, [fault(random, REACHED_SOON) for _ in range(LIVES)])
    except BaseException as failure:
        failure.add_note(
            f"{seed}; to replay it: python -m pytest {Path(__file__)} -k lives_of_a_seed --fault-seed {fault_seeds[number]}"
        )
        raise


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_an_index_being_rebuilt_survives_a_kill_at_each_of_its_steps(home: Home) -> None:
    """Copied, indexed, caught up, handed over: wherever the service dies, the next one finds all points and begins anew."""
    heard = [_bulk(number) for number in range(3)]
    for point in (FaultPoint.EDGE_COPIED, FaultPoint.EDGE_INDEXED, FaultPoint.EDGE_CAUGHT_UP, FaultPoint.EDGE_HANDED_OVER):
        await die(home, Planned(point, 1, Action.KILL), heard)
    await check(home, heard)


def _bulk(number: int) -> Talk:
    """A client that has 800 things to say at once: three of them say more than an index leaves unindexed."""
    random = Random(number)
    said = [Said(UUID(int=random.getrandbits(128), version=4), f"x{random.getrandbits(48):012x}", BEGIN) for _ in range(800)]
    return Talk(SessionKey("bulk", f"s{number}"), [Append(tuple(said), Wait.NONE)], random)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("chunk", range(6))
async def test_what_was_acknowledged_survives_a_kill_at_every_point(home: Home, chunk: int) -> None:
    """SIGKILL at each point in turn, life after life."""
    faults = [AtPoint(Planned(point, 1, Action.KILL)) for point in REACHED_SOON[chunk::6]]
    await suffer(home, f"every point {chunk}", faults)
