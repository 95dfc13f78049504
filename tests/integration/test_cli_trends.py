"""What the command about trends prints, of a running service."""

from __future__ import annotations

from io import StringIO

from rich.console import Console
from served import Served

from app.cli.trending import trends
from app.client import MemoryClient


async def test_trends_are_a_row_a_series(api: Served, namespace: str) -> None:
    """Of a namespace in which nothing happened: each series with no value and no direction."""
    console = Console(file=StringIO(), width=80)
    await trends(MemoryClient(api.url), 7, namespace, console)
    assert isinstance(console.file, StringIO)
    rows = [line.split() for line in console.file.getvalue().splitlines() if "unknown" in line]
    assert ["outcome", "quality", "·······", "–", "–", "unknown"] in rows
