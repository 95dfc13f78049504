"""`python -m app.integrations.store_conformance mymodule:factory`."""

from __future__ import annotations

import asyncio
import json
import sys
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from app.integrations.store_conformance import SPECS, Mode, Report, StoreOptions, Verdict, run
from app.integrations.store_conformance.running import Factory

_MARKS = {Verdict.PASSED: "[green]passed[/]", Verdict.FAILED: "[red]failed[/]", Verdict.SKIPPED: "[dim]skipped[/]"}


app = typer.Typer(add_completion=False)


@app.command()
def check(
    target: Annotated[str, typer.Argument(metavar="MODULE:FACTORY", help="Takes StoreOptions, gives an empty store")],
    mode: Annotated[list[Mode] | None, typer.Option(help="Only these methods; both, if left out")] = None,
    only: Annotated[str, typer.Option(help="Only specifications whose id begins so")] = "",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report here, as JSON")] = None,
) -> None:
    """Check a LangGraph store against every specification; the exit code is 1 when it fails one, 2 when there is none."""
    specs = [spec for spec in SPECS if spec.id.startswith(only)]
    if not specs:
        raise typer.BadParameter(f"no specification's id begins with {only!r}")
    report = asyncio.run(run(_factory(target), specs, modes=mode or tuple(Mode), name=target))
    if json_file is not None:
        json_file.write_text(json.dumps(report.as_json(), indent=2) + "\n", encoding="utf-8")
    _show(report)
    raise typer.Exit(1 if report.counts[Verdict.FAILED] else 0)


def _factory(target: str) -> Factory:
    module, _, name = target.partition(":")
    sys.path.insert(0, "")
    try:
        found: Factory = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise typer.BadParameter(f"{target!r} is not MODULE:FACTORY: {error}") from error
    try:
        signature(found).bind(StoreOptions())
    except TypeError as error:
        raise typer.BadParameter(f"{target!r} has to take one argument, the StoreOptions: {error}") from error
    return found


def _show(report: Report) -> None:
    table = Table("id", "what a store does", "mode", "verdict", title=report.store)
    for outcome in report.outcomes:
        said = f"{outcome.spec.sentence}\n[dim]{outcome.detail}[/]" if outcome.detail else outcome.spec.sentence
        table.add_row(outcome.spec.id, said, outcome.mode.value, _MARKS[outcome.verdict])
    console = Console()
    console.print(table)
    console.print(", ".join(f"{count} {verdict.value}" for verdict, count in report.counts.items()))


if __name__ == "__main__":
    app()
