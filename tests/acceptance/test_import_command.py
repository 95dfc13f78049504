"""`hybrid-memory import --from …` as its users run it."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from service_process import Finished, Home, kill_all, running_in

DATA = Path(__file__).parents[1] / "data" / "imports"
FILES = {
    "mem0": "mem0.json",
    "langgraph": "langgraph.json",
    "zep": "zep.json",
    "letta": "letta.af",
    "redis-agent-memory": "redis-agent-memory.json",
    "openai-messages": "openai-messages.json",
    "jsonl": "lines.jsonl",
}


@pytest.fixture(autouse=True)
def nothing_keeps_running(tmp_path: Path) -> Any:
    """After every test here, no process works in its directory any more."""
    yield
    kill_all(running_in(tmp_path))


def reported(finished: Finished) -> dict[str, Any]:
    assert (finished.status, finished.stderr) == (0, "")
    return dict(json.loads(finished.stdout))


async def test_every_source_is_taken_in_once(tmp_path: Path) -> None:
    """Into a running service: new the first time, known the second, and found by a search."""
    home = Home.at(tmp_path)
    async with home.served() as serving, home.client() as client:
        for source, name in FILES.items():
            command = ("import", "--from", source, str(DATA / name), "--namespace", source, "--json")
            first, again = [reported(await home.run(*command)) for _ in range(2)]
            assert (first["source"], first["namespace"], first["dry_run"]) == (source, source, False)
            assert (first["new"], first["known"]) == (first["found"], {})
            assert (again["new"], again["known"]) == ({}, first["found"])
            assert first["skipped"] == again["skipped"] != []
        answer = await client.post("/v1/search", json={"text": "hives", "namespace": "zep", "limit": 3})
        history = await client.get("/v1/sessions/talk-1/messages", params={"namespace": "redis-agent-memory"})
        session = await client.get("/v1/sessions/call-7", params={"namespace": "zep"})
        await serving.stop(signal.SIGTERM)
    assert "I have four hives." in [hit["text"] for hit in answer.json()["hits"]]
    assert [(m["sequence"], m["content"]) for m in history.json()["messages"]] == [(1, "Hive 3 swarmed."), (2, "When?")]
    assert session.json()["state"]["active_context"] == {"channel": "phone", "user_id": "nils"}


async def test_a_dry_run_starts_nothing(tmp_path: Path) -> None:
    """It says what would be imported and what would be left out, in words, and leaves no trace."""
    home = Home.at(tmp_path / "home")
    dry = await home.run("import", "--from", "mem0", str(DATA / "mem0.json"), "--dry-run")
    assert (dry.status, dry.stderr) == (0, "")
    shown = [" ".join(line.split()) for line in dry.stdout.splitlines()]
    assert shown == [
        "would be imported knowledge 3",
        "skipped knowledge: has no memory or text or data 1",
        "knowledge: created at: 'yesterday' is no date and time 1",
        "knowledge: has no source, relationship and target 1",
    ]
    assert not home.data.exists()


async def test_our_own_file_is_looked_at_too(tmp_path: Path) -> None:
    """A dry run of what `export` wrote, also called `jsonl`: counted, and refused where it is cut."""
    home = Home.at(tmp_path / "home")
    header = {"type": "header", "format": "hybrid-memory-export", "version": 1, "namespace": "acme"}
    said = {"type": "message", "id": "00000000-0000-7000-8000-000000000001", "session_id": "s1", "sequence": 1, "role": "user"}
    lines = [header, said | {"content": "hi", "created_at": "2026-03-01T00:00:00Z"}, {"type": "end", "lines": 1}]
    file = tmp_path / "lines"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = reported(await home.run("import", str(file), "--from", "jsonl", "--dry-run", "--json"))
    assert (report["namespace"], report["found"], report["new"]) == ("acme", {"message": 1}, None)
    file.write_text("".join(json.dumps(line) + "\n" for line in lines[:2]))
    cut = await home.run("import", str(file), "--dry-run")
    assert (cut.status, cut.stderr.strip()) == (1, "error: file: is cut short: its end is missing after line 2")


async def test_a_cut_export_leaves_nothing_behind(tmp_path: Path) -> None:
    """Refused before anything is started; an unknown source is refused by name."""
    home, file = Home.at(tmp_path / "home"), tmp_path / "cut.json"
    file.write_bytes((DATA / "zep.json").read_bytes()[:500])
    cut = await home.run("import", "--from", "zep", str(file))
    assert (cut.status, cut.stderr.startswith("error: file: is cut short, or is not JSON: ")) == (1, True)
    unknown = await home.run("import", "--from", "elsewhere", str(file))
    assert (unknown.status, "'elsewhere' is not one of" in unknown.stderr) == (2, True)
    assert not home.data.exists()


async def test_a_changed_message_is_named_by_its_place(tmp_path: Path) -> None:
    """An id that stands for another text by now is a conflict, nothing is written, and it says where in the export it is."""
    home, file = Home.at(tmp_path / "home"), tmp_path / "talk.jsonl"
    said = [{"id": n, "role": "user", "content": f"message {n}"} for n in (1, 2)]
    file.write_text("".join(json.dumps(line) + "\n" for line in said))
    assert (await home.run("import", "--from", "jsonl", str(file))).status == 0
    said[1]["content"] = "edited"
    file.write_text("".join(json.dumps(line) + "\n" for line in [*said, {"role": "user", "content": "new"}]))
    refused = await home.run("import", "--from", "jsonl", str(file))
    assert (refused.status, refused.stderr.strip()) == (
        1, "error: line 2, id: is taken by a message with other content in this session",
    )  # fmt: skip
