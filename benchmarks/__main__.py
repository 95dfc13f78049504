"""`python -m benchmarks`: run the stages, print a table."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from app.cli.signals import run
from app.observability import configure_logging
from benchmarks.report import Figure, as_json, table_of
from benchmarks.stages import STAGES, Bench
from benchmarks.workload import make_workload

_MESSAGES: Final = 10_000
_QUICK_MESSAGES: Final = 1_000
_QUESTIONS: Final = 3_000


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    quick: Annotated[bool, typer.Option("--quick", help=f"{_QUICK_MESSAGES:,} messages instead of {_MESSAGES:,}")] = False,
    only: Annotated[list[str] | None, typer.Option(help=f"May be repeated: {', '.join(STAGES)}")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here, too")] = None,
) -> None:
    """Measure, each figure beside its floor: what the bare engine or library needs for the same in the same run."""
    unknown = set(only or ()) - set(STAGES)
    if unknown:
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: there are {', '.join(STAGES)}", param_hint="--only")
    configure_logging("ERROR", "console")
    console = Console()
    figures = run(_measure(only or list(STAGES), _QUICK_MESSAGES if quick else _MESSAGES, console))
    console.print(table_of(figures))
    if json_file is not None:
        json_file.write_text(json.dumps(as_json(figures), indent=1) + "\n", encoding="utf-8")


async def _measure(stages: list[str], messages: int, console: Console) -> list[Figure]:
    columns = SpinnerColumn(finished_text="✓"), TextColumn("{task.description}"), TimeElapsedColumn()
    home = TemporaryDirectory(prefix="hybrid-memory-benchmarks-", ignore_cleanup_errors=True)
    with home as directory, Progress(*columns, console=console) as progress:
        bench = Bench(make_workload(messages, _QUESTIONS), Path(directory), progress)
        return [figure for name, stage in STAGES.items() if name in stages for figure in await stage(bench)]


if __name__ == "__main__":
    app()
