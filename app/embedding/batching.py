"""Micro-batching: concurrent calls become one call, at no cost to a call that comes alone."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from app.ports import Embedder
from app.records import Embedded, Space

_QUICK_TEXTS: Final = 8
"""Up to this many texts a call counts as somebody waiting for an answer; beyond, as work in bulk."""


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    texts: Sequence[str]
    answer: asyncio.Future[Embedded]


class BatchingEmbedder:
    """Merges what arrives while a call is running into the next one; identical texts are embedded once.

    Nothing ever waits on purpose: a call that finds `inner` idle goes at once. A query does not queue behind bulk work:
    small calls have a lane of their own, so at most two calls to `inner` run at a time. A call is never split, so that
    its rows come from one space.
    """

    def __init__(self, inner: Embedder, *, max_batch: int = 64) -> None:
        self._inner = inner
        self._quick = _Lane(inner, max_batch)
        self._bulk = _Lane(inner, max_batch)

    @property
    def space(self) -> Space:
        return self._inner.space

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """See `Embedder.embed`. A caller that is cancelled takes nobody else's answer away."""
        lane = self._quick if len(texts) <= _QUICK_TEXTS else self._bulk
        return await lane.embed(texts)

    async def ping(self) -> str:
        return await self._inner.ping()


class _Lane:
    """One call to `inner` at a time; the waiting calls form the next."""

    def __init__(self, inner: Embedder, max_batch: int) -> None:
        self._inner = inner
        self._max_batch = max_batch
        self._waiting: deque[_Call] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def embed(self, texts: Sequence[str]) -> Embedded:
        call = _Call(texts, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return await call.answer

    async def _work(self) -> None:
        try:
            while batch := self._next_batch():
                texts = list(dict.fromkeys(text for call in batch for text in call.texts))
                # Waited for rather than awaited: an error is handed to the callers, whatever it is, and never kills the lane.
                running = asyncio.create_task(self._inner.embed(texts))
                await asyncio.wait([running])
                _deliver(running, texts, batch)
        finally:
            self._worker = None

    def _next_batch(self) -> list[_Call]:
        """Whole calls, the longest-waiting first, up to `max_batch` texts (a larger call goes alone)."""
        batch: list[_Call] = []
        size = 0
        while self._waiting and (not batch or size + len(self._waiting[0].texts) <= self._max_batch):
            call = self._waiting.popleft()
            if not call.answer.done():  # else its caller was cancelled
                batch.append(call)
                size += len(call.texts)
        return batch


def _deliver(done: asyncio.Task[Embedded], texts: Sequence[str], batch: Sequence[_Call]) -> None:
    """Give each caller its own rows, or the error of the call it was part of."""
    position = {text: i for i, text in enumerate(texts)}
    for call in batch:
        if call.answer.done():
            continue
        if done.cancelled():
            call.answer.cancel()
        elif error := done.exception():
            call.answer.set_exception(error)
        else:
            rows = done.result().vectors[[position[text] for text in call.texts]]
            call.answer.set_result(replace(done.result(), vectors=rows))
