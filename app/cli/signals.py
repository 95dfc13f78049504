"""Signals that end a command in good order: what it started is stopped before it is gone."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` in an event loop; SIGTERM and SIGHUP cancel it as Ctrl-C does, also where Ctrl-C is ignored (`command &`).

    Raises:
        KeyboardInterrupt: it was cancelled so, and has ended.
    """
    ended_by: list[signal.Signals] = []

    async def interruptible() -> T:
        working = asyncio.ensure_future(work)

        def interrupt(number: signal.Signals) -> None:
            ended_by.append(number)
            working.cancel()

        for number in _heeded(signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, interrupt, number)
        return await working

    with asyncio.Runner(loop_factory=_event_loop) as runner:
        try:
            return runner.run(interruptible())
        except asyncio.CancelledError:
            if ended_by:
                raise KeyboardInterrupt from None
            raise


def _event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where it is installed: a request costs about a quarter less."""
    try:
        import uvloop  # not on every platform
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


@asynccontextmanager
async def stopped_by_signal() -> AsyncIterator[asyncio.Event]:
    """Set the event on SIGINT, SIGTERM or SIGHUP instead of dying, so that engines are closed in order.

    uvicorn takes the signals over while it serves and raises them again when it is done: by then they mean nothing.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    numbers = _heeded(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, stopped.set)
    try:
        yield stopped
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


async def unless(stopped: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of `work`; None if `stopped` came first, and then `work` was cancelled and has ended."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stopped.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if working.done():
        return working.result()
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    return None


def _heeded(*numbers: signal.Signals) -> list[signal.Signals]:
    """Those that are not ignored: `nohup` ignores SIGHUP for us."""
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
