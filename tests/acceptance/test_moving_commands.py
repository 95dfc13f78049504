"""`backup`, `restore`, `export` and `import` as their users run them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from service_process import Home, running_in, until

from app.transfer.container import Header, Packer


@pytest.mark.slow
async def test_an_installation_moves_with_two_commands(tmp_path: Path) -> None:
    """Backed up while it is served, restored into another directory, and served there: the same history."""
    old, new = Home.at(tmp_path / "old"), Home.at(tmp_path / "new")
    file = tmp_path / "all.backup"
    async with old.served() as serving, old.client() as client:
        await client.post("/v1/sessions/s1/messages", json={"messages": [{"role": "user", "content": "The cat is Miso."}]})
        told = (await client.get("/v1/sessions/s1/messages")).json()
        backed_up = await old.run("backup", str(file))
        assert (backed_up.status, backed_up.stderr) == (0, "")
        refused = await old.run("restore", str(file))
        stop = f"stop process {serving.process.pid}, then restore; it needs the installation to itself"
        assert (refused.status, refused.stderr) == (1, f"error: {old.data} is in use: {stop}\n")
        await serving.stop(signal.SIGTERM)
    restored = await new.run("restore", str(file))
    assert (restored.status, restored.stderr) == (0, "")
    assert "messages                   1" in restored.stdout
    again = await new.run("restore", str(file))
    assert again.status == 1
    assert again.stderr.startswith("error: installation: is not empty (rows: ")
    async with new.served(), new.client() as client:
        assert (await client.get("/v1/sessions/s1/messages")).json() == told
    assert files_in(tmp_path) == ["all.backup"]
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.slow
async def test_a_namespace_moves_with_two_commands(tmp_path: Path) -> None:
    """Exported from a running service, imported without one: the search finds it there."""
    old, new = Home.at(tmp_path / "old"), Home.at(tmp_path / "new")
    file = tmp_path / "lines"
    async with old.served(), old.client() as client:
        await client.post("/v1/sessions/s1/messages", json={"messages": [{"role": "user", "content": "The cat is Miso."}]})
        assert (await old.run("export", str(file))).status == 0
    imported = await new.run("import", str(file))
    assert (imported.status, imported.stderr) == (0, "")
    assert imported.stdout.split() == ["new", "session", "1", "episode", "1", "message", "1", "known", "records", "0"]
    assert (await new.run("consolidate")).status == 0
    assert "The cat is Miso." in (await new.run("search", "cat")).stdout


@pytest.mark.slow
async def test_a_killed_backup_leaves_no_file(tmp_path: Path) -> None:
    """Killed in the middle, `backup` leaves the file that was there before as it was; interrupted, it leaves no trace."""
    file = tmp_path / "all.backup"
    file.write_text("yesterday's")
    home = Home.at(tmp_path / "home")
    async with endless() as url:
        for number, left in ((signal.SIGINT, 0), (signal.SIGKILL, 1)):
            running = await home.starting("backup", str(file), "--url", url)
            await until(lambda: unfinished(tmp_path), unless=running.ending)
            await running.stop(number)
            assert (file.read_text(), len(left_in(tmp_path))) == ("yesterday's", left)
    assert running_in(tmp_path) == []


def unfinished(path: Path) -> bool:
    """Whether a backup was begun."""
    return len(left_in(path)) > 0


def left_in(path: Path) -> list[str]:
    """The beginnings of backups that lie about."""
    return [file.name for file in path.glob(".all.backup.*.unfinished")]


def files_in(path: Path) -> list[str]:
    return [file.name for file in path.iterdir() if file.is_file()]


@pytest.mark.parametrize(
    ("ending", "refusal"),
    [(b"", "error: service tier unavailable: "), (b"0\r\n\r\n", "error: file: is cut short: its end is missing")],
)
async def test_an_answer_that_breaks_off_is_no_backup(tmp_path: Path, ending: bytes, refusal: str) -> None:
    """A service that dies while it sends, or thinks that it has sent all, leaves no file, and the command says why."""
    async with endless(ending=ending) as url:
        ended = await Home.at(tmp_path).run("backup", "all.backup", "--url", url)
    assert ended.status == 1
    assert ended.stderr.startswith(refusal)
    assert files_in(tmp_path) == []


@asynccontextmanager
async def endless(*, ending: bytes | None = None) -> AsyncIterator[str]:
    """A service that sends the beginning of a backup, and then `ending`; without one it never ends."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        beginning = Packer().begin(Header("0001", "2026-05-04T12:00:00+00:00", "0.1.0"))
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(beginning), beginning))
        if ending is None:
            await reader.read()  # until the caller is gone
        writer.write(ending or b"")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
