"""The doors for models: MCP over stdin and stdout, and beside the API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from importlib.util import find_spec
from typing import Final

import httpx
from fastapi import FastAPI
from starlette.types import ASGIApp

from app.api.mounting import Annex
from app.bootstrap import Installation
from app.cli.connecting import api_key, located, transport_of
from app.cli.signals import stopped_by_signal, unless
from app.errors import ConfigurationError
from app.scheduler import jobs_of
from app.settings import Settings

MCP_PATH: Final = "/mcp"
_HERE: Final = "http://in-process"
_TIMEOUT_SECONDS: Final = 60.0


def require_mcp() -> None:
    """Raises `ConfigurationError` where the extra is not installed."""
    if find_spec("mcp") is None:
        raise ConfigurationError("MCP needs a package that is not installed: pip install 'hybrid-memory[mcp]'")


def annexes(settings: Settings) -> tuple[Annex, ...]:
    """What is served beside the API; nothing where the extra is not installed."""
    is_open = settings.allow_open_access
    return () if find_spec("mcp") is None else (Annex(MCP_PATH, partial(_beside, is_open_to_others=is_open)),)


@asynccontextmanager
async def _beside(api: FastAPI, *, is_open_to_others: bool) -> AsyncIterator[ASGIApp]:
    from app.integrations.mcp.transports import http_app

    async with (
        _client(_HERE, transport=httpx.ASGITransport(api)) as http,
        http_app(http, is_open_to_others=is_open_to_others) as app,
    ):
        yield app


async def serve_stdio(settings: Settings, url: str | None, namespace: str) -> None:
    """Serve one client over stdin and stdout until it is gone, or SIGINT or SIGTERM. Embedded engines run their jobs here.

    Raises:
        StartupError: the memory cannot be opened.
    """
    from app.integrations.mcp.asking import Connection
    from app.integrations.mcp.transports import claimed_wire
    from app.integrations.mcp.transports import serve_stdio as serve

    with claimed_wire() as wire:
        async with stopped_by_signal() as stopped, AsyncExitStack() as stack:
            http = await unless(stopped, stack.enter_async_context(_reached(settings, url)))
            if http is not None:
                await unless(stopped, serve(wire, http, Connection(namespace=namespace)))


@asynccontextmanager
async def _reached(settings: Settings, url: str | None) -> AsyncIterator[httpx.AsyncClient]:
    async with AsyncExitStack() as stack:
        found = await stack.enter_async_context(located(settings, url))
        if isinstance(found, Installation):
            if settings.is_embedded:
                await stack.enter_async_context(jobs_of(found, settings))
            yield await stack.enter_async_context(_client(_HERE, transport=transport_of(found)))
        else:
            yield await stack.enter_async_context(_client(found, key=api_key()))


def _client(url: str, *, key: str | None = None, transport: httpx.AsyncBaseTransport | None = None) -> httpx.AsyncClient:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return httpx.AsyncClient(base_url=url, headers=headers, timeout=_TIMEOUT_SECONDS, trust_env=False, transport=transport)
