"""The official MCP client, over either transport, in either generation of the protocol."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

from app.cli.child import environment_of_child


@asynccontextmanager
async def held(opening: AbstractAsyncContextManager[Client]) -> AsyncIterator[Client]:
    """A client for a fixture: entered and left in one task, as its cancel scopes want it; pytest uses two."""
    opened, done = asyncio.get_running_loop().create_future(), asyncio.Event()

    async def hold() -> None:
        async with opening as client:
            opened.set_result(client)
            await done.wait()

    holding = asyncio.create_task(hold())
    await asyncio.wait({holding, opened}, return_when=asyncio.FIRST_COMPLETED)
    if not opened.done():
        await holding  # raises what kept it from opening
    try:
        yield opened.result()
    finally:
        done.set()
        await holding


@asynccontextmanager
async def over_http(url: str, key: str | None = None, mode: str = "auto", **headers: str) -> AsyncIterator[Client]:
    """A client of the service at `url`, with a key of the API."""
    sent = headers if key is None else headers | {"Authorization": f"Bearer {key}"}
    http = httpx2.AsyncClient(headers=sent, trust_env=False, timeout=30)
    transport = streamable_http_client(f"{url}/mcp", http_client=http)
    async with http, Client(transport, mode=mode, read_timeout_seconds=60) as client:
        yield client


@asynccontextmanager
async def over_stdio(directory: Path, *arguments: str, mode: str = "auto", **variables: str) -> AsyncIterator[Client]:
    """A client of `hybrid-memory mcp`, started in `directory` with these settings; its stderr is in `stderr.log` there."""
    started = command_in(directory, *arguments, **variables)
    with (directory / "stderr.log").open("w", encoding="utf-8") as errlog:
        async with Client(stdio_client(started, errlog), mode=mode, read_timeout_seconds=60) as client:
            yield client


def command_in(directory: Path, *arguments: str, **variables: str) -> StdioServerParameters:
    settings = {"MEMORY_EMBEDDER": "hashing", "MEMORY_DATA_DIR": str(directory / "data")} | variables
    environment = environment_of_child(os.environ, settings)
    return StdioServerParameters(command=sys.executable, args=["-m", "app", "mcp", *arguments], cwd=directory, env=environment)


async def answered(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """What a tool answers; fails if it refuses."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    return dict(result.structured_content)


async def refused(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """Why a tool refuses; fails if it does not."""
    result = await client.call_tool(tool, arguments)
    assert result.is_error, result.structured_content
    error = dict(result.structured_content["error"])
    assert [block.text for block in result.content if block.type == "text"] == [f"{error['kind']}: {error['detail']}"]
    return error
