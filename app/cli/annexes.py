"""What is served beside the API: MCP, where the extra is installed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib import import_module

import httpx
from fastapi import FastAPI
from starlette.types import ASGIApp

from app.api.mounting import Annex
from app.cli.stdio import HERE, MCP_PATH, client_of, has_mcp
from app.settings import Settings


def annexes(settings: Settings) -> tuple[Annex, ...]:
    """The doors beside the API."""
    if not has_mcp():
        return ()
    # No GET: it would hold a stream open on which the server, which never speaks unasked, has nothing to say.
    return (Annex(MCP_PATH, ("POST",), partial(_mcp, is_open_to_others=settings.allow_open_access)),)


@asynccontextmanager
async def _mcp(api: FastAPI, *, is_open_to_others: bool) -> AsyncIterator[ASGIApp]:
    transports = await asyncio.to_thread(import_module, "app.integrations.mcp.transports")  # the SDK takes a second
    http = client_of(HERE, transport=httpx.ASGITransport(api))
    async with http, transports.http_app(http, is_open_to_others=is_open_to_others) as app:
        yield app
