"""Circuit breakers: an engine that is away is found out once, left alone, and looked after until it is back."""

from __future__ import annotations

from app.breakers.guard import Guard, Pause
from app.breakers.state import Breaker, BreakerPolicy, BreakerState

__all__ = ["Breaker", "BreakerPolicy", "BreakerState", "Guard", "Pause"]
