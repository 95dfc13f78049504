"""Results as tables, for a terminal of 80 columns and for a page of Markdown (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from rich import box
from rich.table import Table

from app.cli.bench.scores import MRR, NDCG, Group, Latency, Results, Row, Run
from app.cli.bench.systems import DEFAULT
from app.metrics import Interval

_MAIN: Final = "R@10"
_HEADINGS: Final = ("R@1", "R@5", _MAIN, "95 %", "R@20", "R@50", "nDCG", MRR)
_GAIN_HEADINGS: Final = ("gain R@10", "95 %", "gain nDCG", "95 %")
_LATENCY_HEADINGS: Final = ("p50", "p95", "p50 again", "p95 again")
_NONE: Final = "–"


def marks_table(results: Results) -> Table:
    """Marks in percent: a section a group, all questions first, and in it a row a system."""
    table = _table("", *_HEADINGS)
    table.columns[_HEADINGS.index(_MAIN) + 1].style = "bold"
    for group in (results.overall, *results.categories, *results.conversations):
        table.add_row(f"[bold]{_title(group)}[/]")
        for row in group.rows:
            table.add_row(f"  {row.system}", *_marks(row))
        table.add_section()
    return table


def comparison_table(results: Results, runs: Sequence[Run]) -> Table:
    """Each system against the default, and how long it took in milliseconds."""
    table = _table("", *_GAIN_HEADINGS, *_LATENCY_HEADINGS)
    for row, run in zip(results.overall.rows, runs, strict=True):
        table.add_row(row.system, *_gains(row), *_latencies(run))
    return table


def markdown(results: Results, runs: Sequence[Run]) -> str:
    """The same tables for a page of documentation."""
    groups = (results.overall, *results.categories, *results.conversations)
    sections = [_markdown_group(group) for group in groups]
    rows = ((row.system, *_gains(row), *_latencies(run)) for row, run in zip(results.overall.rows, runs, strict=True))
    compared = "\n".join(_markdown_rows(("system", *_GAIN_HEADINGS, *_LATENCY_HEADINGS), rows))
    return "\n\n".join([*sections, f"Gains over `{DEFAULT}`, and latency in milliseconds\n\n{compared}"]) + "\n"


def _markdown_group(group: Group) -> str:
    rows = _markdown_rows(("system", *_HEADINGS), ((row.system, *_marks(row)) for row in group.rows))
    return f"{_title(group)}\n\n" + "\n".join(rows)


def _markdown_rows(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(headings)} |"
    yield f"|---|{'---:|' * (len(headings) - 1)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(headings[0], no_wrap=True)
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
        return [_NONE] * len(_GAIN_HEADINGS)
    gains = (row.gains[_MAIN], row.gains[NDCG])
    return [cell for gain in gains for cell in (_percent(gain.mean, "+"), _between(gain, "+"))]


def _latencies(run: Run) -> list[str]:
    return [cell for latency in (run.first, run.again) for cell in _latency(latency)]


def _latency(latency: Latency | None) -> tuple[str, str]:
    return (_NONE, _NONE) if latency is None else (f"{latency.p50_ms:.1f}", f"{latency.p95_ms:.1f}")


def _between(interval: Interval, sign: str) -> str:
    return f"{_percent(interval.low, sign)}…{_percent(interval.high, sign)}"


def _percent(fraction: float, sign: str = "") -> str:
    return f"{fraction * 100:{sign}.1f}"
