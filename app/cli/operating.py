"""Commands that operators give a service: what they print is what it answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

from rich.console import Console
from rich.text import Text

from app.cli.showing import outbox_table, pairs_table
from app.client import MemoryClient

Connecting: TypeAlias = AbstractAsyncContextManager[MemoryClient]


async def retain(connecting: Connecting, console: Console, *, dry_run: bool) -> None:
    async with connecting as client:
        with console.status("applying retention …"):
            report = await client.retain(dry_run=dry_run)
    console.print(pairs_table("would be" if dry_run else "done", report.counts))
    for problem in report.errors:
        console.print(Text.assemble(("interrupted:", "red"), f" {problem}"))


async def list_outbox(connecting: Connecting, asked: Mapping[str, Any], console: Console) -> None:
    async with connecting as client:
        page = await client.outbox(**asked)
    console.print(outbox_table(page.items) if page.items else "nothing waits")
    if page.next is not None:
        console.print(f"[dim]there are more: --after {page.next}[/]", highlight=False)


async def retry_dead_letters(connecting: Connecting, ids: Sequence[int] | None, namespace: str | None, console: Console) -> None:
    async with connecting as client:
        retried = await client.retry_dead_letters(ids or None, namespace=namespace)
    console.print(f"{retried} made due again")


async def drop_dead_letters(connecting: Connecting, ids: Sequence[int], namespace: str | None, console: Console) -> None:
    async with connecting as client:
        dropped = await client.drop_dead_letters(ids, namespace=namespace)
    console.print(f"{dropped} dropped")
