"""Backfill and features, asked for over the wire."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from app.cli.operating import Connecting
from app.cli.showing import pairs_table
from app.client import MemoryClient
from app.client.surface.quality import BackfillRun
from app.errors import HybridMemoryError, InvalidInput
from app.records import BackfillPending, Feature

_LOOK_EVERY_SECONDS: Final = 0.5
_STATES: Final[Mapping[str, bool]] = {"on": True, "off": False}


async def backfill(connecting: Connecting, asked: Mapping[str, Any], console: Console) -> None:
    given = {name: value for name, value in asked.items() if value is not None}
    where = {name: value for name, value in given.items() if name == "namespace"}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    async with connecting as client:
        with Progress(*columns, console=console, transient=True) as progress:
            total = _sum(await client.backfill_pending(**where))
            bar = progress.add_task("backfilling", total=total)
            asking = asyncio.create_task(client.backfill(**given))
            await _follow(asking, client, where, progress, bar)
            report = await asking
    console.print(pairs_table("backfilled", report.counts))
    console.print(pairs_table("left", asdict(report.pending)))
    for problem in report.errors:
        console.print(Text.assemble(("interrupted:", "red"), f" {problem}"))


async def _follow(
    asking: asyncio.Task[BackfillRun], client: MemoryClient, where: Mapping[str, Any], progress: Progress, bar: TaskID
) -> None:
    """Move the bar until the answer is there, by what is left to do."""
    while not (await asyncio.wait({asking}, timeout=_LOOK_EVERY_SECONDS))[0]:
        with suppress(HybridMemoryError):
            left = _sum(await client.backfill_pending(**where))
            total = max(left, int(progress.tasks[0].total or 0))
            progress.update(bar, completed=total - left, total=total)


def _sum(pending: BackfillPending) -> int:
    return pending.unscored + pending.unembedded


async def features(connecting: Connecting, switches: Sequence[str], console: Console) -> None:
    switched = dict(map(_switch, switches))
    async with connecting as client:
        stands = await client.switch_features(**switched) if switched else await client.features()
    console.print(pairs_table("features", {f.value: "on" if getattr(stands, f.value) else "off" for f in Feature}))
    if stands.degraded:
        console.print(f"[yellow]as last known:[/] {', '.join(stands.degraded)} is away")


def _switch(text: str) -> tuple[str, bool]:
    """`retrieval=off` as a feature and whether it is to be on.

    Raises:
        InvalidInput: it is not of that form, or names no feature.
    """
    name, _, state = text.partition("=")
    known = [feature.value for feature in Feature]
    if name not in known:
        raise InvalidInput(text, f"must name a feature: {' or '.join(known)}")
    if state not in _STATES:
        raise InvalidInput(text, "must be a feature and its state, such as retrieval=off or episode_logging=on")
    return name, _STATES[state]
