"""Every command: what it takes, and where it is done.

Where it is done is imported by the command itself: the engines' libraries take a second, which `--help` and a wrong
setting need not wait for.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Final
from uuid import UUID

import typer
from rich.console import Console

from app.cli.bench.commands import bench_app
from app.cli.configuring import configured
from app.cli.knowledge import knowledge_app
from app.cli.signals import run
from app.observability import configure_logging
from app.ports import OutboxState
from app.records import ALL_NAMESPACES, DEFAULT_NAMESPACE, Permission
from app.transfer.sources import Source

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
keys_app = typer.Typer(help="API keys: make, list, revoke.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")
outbox_app = typer.Typer(help="Records waiting to be indexed, and dead letters: list, retry, drop.", no_args_is_help=True)
app.add_typer(outbox_app, name="outbox")
app.add_typer(bench_app, name="bench")
app.add_typer(knowledge_app, name="knowledge")

_console: Final = Console()
Namespace = Annotated[str, typer.Option(help="Whose memory")]
OneNamespace = Annotated[str | None, typer.Option("--namespace", help="Only of this one")]
Url = Annotated[str | None, typer.Option(help="A running service; found by itself on this machine", envvar="MEMORY_URL")]


def _tell_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"hybrid-memory {version('hybrid-memory')}")
        raise typer.Exit


@app.callback()
def every_command(
    _: Annotated[
        bool, typer.Option("--version", help="Show the version and exit", callback=_tell_version, is_eager=True)
    ] = False,
) -> None:
    """The memory that agents keep: Redis for now, PostgreSQL for the truth, Qdrant for meaning."""


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Overrides MEMORY_HOST")] = None,
    port: Annotated[int | None, typer.Option(help="Overrides MEMORY_PORT", min=0, max=65535)] = None,
) -> None:
    """Serve the API; starts the engines that have no URL."""
    given = {"host": host, "port": port}
    settings = configured().model_copy(update={k: v for k, v in given.items() if v is not None})
    from app.cli.serving import serve as serve_until_stopped

    run(serve_until_stopped(settings, _console))


@app.command()
def worker() -> None:
    """Run the background jobs (with engines on servers; embedded, `serve` runs them)."""
    settings = configured()
    from app.cli.serving import work

    run(work(settings, _console))


@app.command()
def migrate() -> None:
    """Bring the schema of the PostgreSQL at MEMORY_POSTGRES_URL up to date."""
    settings = configured()
    from app.bootstrap import migrate as migrate_schema

    run(migrate_schema(settings))
    _console.print("the schema is up to date")


@app.command()
def demo() -> None:
    """Show the whole path on a conversation of three months: no network, no service, nothing kept."""
    configure_logging("ERROR", "console")
    from app.cli import demo as demonstration

    run(demonstration.show(_console))


@app.command()
def consolidate(namespace: Annotated[str | None, typer.Option(help="All, if left out")] = None, url: Url = None) -> None:
    """Consolidate until nothing is left to do."""
    settings = configured()
    from app.cli import asking
    from app.cli.connecting import connected

    run(asking.consolidate(connected(settings, url), namespace, _console))


@app.command()
def reconcile(
    repair: Annotated[
        bool, typer.Option("--repair/--dry-run", help="Queue what is wrong for the indexer, or only report it")
    ] = False,
    namespace: Annotated[str | None, typer.Option(help="All, if left out")] = None,
    url: Url = None,
) -> None:
    """Compare the vector index with PostgreSQL, record by record; changes nothing unless told to repair."""
    settings = configured()
    from app.cli import reconciling
    from app.cli.connecting import connected

    run(reconciling.reconcile(connected(settings, url), repair=repair, namespace=namespace, console=_console))


@app.command()
def learn(
    namespace: Annotated[str | None, typer.Option(help="All, if left out")] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Also from episodes that were given up on")] = False,
    url: Url = None,
) -> None:
    """Learn patterns and heuristics from the episodes that are due."""
    settings = configured()
    from app.cli import learning
    from app.cli.connecting import connected

    run(learning.learn(connected(settings, url), namespace=namespace, retry=retry, console=_console))


@app.command()
def search(
    text: Annotated[str, typer.Argument(help="The question")],
    namespace: Namespace = DEFAULT_NAMESPACE,
    limit: Annotated[int, typer.Option(help="How many hits")] = 10,
    url: Url = None,
) -> None:
    """Ask memory; prints the hits with where each came from."""
    settings = configured()
    from app.cli import asking
    from app.cli.connecting import connected

    run(asking.search(connected(settings, url), text, namespace, limit, _console))


@app.command()
def stats(url: Url = None) -> None:
    """What waits where, and how far the index is from the truth."""
    settings = configured()
    from app.cli import asking
    from app.cli.connecting import connected

    run(asking.stats(connected(settings, url), _console))


@app.command()
def trends(
    days: Annotated[int, typer.Option(help="7 or 30")] = 7,
    namespace: OneNamespace = None,
    url: Url = None,
) -> None:
    """Show where quality, recall latency and error rate have been going."""
    settings = configured()
    from app.cli import trending
    from app.cli.connecting import connected

    run(trending.trends(connected(settings, url), days, namespace, _console))


@app.command()
def retain(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be done")] = False,
    url: Url = None,
) -> None:
    """Retire, archive and delete what has outlived its retention."""
    settings = configured()
    from app.cli import operating
    from app.cli.connecting import connected

    run(operating.retain(connected(settings, url), _console, dry_run=dry_run))


@app.command()
def backfill(
    batch_size: Annotated[int, typer.Option(help="Episodes at a time", min=1)] = 100,
    max_episodes: Annotated[int, typer.Option(help="At most so many are scored, and as many embedded", min=1)] = 10_000,
    rate: Annotated[float | None, typer.Option(help="At most so many a second; unbounded, if left out")] = None,
    namespace: OneNamespace = None,
    url: Url = None,
) -> None:
    """Score episodes without a quality, and embed those that the index lacks, oldest and best first."""
    settings = configured()
    from app.cli import backfilling
    from app.cli.connecting import connected

    asked = {"batch_size": batch_size, "max_episodes": max_episodes, "rate": rate, "namespace": namespace}
    run(backfilling.backfill(connected(settings, url), asked, _console))


@app.command()
def features(
    switches: Annotated[list[str] | None, typer.Argument(help="Such as retrieval=off; shows how they stand, if left out")] = None,
    url: Url = None,
) -> None:
    """Show what is switched on, or switch episode_logging and retrieval on or off without a restart."""
    settings = configured()
    from app.cli import backfilling
    from app.cli.connecting import connected

    run(backfilling.features(connected(settings, url), switches or (), _console))


@outbox_app.command("list")
def list_outbox(
    state: Annotated[OutboxState | None, typer.Option(help="All, if left out")] = None,
    namespace: OneNamespace = None,
    after: Annotated[int, typer.Option(help="The last id of the page before")] = 0,
    limit: Annotated[int, typer.Option(help="How many entries")] = 100,
    url: Url = None,
) -> None:
    """List what waits, is being worked on, or was given up on, with its last error."""
    settings = configured()
    from app.cli import operating
    from app.cli.connecting import connected

    asked = {"state": state and state.value, "namespace": namespace, "after": after, "limit": limit}
    run(operating.list_outbox(connected(settings, url), asked, _console))


@outbox_app.command("retry")
def retry_outbox(
    ids: Annotated[list[int] | None, typer.Argument(help="Dead letters as `outbox list` shows them; all, if left out")] = None,
    namespace: OneNamespace = None,
    url: Url = None,
) -> None:
    """Make dead letters due again."""
    settings = configured()
    from app.cli import operating
    from app.cli.connecting import connected

    run(operating.retry_dead_letters(connected(settings, url), ids, namespace, _console))


@outbox_app.command("drop")
def drop_outbox(
    ids: Annotated[list[int], typer.Argument(help="Dead letters as `outbox list` shows them")],
    namespace: OneNamespace = None,
    url: Url = None,
) -> None:
    """Give up on dead letters for good; their records stay in PostgreSQL as they are."""
    settings = configured()
    from app.cli import operating
    from app.cli.connecting import connected

    run(operating.drop_dead_letters(connected(settings, url), ids, namespace, _console))


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="Replaced when the backup is whole, and not before")], url: Url = None
) -> None:
    """Write everything into one file, also while a service runs."""
    settings = configured()
    from app.cli import moving
    from app.cli.connecting import reached

    run(moving.backup(reached(settings, url), file, _console))


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="What `backup` wrote", exists=True, dir_okay=False, readable=True)],
) -> None:
    """Fill an empty installation with a backup; no service may run on it."""
    settings = configured()
    from app.cli import moving

    run(moving.restore(settings, file, _console))


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="Replaced when the export is whole, and not before")],
    namespace: Namespace = DEFAULT_NAMESPACE,
    url: Url = None,
) -> None:
    """Write a namespace as JSON Lines, also while a service runs."""
    settings = configured()
    from app.cli import moving
    from app.cli.connecting import reached

    run(moving.export(reached(settings, url), file, namespace, _console))


@app.command("import")
def import_(
    file: Annotated[
        Path, typer.Argument(help="What `export` wrote, or another memory", exists=True, dir_okay=False, readable=True)
    ],
    source: Annotated[Source | None, typer.Option("--from", help="Whose export it is; our own, if left out")] = None,
    namespace: Annotated[str | None, typer.Option(help="The file's own, or `default`, if left out")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only look at the file, and report")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON, with everything that was skipped")] = False,
    url: Url = None,
) -> None:
    """Take a file into a namespace: our own export, or that of another memory. What is there already is left as it is."""
    settings = configured()
    from app.cli import importing
    from app.cli.connecting import reached

    plan = importing.ImportPlan(file, source, namespace, is_dry=dry_run, as_json=as_json)
    run(importing.import_(reached(settings, url), plan, _console))


@app.command()
def mcp(
    http: Annotated[bool, typer.Option("--http", help="Serve over HTTP at /mcp, with the API, like `serve`")] = False,
    namespace: Annotated[str | None, typer.Option(help="On stdio: whose memory, where a call names none")] = None,
    url: Url = None,
    host: Annotated[str | None, typer.Option(help="With --http: overrides MEMORY_HOST")] = None,
    port: Annotated[int | None, typer.Option(help="With --http: overrides MEMORY_PORT", min=0, max=65535)] = None,
) -> None:
    """Serve models over the Model Context Protocol: on stdin and stdout, or over HTTP."""
    from app.cli import stdio

    stdio.require_mcp()
    if http:
        stdio.refuse_over_http(url, namespace)
        serve(host=host, port=port)
        return
    stdio.refuse_on_stdio(host, port)
    run(stdio.serve_stdio(configured(), url, namespace or DEFAULT_NAMESPACE))


@keys_app.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="What it is for")],
    permission: Annotated[list[Permission] | None, typer.Option(help="May be repeated; read and write, if left out")] = None,
    namespace: Annotated[list[str] | None, typer.Option(help="May be repeated; all, if left out")] = None,
    days: Annotated[int | None, typer.Option(help="Valid for this long; for ever, if left out", min=1, max=36_500)] = None,
) -> None:
    """Make a key, also while a service runs. It is shown once and kept only as a hash."""
    settings = configured()
    from app.bootstrap import open_access
    from app.cli import keys

    permissions, namespaces = permission or (Permission.READ, Permission.WRITE), namespace or (ALL_NAMESPACES,)
    run(keys.create(open_access(settings), name, permissions, namespaces, days=days, console=_console))


@keys_app.command("list")
def list_keys() -> None:
    """List keys: what they may do, where, and until when."""
    settings = configured()
    from app.bootstrap import open_access
    from app.cli import keys

    run(keys.show_all(open_access(settings), _console))


@keys_app.command("revoke")
def revoke_key(key_id: Annotated[UUID, typer.Argument(help="As `keys list` shows it")]) -> None:
    """Revoke a key; running services notice within seconds."""
    settings = configured()
    from app.bootstrap import open_access
    from app.cli import keys

    run(keys.revoke(open_access(settings), key_id, _console))
