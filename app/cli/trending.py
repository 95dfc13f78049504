"""Trends, asked for over the wire and drawn as lines of blocks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.cli.operating import Connecting
from app.records import DayValue, Direction, Trends

_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_NOTHING: Final = "·"
_STYLES: Final = {
    Direction.IMPROVING: "green",
    Direction.WORSENING: "red",
    Direction.STEADY: "",
    Direction.UNKNOWN: "dim",
}


async def trends(connecting: Connecting, days: int, namespace: str | None, console: Console) -> None:
    async with connecting as client:
        answer = await client.trends(days=days, namespace=namespace)
    console.print(trends_table(answer))


def trends_table(answer: Trends) -> Table:
    """A row a series: its days as blocks, its mean, its slope, and where it goes."""
    table = Table("", f"{answer.days} days", "mean", "a day", "", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    for name, series in answer.series.items():
        table.add_row(
            name.replace("_", " "),
            sparkline(series.points, answer.days),
            _number(series.mean, ".4g"),
            _number(series.slope_per_day, "+.2g"),
            Text(series.direction.value, style=_STYLES[series.direction]),
        )
    return table


def sparkline(points: Sequence[DayValue], days: int) -> str:
    """A character a day up to the last one with a value; the lowest is a low block, the highest a high one."""
    values = {point.day: point.value for point in points}
    if not values:
        return _NOTHING * days
    last, low, high = max(values), min(values.values()), max(values.values())
    window = [values.get(last - timedelta(days=back)) for back in reversed(range(days))]
    return "".join(_NOTHING if value is None else _block(value, low, high) for value in window)


def _block(value: float, low: float, high: float) -> str:
    share = (value - low) / (high - low) if high > low else 0.5
    return _BLOCKS[min(len(_BLOCKS) - 1, int(share * len(_BLOCKS)))]


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
