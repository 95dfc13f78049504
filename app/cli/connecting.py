"""How commands reach a memory: in this process, or over HTTP when another process owns the data directory."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import replace

import httpx

from app.access import UnguardedAccess
from app.api import create_app
from app.bootstrap import Installation, open_installation
from app.client import MemoryClient
from app.errors import DataDirectoryInUse
from app.settings import Settings


@asynccontextmanager
async def connected(settings: Settings, url: str | None) -> AsyncIterator[MemoryClient]:
    """A client of the service at `url`; without one, of whoever owns the data directory, else of this process."""
    api_key = os.environ.get("MEMORY_API_KEY")
    if url is not None:
        async with MemoryClient(url, api_key=api_key) as client:
            yield client
        return
    async with AsyncExitStack() as stack:
        try:
            installation = await stack.enter_async_context(open_installation(settings))
            client = await stack.enter_async_context(in_process(installation))
        except DataDirectoryInUse as error:
            if error.address is None:
                raise
            client = await stack.enter_async_context(MemoryClient(error.address, api_key=api_key))
        yield client


@asynccontextmanager
async def in_process(installation: Installation) -> AsyncIterator[MemoryClient]:
    """A client of an installation in this process: the same wire, without a socket, as its owner."""
    app = create_app(lambda: nullcontext(installation))
    owned = UnguardedAccess(installation.access.store, installation.access.clock, may_be_open=True)
    app.state.installation = replace(installation, access=owned)
    async with MemoryClient("http://in-process", transport=httpx.ASGITransport(app)) as client:
        yield client
