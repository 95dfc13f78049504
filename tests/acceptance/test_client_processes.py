"""The client and real processes: a service that is killed in the middle of a bulk ingest, and comes back."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from threading import Condition
from typing import Any

import pytest
from service_process import Home, kill_all, running_in

from app.client import IngestReport, MemoryClient, Retries, Said, SyncMemoryClient
from app.errors import TierUnavailable
from app.records import Draft, Role, new_id

COUNT = 300
STREAM = [Said(f"s{n % 4}", Draft(Role.USER, f"message {n}", id=new_id())) for n in range(COUNT)]
PATIENT = Retries(attempts=None, patience=timedelta(hours=1), longest_pause=timedelta(milliseconds=100))


@pytest.fixture(autouse=True)
def nothing_keeps_running(tmp_path: Path) -> Any:
    """After every test here, no process works in its directory any more."""
    yield
    kill_all(running_in(tmp_path))


class Progress:
    """Counts what was acknowledged, for whoever waits for a number of messages."""

    def __init__(self) -> None:
        self._messages = 0
        self._changed = Condition()

    def __call__(self, report: IngestReport) -> None:
        with self._changed:
            self._messages = report.messages
            self._changed.notify_all()

    async def reached(self, count: int) -> None:
        def wait() -> None:
            with self._changed:
                self._changed.wait_for(lambda: self._messages >= count)

        await asyncio.to_thread(wait)


def sync_ingest(url: str, progress: Progress) -> IngestReport:
    with SyncMemoryClient(url) as client:
        return client.ingest(STREAM, batch_size=5, progress=progress, retries=PATIENT)


def async_ingest(url: str, progress: Progress) -> IngestReport:
    async def ingest() -> IngestReport:
        async with MemoryClient(url) as client:
            return await client.ingest(STREAM, batch_size=5, progress=progress, retries=PATIENT)

    return asyncio.run(ingest())


@pytest.mark.timeout(300)  # two starts of a service
@pytest.mark.parametrize("ingest", [async_ingest, pytest.param(sync_ingest, marks=pytest.mark.slow)])
async def test_an_ingest_outlives_the_service(tmp_path: Path, ingest: Callable[[str, Progress], IngestReport]) -> None:
    """Killed and started again, the stream goes on where it was: every message once, in order, and none lost."""
    home, progress = Home.at(tmp_path), Progress()
    ingesting = asyncio.create_task(asyncio.to_thread(ingest, home.base_url, progress))
    async with home.served() as serving:
        await progress.reached(COUNT // 2)
        await serving.kill()
    async with home.served() as serving:
        report = await ingesting
        async with MemoryClient(home.base_url) as client:
            found = {f"s{n}": [m.content async for m in client.iter_history(f"s{n}")] for n in range(4)}
        await serving.stop(signal.SIGTERM)
    assert report.messages == COUNT
    assert found == {f"s{n}": [f"message {m}" for m in range(n, COUNT, 4)] for n in range(4)}


@pytest.mark.slow
async def test_a_stream_that_broke_off_is_sent_again(tmp_path: Path) -> None:
    """Where patience ended, the same stream from the beginning brings what was missing, and nothing twice."""
    home = Home.at(tmp_path)

    async def until_killed(kill: Callable[[], None]) -> None:
        def breaking() -> Iterator[Said]:
            for number, said in enumerate(STREAM):
                if number == COUNT // 2:
                    kill()
                yield said

        async with MemoryClient(home.base_url) as client:
            await client.ingest(breaking(), batch_size=5, retries=Retries(attempts=2, first_pause=timedelta(milliseconds=1)))

    async with home.served() as serving:
        with pytest.raises(TierUnavailable, match="service tier unavailable") as failed:
            await until_killed(serving.process.kill)
        await serving.kill()
    assert "messages were acknowledged before" in failed.value.__notes__[0]
    async with home.served() as serving, MemoryClient(home.base_url) as client:
        await client.ingest(STREAM, batch_size=5)
        found = [m.content async for m in client.iter_history("s0")]
        await serving.stop(signal.SIGTERM)
    assert found == [f"message {m}" for m in range(0, COUNT, 4)]
