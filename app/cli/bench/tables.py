"""Results as tables, for a terminal of 80 columns and for a page of Markdown (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from rich import box
from rich.table import Table
from rich.text import Text

from app.cli.bench.scores import MRR, NDCG, Group, Latency, Results, Row, Run
from app.cli.bench.systems import DEFAULT
from app.metrics import Interval

_MAIN: Final = "R@10"
_HEADINGS: Final = ("R@1", "R@5", _MAIN, "95 %", "R@20", "R@50", "nDCG", MRR)
_GAINS: Final = (_MAIN, NDCG, MRR)
_LATENCY_HEADINGS: Final = ("p50", "p95", "p50 again", "p95 again", "degraded")
_NONE: Final = "–"
_NAME_WIDTH: Final = 20


def marks_table(results: Results) -> Table:
    """Marks in percent: a section a group, all questions first, and in it a row a system."""
    table = _table("", *_HEADINGS)
    table.columns[_HEADINGS.index(_MAIN) + 1].style = "bold"
    for group in (results.overall, *results.categories, *results.conversations):
        table.add_row(Text(_title(group), style="bold"))
        for row in group.rows:
            table.add_row(Text(f"  {row.system}"), *_marks(row))
        table.add_section()
    return table


def gains_table(results: Results) -> Table:
    """What each system's marks are above the default's, over all questions."""
    table = _table("", *_gain_headings())
    for row in results.overall.rows:
        table.add_row(Text(row.system), *_gains(row))
    return table


def latency_table(runs: Sequence[Run]) -> Table:
    """How long each system took in milliseconds, and how many answers came without a tier or stage."""
    table = _table("", *_LATENCY_HEADINGS)
    for run in runs:
        table.add_row(Text(run.system.name), *_latencies(run))
    return table


def markdown(results: Results, runs: Sequence[Run], source: str) -> str:
    """The same tables as a page, without those of single conversations; `source` says what was measured."""
    groups = (results.overall, *results.categories)
    gains = _markdown_rows(_gain_headings(), ((row.system, *_gains(row)) for row in results.overall.rows))
    latencies = _markdown_rows(_LATENCY_HEADINGS, ((run.system.name, *_latencies(run)) for run in runs))
    marks = (_markdown_rows(_HEADINGS, ((row.system, *_marks(row)) for row in group.rows)) for group in groups)
    titles = (*map(_title, groups), f"gain over {DEFAULT}", "milliseconds")
    sections = (f"## {title}\n\n{rows}\n" for title, rows in zip(titles, (*marks, gains, latencies), strict=True))
    return "\n".join((f"# Figures\n\n{source}\n", *sections))


def _markdown_rows(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = f"| system | {' | '.join(headings)} |", f"|---|{'---:|' * len(headings)}"
    return "\n".join((*head, *(f"| {' | '.join(row)} |" for row in rows)))


def _gain_headings() -> list[str]:
    return [heading for mark in _GAINS for heading in (mark, "95 %")]


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(headings[0], no_wrap=True, max_width=_NAME_WIDTH)
    for heading in headings[1:]:
        table.add_column(heading, justify="right")
    return table


def _title(group: Group) -> str:
    return f"{group.name} ({group.questions})"


def _marks(row: Row) -> list[str]:
    before, after = ("R@1", "R@5", _MAIN), ("R@20", "R@50", NDCG, MRR)
    main = row.marks[_MAIN]
    means = {name: _percent(row.marks[name].mean) for name in (*before, *after)}
    return [*(means[name] for name in before), _between(main, ""), *(means[name] for name in after)]


def _gains(row: Row) -> list[str]:
    if row.gains is None:
        return [_NONE] * len(_gain_headings())
    gains = [row.gains[mark] for mark in _GAINS]
    return [cell for gain in gains for cell in (_percent(gain.mean, "+"), _between(gain, "+"))]


def _latencies(run: Run) -> list[str]:
    return [*_latency(run.first), *_latency(run.again), str(run.degraded)]


def _latency(latency: Latency | None) -> tuple[str, str]:
    return (_NONE, _NONE) if latency is None else (f"{latency.p50_ms:.1f}", f"{latency.p95_ms:.1f}")


def _between(interval: Interval, sign: str) -> str:
    return f"{_percent(interval.low, sign)}…{_percent(interval.high, sign)}"


def _percent(fraction: float, sign: str = "") -> str:
    return f"{fraction * 100:{sign}.1f}"
