"""Time that passes when the test says so."""

from __future__ import annotations

import asyncio


class Pauses:
    """Stands in for `asyncio.sleep`, one pause at a time: it lasts until the test ends it."""

    def __init__(self) -> None:
        self._under_way = asyncio.Event()
        self._ended = asyncio.Event()

    async def __call__(self, _seconds: float) -> None:
        self._ended.clear()
        self._under_way.set()
        await self._ended.wait()

    async def end(self) -> None:
        """End the pause that is under way, or the next one."""
        await self._under_way.wait()
        self._under_way.clear()
        self._ended.set()

    async def begun(self) -> None:
        """Wait until a pause is under way: what the one before was followed by is then over."""
        await self._under_way.wait()
