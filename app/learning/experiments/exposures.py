"""Exposures on their way to the store, off the path of the searches that made them."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog

from app.errors import HybridMemoryError, TierUnavailable
from app.observability import EXPOSURES
from app.ports import ExperimentStore
from app.records import Exposure

log = structlog.get_logger(__name__)

_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class ExposurePolicy:
    """`waiting`: the most that wait; the oldest give way. `last_words`: how long closing may take to write the rest."""

    waiting: int = 10_000
    last_words: timedelta = timedelta(seconds=5)


class ExposureLog:
    """Takes exposures and writes them behind: while one batch is written the next one gathers.

    What the store does not take waits for the next exposure, or for `settle`. A process that is killed loses what waits.
    """

    def __init__(self, store: ExperimentStore, policy: ExposurePolicy | None = None) -> None:
        self._store = store
        self._policy = policy or ExposurePolicy()
        self._waiting: deque[Exposure] = deque()
        self._writing: asyncio.Task[None] | None = None

    def add(self, exposure: Exposure) -> None:
        """Take an exposure; returns at once and never fails."""
        if len(self._waiting) >= self._policy.waiting:
            self._waiting.popleft()
            EXPOSURES.labels("dropped").inc()
        self._waiting.append(exposure)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_all())

    async def settle(self) -> None:
        """Return when everything taken so far is written, or the store would not take it."""
        if self._writing is not None:
            await asyncio.shield(self._writing)
        await self._write_all()

    async def close(self) -> None:
        """Write what waits, if that does not take too long."""
        try:
            async with asyncio.timeout(self._policy.last_words.total_seconds()):
                await self.settle()
        except TimeoutError:
            log.warning("exposures_lost", exposures=len(self._waiting))

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                await self._write(list(self._waiting)[:_AT_ONCE])
        except TierUnavailable as error:
            log.warning("exposures_wait", exposures=len(self._waiting), problem=error.problem)

    async def _write(self, batch: list[Exposure]) -> None:
        try:
            await self._store.record_exposures(batch)
            EXPOSURES.labels("recorded").inc(len(batch))
        except TierUnavailable:
            raise
        except HybridMemoryError:  # refused for what they are: they would be again
            EXPOSURES.labels("dropped").inc(len(batch))
            log.exception("exposures_refused", exposures=len(batch))
        for exposure in batch:
            if self._waiting and self._waiting[0] is exposure:  # else it has given way meanwhile
                self._waiting.popleft()
