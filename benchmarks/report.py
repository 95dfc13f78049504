"""Figures, each beside its floor: what the bare engine or library needs for the same in the same run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from typing import Any, Final

import numpy as np
import psutil
from rich import box
from rich.table import Table

_MILLISECONDS: Final = 1e3
_INDEX_PROCESS: Final = "app.semantic.worker"


@dataclass(frozen=True, slots=True)
class Floor:
    """What it takes without us, in the figure's unit."""

    what: str
    value: float


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement. `more_is_better` for rates; for times and sizes less is. `note` says what went wrong, if anything."""

    name: str
    value: float
    unit: str
    target: float | None
    floor: Floor | None
    more_is_better: bool = False
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """The figure in floors."""
        return self.value / self.floor.value if self.floor and self.floor.value else None

    @property
    def meets_target(self) -> bool | None:
        if self.target is None:
            return None
        return self.value >= self.target if self.more_is_better else self.value <= self.target


@dataclass(frozen=True, slots=True)
class Sample:
    """How long each of many calls took."""

    milliseconds: tuple[float, ...]

    def percentile(self, percent: float) -> float:
        return float(np.percentile(self.milliseconds, percent))

    @property
    def p50(self) -> float:
        return self.percentile(50)

    @property
    def p95(self) -> float:
        return self.percentile(95)


async def time_each(calls: Iterable[Callable[[], Awaitable[object]]]) -> Sample:
    """Await the calls one after the other."""
    return Sample(tuple([await _milliseconds(call) for call in calls]))


async def warm_up(calls: Sequence[Callable[[], Awaitable[object]]], *, seconds: float, pid: int) -> None:
    """Await the calls, over and over, for at least so long, and until process `pid` indexes nothing aside any more."""
    ends = time.perf_counter() + seconds
    for call in cycle(calls):
        if time.perf_counter() >= ends and not _is_indexing_aside(pid):
            return
        await call()


def _is_indexing_aside(pid: int) -> bool:
    """Whether the embedded index has a second process: one serves, the other indexes a copy and takes over."""
    return sum(_INDEX_PROCESS in _command(child) for child in psutil.Process(pid).children()) > 1


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:  # it has just ended
        return []


async def _milliseconds(call: Callable[[], Awaitable[object]]) -> float:
    started = time.perf_counter()
    await call()
    return (time.perf_counter() - started) * _MILLISECONDS


async def rate(calls: Iterable[Callable[[], Awaitable[object]]], *, tasks: int) -> float:
    """Calls a second, with `tasks` at work side by side."""
    waiting, done = iter(calls), 0

    async def work() -> None:
        nonlocal done
        for call in waiting:
            await call()
            done += 1

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(tasks)))
    return done / (time.perf_counter() - started)


def table_of(figures: Sequence[Figure]) -> Table:
    """A row a figure, with what its floor is below its name; fits into 80 columns."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("figure")
    for heading in ("value", "target", "floor", "ratio"):
        table.add_column(heading, justify="right", no_wrap=True)
    for figure in figures:
        table.add_row(*_cells(figure))
    return table


def as_json(figures: Sequence[Figure]) -> list[dict[str, Any]]:
    return [{**asdict(f), "ratio": f.ratio, "meets_target": f.meets_target} for f in figures]


def _cells(figure: Figure) -> tuple[str, ...]:
    colour = {True: "green", False: "red", None: "default"}[figure.meets_target]
    target = "" if figure.target is None else f"{'≥' if figure.more_is_better else '≤'} {_number(figure.target)}"
    floor = "" if figure.floor is None else _number(figure.floor.value)
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
    return (_label(figure), f"[{colour}]{_number(figure.value)} {figure.unit}[/]", target, floor, ratio)


def _label(figure: Figure) -> str:
    below = f"[dim]  floor: {figure.floor.what}[/]" if figure.floor else ""
    note = f"[yellow]  {figure.note}[/]" if figure.note else ""
    return "\n".join(filter(None, (figure.name, below, note)))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
