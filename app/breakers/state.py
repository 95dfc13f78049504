"""A circuit breaker as a value (pure). Why our own: docs/decisions/0017-degradation.md."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import IntEnum


class BreakerState(IntEnum):
    """Closed lets every call through, open none; half open, a ping is under way. The numbers are the metric's."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2

    @property
    def label(self) -> str:
        return self.name.lower().replace("_", "-")


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When an engine counts as away, and how soon it is noticed that it is back.

    `failure_threshold` failures in a row open the breaker. A call without an answer after `late_after` has the engine
    pinged; a ping without an answer within `ping_deadline` opens it at once. While it is open there is a ping every
    `probe_every`, and nothing else. `is_missed` False: nobody counts on the engine, so that its absence is no news before it
    answered once.
    """

    failure_threshold: int = 3
    late_after: timedelta = timedelta(milliseconds=100)
    ping_deadline: timedelta = timedelta(seconds=1)
    probe_every: timedelta = timedelta(milliseconds=500)
    is_missed: bool = True


@dataclass(frozen=True, slots=True)
class Breaker:
    """What is known of an engine: failures in a row, and since when and why it is left alone."""

    policy: BreakerPolicy = field(default_factory=BreakerPolicy)
    failures: int = 0
    opened_at: datetime | None = None
    problem: str = ""
    is_probed: bool = False

    @property
    def state(self) -> BreakerState:
        if self.opened_at is None:
            return BreakerState.CLOSED
        return BreakerState.HALF_OPEN if self.is_probed else BreakerState.OPEN

    @property
    def is_closed(self) -> bool:
        return self.opened_at is None

    def answered(self) -> Breaker:
        """The engine gave an answer: whatever was held against it is forgotten."""
        return Breaker(self.policy)

    def failed(self, now: datetime, problem: str) -> Breaker:
        """A call found nobody there. One more of them may open the breaker."""
        counted = replace(self, failures=self.failures + 1)
        return counted.opened(now, problem) if counted.failures >= self.policy.failure_threshold else counted

    def opened(self, now: datetime, problem: str) -> Breaker:
        """The engine is away for certain: a ping found nobody, or got no answer. An outage began when it first was."""
        return replace(self, opened_at=self.opened_at or now, problem=problem, is_probed=False)

    def probed(self) -> Breaker:
        """A ping is under way to see whether the engine is back."""
        return replace(self, is_probed=not self.is_closed)
