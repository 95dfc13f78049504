"""Commands about knowledge: what is known, how it came about, and what holds instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeAlias
from uuid import UUID

import orjson
import typer
from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from app.cli.configuring import configured
from app.cli.signals import run
from app.client import MemoryClient, Surface, as_json
from app.records import DEFAULT_NAMESPACE, Knowledge, KnowledgeKind, Revision

Connecting: TypeAlias = AbstractAsyncContextManager[MemoryClient]

knowledge_app = typer.Typer(help="Knowledge: list, show, history, supersede.", no_args_is_help=True)
_console: Final = Console()
_INDENT: Final = (0, 0, 1, 0)
Namespace = Annotated[str, typer.Option(help="Whose memory")]
Url = Annotated[str | None, typer.Option(help="A running service; found by itself on this machine", envvar="MEMORY_URL")]
KnowledgeId = Annotated[UUID, typer.Argument(help="As `knowledge list` shows it")]


@knowledge_app.command("list")
def list_(
    namespace: Namespace = DEFAULT_NAMESPACE,
    kind: Annotated[KnowledgeKind | None, typer.Option(help="All, if left out")] = None,
    as_of: Annotated[str | None, typer.Option(help="What held then, such as 2026-03-01T09:30:00Z; now, if left out")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what is superseded, over or not active")] = False,
    limit: Annotated[int, typer.Option(help="How many pieces")] = 50,
    url: Url = None,
) -> None:
    """List what is known, newest first."""
    asked = {"namespace": namespace, "kind": kind and kind.value, "as_of": as_of, "limit": limit}
    also = {"include_superseded": everything, "include_inactive": everything}
    run(list_pieces(_connected(url), asked | also, _console))


@knowledge_app.command()
def show(knowledge_id: KnowledgeId, namespace: Namespace = DEFAULT_NAMESPACE, url: Url = None) -> None:
    """Show all there is to one piece, as JSON."""
    run(show_piece(_connected(url), knowledge_id, namespace, _console))


@knowledge_app.command()
def history(knowledge_id: KnowledgeId, namespace: Namespace = DEFAULT_NAMESPACE, url: Url = None) -> None:
    """Show what superseded what, and every change of the piece."""
    run(show_history(_connected(url), knowledge_id, namespace, _console))


@knowledge_app.command()
def supersede(
    knowledge_id: KnowledgeId,
    description: Annotated[str, typer.Argument(help="What holds instead")],
    valid_from: Annotated[str | None, typer.Option(help="From when on; now, if left out")] = None,
    namespace: Namespace = DEFAULT_NAMESPACE,
    url: Url = None,
) -> None:
    """Say what holds instead; the older piece is kept and ends then."""
    body = {"namespace": namespace, "description": description, "valid_from": valid_from}
    run(supersede_piece(_connected(url), knowledge_id, body, _console))


def _connected(url: str | None) -> Connecting:
    settings = configured()
    from app.cli.connecting import connected  # takes a second, which `--help` need not wait for

    return connected(settings, url)


async def list_pieces(connecting: Connecting, asked: Mapping[str, Any], console: Console) -> None:
    async with connecting as client:
        page = await client.list_knowledge(**_given(asked))
    console.print(knowledge_table(page.items) if page.items else "nothing is known")
    if page.next is not None:
        console.print("[dim]there is more: raise --limit[/]", highlight=False)


async def show_piece(connecting: Connecting, knowledge_id: UUID, namespace: str, console: Console) -> None:
    async with connecting as client:
        piece = await client.ask(as_json(Surface.get_knowledge.request(knowledge_id, namespace=namespace)))
    console.print(Text(orjson.dumps(piece, option=orjson.OPT_INDENT_2).decode()), soft_wrap=True)


async def show_history(connecting: Connecting, knowledge_id: UUID, namespace: str, console: Console) -> None:
    async with connecting as client:
        found = await client.knowledge_history(knowledge_id, namespace=namespace, limit=1000)
    console.print(knowledge_table(found.versions))
    console.print(revisions_table(found.revisions))


async def supersede_piece(connecting: Connecting, knowledge_id: UUID, body: Mapping[str, Any], console: Console) -> None:
    async with connecting as client:
        successor = await client.supersede_knowledge(knowledge_id, **_given(body))
    begins = f" from {_shown(successor.valid_from)}Z on" if successor.valid_from else ""
    console.print(f"{successor.id} supersedes {knowledge_id}{begins}", soft_wrap=True)


def knowledge_table(pieces: Sequence[Knowledge]) -> Table:
    """A piece after the other: what it says, and below what it is worth and when it holds (pure)."""
    table = Table("id", "kind", "what", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    table.columns[0].no_wrap = True
    table.columns[2].overflow = "fold"
    for piece in pieces:
        table.add_row(str(piece.id), piece.kind.value, Text(piece.description))
        table.add_row("", "", Padding(_standing(piece), _INDENT))
    return table


def revisions_table(revisions: Sequence[Revision]) -> Table:
    """A change after the other (pure)."""
    table = Table("revision", "at", "cause", "changes", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    table.columns[3].overflow = "fold"
    for revision in revisions:
        changes = Text(orjson.dumps(dict(revision.changes)).decode())
        table.add_row(str(revision.number), _shown(revision.recorded_at), revision.cause.value, changes)
    return table


def _standing(piece: Knowledge) -> Text:
    applied = f"{piece.success_count} of {piece.times_applied} applications succeeded" if piece.times_applied else None
    begins = f"from {_shown(piece.valid_from)}" if piece.valid_from else None
    ends = f"until {_shown(piece.valid_to)}" if piece.valid_to else None
    parts = (f"confidence {piece.confidence:.2f}", applied, begins, ends, piece.inactive_reason)
    return Text(" · ".join(filter(None, parts)), style="dim")


def _shown(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}"


def _given(asked: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in asked.items() if value is not None}
