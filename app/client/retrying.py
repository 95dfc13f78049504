"""When a call is made again, and after how long (pure)."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeVar

from app.client.asking import Request
from app.client.problems import Failure

T = TypeVar("T")

_JITTER_SHARE: Final = 0.25
"""Of what the service asks for: clients that were refused together do not come back together."""


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a call is made that may go better next time, and for how long; pauses double, with jitter.

    `attempts` None: as long as `patience` lasts. A pause that the service asks for (`Retry-After`) is kept instead, unless it
    is longer than the patience.
    """

    attempts: int | None = 4
    patience: timedelta = timedelta(seconds=30)
    first_pause: timedelta = timedelta(milliseconds=100)
    longest_pause: timedelta = timedelta(seconds=5)

    @property
    def are_off(self) -> bool:
        return self.attempts == 1


NO_RETRIES: Final = Retries(attempts=1)
PATIENT: Final = Retries(attempts=None, patience=timedelta(minutes=2))
"""For bulk work, which rides out a restart of the service."""


def schedule(request: Request[T], retries: Retries) -> dict[str, Any]:
    """What `stamina.retry_context` takes."""
    return {
        "on": worth_repeating(request, retries),
        "attempts": retries.attempts,
        "timeout": retries.patience,
        "wait_initial": retries.first_pause,
        "wait_max": retries.longest_pause,
        "wait_jitter": retries.first_pause,
    }


def worth_repeating(
    request: Request[T], retries: Retries, dice: Callable[[], float] = random.random
) -> Callable[[Exception], bool | float]:
    """Says of a failed attempt whether to make another one, or after how many seconds."""

    def decide(error: Exception) -> bool | float:
        if not isinstance(error, Failure) or not request.may_repeat(error):
            return False
        if error.wait_seconds is None:
            return True
        is_too_long = error.wait_seconds > retries.patience.total_seconds()
        return False if is_too_long else error.wait_seconds * (1 + _JITTER_SHARE * dice())

    return decide
