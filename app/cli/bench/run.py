"""The benchmark from a file to what is printed and written."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeAlias

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from app.cli.bench.measuring import Measurement
from app.cli.bench.plot import check_plot, draw_curves
from app.cli.bench.scores import Results, Run, curves_of, rankings_of, report, results_of
from app.cli.bench.systems import ABLATED, DEFAULT, System
from app.cli.bench.tables import gains_table, latency_table, markdown, marks_table
from app.cli.child import served
from app.client import NO_RETRIES, MemoryClient
from app.errors import InvalidInput
from app.gold import GoldConversation
from app.records import Json
from app.settings import EmbedderChoice

Load: TypeAlias = Callable[[Path], tuple[GoldConversation, ...]]

_NO_JOB_SECONDS: Final = "86400"
"""Consolidation is asked for; a job of the service's own would only run in between."""
_DEADLINE_MS: Final = "5000"
"""A busy machine may make the benchmark slow, not forgetful: what waiting costs is in the latencies."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """Files to write, each by the option that names it."""

    json_file: Path | None = None
    plot: Path | None = None
    markdown: Path | None = None
    rankings: Path | None = None

    def check(self) -> None:
        """Find out before the measurement what would fail after it.

        Raises:
            InvalidInput: a file cannot be written where it should lie.
            ConfigurationError: what draws the plot is not installed.
        """
        options = {"--json": self.json_file, "--plot": self.plot, "--markdown": self.markdown, "--export-run": self.rankings}
        for option, path in options.items():
            if path is not None and (path.is_dir() or not path.parent.is_dir()):
                raise InvalidInput(option, f"{path} must be a file in a directory that exists")
        if self.plot is not None:
            check_plot(self.plot)


@dataclass(frozen=True, slots=True)
class BenchPlan:
    """What to measure. `categories` None asks all; `questions` is how many of each conversation, all if None."""

    path: Path
    load: Load
    systems: Sequence[System]
    categories: tuple[str, ...] | None = None
    questions: int | None = None
    embedder: EmbedderChoice = EmbedderChoice.LOCAL
    outputs: Outputs = field(default_factory=Outputs)


async def run_bench(plan: BenchPlan, console: Console) -> None:
    """Measure, print the tables, and write what was asked for.

    Raises:
        InvalidInput: the file is not in its format, has no question to ask, or the service refuses what is in it.
        StartupError: the service did not start.
    """
    plan.outputs.check()
    conversations = conversations_of(plan)
    runs, embedding = await _measured(plan, conversations, console)
    with console.status("scoring …"):
        results = results_of(runs)
    _print(console, results, runs, embedding)
    _write(plan, results, runs, embedding)


def conversations_of(plan: BenchPlan) -> tuple[GoldConversation, ...]:
    """The file's conversations with the questions that are to be asked, those without any left out.

    Raises:
        InvalidInput: the file cannot be read, is not in its format, or has no question to ask.
    """
    conversations = _loaded(plan)
    known = sorted({question.category for conversation in conversations for question in conversation.questions})
    if not known:
        raise InvalidInput(str(plan.path), "has no question with evidence to ask")
    for category in plan.categories or ():
        if category not in known:
            raise InvalidInput("--category", f"{category!r} is asked by no question; the file has {', '.join(known)}")
    narrowed = (_narrowed(conversation, plan.categories or known, plan.questions) for conversation in conversations)
    return tuple(conversation for conversation in narrowed if conversation.questions)


def _loaded(plan: BenchPlan) -> tuple[GoldConversation, ...]:
    try:
        return plan.load(plan.path)
    except OSError as error:
        raise InvalidInput(str(plan.path), error.strerror or "cannot be read") from error


def _narrowed(conversation: GoldConversation, categories: Collection[str], limit: int | None) -> GoldConversation:
    questions = [question for question in conversation.questions if question.category in categories]
    return replace(conversation, questions=tuple(questions[:limit]))


async def _measured(
    plan: BenchPlan, conversations: Sequence[GoldConversation], console: Console
) -> tuple[tuple[Run, ...], Json]:  # fmt: skip
    """The runs, and which model embedded; in a service and a directory that are gone afterwards."""
    with TemporaryDirectory(prefix="hybrid-memory-bench-", ignore_cleanup_errors=True) as directory:
        service = served(
            MEMORY_DATA_DIR=directory,
            MEMORY_EMBEDDER=plan.embedder.value,
            MEMORY_CONSOLIDATION_INTERVAL_SECONDS=_NO_JOB_SECONDS,
            MEMORY_RECALL_DEADLINE_MS=_DEADLINE_MS,
        )
        async with service as base_url, MemoryClient(base_url, retries=NO_RETRIES) as client:
            columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
            with Progress(*columns, console=console) as progress:
                runs = await Measurement(client, conversations, plan.systems, progress).run()
            embedding = (await client.status()).embedding
            return runs, {"space": "unknown"} if embedding is None else asdict(embedding)


def _print(console: Console, results: Results, runs: Sequence[Run], embedding: Json) -> None:
    console.print(marks_table(results))
    console.print("Marks in percent, over (questions). 95 %: of R@10, by bootstrap. nDCG at 10.\n")
    if len(runs) > 1:
        console.print(gains_table(results))
        console.print(f"Marks minus those of {DEFAULT!r}, question by question. 95 %: by paired bootstrap.\n")
    console.print(latency_table(runs))
    console.print("Milliseconds, one question after the other; `again`: asked before, so cached.")
    console.print(f"Embedded in {embedding['space']}. Degraded: answers without a tier or stage.")


def _write(plan: BenchPlan, results: Results, runs: Sequence[Run], embedding: Json) -> None:
    outputs = plan.outputs
    if outputs.json_file is not None:
        _write_json(outputs.json_file, {"file": plan.path.name, "embedding": embedding, **report(runs, results)})
    if outputs.rankings is not None:
        _write_json(outputs.rankings, rankings_of(runs))
    if outputs.markdown is not None:
        outputs.markdown.write_text(markdown(results, runs, _source(plan, results, embedding)), encoding="utf-8")
    if outputs.plot is not None:
        title = f"Recall@k over {results.overall.questions} questions of {plan.path.name}"
        draw_curves(_apart(curves_of(runs)), title, outputs.plot)


def _source(plan: BenchPlan, results: Results, embedding: Json) -> str:
    asked = f"{results.overall.questions} questions of `{plan.path.name}`, embedded in `{embedding['space']}`"
    return f"Written by `hybrid-memory bench`, version {version('hybrid-memory')}: {asked}. How to read it: [Recall](recall.md)."


def _apart(curves: Mapping[str, Sequence[float]]) -> dict[str, Sequence[float]]:
    """The curves that can be told apart: those of the ablation lie on top of the default's."""
    return {name: curve for name, curve in curves.items() if name == DEFAULT or name not in ABLATED}


def _write_json(path: Path, document: Any) -> None:
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
