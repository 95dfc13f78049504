"""Jobs that fail: an outage is told from a fault of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from app.errors import EngineRefused, TierUnavailable
from app.records import Tier
from app.scheduler import _run_alone

JOB = "sweep_items"


async def told_of(error: Exception) -> tuple[list[Mapping[str, Any]], float]:
    """What is logged of a job that raises this, and how many background errors it counts as; afterwards it can run again."""

    async def job() -> None:
        raise error

    under_way: dict[str, Any] = {}
    before = errors_counted()
    with capture_logs() as logged:
        await _run_alone(JOB, job, under_way)
    assert under_way == {}
    return [*logged], errors_counted() - before


def errors_counted() -> float:
    return REGISTRY.get_sample_value("memory_background_errors_total", {"job": JOB}) or 0.0


@pytest.mark.parametrize("kind", [TierUnavailable, EngineRefused])
async def test_a_job_whose_engine_is_away_is_delayed(kind: type[TierUnavailable]) -> None:
    """One line that names the tier and why, without a traceback; nobody is woken up for it twice."""
    delayed = {
        "event": "job_delayed",
        "log_level": "warning",
        "job": JOB,
        "tier": Tier.EPISODIC,
        "problem": "no answer within 30 s",
    }
    assert await told_of(kind(Tier.EPISODIC, "no answer within 30 s")) == ([delayed], 0)


async def test_a_job_that_is_broken_is_a_fault_of_ours() -> None:
    """With its traceback, and counted."""
    failed = {"event": "job_failed", "log_level": "error", "job": JOB, "exc_info": True}
    assert await told_of(KeyError("a fault")) == ([failed], 1)
