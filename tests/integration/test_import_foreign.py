"""Exports of other memories into a live service, through the command's own function."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from served import Served
from talking import search

from app.cli.importing import ImportPlan, import_
from app.client import MemoryClient, SyncMemoryClient
from app.errors import Conflict, InvalidInput
from app.transfer.sources import Source

DATA = Path(__file__).parents[1] / "data" / "imports"
FILES = sorted(path for path in DATA.iterdir() if path.stem != "chatgpt")


def source_of(path: Path) -> Source:
    return Source("jsonl" if path.stem == "lines" else path.stem)


async def imported(api: Served, plan: ImportPlan) -> dict[str, Any]:
    """The report of an import, as `--json` prints it."""
    written = io.StringIO()
    await import_(MemoryClient(api.url), plan, Console(file=written, width=80))
    return dict(json.loads(written.getvalue()))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
async def test_every_source_is_taken_in_once(api: Served, namespace: str, path: Path) -> None:
    """New the first time, known the second; what was left out is named both times."""
    plan = ImportPlan(path, source_of(path), namespace, as_json=True)
    first, again = [await imported(api, plan) for _ in range(2)]
    assert (first["source"], first["namespace"], first["dry_run"]) == (plan.source, namespace, False)
    assert (first["new"], first["known"]) == (first["found"], {})
    assert (again["new"], again["known"]) == ({}, first["found"])
    assert first["skipped"] == again["skipped"] != []


async def shown(api: Served, plan: ImportPlan) -> list[str]:
    """The report of an import as it is printed, a line with single blanks each."""
    written = io.StringIO()
    await import_(MemoryClient(api.url), plan, Console(file=written, width=80))
    return [" ".join(line.split()) for line in written.getvalue().splitlines()]


async def test_the_report_says_when_nothing_is_new(api: Served, namespace: str, tmp_path: Path) -> None:
    """The first time there is nothing known to tell of, the second time nothing new; and a file may hold nothing at all."""
    plan = ImportPlan(DATA / "zep.json", Source.ZEP, namespace)
    skipped = [
        "skipped message: role: 'norole' is none of user, human, assistant, ai, 1",
        "aimessagechunk, agent, model, system, developer, tool, function,",
        "tool_result",
        "session: has no session_id or thread_id 1",
    ]
    assert await shown(api, plan) == ["new session 1", "knowledge 2", "message 2", *skipped]
    assert await shown(api, plan) == ["nothing is new", "known session 1", "knowledge 2", "message 2", *skipped]
    empty = tmp_path / "empty.jsonl"
    with SyncMemoryClient(api.url) as client:
        empty.write_bytes(b"".join(client.export(f"{namespace}-empty")))
    assert await shown(api, ImportPlan(empty)) == ["nothing was imported"]
    assert await shown(api, ImportPlan(empty, is_dry=True)) == ["nothing would be imported"]


async def test_what_was_imported_is_there(api: Served, namespace: str) -> None:
    """Messages in their order and with their times, a session with its metadata, facts with their validity."""
    await imported(api, ImportPlan(DATA / "zep.json", Source.ZEP, namespace, as_json=True))
    with SyncMemoryClient(api.url) as client:
        said = list(client.iter_history("call-7", namespace=namespace))
        session = client.load_session("call-7", namespace=namespace)
        known = client.iter_knowledge(namespace=namespace, as_of="2025-01-01T00:00:00Z")
        edge = next(k for k in known if k.description == "Nils lives in Gera")
    assert [(m.sequence, m.author, m.content, f"{m.created_at:%H:%M:%S}") for m in said] == [
        (1, "Nils", "I have four hives.", "10:00:05"), (2, "assistant", "Noted.", "10:00:09"),
    ]  # fmt: skip
    assert session.state.active_context == {"channel": "phone", "user_id": "nils"}
    assert (f"{edge.valid_from:%Y-%m-%d}", f"{edge.valid_to:%Y-%m-%d}") == ("2024-01-01", "2026-06-01")


async def test_foreign_ids_are_kept_and_not_told(api: Served, namespace: str) -> None:
    """Where a fact comes from stays in its content; a search and a context, which go into prompts, tell what it says."""
    file = DATA / "mem0.json"
    await imported(api, ImportPlan(file, Source.MEM0, namespace, as_json=True))
    await imported(api, ImportPlan(DATA / "zep.json", Source.ZEP, namespace, as_json=True))
    api.http.post("/v1/admin/consolidate", json={"namespace": namespace})
    with SyncMemoryClient(api.url) as client:
        bees = next(k for k in client.iter_knowledge(namespace=namespace) if k.description == "Nils keeps bees")
    assert bees.content == {"imported_from": "mem0", "source_id": "m-1", "category": "hobby", "categories": ["hobby"]}
    hits = search(api, namespace, "Nils keeps bees", limit=50)["hits"]
    assert 'Nils keeps bees\ncategory hobby; categories ["hobby"]' in {hit["text"] for hit in hits}
    assert {hit["kind"] for hit in hits} == {"knowledge", "message", "episode"}
    asked = {"text": "Nils keeps bees", "namespace": namespace, "session_id": "call-7", "budget_tokens": 2000}
    context = api.http.post("/v1/context", json=asked).json()["text"]
    assert "category hobby" in context
    assert [text for text in (*(hit["text"] for hit in hits), context) if "imported from" in text or "source id" in text] == []


async def test_a_dry_run_writes_nothing(api: Served, namespace: str) -> None:
    """Found and left out are as in the import that follows it; new and known are not known."""
    dry = await imported(api, ImportPlan(DATA / "mem0.json", Source.MEM0, namespace, is_dry=True, as_json=True))
    with SyncMemoryClient(api.url) as client:
        assert list(client.iter_knowledge(namespace=namespace)) == []
    wet = await imported(api, ImportPlan(DATA / "mem0.json", Source.MEM0, namespace, as_json=True))
    assert (dry["new"], dry["known"], dry["dry_run"]) == (None, None, True)
    assert (dry["found"], dry["skipped"]) == (wet["found"], wet["skipped"])


async def test_our_own_file_is_looked_at_too(api: Served, namespace: str, tmp_path: Path) -> None:
    """What `export` wrote, also when it is called `jsonl`: counted in a dry run, and refused where it is cut."""
    file = tmp_path / "lines"
    with SyncMemoryClient(api.url) as client:
        client.append("s1", [{"role": "user", "content": "hi"}], namespace=namespace)
        file.write_bytes(b"".join(client.export(namespace)))
    plan = ImportPlan(file, Source.JSONL, is_dry=True, as_json=True)
    report = await imported(api, plan)
    assert (report["namespace"], report["found"], report["new"]) == (namespace, {"session": 1, "episode": 1, "message": 1}, None)
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:2]))
    with pytest.raises(InvalidInput, match="file: is cut short: its end is missing after line 2"):
        await imported(api, plan)


async def test_a_changed_message_is_named_by_its_place(api: Served, namespace: str, tmp_path: Path) -> None:
    """An id that stands for another text by now is a conflict: nothing is written, and it says where in the export it is."""
    file = tmp_path / "talk.jsonl"
    plan = ImportPlan(file, Source.JSONL, namespace, as_json=True)
    said = [{"id": n, "role": "user", "content": f"message {n}"} for n in (1, 2)]
    file.write_text("".join(json.dumps(line) + "\n" for line in said))
    await imported(api, plan)
    said[1]["content"] = "edited"
    file.write_text("".join(json.dumps(line) + "\n" for line in [*said, {"role": "user", "content": "new"}]))
    with pytest.raises(Conflict, match="line 2, id: is taken by a message with other content in this session"):
        await imported(api, plan)
    with SyncMemoryClient(api.url) as client:
        assert [m.content for m in client.iter_history("talk", namespace=namespace)] == ["message 1", "message 2"]
