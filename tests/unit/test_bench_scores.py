"""Marks of several systems side by side, against values worked out by hand on a made-up conversation."""

from __future__ import annotations

import io
import math
from typing import Final

import pytest
from gold_files import TINY_JSONL
from rich.console import Console, RenderableType

from app.cli.bench.scores import (
    Answer,
    Group,
    Latency,
    Run,
    curves_of,
    latency_of,
    rankings_of,
    report,
    results_of,
)
from app.cli.bench.systems import BODIES, System
from app.cli.bench.tables import gains_table, latency_table, markdown, marks_table
from app.gold.jsonl import load_jsonl
from app.metrics import Interval

CONVERSATION: Final = load_jsonl(TINY_JSONL)[0]
MULTI_HOP, TEMPORAL, SINGLE_HOP, _ = CONVERSATION.questions
"""Their gold: D1:1 and D2:2; D2:1; D2:2."""
LOG2_3: Final = math.log2(3)


def run_of(name: str, rankings: tuple[tuple[str, ...], ...], latency: Latency | None = None, *, late: bool = False) -> Run:
    """The third question is asked of a conversation of its own."""
    asked = (("tiny", MULTI_HOP), ("tiny", TEMPORAL), ("other", SINGLE_HOP))
    degraded = ("semantic",) if late else ()
    answers = (Answer(c, q, ranked, degraded) for (c, q), ranked in zip(asked, rankings, strict=True))
    return Run(System(name, BODIES[name]), tuple(answers), latency, latency)


OURS: Final = run_of("default", (("D1:1", "D1:2", "D2:2"), ("D1:1", "D2:1"), ("D2:2",)), Latency(12.0, 30.25))
WORDS: Final = run_of("bm25", (("D1:1", "D1:2"), ("D1:1", "D1:1", "D2:1"), ()), late=True)
RUNS: Final = (WORDS, OURS)
BY_HAND: Final = {
    "R@1": (0.5 + 0 + 1) / 3, "R@5": 1.0, "R@10": 1.0, "R@20": 1.0, "R@50": 1.0,
    "H@1": (1 + 0 + 1) / 3, "H@5": 1.0, "H@10": 1.0, "H@20": 1.0, "H@50": 1.0,
    "A@1": 1 / 3, "A@5": 1.0, "A@10": 1.0, "A@20": 1.0, "A@50": 1.0,
    "nDCG@10": ((1 + 1 / 2) / (1 + 1 / LOG2_3) + 1 / LOG2_3 + 1) / 3,
    "MRR": (1 + 1 / 2 + 1) / 3,
}  # fmt: skip


def means(group: Group, system: int, *names: str) -> list[float]:
    return [group.rows[system].marks[name].mean for name in names]


def printed(renderable: RenderableType) -> list[str]:
    """The lines as they appear in a terminal of 80 columns, without the blanks at their ends."""
    console = Console(file=io.StringIO(), width=80)
    console.print(renderable)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined] # it is a StringIO


def test_every_mark_is_the_mean_worked_out_by_hand() -> None:
    """Each question weighs the same, whatever the number of its gold messages."""
    marks = results_of(RUNS).overall.rows[1].marks
    assert {name: interval.mean for name, interval in marks.items()} == pytest.approx(BY_HAND, abs=1e-15)


def test_questions_are_counted_in_their_groups() -> None:
    """Categories by name, conversations in the order of the file; each has a row a system, in the order asked for."""
    results = results_of(RUNS)
    groups = (results.overall, *results.categories, *results.conversations)
    assert [(g.name, g.questions, means(g, 0, "R@1", "R@5", "MRR"), means(g, 1, "R@1", "R@5", "MRR")) for g in groups] == [
        ("overall", 3, [0.5 / 3, 1.5 / 3, 1.5 / 3], [0.5, 1.0, 2.5 / 3]),
        ("multi-hop", 1, [0.5, 0.5, 1.0], [0.5, 1.0, 1.0]),
        ("single-hop", 1, [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]),
        ("temporal", 1, [0.0, 1.0, 0.5], [0.0, 1.0, 0.5]),
        ("tiny", 2, [0.25, 0.75, 0.75], [0.25, 1.0, 0.75]),
        ("other", 1, [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]),
    ]
    assert {tuple(row.system for row in group.rows) for group in groups} == {("bm25", "default")}


