"""MCP over stdin and stdout: of a memory in this process, or of a service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.util import find_spec
from typing import Final

import httpx

from app.cli.addresses import check_listens
from app.cli.signals import stopped_by_signal, unless
from app.errors import ConfigurationError
from app.settings import Settings

MCP_PATH: Final = "/mcp"
HERE: Final = "http://in-process"
_TIMEOUT_SECONDS: Final = 60.0


def has_mcp() -> bool:
    """Whether the extra is installed."""
    return find_spec("mcp") is not None


def require_mcp() -> None:
    """Raises `ConfigurationError` where the extra is not installed."""
    if not has_mcp():
        raise ConfigurationError("MCP needs a package that is not installed: pip install 'hybrid-memory[mcp]'")


def refuse_over_http(url: str | None, namespace: str | None) -> None:
    """Raises `ConfigurationError` for an option that would be ignored over HTTP."""
    if url is not None:
        raise ConfigurationError(f"--url is for stdio: the service at {url} serves MCP itself, at {url}{MCP_PATH}")
    if namespace is not None:
        raise ConfigurationError("--namespace is for stdio: over HTTP it is that of the key, if the key has one namespace")


def refuse_on_stdio(host: str | None, port: int | None) -> None:
    """Raises `ConfigurationError` for an option that would be ignored on stdio."""
    if host is not None or port is not None:
        raise ConfigurationError("--host and --port say where to serve over HTTP: add --http, or leave them out")


async def serve_stdio(settings: Settings, url: str | None, namespace: str) -> None:
    """Serve one client over stdin and stdout until it is gone, or SIGINT or SIGTERM. Embedded engines run their jobs here.

    Raises:
        StartupError: the memory cannot be opened.
        TierUnavailable: nobody listens at `url`.
        InvalidInput: it is no URL of a service.
    """
    from app.integrations.mcp.asking import Connection  # of an extra: see `require_mcp`
    from app.integrations.mcp.transports import claimed_wire
    from app.integrations.mcp.transports import serve_stdio as serve

    named = url if url is not None else settings.url
    if named is not None:
        await check_listens(named)
    with claimed_wire() as wire:
        async with stopped_by_signal() as stopped, AsyncExitStack() as stack:
            reaching = client_of(named, key=settings.secret_key) if named is not None else _found(settings)
            http = await unless(stopped, stack.enter_async_context(reaching))
            if http is not None:
                await unless(stopped, serve(wire, http, Connection(namespace=namespace)))


@asynccontextmanager
async def _found(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of whoever owns the data directory, else of this process, whose jobs then run."""
    from app.bootstrap import Installation  # the engines take seconds, which a client of a service need not wait for
    from app.cli.connecting import located, transport_of
    from app.scheduler import jobs_of

    async with AsyncExitStack() as stack:
        found = await stack.enter_async_context(located(settings, None))
        if not isinstance(found, Installation):
            yield await stack.enter_async_context(client_of(found, key=settings.secret_key))
            return
        if settings.is_embedded:
            await stack.enter_async_context(jobs_of(found, settings))
        yield await stack.enter_async_context(client_of(HERE, transport=transport_of(found)))


def client_of(url: str, *, key: str | None = None, transport: httpx.AsyncBaseTransport | None = None) -> httpx.AsyncClient:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return httpx.AsyncClient(base_url=url, headers=headers, timeout=_TIMEOUT_SECONDS, trust_env=False, transport=transport)
