"""How clients reach the server: over stdin and stdout, or over HTTP."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, TextIO, cast
from urllib.parse import urlsplit

import anyio
import httpx
import structlog
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http_manager import StreamableHTTPASGIApp, StreamableHTTPSessionManager
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.access import Caller
from app.errors import Forbidden
from app.integrations.mcp.asking import Api, Connection
from app.integrations.mcp.server import Context, create_server
from app.records import ALL_NAMESPACES, DEFAULT_NAMESPACE

log = structlog.get_logger(__name__)

_PORTION: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Wire:
    """The descriptors of the protocol: nothing else in this process, and no child of it, can write to them."""

    stdin: int
    stdout: TextIO


@contextmanager
def claimed_wire() -> Iterator[Wire]:
    """Take stdin and stdout for the protocol, for the rest of the process: stdin is empty then, and print goes to stderr.

    To be entered before anything is started: children inherit what stdout then is.
    """
    stdin, stdout = os.dup(0), os.dup(1)
    with os.fdopen(stdout, "w", encoding="utf-8", newline="\n", closefd=False) as out, Path(os.devnull).open("rb") as nothing:
        sys.stdout.flush()
        os.dup2(nothing.fileno(), 0)
        os.dup2(2, 1)
        yield Wire(stdin, out)


async def serve_stdio(wire: Wire, http: httpx.AsyncClient, connection: Connection) -> None:
    """Answer the client at the other end of the wire until it closes it, or is gone."""
    server = create_server(Api(http), lambda _: connection)
    lines = cast("anyio.AsyncFile[str]", _Lines(wire.stdin))  # what the SDK needs of a file is that it can be iterated
    try:
        async with stdio_server(lines, anyio.wrap_file(wire.stdout)) as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())
    except* BrokenPipeError:
        log.info("mcp_client_gone")


class _Lines:
    """The lines of a descriptor. They are read in a thread of their own, for which nobody has to wait: a client that says
    nothing must not keep the process from ending."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    async def __aiter__(self) -> AsyncIterator[str]:
        read: asyncio.Queue[bytes] = asyncio.Queue()
        threading.Thread(target=self._read_into, args=(asyncio.get_running_loop(), read), daemon=True).start()
        rest = b""
        while portion := await read.get():
            *whole, rest = (rest + portion).split(b"\n")
            for line in whole:
                yield line.decode(errors="replace")

    def _read_into(self, loop: asyncio.AbstractEventLoop, read: asyncio.Queue[bytes]) -> None:
        portion = b"-"
        while portion and not loop.is_closed():
            try:
                portion = os.read(self._descriptor, _PORTION)
            except OSError:  # the other end is gone
                portion = b""
            loop.call_soon_threadsafe(read.put_nowait, portion)


@asynccontextmanager
async def http_app(http: httpx.AsyncClient, *, is_open_to_others: bool) -> AsyncIterator[ASGIApp]:
    """Streamable HTTP for a `Caller` who is in the request's state; keeps nothing between two requests.

    `is_open_to_others`: who has no key may come from anywhere, because that was said out loud.
    """
    server: Server[Any] = create_server(Api(http), _connection_of)
    sessions = StreamableHTTPSessionManager(server, json_response=True, stateless=True)
    async with sessions.run():
        app = StreamableHTTPASGIApp(sessions)
        yield app if is_open_to_others else KeylessFromHere(app)


class KeylessFromHere:
    """Lets who has no key call from this machine alone: a web page could otherwise call through its reader's browser, by a
    name of its own that it has pointed here (DNS rebinding; the MCP specification asks servers to see to it)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises `Forbidden`."""
        request = Request(scope)
        caller: Caller = request.state.caller
        if caller.key_id is None and not (_is_here(f"//{request.headers.get('host', '')}") and _is_from_here(request)):
            raise Forbidden("without a key this can only be called from programs on this machine, by its loopback address")
        await self._app(scope, receive, send)


def _is_from_here(request: Request) -> bool:
    origin = request.headers.get("origin")
    return origin is None or _is_here(origin)


def _is_here(url: str) -> bool:
    try:
        name = urlsplit(url).hostname or ""
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


def _connection_of(context: Context) -> Connection:
    """The caller's own key goes on to the API. A key for one namespace means that one where none is named."""
    request = cast(Request, context.request)
    caller: Caller = request.state.caller
    covered = tuple(caller.namespaces)
    is_bound = len(covered) == 1 and covered[0] != ALL_NAMESPACES
    return Connection(request.headers.get("authorization"), covered[0] if is_bound else DEFAULT_NAMESPACE)
