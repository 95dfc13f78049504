"""Fault points: known by name, each at one place in the source, and nothing at all unless they are armed."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from app.errors import ConfigurationError
from app.faultpoints import Action, FaultInjected, FaultPoint, Planned, armed, armed_by, parse_plan, reached
from app.settings import load_settings

APP: Final = Path(__file__).parents[2] / "app"
CALL: Final = re.compile(r"await reached\(FaultPoint\.(\w+)\)")


def test_every_point_stands_at_one_place() -> None:
    """The list of points is the list of calls: no name without a place, and none that stands for two."""
    sources = (path for path in APP.rglob("*.py") if path.name != "faultpoints.py")
    called = Counter(name for source in sources for name in CALL.findall(source.read_text(encoding="utf-8")))
    assert called == Counter(point.name for point in FaultPoint)


async def test_an_unarmed_point_does_nothing() -> None:
    """In production every point is passed."""
    for point in FaultPoint:
        await reached(point)


async def test_a_point_is_told_to_whoever_armed_it() -> None:
    """While the context lasts, and not after it, each point reached is told in order."""
    told: list[FaultPoint] = []

    async def note(point: FaultPoint) -> None:
        told.append(point)

    with armed(note):
        await reached(FaultPoint.DRAIN_CLAIMED)
        await reached(FaultPoint.DRAIN_COMMITTED)
    await reached(FaultPoint.DRAIN_SETTLED)
    assert told == [FaultPoint.DRAIN_CLAIMED, FaultPoint.DRAIN_COMMITTED]


async def test_a_fault_happens_at_its_occurrence_and_only_then() -> None:
    """`drain.read:2:raise` fails the second time that point is reached, not before and not again."""
    outcomes = []
    with armed_by("drain.read:2:raise"):
        for point in [FaultPoint.DRAIN_READ, FaultPoint.DRAIN_CLAIMED, FaultPoint.DRAIN_READ, FaultPoint.DRAIN_READ]:
            try:
                await reached(point)
            except FaultInjected as fault:
                outcomes.append(str(fault))
            else:
                outcomes.append("passed")
    assert outcomes == ["passed", "passed", "drain.read was armed", "passed"]


async def test_a_hanging_point_holds_its_own_task_only() -> None:
    """Who hangs, hangs until it is cancelled, while others go on."""
    with armed_by("embed.asking:1:hang"):
        hanging = asyncio.create_task(reached(FaultPoint.EMBED_ASKING))
        await asyncio.sleep(0)
        await reached(FaultPoint.EMBED_ASKING)
        assert not hanging.done()
        hanging.cancel()
        with suppress(asyncio.CancelledError):
            await hanging
    assert hanging.cancelled()


def test_a_plan_names_points_occurrences_and_actions() -> None:
    """Several faults stand with commas between them, and are written as they are read."""
    plan = parse_plan("drain.committed:3:kill, embed.asking:1:hang")
    assert plan == (
        Planned(FaultPoint.DRAIN_COMMITTED, 3, Action.KILL),
        Planned(FaultPoint.EMBED_ASKING, 1, Action.HANG),
    )
    assert [str(planned) for planned in plan] == ["drain.committed:3:kill", "embed.asking:1:hang"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("drain.read", "'drain.read' is not point:occurrence:action, the occurrence counted from 1"),
        ("drain.read:0:kill", "'drain.read:0:kill' is not point:occurrence:action, the occurrence counted from 1"),
        ("drain.eaten:1:kill", "'drain.eaten' is none of start.servers_started"),
        ("drain.read:1:explode", "'explode' is none of kill, raise, hang"),
    ],
)
def test_a_fault_that_could_never_happen_is_refused(monkeypatch: pytest.MonkeyPatch, text: str, problem: str) -> None:
    """A misspelt point would make a test pass without its fault; the setting is named."""
    monkeypatch.setenv("MEMORY_FAULTPOINT", text)
    with pytest.raises(ConfigurationError, match=re.escape(f"MEMORY_FAULTPOINT: Value error, {problem}")):
        load_settings()
