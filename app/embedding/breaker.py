"""A circuit breaker as a value: after repeated failures a provider is left alone for a while, then tried again.

Own code rather than a library: of those for asyncio, `purgatory` reads
the time itself and lets every waiting call through once half open. What is needed fits on this page, with time an argument.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """After `failure_threshold` failures in a row, no call for `reset_after`; then one, whose outcome decides."""

    failure_threshold: int = 3
    reset_after: timedelta = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class Breaker:
    """Closed while `failures` is below the threshold; from then on open, until the rest after `rested_from` is over."""

    policy: BreakerPolicy = field(default_factory=BreakerPolicy)
    failures: int = 0
    rested_from: datetime | None = None

    @property
    def is_closed(self) -> bool:
        return self.failures < self.policy.failure_threshold

    def admits(self, now: datetime) -> bool:
        """Whether a call may be made now: always when closed, once a rest when open."""
        return self.is_closed or self.rested_from is None or now - self.rested_from >= self.policy.reset_after

    def tried(self, now: datetime) -> Breaker:
        """An admitted call starts. When open, the rest starts anew, so that one call goes through and not a crowd;
        a trial that is cancelled and never reports thus only costs one more rest."""
        return self if self.is_closed else replace(self, rested_from=now)

    def succeeded(self) -> Breaker:
        return Breaker(self.policy)

    def failed(self, now: datetime) -> Breaker:
        return replace(self, failures=self.failures + 1, rested_from=now)
