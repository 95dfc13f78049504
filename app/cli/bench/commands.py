"""`hybrid-memory bench …`: what each command takes. What it does is imported when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer
from rich.console import Console

from app.cli.signals import run
from app.gold.locomo import CATEGORIES, load_answerable, load_locomo
from app.settings import EmbedderChoice

bench_app = typer.Typer(help="Measure recall on conversations with gold evidence.", no_args_is_help=True)

_console: Final = Console()
_CATEGORIES: Final = f"May be repeated: {', '.join(f'{n} {name}' for n, name in CATEGORIES.items())}; 1 to 4, if left out"

SystemOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--system", help="A ranking to ask, by name or as NAME={fields of a search}; may be repeated"),
]
Ablation: TypeAlias = Annotated[bool, typer.Option("--ablation", help="Add the default with each of its terms left out")]
LimitQuestions: TypeAlias = Annotated[int | None, typer.Option(help="Of each conversation; all, if left out", min=1)]
JsonFile: TypeAlias = Annotated[Path | None, typer.Option("--json", help="Write everything here, question by question")]
PlotFile: TypeAlias = Annotated[Path | None, typer.Option("--plot", help="Draw Recall@k here, as .svg or .png")]
MarkdownFile: TypeAlias = Annotated[Path | None, typer.Option("--markdown", help="Write the tables here")]
RunFile: TypeAlias = Annotated[Path | None, typer.Option("--export-run", help="Write the rankings here, for other evaluators")]
Embedder: TypeAlias = Annotated[EmbedderChoice, typer.Option(help="Who embeds")]


@bench_app.command("locomo")
def bench_locomo(  # noqa: PLR0913, PLR0917 - a parameter is an option to typer
    path: Annotated[Path, typer.Argument(help="A file in the LoCoMo format (`locomo10.json`)")],
    system: SystemOption = None,
    category: Annotated[list[int] | None, typer.Option(help=_CATEGORIES, min=1, max=max(CATEGORIES))] = None,
    ablation: Ablation = False,
    limit_questions: LimitQuestions = None,
    json_file: JsonFile = None,
    plot: PlotFile = None,
    markdown: MarkdownFile = None,
    export_run: RunFile = None,
    embedder: Embedder = EmbedderChoice.LOCAL,
) -> None:
    """Ask the questions of LoCoMo, and say how often the turns that answer them are found."""
    from app.cli.bench.run import BenchPlan, Outputs, run_bench
    from app.cli.bench.systems import systems_of

    load, categories = (load_locomo, tuple(CATEGORIES[number] for number in category)) if category else (load_answerable, None)
    outputs = Outputs(json_file, plot, markdown, export_run)
    systems = systems_of(system or (), ablation=ablation)
    run(run_bench(BenchPlan(path, load, systems, categories, limit_questions, embedder, outputs), _console))


@bench_app.command("jsonl")
def bench_jsonl(  # noqa: PLR0913, PLR0917 - a parameter is an option to typer
    path: Annotated[Path, typer.Argument(help="Conversations and questions, as docs/recall.md describes them")],
    system: SystemOption = None,
    category: Annotated[list[str] | None, typer.Option(help="May be repeated; all, if left out")] = None,
    ablation: Ablation = False,
    limit_questions: LimitQuestions = None,
    json_file: JsonFile = None,
    plot: PlotFile = None,
    markdown: MarkdownFile = None,
    export_run: RunFile = None,
    embedder: Embedder = EmbedderChoice.LOCAL,
) -> None:
    """Ask questions about conversations of your own, and say how often the messages that answer them are found."""
    from app.cli.bench.run import BenchPlan, Outputs, run_bench
    from app.cli.bench.systems import systems_of
    from app.gold.jsonl import load_jsonl

    categories = tuple(category) if category else None
    outputs = Outputs(json_file, plot, markdown, export_run)
    systems = systems_of(system or (), ablation=ablation)
    run(run_bench(BenchPlan(path, load_jsonl, systems, categories, limit_questions, embedder, outputs), _console))
