"""Learning from episodes: asked for over the wire, with a bar that follows how many are left."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from app.cli.asking import Connecting
from app.cli.showing import pairs_table
from app.client import MemoryClient
from app.errors import HybridMemoryError
from app.records import RunReport

_LOOK_EVERY_SECONDS: Final = 0.5


async def learn(connecting: Connecting, *, namespace: str | None, retry: bool, console: Console) -> None:
    async with connecting as client:
        with _progress(console) as progress:
            bar = progress.add_task("learning from episodes", total=await _pending(client))
            asking = asyncio.create_task(client.learn(namespace=namespace, retry=retry))
            await _follow(asking, client, progress, bar)
            report = await asking
    console.print(pairs_table("learned", {**report.counts, "milliseconds": round(report.duration_ms)}))
    for problem in report.errors:
        console.print(Text.assemble(("interrupted:", "red"), f" {problem}"))


async def _follow(asking: asyncio.Task[RunReport], client: MemoryClient, progress: Progress, bar: TaskID) -> None:
    """Move the bar until the answer is there. Whoever may not see the status sees no bar move, and gets their answer."""
    total = progress.tasks[bar].total
    while not (await asyncio.wait({asking}, timeout=_LOOK_EVERY_SECONDS))[0]:
        left = await _pending(client)
        if total is not None and left is not None:
            progress.update(bar, completed=max(0, total - left))


async def _pending(client: MemoryClient) -> int | None:
    """How many episodes wait, if one may know."""
    with suppress(HybridMemoryError):
        learning = (await client.status()).learning
        return None if learning is None else learning.pending
    return None


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)
