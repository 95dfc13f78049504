"""What every engine answers."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from app.records import Episode


class Pingable(Protocol):
    async def ping(self) -> str:
        """Answer with the engine's name and version, or raise."""
        ...


class Clock(Protocol):
    def __call__(self) -> datetime:
        """The time now, aware UTC."""
        ...


class Judge(Protocol):
    def __call__(self, episode: Episode, /) -> float:
        """How good an episode is, in [0, 1]; no I/O."""
        ...
