"""Iterating over what blocks, such as a file, without keeping the event loop from its work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import TypeVar

T = TypeVar("T")


async def in_thread(items: Iterator[T]) -> AsyncIterator[T]:
    """The items, none of which is None; each is made in a thread."""
    while (item := await asyncio.to_thread(next, items, None)) is not None:
        yield item
