"""Answers that are longer than memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Self

from fastapi.responses import StreamingResponse
from starlette.types import Send


class Stream(StreamingResponse):
    """Portions as they come. What makes them is closed when the caller goes away."""

    def __init__(self, portions: AsyncGenerator[bytes, None], first: bytes, media_type: str, filename: str) -> None:
        headers = {"content-disposition": f'attachment; filename="{filename}"'}
        super().__init__(_with_first(first, portions), media_type=media_type, headers=headers)
        self._portions = portions

    @classmethod
    async def begun(cls, portions: AsyncGenerator[bytes, None], *, media_type: str, filename: str) -> Self:
        """Wait for the first portion: what goes wrong by then is answered as any other error is."""
        return cls(portions, await anext(portions, b""), media_type, filename)

    async def stream_response(self, send: Send) -> None:
        async with aclosing(self._portions):
            await super().stream_response(send)


async def _with_first(first: bytes, portions: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
    yield first
    async for portion in portions:
        yield portion
