"""Ports that fail on demand: the real thing or its twin, with trouble before chosen calls."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, TypeVar, cast

from app.errors import TierUnavailable

Port = TypeVar("Port")

COMMIT = "commit"
"""How the end of a write session is announced: trouble there undoes the session."""
COMMITTED = "committed"
"""How it is announced that a write session was committed: trouble there comes too late to undo it."""


class Trouble(Protocol):
    """Is told the name of each call before it is carried out, and may raise or wait."""

    async def __call__(self, call: str) -> None: ...


class Fault:
    """Raises `error` instead of the named calls (of every call when none is named) for as long as it is on."""

    def __init__(self, error: Exception, *calls: str) -> None:
        self._error = error
        self._calls = frozenset(calls)
        self.is_on = True

    async def __call__(self, call: str) -> None:
        if self.is_on and (not self._calls or call in self._calls):
            raise self._error


class Hang:
    """The named calls never answer; `is_reached` is set when the first of them is made."""

    def __init__(self, *calls: str) -> None:
        self._calls = frozenset(calls)
        self.is_reached = asyncio.Event()

    async def __call__(self, call: str) -> None:
        if call in self._calls:
            self.is_reached.set()
            await asyncio.Event().wait()


def away(port: Port, tier: str, *calls: str) -> Port:
    """`port` as if its engine could not be reached: for the named calls, or for all."""
    return troubled(port, Fault(TierUnavailable(tier, "switched off by a test"), *calls))


def troubled(port: Port, trouble: Trouble) -> Port:
    """`port` with `trouble` before each of its calls, also of those made in its sessions (`reading`, `writing`, `frozen`)."""
    return cast(Port, _Troubled(port, trouble))


class _Troubled:
    def __init__(self, port: object, trouble: Trouble) -> None:
        self._port = port
        self._trouble = trouble

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._port, name)
        if inspect.iscoroutinefunction(attribute):
            return self._call(name, attribute)
        return self._session(name, attribute) if name in {"reading", "writing", "frozen"} else attribute

    def _call(self, name: str, method: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
        async def call(*args: object, **kwargs: object) -> object:
            await self._trouble(name)
            return await method(*args, **kwargs)

        return call

    def _session(
        self, name: str, opened: Callable[[], AbstractAsyncContextManager[object]]
    ) -> Callable[[], AbstractAsyncContextManager[object]]:
        @asynccontextmanager
        async def session() -> AsyncIterator[object]:
            await self._trouble(name)
            async with opened() as inner:
                yield _Troubled(inner, self._trouble)
                if name == "writing":
                    await self._trouble(COMMIT)
            if name == "writing":
                await self._trouble(COMMITTED)

        return session
