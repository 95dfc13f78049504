"""When the scheduled backfill runs, and how much it does at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from apscheduler.triggers.cron import CronTrigger

from app.errors import ConfigurationError
from app.records import Backfill
from app.settings import Settings

_NEVER: Final = "never"


@dataclass(frozen=True, slots=True)
class Nightly:
    """When to backfill, and what."""

    trigger: CronTrigger
    asked: Backfill


def nightly(settings: Settings) -> Nightly | None:
    """The scheduled backfill; None where there is to be none.

    Raises:
        ConfigurationError: the schedule is no cron expression.
    """
    if settings.backfill_cron.strip().casefold() == _NEVER:
        return None
    try:
        trigger = CronTrigger.from_crontab(settings.backfill_cron, timezone="UTC")
    except ValueError as error:
        raise ConfigurationError(f"MEMORY_BACKFILL_CRON: {error}; write five fields, such as 0 2 * * *, or {_NEVER}") from error
    asked = Backfill(
        batch_size=settings.backfill_batch_size,
        max_episodes=settings.backfill_max_episodes,
        per_second=settings.backfill_per_second,
    )
    return Nightly(trigger, asked)
