"""The product as its users run it: `hybrid-memory …` as child processes, in a directory of the test's own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from app.cli.child import environment_of_child, free_port

_PATIENCE_SECONDS = 60.0
_LIFE_SECONDS = 600.0
_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Finished:
    """What a command left: its exit status and what it said."""

    status: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class Home:
    """A directory in which commands run, with the settings they run with. Everything they start works below it."""

    path: Path
    variables: dict[str, str]
    prefix: tuple[str, ...] = ()
    """What goes before the command line: another user, another session."""

    @classmethod
    def at(cls, path: Path, **variables: str) -> Home:
        """Embedded engines in `path / "data"`, a hashing embedder, quick consolidation, a free port."""
        path.mkdir(parents=True, exist_ok=True)
        defaults = {
            "MEMORY_DATA_DIR": str(path / "data"),
            "MEMORY_EMBEDDER": "hashing",
            "MEMORY_CONSOLIDATION_INTERVAL_SECONDS": "0.1",
            "MEMORY_LOG_LEVEL": "WARNING",
            "MEMORY_PORT": str(free_port()),
            "COLUMNS": "80",
        }
        return cls(path, defaults | variables)

    def with_(self, **variables: str) -> Home:
        return Home(self.path, self.variables | variables, self.prefix)

    @property
    def data(self) -> Path:
        return Path(self.variables["MEMORY_DATA_DIR"])

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.variables['MEMORY_PORT']}"

    def client(self, **options: Any) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.base_url, trust_env=False, timeout=30, **options)

    async def launch(self, *arguments: str) -> Process:
        """Start a command, its output piped."""
        variables = environment_of_child(os.environ, self.variables)
        command = (*self.prefix, sys.executable, "-m", "app", *arguments)
        return await asyncio.create_subprocess_exec(
            *command, cwd=self.path, env=variables, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
        )

    async def run(self, *arguments: str) -> Finished:
        return await finished(await self.launch(*arguments))

    @asynccontextmanager
    async def served(self) -> AsyncIterator[Serving]:
        """A service that is ready; killed at the end if it still runs, and then its engines with it."""
        serving = await self.starting("serve")
        try:
            await serving.until_live()
            yield serving
        finally:
            is_left = not serving.ending.done()
            await serving.kill()
            if is_left:
                kill_all(running_in(self.path))

    async def starting(self, *arguments: str) -> Serving:
        """A process that stays: until it is told to end, or is killed."""
        process = await self.launch(*arguments)
        return Serving(self, process, asyncio.create_task(finished(process, patience_seconds=_LIFE_SECONDS)))


@dataclass(frozen=True, slots=True)
class Serving:
    """A process that was started; `ending` holds what it left once it has ended."""

    home: Home
    process: Process
    ending: asyncio.Task[Finished]

    async def until_live(self) -> None:
        async with self.home.client() as client:
            await until(lambda: is_up(client), unless=self.ending)

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> Finished:
        self.process.send_signal(number)
        return await self.ending

    async def kill(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.ending


async def is_up(client: httpx.AsyncClient) -> bool:
    with suppress(httpx.TransportError):
        return (await client.get("/health/live")).is_success
    return False


async def is_ready(client: httpx.AsyncClient) -> bool:
    return (await client.get("/health/ready")).is_success


async def finished(process: Process, *, patience_seconds: float = _PATIENCE_SECONDS) -> Finished:
    async with asyncio.timeout(patience_seconds):
        stdout, stderr = await process.communicate()
    return Finished(process.returncode or 0, stdout.decode(), stderr.decode())


async def until(holds: Callable[[], Any], *, unless: asyncio.Task[Finished] | None = None) -> None:
    """Look again and again until `holds`, which may be asynchronous; fails if the process of `unless` ends before."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while not await _value(holds()):
            assert unless is None or not unless.done(), unless.result()
            await asyncio.sleep(_POLL_SECONDS)


async def _value(answer: Any) -> Any:
    return await answer if asyncio.iscoroutine(answer) else answer


def running_in(path: Path) -> list[psutil.Process]:
    """The live processes that work below `path`."""
    return [process for process in psutil.process_iter() if _works_below(process, path)]


def _works_below(process: psutil.Process, path: Path) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()).is_relative_to(path)
    except psutil.Error:
        return False


def engine(path: Path, *words: str) -> psutil.Process:
    """The one process below `path` whose command line has all of `words`; of a family, its head."""
    found = [p for p in running_in(path) if all(any(word in part for part in p.cmdline()) for word in words)]
    pids = {process.pid for process in found}
    (head,) = (process for process in found if process.ppid() not in pids)
    return head


def kill_all(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
