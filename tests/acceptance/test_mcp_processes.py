"""`hybrid-memory mcp` as clients start it: a process of its own, spoken to over its stdin and stdout."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp_clients import answered, command_in, over_http, over_stdio, refused
from service_process import Home, finished, running_in

VET = "Miso sees the vet on Thursday."
HELLO = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "test", "version": "1"},
}


async def launched(directory: Path, *arguments: str, **variables: str) -> Process:
    """The process as a client starts it, with pipes to all of its streams."""
    command = command_in(directory, *arguments, **variables)
    return await asyncio.create_subprocess_exec(
        command.command, *command.args, cwd=directory, env=command.env, stdin=PIPE, stdout=PIPE, stderr=PIPE
    )


def request(number: int, method: str, **params: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode() + b"\n"


async def exchange(process: Process, line: bytes) -> dict[str, Any]:
    """Send a request and read the one line that answers it."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(line)
    async with asyncio.timeout(60):
        return dict(json.loads(await process.stdout.readline()))


@asynccontextmanager
async def listening() -> AsyncIterator[str]:
    """An address at which connections are taken, and closed without a word."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.slow
async def test_a_client_talks_to_a_memory_of_its_own(tmp_path: Path) -> None:
    """With embedded engines and nothing else; what was remembered is there when the next client comes, of either generation."""
    async with over_stdio(tmp_path, mode="legacy") as client:
        kept = await answered(client, "remember", content=VET, name="Ana")
        assert len((await client.list_tools()).tools) == 8
        (content,) = (await client.read_resource("memory://sessions/notes/context")).contents
        assert getattr(content, "text", None) == f"Ana: {VET}"
    assert running_in(tmp_path) == []
    async with over_stdio(tmp_path) as client:
        found = await answered(client, "recall", text="When does Miso see the vet?")
    assert [(hit["id"], hit["text"]) for hit in found["results"]] == [(kept["id"], VET)]


async def test_nothing_but_the_wire_reaches_stdout(tmp_path: Path) -> None:
    """Not what this process prints, and not what its children do; and they find nothing on stdin."""
    program = """
import subprocess, sys
from app.integrations.mcp.transports import claimed_wire
with claimed_wire() as wire:
    print("stray", flush=True)
    subprocess.run(["cat"], check=True)
    subprocess.run(["echo", "stray, too"], check=True)
    wire.stdout.write("protocol")
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, cwd=tmp_path, env=command_in(tmp_path).env, stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    stdout, stderr = await process.communicate(b"for the protocol")
    assert (stdout, stderr) == (b"protocol", b"stray\nstray, too\n")


async def test_stdout_carries_the_protocol_and_nothing_else(tmp_path: Path) -> None:
    """However much is logged; when stdin ends, so does the process, with status 0 and no engine left behind."""
    process = await launched(tmp_path, MEMORY_LOG_LEVEL="DEBUG")
    assert (await exchange(process, request(1, "initialize", **HELLO)))["id"] == 1
    call = request(2, "tools/call", name="recall", arguments={"text": VET})
    assert (await exchange(process, call))["result"]["isError"] is False
    garbage = await exchange(process, b"no JSON at all\n" + request(3, "tools/list"))
    assert {"jsonrpc": "2.0"}.items() <= garbage.items()
    assert process.stdin is not None
    process.stdin.close()
    left = await finished(process)
    assert left.status == 0, left.stderr
    assert [line for line in left.stdout.splitlines() if "jsonrpc" not in json.loads(line)] == []
    assert '"event": "tool_called"' in left.stderr
    assert VET not in left.stderr
    assert running_in(tmp_path) == []


@pytest.mark.slow
async def test_a_signal_ends_it_while_the_client_says_nothing(tmp_path: Path) -> None:
    """Its engines are closed in order, although its stdin is open and silent."""
    process = await launched(tmp_path)
    await exchange(process, request(1, "initialize", **HELLO))
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(60):
        assert await process.wait() == 0
    assert running_in(tmp_path) == []


async def test_a_client_that_is_gone_ends_it(tmp_path: Path) -> None:
    """Nobody reads the answer any more: no traceback, but an end."""
    async with listening() as url:
        process = await launched(tmp_path, "--url", url)
        await exchange(process, request(1, "initialize", **HELLO))
    assert process.stdin is not None
    process.stdin.write(request(2, "tools/list"))
    process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined] # there is no other way to stop reading
    process.stdin.close()
    async with asyncio.timeout(60):
        assert await process.wait() == 0
    assert process.stderr is not None
    assert b"Traceback" not in await process.stderr.read()


async def test_it_uses_the_service_that_owns_the_data_directory(tmp_path: Path) -> None:
    """So that any number of clients share it; the service serves the same tools over HTTP."""
    home = Home.at(tmp_path)
    async with home.served():
        shared = {"MEMORY_DATA_DIR": str(home.data)}
        async with over_stdio(tmp_path, **shared) as one, over_http(home.base_url) as two:
            await answered(one, "remember", content=VET)
            assert [h["text"] for h in (await answered(two, "recall", text=VET))["results"]] == [VET]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:9", "error: service tier unavailable: nobody listens at http://127.0.0.1:9: "),
        ("127.0.0.1:8000", "error: --url: must begin with http:// or https:// and name a host, is '127.0.0.1:8000'"),
    ],
)
async def test_an_address_without_a_service_is_told_at_once(url: str, said: str, tmp_path: Path) -> None:
    """On stderr, where clients look when a server does not start; the wire carries nothing."""
    ended = await finished(await launched(tmp_path, "--url", url))
    assert (ended.status, ended.stdout, ended.stderr[: len(said)]) == (1, "", said)


async def test_a_service_that_went_away_is_named(tmp_path: Path) -> None:
    """The tools stay; a call says that the service does not answer, which is not the same as nothing found."""
    async with AsyncExitStack() as stack:
        async with listening() as url:
            client = await stack.enter_async_context(over_stdio(tmp_path, "--url", url))
        error = await refused(client, "recall", text=VET)
    assert error["kind"] == "unavailable"
    assert error["detail"].startswith("the memory service does not answer: ")


async def test_over_http_it_is_the_service(tmp_path: Path) -> None:
    """`mcp --http` serves the API with the tools beside it, and says where."""
    home = Home.at(tmp_path)
    serving = await home.starting("mcp", "--http")
    try:
        await serving.until_live()
        async with over_http(home.base_url) as client:
            await answered(client, "remember", content=VET)
        left = await serving.stop()
    finally:
        await serving.kill()
    assert f"{home.base_url}/mcp" in left.stdout
