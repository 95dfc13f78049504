"""Backups, exports and imports over HTTP."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import httpx
import pytest
from served import Served, served
from talking import append, created, history, said

from app.client import MemoryClient
from app.errors import Conflict, InvalidInput
from app.records import ImportReport
from app.transfer.container import check


async def test_the_client_receives_a_whole_backup(api: Served, namespace: str, tmp_path: Path) -> None:
    """What comes over HTTP is a file that passes its check, and holds what was said a moment ago."""
    created(append(api, namespace, [said("a lighthouse")]))
    async with MemoryClient(api.url) as client:
        content = b"".join([portion async for portion in client.backup()])
    assert check(kept(tmp_path / "file", content)).space == "hashing__384"
    assert namespace in gzip.decompress(content).decode()


def kept(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


async def test_a_namespace_goes_from_one_service_to_another_name(api: Served, namespace: str, tmp_path: Path) -> None:
    """Exported and imported by the client, a session has the same messages under the same numbers."""
    created(append(api, namespace, [said("first"), said("second")]))
    sent: list[int] = []
    async with MemoryClient(api.url) as client:
        path = kept(tmp_path / "file", b"".join([portion async for portion in client.export(namespace)]))
        report = await client.import_file(path, f"{namespace}-copy", sent.append)
        again = await client.import_file(path, f"{namespace}-copy")
    assert report == ImportReport({"session": 1, "episode": 1, "message": 2}, {})
    assert again == ImportReport({}, dict(report.new))
    assert history(api, f"{namespace}-copy") == history(api, namespace)
    assert sent[-1] == len(path.read_bytes())


async def test_refusals_are_problem_documents(api: Served, namespace: str, tmp_path: Path) -> None:
    """A bad line is 422 with its place, a taken id 409, and the client raises what the service did."""
    created(append(api, namespace, [said("lighthouse")]))
    async with MemoryClient(api.url) as client:
        content = b"".join([portion async for portion in client.export(namespace)])
        with pytest.raises(InvalidInput, match=r"file: is cut short: its end is missing after line 1"):
            await client.import_file(kept(tmp_path / "cut", content[:200]), namespace)
        lines = content.decode().replace("lighthouse", "other").splitlines()
        unsealed = json.dumps({k: v for k, v in json.loads(lines[-1]).items() if k != "sha256"})
        with pytest.raises(Conflict, match=r"line 4, id: is taken by a message with other content in this session"):
            await client.import_file(kept(tmp_path / "other", "\n".join([*lines[:-1], unsealed]).encode()), namespace)
        with pytest.raises(InvalidInput, match="namespace: must not be blank"):
            await anext(client.export(" "))


def test_an_import_is_bounded_by_a_limit_of_its_own(tmp_path: Path) -> None:
    """A file may be larger than other requests, and not larger than `MEMORY_MAX_IMPORT_BYTES`."""
    with served(tmp_path, max_request_bytes=2048, max_import_bytes=4096) as api:
        answers = {size: send(api, size) for size in (1000, 4000, 5000)}
    assert {size: answer.status_code for size, answer in answers.items()} == {1000: 422, 4000: 422, 5000: 413}
    assert answers[5000].json()["detail"] == "body: must have at most 4096 bytes"


def send(api: Served, size: int) -> httpx.Response:
    return api.http.post("/v1/admin/import", params={"namespace": "n"}, content=b"x" * size)
