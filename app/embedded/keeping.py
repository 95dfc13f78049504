"""An engine kept running: started again whenever its process ends by itself, stopped at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Final

import structlog

from app.embedded.processes import EmbeddedServer
from app.errors import HybridMemoryError
from app.observability import BACKGROUND_ERRORS

log = structlog.get_logger(__name__)

_LOOK_EVERY: Final = timedelta(milliseconds=100)
_RETRY_EVERY: Final = timedelta(seconds=2)
"""After a restart that failed: what is in its way (a full disk, mostly) does not go in a moment."""


@asynccontextmanager
async def kept_running(start: Callable[[], EmbeddedServer]) -> AsyncIterator[str]:
    """The URL of the engine that `start` starts, the same after each restart; the engine has ended when the context has.

    While the engine is down, calls to it fail as calls to any engine that is away.

    Raises:
        StartupError: the first start failed. Later ones are tried again until they succeed.
    """
    keeper = _Keeper(start, await _started(start))
    keeping = asyncio.create_task(keeper.keep())
    try:
        yield keeper.server.url
    finally:
        keeper.released.set()
        await keeping
        await asyncio.to_thread(keeper.server.stop)


class _Keeper:
    def __init__(self, start: Callable[[], EmbeddedServer], server: EmbeddedServer) -> None:
        self._start = start
        self.server = server
        self.released = asyncio.Event()

    async def keep(self) -> None:
        """Look after the process until `released`."""
        while not self.released.is_set():
            is_running = self.server.process.poll() is None or await self._start_again()
            pause = _LOOK_EVERY if is_running else _RETRY_EVERY
            with suppress(TimeoutError):
                async with asyncio.timeout(pause.total_seconds()):
                    await self.released.wait()

    async def _start_again(self) -> bool:
        log.error("engine_ended", url=self.server.url, status=self.server.process.returncode)
        try:
            self.server = await _started(self._start)
        except (HybridMemoryError, OSError):
            BACKGROUND_ERRORS.labels("restart_engine").inc()
            log.exception("engine_not_restarted", url=self.server.url)
            return False
        return True


async def _started(start: Callable[[], EmbeddedServer]) -> EmbeddedServer:
    """Start in a thread. A thread cannot be cancelled: who is, waits for it and ends what it started."""
    starting = asyncio.ensure_future(asyncio.to_thread(start))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        server = await starting
        await asyncio.to_thread(server.stop)
        raise
