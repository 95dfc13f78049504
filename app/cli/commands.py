"""Every command: what it takes, and where it is done."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID

import typer
from rich.console import Console
from rich.table import Table

from app.bootstrap import migrate as migrate_schema
from app.bootstrap import open_installation
from app.cli import demo as demonstration
from app.cli.bench import LocomoPlan, run_locomo
from app.cli.connecting import connected
from app.cli.serving import serve as serve_until_stopped
from app.cli.serving import work
from app.observability import configure_logging
from app.records import ALL_NAMESPACES, DEFAULT_NAMESPACE, Permission, utc_now
from app.settings import EmbedderChoice, Settings, load_settings

app = typer.Typer(
    help="The memory that agents keep: Redis for now, PostgreSQL for the truth, Qdrant for meaning.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
keys_app = typer.Typer(help="API keys: make, list, revoke.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")
bench_app = typer.Typer(help="Measure recall on conversations with gold evidence.", no_args_is_help=True)
app.add_typer(bench_app, name="bench")

_console: Final = Console()
Namespace = Annotated[str, typer.Option(help="Whose memory")]
Url = Annotated[str | None, typer.Option(help="A running service; found by itself on this machine")]


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Overrides MEMORY_HOST")] = None,
    port: Annotated[int | None, typer.Option(help="Overrides MEMORY_PORT")] = None,
) -> None:
    """Serve the API; starts the engines that have no URL."""
    given = {"host": host, "port": port}
    settings = _settings().model_copy(update={k: v for k, v in given.items() if v is not None})
    _run(serve_until_stopped(settings, _console))


@app.command()
def worker() -> None:
    """Run the background jobs (with engines on servers; embedded, `serve` runs them)."""
    _run(work(_settings(), _console))


@app.command()
def migrate() -> None:
    """Bring the schema of the PostgreSQL at MEMORY_POSTGRES_URL up to date."""
    _run(migrate_schema(_settings()))
    _console.print("the schema is up to date")


@app.command()
def demo() -> None:
    """Show the whole path on a conversation of three months: no network, no service, nothing kept."""
    configure_logging("ERROR", "console")
    _run(demonstration.show(_console))


@bench_app.command("locomo")
def bench_locomo(
    path: Annotated[Path, typer.Argument(help="A file in the LoCoMo format (`locomo10.json`)")],
    namespace_prefix: Annotated[str, typer.Option(help="Of the namespaces, one a conversation")] = "locomo-",
    limit_questions: Annotated[int | None, typer.Option(help="Of each conversation; all, if left out", min=1)] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write everything here, question by question")] = None,
    embedder: Annotated[EmbedderChoice, typer.Option(help="Who embeds")] = EmbedderChoice.LOCAL,
) -> None:
    """Ask the questions of LoCoMo, and say how often the turns that answer them are found."""
    document = asyncio.run(run_locomo(LocomoPlan(path, namespace_prefix, limit_questions, embedder), _console))
    if json_file is not None:
        json_file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


@app.command()
def consolidate(namespace: Annotated[str | None, typer.Option(help="All, if left out")] = None, url: Url = None) -> None:
    """Consolidate until nothing is left to do."""

    async def run() -> None:
        async with connected(_settings(), url) as client:
            with _console.status("consolidating …"):
                report = await client.consolidate(namespace=namespace)
            _print_counts("consolidated", report["counts"] | {"milliseconds": round(report["duration_ms"])})
            for problem in report["errors"]:
                _console.print(f"[red]interrupted:[/] {problem}")

    _run(run())


@app.command()
def search(
    text: Annotated[str, typer.Argument(help="The question")],
    namespace: Namespace = DEFAULT_NAMESPACE,
    limit: Annotated[int, typer.Option(help="How many hits")] = 10,
    url: Url = None,
) -> None:
    """Ask memory; prints the hits with where each came from."""

    async def run() -> None:
        async with connected(_settings(), url) as client:
            answer = await client.search(text, namespace=namespace, limit=limit)
        _console.print(hits_table(answer["hits"], f"{len(answer['hits'])} hits in {answer['latency_ms']:.1f} ms"))
        if answer["degraded"]:
            _console.print(f"[yellow]did not answer:[/] {', '.join(answer['degraded'])}")

    _run(run())


@app.command()
def stats(url: Url = None) -> None:
    """What waits where, and how far the index is from the truth."""

    async def run() -> None:
        async with connected(_settings(), url) as client:
            status = await client.status()
        _print_counts("records", status["records"] or {"unavailable": "episodic tier is away"})
        _print_counts("backlog", status["backlog"] or {"unavailable": "working tier is away"})
        _print_counts("outbox", status["outbox"] or {"unavailable": "episodic tier is away"})
        _print_counts("index", {"points": status["indexed_points"], "drift": status["drift"], **status["embedding"]})

    _run(run())


@keys_app.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="What it is for")],
    permission: Annotated[list[Permission] | None, typer.Option(help="May be repeated; read and write, if left out")] = None,
    namespace: Annotated[list[str] | None, typer.Option(help="May be repeated; all, if left out")] = None,
    days: Annotated[int | None, typer.Option(help="Valid for this long; for ever, if left out", min=1)] = None,
) -> None:
    """Make a key. It is shown once and kept only as a hash."""

    async def run() -> None:
        async with open_installation(_settings()) as installation:
            key, secret = await installation.access.make(
                name,
                permission or (Permission.READ, Permission.WRITE),
                namespace or (ALL_NAMESPACES,),
                None if days is None else utc_now() + timedelta(days=days),
            )
        _console.print(f"key {key.id} ({', '.join(sorted(key.permissions))}): shown this once", soft_wrap=True)
        _console.print(secret, soft_wrap=True, highlight=False)

    _run(run())


@keys_app.command("list")
def list_keys() -> None:
    """List keys: what they may do, where, and until when."""

    async def run() -> None:
        async with open_installation(_settings()) as installation:
            keys = await installation.access.list()
        table = Table("id", "name", "permissions", "namespaces", "state")
        for key in keys:
            state = "revoked" if key.revoked_at else "valid" if key.is_valid(utc_now()) else "expired"
            table.add_row(str(key.id), key.name, " ".join(sorted(key.permissions)), " ".join(sorted(key.namespaces)), state)
        _console.print(table)

    _run(run())


@keys_app.command("revoke")
def revoke_key(key_id: Annotated[UUID, typer.Argument(help="As `keys list` shows it")]) -> None:
    """Revoke a key; running services notice within seconds."""

    async def run() -> None:
        async with open_installation(_settings()) as installation:
            await installation.access.revoke(key_id)
        _console.print(f"revoked {key_id}")

    _run(run())


def hits_table(hits: list[dict[str, Any]], title: str) -> Table:
    """Hits as rows: score, where it came from, when, who, and the text."""
    table = Table(title=title, title_justify="left")
    for column, style in (("score", "cyan"), ("tier", "green"), ("kind", ""), ("when", ""), ("who", ""), ("text", "")):
        table.add_column(column, style=style, overflow="fold", no_wrap=column != "text")
    for hit in hits:
        parts = "\n".join(f"{name} {value:+.2f}" for name, value in hit["components"].items())
        score = f"{hit['score']:.2f}\n[dim]{parts}[/]"
        table.add_row(score, hit["tier"], hit["kind"], hit["created_at"][:10], hit["author"] or "", hit["text"])
    return table


def _print_counts(title: str, counts: dict[str, Any]) -> None:
    table = Table(title=title, title_justify="left", show_header=False)
    for name, value in counts.items():
        table.add_row(name, str(value))
    _console.print(table)


def _settings() -> Settings:
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)
    return settings


def _run(work: Coroutine[object, object, None]) -> None:
    asyncio.run(work)
