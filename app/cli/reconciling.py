"""Comparing the index with PostgreSQL: asked for over the wire, with a bar that follows how far it is."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from app.cli.asking import Connecting
from app.cli.showing import pairs_table
from app.client import Comparison, MemoryClient
from app.errors import HybridMemoryError

_LOOK_EVERY_SECONDS: Final = 0.5


async def reconcile(connecting: Connecting, *, repair: bool, namespace: str | None, console: Console) -> None:
    async with connecting as client:
        with _progress(console) as progress:
            bar = progress.add_task("comparing", total=None)
            asking = asyncio.create_task(client.reconcile(repair=repair, namespace=namespace))
            await _follow(asking, client, progress, bar)
            run = await asking
            progress.update(bar, completed=run.checked, total=run.checked)
    console.print(report_table(run))
    console.print(_what_next(run), soft_wrap=True)


async def _follow(asking: asyncio.Task[Comparison], client: MemoryClient, progress: Progress, bar: TaskID) -> None:
    """Move the bar until the answer is there. Whoever may not see all runs sees no bar move, and gets their answer."""
    while not (await asyncio.wait({asking}, timeout=_LOOK_EVERY_SECONDS))[0]:
        with suppress(HybridMemoryError):
            for run in await client.reconciliations(limit=1):
                if run.state == "running":
                    progress.update(bar, completed=run.checked, total=run.total)


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)


def report_table(run: Comparison) -> Table:
    """What was found, with some ids of each kind."""
    named = {kind: ", ".join(map(str, uids)) for kind, uids in run.examples.items() if uids}
    found = {kind: f"{count}  {named.get(kind, '')}".rstrip() for kind, count in run.findings.items()}
    waiting = {"pending": run.pending, "dead letters": run.dead_letters}
    return pairs_table("repairing" if run.repair else "dry run", {"checked": run.checked, **found, **waiting})


def _what_next(run: Comparison) -> str:
    found = sum(run.findings.values())
    if not found:
        return "the index agrees with PostgreSQL"
    if run.repair:
        return f"{found} queued: a running service works them off by itself, `hybrid-memory consolidate` does so now"
    return f"{found} wrong: `hybrid-memory reconcile --repair` queues them for the indexer"
