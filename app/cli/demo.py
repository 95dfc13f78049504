"""`hybrid-memory demo`: the whole path on a conversation of several weeks, in a directory that is removed afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from app.bootstrap import Installation, open_installation
from app.consolidation.run import ConsolidationStatus
from app.demo import DemoQuestion, DemoSession, load_conversation, load_questions
from app.records import Draft, Hit, Query, Recollection, RecordKind, Role, Scope
from app.service import HybridMemoryService
from app.settings import EmbedderChoice, Settings

_NAMESPACE: Final = "demo"
_TURN: Final = "turn"
"""The metadata key under which a message carries its id in the demo's conversation."""
_TOP: Final = 10
_PATIENCE_MS: Final = 5000.0
"""A busy machine may make the demo slow, not forgetful."""
_NEWS: Final = Draft(Role.USER, "Wren, note this down: the spare key is with Mrs. Visser on the ground floor.", name="Mara")
_NEWS_QUESTION: Final = "Who has the spare key?"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, what came back, and the rank of the first hit that answers it (None: not among them)."""

    question: str
    recollection: Recollection
    rank: int | None


async def show(console: Console) -> None:
    """Append, consolidate and ask, and print what happens; no network, and nothing is kept."""
    with TemporaryDirectory(prefix="hybrid-memory-demo-", ignore_cleanup_errors=True) as directory:
        console.print("[bold]hybrid-memory demo[/]: a conversation of three months, in a temporary directory\n")
        settings = settings_of(Path(directory))
        starting = console.status("starting Valkey, PostgreSQL and Qdrant Edge …")
        starting.start()
        async with open_installation(settings) as installation:
            starting.stop()
            await _fill(installation, console)
            await _say_something_new(installation.service, console)
            await _ask_all(installation.service, console)


def settings_of(data_dir: Path) -> Settings:
    """The defaults with everything embedded, whatever the environment says: the demo asks nobody outside."""
    return Settings.model_construct(data_dir=data_dir, embedder=EmbedderChoice.LOCAL, recall_deadline_ms=_PATIENCE_MS)


def rank_of(gold: Iterable[str], hits: Sequence[Hit]) -> int | None:
    """The rank, from 1, of the first hit that is one of the `gold` turns."""
    wanted = set(gold)
    return next((rank for rank, hit in enumerate(hits, 1) if hit.metadata.get(_TURN) in wanted), None)


async def _fill(installation: Installation, console: Console) -> None:
    service, sessions = installation.service, load_conversation()
    for session in sessions:
        await service.append_messages(Scope(_NAMESPACE, session_id=session.session_id), _drafts(session))
    before = await service.status()
    with console.status("loading the model all-MiniLM-L6-v2 into this process …"):
        await installation.embedder.embed([_NEWS_QUESTION])
    await _consolidate(service, sum(len(session.turns) for session in sessions), console)
    console.print(Padding(tiers_table(installation.engines, before, await service.status()), (1, 0)))


def _drafts(session: DemoSession) -> list[Draft]:
    return [Draft(t.role, t.text, name=t.author, created_at=t.at, metadata={_TURN: t.id}) for t in session.turns]


async def _consolidate(service: HybridMemoryService, messages: int, console: Console) -> None:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        drained = progress.add_task("drained into PostgreSQL", total=messages)
        indexed = progress.add_task("indexed in Qdrant", total=messages)

        def show_counts(counts: Counter[str]) -> None:
            progress.update(drained, completed=counts["messages_drained"])
            # Episodes are indexed too; how many there are is known when they are cut.
            progress.update(indexed, completed=counts["records_indexed"], total=max(messages, counts["records_indexed"]))

        await service.consolidate(progress=show_counts)


async def _say_something_new(service: HybridMemoryService, console: Console) -> None:
    await service.append_messages(Scope(_NAMESPACE, session_id="mara-wren-today"), [_NEWS])
    recollection = await service.search(_query(_NEWS_QUESTION, limit=1))
    console.print("[bold]Said a moment ago[/], and not consolidated yet.\n")
    console.print(answer_grid(Asked(_NEWS_QUESTION, recollection, 1 if _is_news(recollection.hits) else None)))


def _is_news(hits: Sequence[Hit]) -> bool:
    return bool(hits) and hits[0].text == _NEWS.content


async def _ask_all(service: HybridMemoryService, console: Console) -> None:
    console.print("[bold]Said over three months[/]. A tick: the first hit answers; a number: the hit of that rank does.\n")
    asked: list[Asked] = []
    for question in load_questions():
        asked.append(await _ask(service, question))
        console.print(answer_grid(asked[-1]))
    console.print(summary(asked))
    console.print("Next: [bold]hybrid-memory serve[/], and tell it something of your own.")


async def _ask(service: HybridMemoryService, question: DemoQuestion) -> Asked:
    recollection = await service.search(_query(question.question, limit=_TOP))
    return Asked(question.question, recollection, rank_of(question.gold, recollection.hits))


def _query(text: str, *, limit: int) -> Query:
    return Query(text, Scope(_NAMESPACE), kinds=(RecordKind.MESSAGE,), limit=limit)


def tiers_table(engines: Mapping[str, str], before: ConsolidationStatus, after: ConsolidationStatus) -> Table:
    """What each tier holds before and after consolidation."""
    table = Table("tier", "engine", "holds", title="Before and after consolidation", title_justify="left")
    table.add_column("before", justify="right")
    table.add_column("after", justify="right", style="bold")
    for (tier, what, was), (_, _, became) in zip(_holdings(before), _holdings(after), strict=True):
        table.add_row(tier, engines[tier].partition(" in ")[0], what, str(was), str(became))
    return table


def _holdings(status: ConsolidationStatus) -> list[tuple[str, str, int]]:
    """(tier, what, how many) in the order in which a message passes through."""
    waiting = status.backlog.messages if status.backlog else 0
    stored = status.store.indexable if status.store else {}
    return [
        ("working", "messages not drained yet", waiting),
        ("episodic", "messages", stored.get(RecordKind.MESSAGE, 0)),
        ("episodic", "episodes cut and summarised", stored.get(RecordKind.EPISODE, 0)),
        ("semantic", "points: a vector and its words", status.indexed_points or 0),
    ]


def answer_grid(asked: Asked) -> RenderableType:
    """The question, the first hit, and a tick when it answers; a number when the hit of that rank does."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=2, justify="right")
    grid.add_column()
    grid.add_row(_mark(asked.rank), Text(asked.question, style="bold"))
    for hit in asked.recollection.hits[:1]:
        grid.add_row("", Text(f"“{hit.text}”"))
        grid.add_row("", _provenance(hit))
    if asked.recollection.degraded:
        grid.add_row("", Text(f"did not answer: {', '.join(asked.recollection.degraded)}", style="yellow"))
    return Padding(grid, (0, 0, 1, 0))


def _mark(rank: int | None) -> Text:
    if rank is None:
        return Text("✗", style="red")
    return Text("✓", style="bold green") if rank == 1 else Text(str(rank), style="yellow")


def _provenance(hit: Hit) -> Text:
    said = f"{hit.author}, {hit.created_at.day} {hit.created_at:%b %Y}"
    return Text.assemble(said, " · ", (f"{hit.tier.value} tier", "green"), " · ", (f"score {hit.score:.2f}", "cyan"), style="dim")


def summary(asked: Sequence[Asked]) -> str:
    """How many questions found a sentence that answers them first, and among those asked for."""
    first = sum(a.rank == 1 for a in asked)
    top = sum(a.rank is not None for a in asked)
    return f"{first} of {len(asked)} questions found their sentence at rank 1, {top} of {len(asked)} in the top {_TOP}."
