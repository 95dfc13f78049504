"""How commands reach a memory: in this process, or over HTTP when another process owns the data directory."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import httpx

from app.access import UnguardedAccess
from app.api import create_app
from app.bootstrap import Installation, open_installation
from app.cli.addresses import check_listens
from app.client import MemoryClient
from app.errors import DataDirectoryInUse
from app.records import ImportReport
from app.settings import Settings


class Mover(Protocol):
    """What moves memories in and out: the service, or a client of one."""

    def backup(self) -> AsyncGenerator[bytes, None]: ...

    def export(self, namespace: str) -> AsyncGenerator[bytes, None]: ...

    async def import_file(self, path: Path, namespace: str, progress: Callable[[int], None] | None = None) -> ImportReport: ...


@asynccontextmanager
async def connected(settings: Settings, url: str | None) -> AsyncIterator[MemoryClient]:
    """A client of the service at `url`, or else at the settings'; without one, of who owns the data directory, or of us."""
    async with _reached(settings, url) as found:
        if isinstance(found, MemoryClient):
            yield found
            return
        async with in_process(found) as client:
            yield client


@asynccontextmanager
async def reached(settings: Settings, url: str | None) -> AsyncIterator[Mover]:
    """As `connected`, but this process's own service as it is: through a client without a socket nothing streams."""
    async with _reached(settings, url) as found:
        yield found.service if isinstance(found, Installation) else found


@asynccontextmanager
async def _reached(settings: Settings, url: str | None) -> AsyncIterator[MemoryClient | Installation]:
    named = url if url is not None else settings.url
    async with located(settings, named) as found:
        if isinstance(found, Installation):
            yield found
            return
        if named is not None:
            await check_listens(named)
        async with MemoryClient(found, api_key=settings.secret_key) as client:
            yield client


@asynccontextmanager
async def located(settings: Settings, url: str | None) -> AsyncIterator[str | Installation]:
    """Where the memory is: the service at `url`, without one whoever owns the data directory, else this process."""
    if url is not None:
        yield url
        return
    async with AsyncExitStack() as stack:
        found: str | Installation
        try:
            found = await stack.enter_async_context(open_installation(settings))
        except DataDirectoryInUse as error:
            if error.address is None:
                raise
            found = error.address
        yield found


@asynccontextmanager
async def in_process(installation: Installation) -> AsyncIterator[MemoryClient]:
    """A client of an installation in this process: the same wire, without a socket, as its owner."""
    async with MemoryClient("http://in-process", transport=transport_of(installation)) as client:
        yield client


def transport_of(installation: Installation) -> httpx.ASGITransport:
    """What a client in this process speaks through."""
    app = create_app(lambda: nullcontext(installation))
    owned = UnguardedAccess(installation.access.store, installation.access.clock, may_be_open=True)
    app.state.installation = replace(installation, access=owned)
    return httpx.ASGITransport(app)
