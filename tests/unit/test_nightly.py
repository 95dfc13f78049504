"""The scheduled backfill: when, and how much."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from app.bootstrap import nightly
from app.errors import ConfigurationError
from app.records import Backfill
from app.settings import Settings


def test_by_itself_it_runs_at_two() -> None:
    """Every night at 02:00 UTC, with the settings' batches, bound and pace."""
    job = nightly(Settings.model_construct())
    assert job is not None
    asked = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
    assert job.trigger.get_next_fire_time(None, asked) == datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
    assert job.asked == Backfill(batch_size=100, max_episodes=10_000, per_second=50.0)


def test_it_can_be_left_to_its_operator() -> None:
    """`never` schedules nothing."""
    assert nightly(Settings.model_construct(backfill_cron=" Never ")) is None


@pytest.mark.parametrize("cron", ["at two", "0 2 * *", "0 25 * * *"])
def test_what_is_no_schedule_is_refused(cron: str) -> None:
    """The service does not start with a schedule that would never come."""
    with pytest.raises(ConfigurationError, match=r"MEMORY_BACKFILL_CRON: .*write five fields"):
        nightly(Settings.model_construct(backfill_cron=cron))
