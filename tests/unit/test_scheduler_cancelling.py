"""Jobs that are told to end do end, also when the first word is lost."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from app.scheduler import cancelled


async def test_a_job_that_loses_a_cancellation_is_told_again() -> None:
    """A task that swallows being cancelled, as `asyncio.wait_for` before Python 3.12 may, ends at the next word."""
    is_running = asyncio.Event()

    async def hard_of_hearing() -> None:
        with suppress(asyncio.CancelledError):
            is_running.set()
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    job = asyncio.create_task(hard_of_hearing())
    await is_running.wait()
    await cancelled([job])
    assert job.cancelled()
