"""`hybrid-memory bench` from end to end: the command and the service it starts are real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from gold_files import TINY_JSONL, TINY_LOCOMO

_WORDS = 'words={"mode": "sparse"}'


def test_a_locomo_file_is_measured_from_end_to_end(tmp_path: Path) -> None:
    """Every answerable question is asked of a real service by each system; what is written agrees with what is printed."""
    names = ("report.json", "curve.svg", "tables.md", "run.json")
    report, plot, tables, rankings = (tmp_path / name for name in names)
    outputs = ("--json", report, "--plot", plot, "--markdown", tables, "--export-run", rankings)
    printed = _bench("locomo", TINY_LOCOMO, "--system", _WORDS, "--system", "default", *map(str, outputs))
    document, ranked = json.loads(report.read_text()), json.loads(rankings.read_text())
    assert [(s["name"], s["body"], s["degraded"]) for s in document["systems"]] == [
        ("words", {"mode": "sparse"}, 0),
        ("default", {}, 0),
    ]
    assert [(q["id"], q["now"], q["found"]["default"]["ranked"][0]) for q in document["questions"]] == [
        ("tiny/q0", "2024-04-12T19:30:01+00:00", "D1:1"),
        ("tiny/q1", "2024-04-12T19:30:01+00:00", "D2:1"),
        ("tiny/q3", "2024-04-12T19:30:01+00:00", "D2:2"),
    ]
    assert (document["file"], document["embedding"]["space"]) == ("tiny.json", "hashing__384")
    assert [(g["name"], g["questions"]) for g in (document["overall"], *document["categories"], *document["conversations"])] == [
        ("overall", 3), ("multi-hop", 1), ("single-hop", 1), ("temporal", 1), ("tiny", 3),
    ]  # fmt: skip
    assert ranked["words"]["tiny"]["Which kayak was bought at the harbour?"][0] == "D1:1"
    assert 0 < document["systems"][0]["latency"]["first"]["p50_ms"] <= document["systems"][0]["latency"]["first"]["p95_ms"]
    assert "3 questions of `tiny.json`, embedded in `hashing__384`" in tables.read_text()
    assert plot.read_text().startswith("<?xml")
    assert "overall (3)" in printed


@pytest.mark.slow
def test_a_jsonl_file_is_measured_in_the_same_way(tmp_path: Path) -> None:
    """All of its categories, unless some are named; a limit holds for each conversation."""
    report = tmp_path / "report.json"
    chosen = ("--category", "adversarial", "--category", "temporal", "--limit-questions", "1")
    _bench("jsonl", TINY_JSONL, "--system", _WORDS, *chosen, "--json", str(report))
    questions = json.loads(report.read_text())["questions"]
    assert [(q["id"], q["found"]["words"]["ranked"][0]) for q in questions] == [("tiny/q1", "D2:1")]


@pytest.mark.parametrize("content", [None, "[]", '{"not": "locomo"}'])
@pytest.mark.parametrize("kind", ["locomo", "jsonl"])
def test_a_file_without_questions_is_refused_before_anything_starts(tmp_path: Path, kind: str, content: str | None) -> None:
    """What is wrong with the file is one sentence and exit status 1."""
    path = tmp_path / "other.json"
    if content is not None:
        path.write_text(content)
    done = _run("bench", kind, str(path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert "other.json" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("message", "option", "said"),
    [
        ({}, 'odd={"limit": -1}', "error: --system odd: limit: "),
        pytest.param(
            {"content": "x" * 70_000},
            _WORDS,
            "error: conversation 'c', from message 'm1' on: messages[0].content: ",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_the_service_refuses_is_said_with_its_place(
    tmp_path: Path, message: dict[str, Any], option: str, said: str
) -> None:  # fmt: skip
    """A way to rank that the service does not take, and a message that is too long, end the command in one sentence."""
    said_once = {"id": "m1", "session": "s", "role": "user", "content": "Hi.", "created_at": "2024-03-01T09:00:00Z"}
    conversation = {"type": "conversation", "id": "c", "messages": [said_once | message]}
    question = {"type": "question", "conversation": "c", "id": "q", "text": "Hi?", "gold": ["m1"], "category": "x"}
    path = tmp_path / "talk.jsonl"
    path.write_text(f"{json.dumps(conversation)}\n{json.dumps(question)}\n")
    done = _run("bench", "jsonl", str(path), "--embedder", "hashing", "--system", option)
    assert done.returncode == 1
    assert done.stderr.startswith(said)


def _bench(kind: str, path: Path, *options: str) -> str:
    done = _run("bench", kind, str(path), "--embedder", "hashing", *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app", *arguments]
    environment = os.environ | {"COLUMNS": "100"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
