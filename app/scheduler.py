"""The background jobs and their intervals, on APScheduler."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any, Final, TypeAlias

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from app.bootstrap import Installation, Nightly, nightly, open_installation
from app.errors import TierUnavailable
from app.observability import BACKGROUND_ERRORS, quiet_unless_configured
from app.records import utc_now
from app.service import HybridMemoryService
from app.settings import Settings, load_settings

log = structlog.get_logger(__name__)

_GAUGES_EVERY: Final = timedelta(seconds=15)
_RETENTION_EVERY: Final = timedelta(hours=1)
_SWEEP_EVERY: Final = timedelta(minutes=1)
"""The unit in which items' lives are counted; until then they are only not seen."""
_RECONCILE_LOOK_EVERY: Final = timedelta(seconds=15)
"""How soon an interrupted run is gone on with, and a new embedding model answered."""
_CANCEL_AGAIN_AFTER: Final = timedelta(milliseconds=100)

_Job: TypeAlias = Callable[[], Awaitable[object]]
_Timed: TypeAlias = tuple[_Job, timedelta]
"""A job and how often it runs."""


@asynccontextmanager
async def running_jobs(
    service: HybridMemoryService,
    *,
    consolidate_every: timedelta,
    reconcile_every: timedelta | None = None,
    learn_every: timedelta | None = None,
    backfill: Nightly | None = None,
) -> AsyncIterator[None]:
    """Run the jobs until the context ends; then the one at work is cancelled, which every job survives.

    Without `reconcile_every` the index is not compared with Postgres by itself, without `learn_every` nothing is learned,
    without `backfill` nothing is backfilled.
    """
    # One at a time works, as `_run_alone` sees to; of those that find it at work the scheduler need not warn.
    defaults = {"coalesce": True, "max_instances": 1000, "misfire_grace_time": None}
    scheduler = AsyncIOScheduler(timezone="UTC", job_defaults=defaults)
    under_way: dict[str, asyncio.Task[object]] = {}
    jobs = _always(service, consolidate_every) | _where_asked(service, reconcile_every, learn_every)
    for name, (job, every) in jobs.items():
        timing = {"seconds": every.total_seconds(), "next_run_time": utc_now() + every}
        scheduler.add_job(_run_alone, "interval", (name, job, under_way), id=name, **timing)
    if backfill is not None:
        work = partial(service.backfill, backfill.asked)
        scheduler.add_job(_run_alone, backfill.trigger, ("backfill", work, under_way), id="backfill")
    scheduler.start()
    try:
        yield
    finally:
        tasks = list(under_way.values())
        scheduler.shutdown(wait=False)
        await cancelled(tasks)


def _always(service: HybridMemoryService, consolidate_every: timedelta) -> dict[str, _Timed]:
    return {
        "consolidate": (service.consolidate, consolidate_every),
        "gauges": (service.status, _GAUGES_EVERY),
        "learning_gauges": (service.learning_status, _GAUGES_EVERY),
        "retain": (service.retain, _RETENTION_EVERY),
        "retire_calls": (service.retire_calls, _RETENTION_EVERY),
        "retire_usage": (service.retire_usage, _RETENTION_EVERY),
        "sweep_items": (service.sweep_items, _SWEEP_EVERY),
    }


def _where_asked(
    service: HybridMemoryService, reconcile_every: timedelta | None, learn_every: timedelta | None
) -> dict[str, _Timed]:
    jobs: dict[str, _Timed] = {}
    if reconcile_every is not None:
        # When it is due is written in Postgres: processes come and go more often than that, and share the work.
        jobs["reconcile"] = (partial(service.reconcile_when_due, reconcile_every), _RECONCILE_LOOK_EVERY)
    if learn_every is not None:
        jobs["learn"] = (service.learn, learn_every)
    return jobs


@asynccontextmanager
async def open_memory(settings: Settings | None = None) -> AsyncIterator[HybridMemoryService]:
    """Open a memory with its jobs running: `async with open_memory() as memory: …`.

    Without `settings` the environment is read.

    Raises:
        StartupError: what to change is in the message; nothing is left running.
    """
    quiet_unless_configured()
    chosen = settings or load_settings()
    async with open_installation(chosen) as installation, jobs_of(installation, chosen):
        yield installation.service


@asynccontextmanager
async def jobs_of(installation: Installation, settings: Settings) -> AsyncIterator[None]:
    """The jobs of an installation, at the interval its settings say."""
    every = timedelta(seconds=settings.consolidation_interval_seconds)
    reconcile_every = timedelta(hours=settings.reconcile_interval_hours) or None
    learn_every = timedelta(seconds=settings.learning_interval_seconds) or None
    async with running_jobs(
        installation.service,
        consolidate_every=every,
        reconcile_every=reconcile_every,
        learn_every=learn_every,
        backfill=nightly(settings),
    ):
        yield


async def cancelled(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks until they have ended.

    Once is not enough: a cancellation that arrives together with the answer awaited is lost in `asyncio.wait_for` before
    Python 3.12, on which the Redis client builds (https://github.com/python/cpython/issues/86296).
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_CANCEL_AGAIN_AFTER.total_seconds())


async def _run_alone(name: str, job: _Job, under_way: dict[str, asyncio.Task[object]]) -> None:
    """Run a job, unless its last run is still at work, as a task that is known: it has to end before the engines do."""
    task = asyncio.current_task()
    if task is None or name in under_way:
        return
    under_way[name] = task
    try:
        await job()
    except asyncio.CancelledError:
        log.info("job_cancelled", job=name)
    except TierUnavailable as error:  # no fault of the job's, nor of ours: it comes round again
        log.warning("job_delayed", job=name, tier=error.tier, problem=error.problem)
    except Exception:  # the next run may fare better
        BACKGROUND_ERRORS.labels(name).inc()
        log.exception("job_failed", job=name)
    finally:
        del under_way[name]