def test_gains_are_differences_question_by_question() -> None:
    """Against the default, which has none; without it nobody has any."""
    rows = results_of(RUNS).overall.rows
    gains = [row.gains["R@5"] if row.gains else None for row in rows]
    assert gains == [Interval(-0.5, -1.0, 0.0), None]
    assert [row.gains for row in results_of([WORDS]).overall.rows] == [None]


def test_the_curve_is_recall_at_every_cutoff() -> None:
    """One value for each k up to 50; a repeated id counts once."""
    assert curves_of(RUNS) == {"bm25": [0.5 / 3] + [1.5 / 3] * 49, "default": [0.5, 2.5 / 3] + [1.0] * 48}


def test_latency_is_of_what_was_timed() -> None:
    """Percentiles between the nearest values; nothing timed is not zero."""
    assert latency_of([4.0, 1.0, 2.0]) == Latency(2.0, 3.8)
    assert latency_of([]) is None


def test_the_tables_fit_a_terminal() -> None:
    """Marks in percent with the interval of Recall@10; gains and latencies apart; a name is never read as markup."""
    results = results_of(RUNS)
    assert printed(marks_table(results))[1:6] == [
        "                   R@1    R@5   R@10         95 %   R@20   R@50   nDCG    MRR",
        " ────────────────────────────────────────────────────────────────────────────",
        " overall (3)",
        "   bm25           16.7   50.0   50.0    0.0…100.0   50.0   50.0   41.5   50.0",
        "   default        50.0  100.0  100.0  100.0…100.0  100.0  100.0   85.0   83.3",
    ]
    assert max(map(len, printed(gains_table(results)))) <= 80
    assert [line.split() for line in printed(latency_table(RUNS))[3:5]] == [
        ["bm25", "–", "–", "–", "–", "3"],
        ["default", "12.0", "30.2", "12.0", "30.2", "0"],
    ]


def test_markdown_has_the_same_figures() -> None:
    """All questions, each category, the gains and the latencies under headings of their own."""
    written = markdown(results_of(RUNS), RUNS, "Three questions.").splitlines()
    assert written[:10] == [
        "# Figures",
        "",
        "Three questions.",
        "",
        "## overall (3)",
        "",
        "| system | R@1 | R@5 | R@10 | 95 % | R@20 | R@50 | nDCG | MRR |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        "| bm25 | 16.7 | 50.0 | 50.0 | 0.0…100.0 | 50.0 | 50.0 | 41.5 | 50.0 |",
        "| default | 50.0 | 100.0 | 100.0 | 100.0…100.0 | 100.0 | 100.0 | 85.0 | 83.3 |",
    ]
    assert [line for line in written if not line.startswith("|") and line] == [
        "# Figures", "Three questions.", "## overall (3)", "## multi-hop (1)", "## single-hop (1)", "## temporal (1)",
        "## gain over default", "## milliseconds",
    ]  # fmt: skip
    assert written[-1] == "| default | 12.0 | 30.2 | 12.0 | 30.2 | 0 |"


def test_the_report_has_every_question_with_what_each_system_found() -> None:
    """Two reports can be compared question by question."""
    document = report(RUNS, results_of(RUNS))
    assert document["systems"][0] == {
        "name": "bm25", "body": BODIES["bm25"], "latency": {"first": None, "again": None}, "degraded": 3,
    }  # fmt: skip
    assert [(q["conversation"], q["id"], q["category"], q["gold"]) for q in document["questions"]] == [
        ("tiny", "tiny/q0", "multi-hop", ("D1:1", "D2:2")),
        ("tiny", "tiny/q1", "temporal", ("D2:1",)),
        ("other", "tiny/q3", "single-hop", ("D2:2",)),
    ]
    assert [q["found"]["bm25"]["ranked"] for q in document["questions"]] == [a.ranked for a in WORDS.answers]
    assert document["questions"][1]["found"]["default"]["MRR"] == 0.5


def test_rankings_are_exported_by_system_conversation_and_question() -> None:
    """Any evaluator that knows the gold can mark them."""
    assert rankings_of(RUNS)["default"] == {
        "tiny": {MULTI_HOP.text: ["D1:1", "D1:2", "D2:2"], TEMPORAL.text: ["D1:1", "D2:1"]},
        "other": {SINGLE_HOP.text: ["D2:2"]},
    }
