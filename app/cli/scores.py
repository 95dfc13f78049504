"""Answers to questions with gold evidence, marked and put into a table (pure)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from rich import box
from rich.table import Table

from app.locomo import Category, LocomoQuestion
from app.metrics import Interval, RankingScore, bootstrap_interval, macro_average, score_ranking


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found for a question: the dialogue ids, best first, and how long the caller waited."""

    conversation: str
    question: LocomoQuestion
    ranked: tuple[str, ...]
    latency_ms: float
    degraded: tuple[str, ...] = ()

    @property
    def score(self) -> RankingScore:
        return score_ranking(self.ranked, self.question.gold)


@dataclass(frozen=True, slots=True)
class Row:
    """The mean marks of a group of questions; `interval` is of Recall@10."""

    name: str
    questions: int
    marks: RankingScore
    interval: Interval


@dataclass(frozen=True, slots=True)
class Latency:
    p50_ms: float
    p95_ms: float


@dataclass(frozen=True, slots=True)
class Results:
    """Groups in the order in which they are shown. The adversarial questions are a group apart, in no other."""

    conversations: tuple[Row, ...]
    categories: tuple[Row, ...]
    overall: Row | None
    adversarial: Row | None
    latency: Latency
    degraded: int


_OVERALL: Final = "overall"
_INTERVAL_CUTOFF: Final = 10


def results_of(answers: Sequence[Answer]) -> Results:
    """Mark all answers, of which there is at least one."""
    counted = [a for a in answers if a.question.category is not Category.ADVERSARIAL]
    adversarial = [a for a in answers if a.question.category is Category.ADVERSARIAL]
    return Results(
        conversations=_rows_by(counted, lambda a: a.conversation),
        categories=_rows_by(sorted(counted, key=lambda a: a.question.category), lambda a: _label(a.question.category)),
        overall=_row(_OVERALL, counted) if counted else None,
        adversarial=_row(_label(Category.ADVERSARIAL), adversarial) if adversarial else None,
        latency=_latency([a.latency_ms for a in answers]),
        degraded=sum(bool(a.degraded) for a in answers),
    )


def scores_table(results: Results) -> Table:
    """Marks in percent, a row a group; fits into 80 columns."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("", no_wrap=True)
    for heading in ("n", "R@1", "R@5", "R@10", "95 %", "R@20", "R@50", "nDCG", "MRR"):
        table.add_column(heading, justify="right", no_wrap=True, style="bold" if heading == "R@10" else None)
    total, apart = [results.overall] if results.overall else [], [results.adversarial] if results.adversarial else []
    for section in (results.conversations, results.categories, total, apart):
        for row in section:
            table.add_row(*_cells(row))
        table.add_section()
    return table


def report(results: Results, answers: Sequence[Answer]) -> dict[str, Any]:
    """Everything as JSON; question by question, so that two runs can be compared in pairs."""
    return {**asdict(results), "questions": [_question_report(answer) for answer in answers]}


def _question_report(answer: Answer) -> dict[str, Any]:
    question = {"id": answer.question.id, "category": answer.question.category, "gold": answer.question.gold}
    found = {"latency_ms": round(answer.latency_ms, 2), "degraded": answer.degraded, "ranked": answer.ranked}
    return {**question, **asdict(answer.score), **found}


def _rows_by(answers: Sequence[Answer], key: Callable[[Answer], str]) -> tuple[Row, ...]:
    """A row for each key, in order of first appearance."""
    names = dict.fromkeys(key(answer) for answer in answers)
    return tuple(_row(name, [a for a in answers if key(a) == name]) for name in names)


def _row(name: str, answers: Sequence[Answer]) -> Row:
    scores = [answer.score for answer in answers]
    interval = bootstrap_interval([score.recall[_INTERVAL_CUTOFF] for score in scores])
    return Row(name, len(answers), macro_average(scores), interval)


def _label(category: Category) -> str:
    return category.name.lower().replace("_", "-")


def _latency(milliseconds: Sequence[float]) -> Latency:
    p50, p95 = np.percentile(milliseconds, (50, 95))
    return Latency(round(float(p50), 2), round(float(p95), 2))


def _cells(row: Row) -> list[str]:
    recall = {cutoff: _percent(value) for cutoff, value in row.marks.recall.items()}
    interval = f"{_percent(row.interval.low)}–{_percent(row.interval.high)}"
    before, after = (recall[1], recall[5], recall[10]), (recall[20], recall[50])
    rest = (_percent(row.marks.ndcg_at_10), _percent(row.marks.reciprocal_rank))
    return [row.name, str(row.questions), *before, interval, *after, *rest]


def _percent(fraction: float) -> str:
    return f"{fraction * 100:.1f}"
