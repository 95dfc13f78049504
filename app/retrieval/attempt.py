"""One deadline shared by the stages of an answer, and the names of those that missed it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from datetime import timedelta
from typing import TypeVar

import structlog

from app.errors import EmbedderUnavailable, TierUnavailable
from app.observability import RECALL_DEGRADED, RECALL_LATENCY

T = TypeVar("T")

log = structlog.get_logger(__name__)


class Attempt:
    """Runs stages against a common deadline; a stage that fails or is late is recorded, not raised."""

    def __init__(self, deadline: timedelta) -> None:
        self._started = time.perf_counter()
        self._deadline_seconds = deadline.total_seconds()
        self._degraded: dict[str, str] = {}

    @property
    def degraded(self) -> tuple[str, ...]:
        """The stages that did not answer, in the order they were missed."""
        return tuple(self._degraded)

    def beside(self, deadline: timedelta) -> Attempt:
        """An attempt with a deadline of its own, counted from now; what it misses is missed here too."""
        other = Attempt(deadline)
        other._degraded = self._degraded
        return other

    @property
    def elapsed_ms(self) -> float:
        return (time.perf_counter() - self._started) * 1e3

    def remaining_seconds(self, share: float = 1.0) -> float:
        """What is left of the first `share` of the deadline, never below 0."""
        return max(0.0, self._deadline_seconds * share - (time.perf_counter() - self._started))

    async def stage(self, name: str, work: Awaitable[T], *, share: float = 1.0) -> T | None:
        """The result of `work`, or None when it failed or took longer than `share` of the deadline allows."""
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self.remaining_seconds(share)):
                return await work
        except TimeoutError:
            self.miss(name, "did not answer within the deadline")
        except (TierUnavailable, EmbedderUnavailable) as error:
            self.miss(name, str(error))
        finally:
            RECALL_LATENCY.labels(name).observe(time.perf_counter() - started)
        return None

    def miss(self, name: str, problem: str) -> None:
        """Record that a stage did not take part."""
        self._degraded[name] = problem
        RECALL_DEGRADED.labels(name).inc()
        log.warning("recall_degraded", stage=name, problem=problem)
