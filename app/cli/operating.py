"""Commands that operators give a service: what they print is what it answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeAlias

from rich.console import Console
from rich.text import Text

from app.cli.showing import outbox_table, pairs_table
from app.client import MemoryClient
from app.errors import InvalidInput

Connecting: TypeAlias = AbstractAsyncContextManager[MemoryClient]


class _Acting(Protocol):
    """Does something to these dead letters, and returns to how many."""

    async def __call__(self, ids: Sequence[int], /, *, namespace: str | None) -> int: ...


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
    """
    Raises:
        InvalidInput: some of the ids are of no dead letter; the others were made due again.
    """
    unknown: Sequence[int] = ()
    async with connecting as client:
        if ids:
            retried, unknown = await _one_by_one(client.retry_dead_letters, ids, namespace)
        else:
            retried = await client.retry_dead_letters(namespace=namespace)
    console.print(f"{retried} made due again")
    _refuse(unknown, namespace)


async def drop_dead_letters(connecting: Connecting, ids: Sequence[int], namespace: str | None, console: Console) -> None:
    """
    Raises:
        InvalidInput: some of the ids are of no dead letter; the others were dropped.
    """
    async with connecting as client:
        dropped, unknown = await _one_by_one(client.drop_dead_letters, ids, namespace)
    console.print(f"{dropped} dropped")
    _refuse(unknown, namespace)


async def _one_by_one(act: _Acting, ids: Sequence[int], namespace: str | None) -> tuple[int, Sequence[int]]:
    """How many it was done to, and the ids of no dead letter: of several at once the service says how many, and not which."""
    asked = dict.fromkeys(ids)
    unknown = [id_ for id_ in asked if not await act([id_], namespace=namespace)]
    return len(asked) - len(unknown), unknown


def _refuse(unknown: Sequence[int], namespace: str | None) -> None:
    if unknown:
        where = "" if namespace is None else f" in {namespace}"
        names = "names no dead letter" if len(unknown) == 1 else "name no dead letters"
        raise InvalidInput(", ".join(map(str, unknown)), f"{names}{where}: `hybrid-memory outbox list` shows what waits")
