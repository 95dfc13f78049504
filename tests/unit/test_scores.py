"""Marks of a benchmark: groups, means, and what stands apart."""

from __future__ import annotations

from app.cli.scores import Answer, Latency, report, results_of, scores_table
from app.locomo import Category, LocomoQuestion


def _answer(
    number: int, ranked: tuple[str, ...], category: Category = Category.SINGLE_HOP, *,
    conversation: str = "one", degraded: tuple[str, ...] = (),
) -> Answer:  # fmt: skip
    """Gold is turn D1:1; the question's number is its latency."""
    question = LocomoQuestion(f"q{number}", "Where?", ("D1:1",), category, "there")
    return Answer(conversation, question, ranked, float(number), degraded)


ANSWERS = (
    _answer(1, ("D1:1", "D1:2")),
    _answer(2, ("D1:2", "D1:1"), Category.TEMPORAL, conversation="two", degraded=("semantic",)),
    _answer(3, (), Category.ADVERSARIAL, conversation="two"),
)


def test_questions_are_counted_in_their_groups() -> None:
    """By conversation in order of the file, by category in order of its number; adversarial ones in no other group."""
    results = results_of(ANSWERS)
    rows = (*results.conversations, *results.categories, results.overall, results.adversarial)
    assert [(r.name, r.questions, r.marks.recall[1], r.marks.recall[5], r.marks.reciprocal_rank) for r in rows if r] == [
        ("one", 1, 1.0, 1.0, 1.0),
        ("two", 1, 0.0, 1.0, 0.5),
        ("temporal", 1, 0.0, 1.0, 0.5),
        ("single-hop", 1, 1.0, 1.0, 1.0),
        ("overall", 2, 0.5, 1.0, 0.75),
        ("adversarial", 1, 0.0, 0.0, 0.0),
    ]
    assert (results.latency, results.degraded) == (Latency(2.0, 2.9), 1)


def test_only_adversarial_questions_make_no_total() -> None:
    """There is nothing to average, and nothing is claimed."""
    results = results_of(ANSWERS[2:])
    assert (results.conversations, results.categories, results.overall) == ((), (), None)
    assert results.adversarial is not None


def test_the_table_has_a_row_a_group_in_percent() -> None:
    """What is printed are the marks of the results, with the interval of Recall@10."""
    columns = [list(column.cells) for column in scores_table(results_of(ANSWERS)).columns]
    assert columns[0] == ["one", "two", "temporal", "single-hop", "overall", "adversarial"]
    assert [column[4] for column in columns] == [
        "overall", "2", "50.0", "100.0", "100.0", "100.0–100.0", "100.0", "100.0", "81.5", "75.0",
    ]  # fmt: skip


def test_the_report_has_every_question() -> None:
    """Two runs can be compared question by question."""
    questions = report(results_of(ANSWERS), ANSWERS)["questions"]
    assert [(q["id"], q["category"], q["gold"], q["ranked"], q["degraded"], q["latency_ms"]) for q in questions] == [
        ("q1", 4, ("D1:1",), ("D1:1", "D1:2"), (), 1.0),
        ("q2", 2, ("D1:1",), ("D1:2", "D1:1"), ("semantic",), 2.0),
        ("q3", 5, ("D1:1",), (), (), 3.0),
    ]
