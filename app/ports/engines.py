"""What every engine answers."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Pingable(Protocol):
    async def ping(self) -> str:
        """Answer with the engine's name and version, or raise."""
        ...


class Clock(Protocol):
    def __call__(self) -> datetime:
        """The time now, aware UTC."""
        ...
