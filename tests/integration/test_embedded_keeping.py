"""Engines that end by themselves are started again, and none outlives who keeps it."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Container
from itertools import count
from pathlib import Path
from threading import Event

import pytest
from service_process import until

from app.embedded import EmbeddedServer, kept_running
from app.errors import StartupError

PATIENCE_SECONDS = 20


class Starts:
    """Starts a process that does nothing, and remembers each; those in `refused`, counted from 0, fail."""

    def __init__(self, directory: Path, refused: Container[int] = ()) -> None:
        self.made: list[subprocess.Popen[bytes]] = []
        self._directory = directory
        self._refused = refused
        self._attempts = count()

    def __call__(self) -> EmbeddedServer:
        if next(self._attempts) in self._refused:
            raise StartupError("not now")
        self.made.append(subprocess.Popen(["sleep", "60"]))
        return EmbeddedServer("unix:///engine", self.made[-1], signal.SIGTERM, self._directory)

    @property
    def statuses(self) -> list[int | None]:
        return [process.poll() for process in self.made]


@pytest.mark.parametrize("refused", [[], [1]])
async def test_an_engine_that_ended_is_started_again(tmp_path: Path, refused: list[int]) -> None:
    """A killed engine is replaced, also if the first attempt fails, and the replacement ends with the context."""
    start = Starts(tmp_path, refused)
    async with kept_running(start) as url:
        start.made[0].kill()
        await until(lambda: len(start.made) == 2)
        running = start.statuses
    assert (url, running, start.statuses) == (
        "unix:///engine",
        [-signal.SIGKILL, None],
        [-signal.SIGKILL, -signal.SIGTERM],
    )


async def test_an_engine_that_never_starts_is_an_error(tmp_path: Path) -> None:
    """The first start is not tried again: its reason is for whoever starts the service."""
    start = Starts(tmp_path, refused=[0])
    with pytest.raises(StartupError, match=r"^not now$"):
        async with kept_running(start):
            pass
    assert start.made == []


async def test_a_start_that_is_given_up_leaves_no_engine(tmp_path: Path) -> None:
    """Cancelled in the middle of a start, it waits for what it cannot stop and then ends what was started."""
    begun, go_on = Event(), Event()
    start = Starts(tmp_path)

    def slow_start() -> EmbeddedServer:
        begun.set()
        go_on.wait(PATIENCE_SECONDS)
        return start()

    opening = asyncio.create_task(kept_running(slow_start).__aenter__())
    await until(begun.is_set)
    opening.cancel()
    go_on.set()
    await asyncio.wait([opening])
    assert (opening.cancelled(), start.statuses) == (True, [-signal.SIGTERM])


async def test_a_failure_of_its_user_ends_the_engine(tmp_path: Path) -> None:
    """Whatever ends the context ends the engine."""
    start = Starts(tmp_path)
    with pytest.raises(ZeroDivisionError):
        async with kept_running(start):
            raise ZeroDivisionError
    assert start.statuses == [-signal.SIGTERM]
