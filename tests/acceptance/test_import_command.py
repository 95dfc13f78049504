"""`hybrid-memory import --from …` as its users run it."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from service_process import Home, kill_all, running_in

DATA = Path(__file__).parents[1] / "data" / "imports"


@pytest.fixture(autouse=True)
def nothing_keeps_running(tmp_path: Path) -> Any:
    """After every test here, no process works in its directory any more."""
    yield
    kill_all(running_in(tmp_path))


async def test_a_dry_run_starts_nothing(tmp_path: Path) -> None:
    """It says what would be imported and what would be left out, in words, and leaves no trace."""
    home = Home.at(tmp_path / "home")
    dry = await home.run("import", "--from", "mem0", str(DATA / "mem0.json"), "--dry-run")
    assert (dry.status, dry.stderr) == (0, "")
    shown = [" ".join(line.split()) for line in dry.stdout.splitlines()]
    assert shown == [
        "would be imported knowledge 3",
        "skipped knowledge: has no memory or text or data 1",
        "knowledge: created_at: 'yesterday' is no date and time 1",
        "knowledge: has no source, relationship and target 1",
    ]
    assert not home.data.exists()


async def test_a_long_report_is_whole_in_a_pipe(tmp_path: Path) -> None:
    """A reason that is longer than a line is broken, none of it is lost, and its count stands at the end of the first line."""
    home, file = Home.at(tmp_path / "home"), tmp_path / "talk.jsonl"
    said = [{"role": role, "content": "Once upon a time"} for role in ("narrator", "narrator", "user")]
    file.write_text("".join(json.dumps(line) + "\n" for line in said))
    dry = await home.run("import", "--from", "jsonl", str(file), "--dry-run")
    assert (dry.status, dry.stderr) == (0, "")
    assert [line.rstrip() for line in dry.stdout.splitlines()] == [
        "would be imported  message  1",
        "skipped  message: role: 'narrator' is none of user, human, assistant, ai,      2",
        "         aimessagechunk, agent, model, system, developer, tool, function,",
        "         tool_result",
    ]


async def test_a_cut_export_leaves_nothing_behind(tmp_path: Path) -> None:
    """Refused before anything is started; an unknown source is refused by name."""
    home, file = Home.at(tmp_path / "home"), tmp_path / "cut.json"
    file.write_bytes((DATA / "zep.json").read_bytes()[:500])
    cut = await home.run("import", "--from", "zep", str(file))
    assert (cut.status, cut.stderr.startswith("error: file: is cut short, or is not JSON: ")) == (1, True)
    unknown = await home.run("import", "--from", "elsewhere", str(file))
    assert (unknown.status, "'elsewhere' is not one of" in unknown.stderr) == (2, True)
    assert not home.data.exists()


async def test_a_file_of_another_source_is_refused(tmp_path: Path) -> None:
    """Whoever names the wrong source, or none, is told what was expected, or which there are; nothing is started."""
    home, file = Home.at(tmp_path / "home"), tmp_path / "talk.json"
    file.write_text('[{"role": "user", "content": "hi"}]')
    wrong = await home.run("import", "--from", "mem0", str(file))
    none = await home.run("import", str(file))
    assert (wrong.status, wrong.stderr.startswith("error: file: holds nothing that mem0 exports: expected memories")) == (1, True)
    assert (none.status, none.stderr) == (
        1,
        "error: file: is no export of our own: say with --from whose it is (mem0, langgraph, zep, letta, redis-agent-memory, "
        "openai-messages, jsonl)\n",
    )
    assert not home.data.exists()


async def test_an_export_is_taken_in(tmp_path: Path) -> None:
    """By a command that finds the running service: the report as JSON, and the history there."""
    home = Home.at(tmp_path)
    async with home.served() as serving, home.client() as client:
        finished = await home.run("import", "--from", "zep", str(DATA / "zep.json"), "--namespace", "acme", "--json")
        history = await client.get("/v1/sessions/call-7/messages", params={"namespace": "acme"})
        await serving.stop(signal.SIGTERM)
    assert (finished.status, finished.stderr) == (0, "")
    report = json.loads(finished.stdout)
    assert (report["new"], report["known"]) == ({"session": 1, "knowledge": 2, "message": 2}, {})
    assert [skip["place"] for skip in report["skipped"]] == ["sessions[0].messages[2]", "sessions[1]"]
    assert [message["content"] for message in history.json()["messages"]] == ["I have four hives.", "Noted."]
