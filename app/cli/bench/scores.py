"""Rankings of the same questions by several systems, marked side by side (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeAlias

import numpy as np

from app.cli.bench.systems import DEFAULT, System
from app.gold import GoldQuestion
from app.metrics import CUTOFFS, Interval, RankingScore, bootstrap_intervals, recall_curve, score_ranking

NDCG: Final = "nDCG@10"
MRR: Final = "MRR"
OVERALL: Final = "overall"
Marks: TypeAlias = Mapping[str, Interval]
"""By name: `R@k`, the share of gold in the first k; `H@k`, whether any of it is there; `A@k`, whether all; `nDCG@10`; `MRR`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a system found for a question of a conversation: the ids, best first, and what did not answer."""

    conversation: str
    question: GoldQuestion
    ranked: tuple[str, ...]
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Latency:
    p50_ms: float
    p95_ms: float


@dataclass(frozen=True, slots=True)
class Run:
    """One system's answers, and how long a caller waited who asked one question after the other.

    `first`: questions never asked before, so that nothing is cached; `again`: the same questions once more. None: it was
    asked no question on its own, for there are fewer questions than systems.
    """

    system: System
    answers: tuple[Answer, ...]
    first: Latency | None = None
    again: Latency | None = None

    @property
    def degraded(self) -> int:
        """How many answers came without a tier or stage."""
        return sum(bool(answer.degraded) for answer in self.answers)


@dataclass(frozen=True, slots=True)
class Row:
    """A system's mean marks; `gains` are its marks minus those of the default, question by question, if that ran too."""

    system: str
    marks: Marks
    gains: Marks | None


@dataclass(frozen=True, slots=True)
class Group:
    """Some of the questions, with a row a system."""

    name: str
    questions: int
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Results:
    """Categories by name, conversations in the order of the file."""

    overall: Group
    categories: tuple[Group, ...]
    conversations: tuple[Group, ...]


def results_of(runs: Sequence[Run]) -> Results:
    """Mark all runs, of which there is at least one; they answer the same questions, at least one, in the same order."""
    marked = [(run.system.name, [_marks(answer) for answer in run.answers]) for run in runs]
    answers = runs[0].answers
    return Results(
        overall=_group(OVERALL, marked, range(len(answers))),
        categories=tuple(sorted(_groups(marked, answers, lambda a: a.question.category), key=lambda group: group.name)),
        conversations=tuple(_groups(marked, answers, lambda a: a.conversation)),
    )


def curves_of(runs: Sequence[Run]) -> dict[str, list[float]]:
    """Each system's mean recall at 1, 2, … 50."""
    return {run.system.name: recall_curve([(a.ranked, a.question.gold) for a in run.answers], max(CUTOFFS)) for run in runs}


def latency_of(milliseconds: Sequence[float]) -> Latency | None:
    if not milliseconds:
        return None
    p50, p95 = np.percentile(milliseconds, (50, 95))
    return Latency(round(float(p50), 2), round(float(p95), 2))


def report(runs: Sequence[Run], results: Results) -> dict[str, Any]:
    """Everything as JSON; question by question, so that two reports can be compared in pairs."""
    return {
        "systems": [_system_report(run) for run in runs],
        **asdict(results),
        "recall_curves": curves_of(runs),
        "questions": [_question_report(answers) for answers in zip(*(_named(run) for run in runs), strict=True)],
    }


def rankings_of(runs: Sequence[Run]) -> dict[str, dict[str, dict[str, list[str]]]]:
    """By system, conversation and question: the ids found, best first; for evaluators of one's own."""
    rankings: dict[str, dict[str, dict[str, list[str]]]] = {}
    for run in runs:
        of_system = rankings.setdefault(run.system.name, {})
        for answer in run.answers:
            of_system.setdefault(answer.conversation, {})[answer.question.text] = list(answer.ranked)
    return rankings


_Named: TypeAlias = tuple[str, Answer]
_Marked: TypeAlias = Sequence[tuple[str, Sequence[Mapping[str, float]]]]
"""Systems by name, each with the marks of every question."""


def _named(run: Run) -> Iterator[_Named]:
    return ((run.system.name, answer) for answer in run.answers)


def _system_report(run: Run) -> dict[str, Any]:
    latency = {"first": run.first and asdict(run.first), "again": run.again and asdict(run.again)}
    return {"name": run.system.name, "body": run.system.body, "latency": latency, "degraded": run.degraded}


def _question_report(answers: Sequence[_Named]) -> dict[str, Any]:
    _, first = answers[0]
    question = {"id": first.question.id, "category": first.question.category, "gold": first.question.gold}
    found = {name: {**_marks(a), "ranked": a.ranked, "degraded": a.degraded} for name, a in answers}
    return {"conversation": first.conversation, **question, "now": first.question.now.isoformat(), "found": found}


def _groups(marked: _Marked, answers: Sequence[Answer], key: Callable[[Answer], str]) -> Iterator[Group]:
    """A group for each key, in order of first appearance."""
    for name in dict.fromkeys(key(answer) for answer in answers):
        yield _group(name, marked, [place for place, answer in enumerate(answers) if key(answer) == name])


def _group(name: str, marked: _Marked, places: Sequence[int]) -> Group:
    columns = {(system, mark): [marks[place][mark] for place in places] for system, marks in marked for mark in marks[places[0]]}
    gains = {
        (system, mark): _differences(column, columns[DEFAULT, mark])
        for (system, mark), column in columns.items()
        if system != DEFAULT and (DEFAULT, mark) in columns
    }
    # In one call, so that all are resampled by the same draws: to draw takes longer than what is done with it.
    intervals = bootstrap_intervals([*columns.values(), *gains.values()])
    means, differences = dict(zip(columns, intervals, strict=False)), dict(zip(gains, intervals[len(columns) :], strict=True))
    rows = (Row(system, _of(system, means), _of(system, differences) or None) for system, _ in marked)
    return Group(name, len(places), tuple(rows))


def _of(system: str, intervals: Mapping[tuple[str, str], Interval]) -> Marks:
    return {mark: interval for (owner, mark), interval in intervals.items() if owner == system}


def _differences(column: Sequence[float], reference: Sequence[float]) -> list[float]:
    return [value - other for value, other in zip(column, reference, strict=True)]


def _marks(answer: Answer) -> dict[str, float]:
    score: RankingScore = score_ranking(answer.ranked, answer.question.gold)
    recalls = {f"R@{cutoff}": value for cutoff, value in score.recall.items()}
    hits = {f"H@{cutoff}": value for cutoff, value in score.hit.items()}
    wholes = {f"A@{cutoff}": float(value == 1.0) for cutoff, value in score.recall.items()}
    return {**recalls, **hits, **wholes, NDCG: score.ndcg_at_10, MRR: score.reciprocal_rank}
