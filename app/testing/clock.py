"""Clocks that tests can tell to go on."""

from __future__ import annotations

from datetime import datetime, timedelta


class FixedClock:
    """Implements `Clock`; stands still until it is told to go on."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def __call__(self) -> datetime:
        return self._now

    def advance(self, by: timedelta) -> None:
        self._now += by


class TickingClock(FixedClock):
    """No two readings are the same: each is a microsecond after the one before."""

    def __call__(self) -> datetime:
        self.advance(timedelta(microseconds=1))
        return super().__call__()


class WrongClock(FixedClock):
    """Reads what another clock says, and is wrong by always the same."""

    def __init__(self, right: FixedClock, by: timedelta) -> None:
        super().__init__(right())
        self._right = right
        self._by = by

    def __call__(self) -> datetime:
        return self._right() + self._by
