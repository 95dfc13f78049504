"""Processes that stay: the API server and the worker."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from typing import Final

import httpx
import uvicorn
from rich.console import Console
from rich.table import Table

from app.api import create_app
from app.bootstrap import Installation, open_installation
from app.cli.annexes import annexes
from app.cli.signals import stopped_by_signal, unless
from app.cli.stdio import MCP_PATH
from app.errors import ConfigurationError
from app.faultpoints import armed_by
from app.records import API_VERSION_HEADER
from app.scheduler import jobs_of
from app.settings import Settings

_GLANCE_SECONDS: Final = 1.0


async def serve(settings: Settings, console: Console) -> None:
    """Serve the API until SIGINT or SIGTERM; with embedded engines the jobs run in this process.

    Raises:
        StartupError: the address is taken, the engines do not start, or the API would be open to the network.
    """
    with armed_by(settings.faultpoint), _bound_socket(settings) as bound:
        address = _address(settings, bound)
        async with stopped_by_signal() as stopped, AsyncExitStack() as stack:
            installation = await unless(stopped, stack.enter_async_context(open_installation(settings, address=address)))
            if installation is None:
                return
            await _refuse_open_network(settings, installation)
            if settings.is_embedded:
                await stack.enter_async_context(jobs_of(installation, settings))
            app = create_app(
                lambda: nullcontext(installation),
                max_request_bytes=settings.max_request_bytes,
                max_import_bytes=settings.max_import_bytes,
                annexes=annexes(settings),
            )
            # The engines stay up until the last request is answered: the server ends inside their context.
            server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=10))
            _announce(console, settings, installation, address)
            async with _ended_by(stopped, server):
                await server.serve(sockets=[bound])


async def work(settings: Settings, console: Console) -> None:
    """Run the background jobs until SIGINT or SIGTERM; any number of workers share the work.

    Raises:
        StartupError: the engines cannot be reached, or cannot be shared.
    """
    if settings.is_embedded:
        raise ConfigurationError(
            "embedded engines belong to one process, `hybrid-memory serve`, which runs the jobs itself: "
            "for workers set MEMORY_REDIS_URL, MEMORY_POSTGRES_URL and MEMORY_QDRANT_URL"
        )
    async with stopped_by_signal() as stopped, AsyncExitStack() as stack:
        stack.enter_context(armed_by(settings.faultpoint))
        installation = await unless(stopped, stack.enter_async_context(open_installation(settings)))
        if installation is None:
            return
        await stack.enter_async_context(jobs_of(installation, settings))
        console.print(f"working every {settings.consolidation_interval_seconds:g} s; stop with Ctrl-C")
        await stopped.wait()


@asynccontextmanager
async def _ended_by(stopped: asyncio.Event, server: uvicorn.Server) -> AsyncIterator[None]:
    """Tell the server also of the signals that uvicorn does not know, and of one that came before it listened."""

    async def end() -> None:
        await stopped.wait()
        server.should_exit = True

    ending = asyncio.create_task(end())
    try:
        yield
    finally:
        ending.cancel()


def _bound_socket(settings: Settings) -> socket.socket:
    """Bind before any engine starts, so that a taken port costs nothing."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # Named in full: asyncio sets TCP_NODELAY only on sockets that say they are TCP, and Nagle costs 40 ms an answer.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((settings.host, settings.port))
    except OSError as error:
        bound.close()
        where = f"{settings.host}:{settings.port}"
        if _is_service(f"http://{where}"):
            raise ConfigurationError(
                f"cannot listen on {where}: a service of hybrid-memory answers there already; use that one, or choose another "
                "MEMORY_PORT and, for a memory of its own, another MEMORY_DATA_DIR"
            ) from error
        raise ConfigurationError(
            f"cannot listen on {where} ({error.strerror}): choose another MEMORY_PORT or MEMORY_HOST"
        ) from error
    bound.set_inheritable(True)
    return bound


def _is_service(address: str) -> bool:
    try:
        return API_VERSION_HEADER in httpx.get(f"{address}/health/live", timeout=_GLANCE_SECONDS, trust_env=False).headers
    except (httpx.HTTPError, httpx.InvalidURL):
        return False


def _address(settings: Settings, bound: socket.socket) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{bound.getsockname()[1]}"


async def _refuse_open_network(settings: Settings, installation: Installation) -> None:
    if settings.is_loopback or settings.allow_open_access or await installation.access.list():
        return
    raise ConfigurationError(
        f"{settings.host} can be reached by others and no key was made: run `hybrid-memory keys create NAME`, "
        "listen on 127.0.0.1, or set MEMORY_ALLOW_OPEN_ACCESS=true if everybody may read and write"
    )


def _announce(console: Console, settings: Settings, installation: Installation, address: str) -> None:
    table = Table(title="hybrid-memory is up", title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
    for tier, engine in installation.engines.items():
        table.add_row(f"[bold]{tier}[/]", engine)
    table.add_row("[bold]API docs[/]", f"{address}/docs")
    if annexes(settings):
        table.add_row("[bold]MCP[/]", f"{address}{MCP_PATH}")
    console.print(table, soft_wrap=True)
    console.print("\nTry it:")
    for line in _curl(address):
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    jobs = "every" if settings.is_embedded else "by `hybrid-memory worker`, every"
    console.print(f"\nConsolidation runs {jobs} {settings.consolidation_interval_seconds:g} s. Stop with Ctrl-C.")


def _curl(address: str) -> tuple[str, ...]:
    post = "curl -s -H 'content-type: application/json'"
    message = '{"messages": [{"role": "user", "content": "My cat Miso sees the vet on Thursday."}]}'
    question = '{"text": "When is the vet appointment?"}'
    return f"  {post} {address}/v1/sessions/hello/messages -d '{message}'", f"  {post} {address}/v1/search -d '{question}'"
