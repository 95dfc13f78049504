"""`hybrid-memory bench locomo` from end to end: the command and the service it starts are real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_CONVERSATION = {
    "sample_id": "tiny",
    "conversation": {
        "speaker_a": "Ines",
        "speaker_b": "Tom",
        "session_1_date_time": "9:05 am on 1 March, 2024",
        "session_1": [
            {"speaker": "Ines", "dia_id": "D1:1", "text": "I bought a red kayak at the harbour."},
            {"speaker": "Tom", "dia_id": "D1:2", "text": "My bees survived the winter."},
            {"speaker": "Ines", "dia_id": "D1:3", "text": "Good morning to you as well."},
        ],
        "session_2_date_time": "7:30 pm on 12 April, 2024",
        "session_2": [
            {"speaker": "Tom", "dia_id": "D2:1", "text": "The violin lessons start on Monday."},
            {"speaker": "Ines", "dia_id": "D2:2", "text": "Somebody sold me the wrong strings."},
        ],
    },
    "qa": [
        {"question": "Which kayak was bought at the harbour?", "answer": "red", "evidence": ["D1:1"], "category": 4},
        {"question": "When do the violin lessons start?", "answer": "Monday", "evidence": ["D2:1"], "category": 2},
        {"question": "How did Ines' bees survive the winter?", "evidence": ["D1:2"], "category": 5, "adversarial_answer": "well"},
    ],
}


def test_a_file_is_measured_from_end_to_end(tmp_path: Path) -> None:
    """Every question is asked of a real service, marked, and counted in its groups; the adversarial one stands apart."""
    printed, report = _bench(tmp_path, [_CONVERSATION])
    assert [(q["id"], q["ranked"][0], q["degraded"]) for q in report["questions"]] == [
        ("tiny/q0", "D1:1", []),
        ("tiny/q1", "D2:1", []),
        ("tiny/q2", "D1:2", []),
    ]
    assert _summary(report["conversations"]) == [("tiny", 2, 1.0)]
    assert _summary(report["categories"]) == [("temporal", 1, 1.0), ("single-hop", 1, 1.0)]
    assert _summary([report["overall"], report["adversarial"]]) == [("overall", 2, 1.0), ("adversarial", 1, 1.0)]
    assert (report["file"], report["embedding"]["space"], report["degraded"]) == ("tiny.json", "hashing__384", 0)
    assert 0 < report["latency"]["p50_ms"] <= report["latency"]["p95_ms"]
    assert "overall" in printed


def test_fewer_questions_can_be_asked(tmp_path: Path) -> None:
    """A limit holds for each conversation."""
    second = _CONVERSATION | {"sample_id": "other"}
    _, report = _bench(tmp_path, [_CONVERSATION, second], "--limit-questions", "1")
    assert [q["id"] for q in report["questions"]] == ["tiny/q0", "other/q0"]


@pytest.mark.parametrize("content", [None, "[]", '{"not": "locomo"}'])
def test_a_file_without_questions_is_refused_before_anything_starts(tmp_path: Path, content: str | None) -> None:
    """What is wrong with the file is one sentence and exit status 1."""
    path = tmp_path / "other.json"
    if content is not None:
        path.write_text(content)
    done = _run("bench", "locomo", str(path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {path}: ")
    assert "Traceback" not in done.stderr


def _bench(directory: Path, conversations: list[Any], *options: str) -> tuple[str, Any]:
    path, report = directory / "tiny.json", directory / "report.json"
    path.write_text(json.dumps(conversations))
    done = _run("bench", "locomo", str(path), "--embedder", "hashing", "--json", str(report), *options)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(report.read_text())


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app", *arguments]
    environment = os.environ | {"COLUMNS": "100"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)


def _summary(rows: list[Any]) -> list[tuple[str, int, float]]:
    """Name, questions and Recall@1."""
    return [(row["name"], row["questions"], row["marks"]["recall"]["1"]) for row in rows]
