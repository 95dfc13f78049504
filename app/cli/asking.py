"""Commands that ask a service and print what it says."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

from rich.console import Console
from rich.text import Text

from app.cli.showing import hits_grid, hits_line, pairs_table, status_table
from app.client import MemoryClient

Connecting: TypeAlias = AbstractAsyncContextManager[MemoryClient]


async def consolidate(connecting: Connecting, namespace: str | None, console: Console) -> None:
    async with connecting as client:
        with console.status("consolidating …"):
            report = await client.consolidate(namespace=namespace)
    console.print(pairs_table("consolidated", {**report.counts, "milliseconds": round(report.duration_ms)}))
    for problem in report.errors:
        console.print(Text.assemble(("interrupted:", "red"), f" {problem}"))


async def search(connecting: Connecting, text: str, namespace: str, limit: int, console: Console) -> None:
    async with connecting as client:
        answer = await client.search(text, namespace=namespace, limit=limit)
    console.print(hits_grid(answer.hits))
    console.print(hits_line(answer))
    if answer.degraded:
        console.print(f"[yellow]did not answer:[/] {', '.join(answer.degraded)}")


async def stats(connecting: Connecting, console: Console) -> None:
    async with connecting as client:
        status = await client.status()
    console.print(status_table(status))
