"""How commands reach a memory: in this process, or over HTTP when another process owns the data directory."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final, Protocol

import httpx

from app.access import UnguardedAccess
from app.api import create_app
from app.bootstrap import Installation, open_installation
from app.client import MemoryClient
from app.client.problems import SERVICE
from app.errors import DataDirectoryInUse, InvalidInput, TierUnavailable
from app.records import ImportReport
from app.settings import Settings

_REACHED_WITHIN: Final = timedelta(seconds=5)
"""On any network where commands make sense a connection is made within this."""


class Mover(Protocol):
    """What moves memories in and out: the service, or a client of one."""

    def backup(self) -> AsyncGenerator[bytes, None]: ...

    def export(self, namespace: str) -> AsyncGenerator[bytes, None]: ...

    async def import_file(self, path: Path, namespace: str, progress: Callable[[int], None] | None = None) -> ImportReport: ...


@asynccontextmanager
async def connected(settings: Settings, url: str | None) -> AsyncIterator[MemoryClient]:
    """A client of the service at `url`; without one, of whoever owns the data directory, else of this process."""
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
    async with located(settings, url) as found:
        if isinstance(found, Installation):
            yield found
            return
        if url is not None:
            await _check_listens(url)
        async with MemoryClient(found, api_key=os.environ.get("MEMORY_API_KEY")) as client:
            yield client


async def _check_listens(url: str) -> None:
    """The client's retries are for a service that is away for a moment; a wrong address is told at once, and which it is.

    Raises:
        TierUnavailable: nobody listens at `url`.
        InvalidInput: it is no URL of a service.
    """
    problem = InvalidInput("--url", f"must begin with http:// or https:// and name a host, is {url!r}")
    try:
        if not httpx.URL(url).host:
            raise problem
        async with httpx.AsyncClient(base_url=url, timeout=_REACHED_WITHIN.total_seconds(), trust_env=False) as http:
            await http.head("/")
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise TierUnavailable(SERVICE, f"nobody listens at {url}: {error or type(error).__name__}") from error
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        raise problem from error
    except httpx.TransportError:
        return  # somebody is there: what they do with the call is the call's to say


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
