"""A service of one's own: `hybrid-memory serve` as a child process, for commands that measure it from outside."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import httpx

from app.errors import StartupError

_START: Final = timedelta(seconds=60)
_POLL_SECONDS: Final = 0.02
_FAREWELL: Final = timedelta(seconds=20)
"""How long the engines get to close in order; what is killed then has acknowledged nothing it did not keep."""
_LAST_LINES: Final = 20
_ROOT: Final = Path(__file__).parents[2]
_NAME_A_MODEL: Final = frozenset({"MEMORY_LOCAL_MODEL", "MEMORY_OLLAMA_EMBEDDING_MODEL", "MEMORY_OLLAMA_URL"})


@dataclass(frozen=True, slots=True)
class Child:
    """A running service."""

    base_url: str
    pid: int


@asynccontextmanager
async def served(**environment: str) -> AsyncIterator[str]:
    """The base URL of a service with these settings: see `started`."""
    async with started(**environment) as child:
        yield child.base_url


@asynccontextmanager
async def started(**environment: str) -> AsyncIterator[Child]:
    """Serve on a free port of loopback with these settings and no others, until the context ends.

    The settings of whoever runs the command, in the environment or in `.env`, do not reach the service: a measurement
    must not touch their memory. Only those that name a model do.

    Raises:
        StartupError: it ended or was not ready in time; quotes the end of what it said on stderr.
    """
    with TemporaryDirectory(prefix="hybrid-memory-child-") as directory:
        port = free_port()
        variables = environment_of_child(os.environ, {**environment, "MEMORY_HOST": "127.0.0.1", "MEMORY_PORT": str(port)})
        process = await _launch(Path(directory), variables)
        try:
            base_url = f"http://127.0.0.1:{port}"
            await _until_ready(process, base_url, _log_file(Path(directory)))
            yield Child(base_url, process.pid)
        finally:
            await _stop(process)


def environment_of_child(outer: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """`given` on top of `outer`, whose settings are left out unless they name a model; imports what the parent imports."""
    kept = {k: v for k, v in outer.items() if not k.startswith("MEMORY_") or k in _NAME_A_MODEL}
    path = os.pathsep.join(filter(None, (str(_ROOT), outer.get("PYTHONPATH", ""))))
    return {**kept, "PYTHONPATH": path, **given}


async def _launch(directory: Path, variables: Mapping[str, str]) -> Process:
    """Start in `directory`, where there is no `.env`."""
    with _log_file(directory).open("wb") as stderr:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "app", "serve", cwd=directory, env=variables, stdin=DEVNULL, stdout=DEVNULL, stderr=stderr
        )


def _log_file(directory: Path) -> Path:
    return directory / "stderr.log"


def free_port() -> int:
    """Free a moment ago: whoever takes it first has it, and the service then says so."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _until_ready(process: Process, base_url: str, log_file: Path) -> None:
    try:
        async with asyncio.timeout(_START.total_seconds()), httpx.AsyncClient(base_url=base_url, trust_env=False) as client:
            while not await _is_ready(client):
                if process.returncode is not None:
                    raise _failure(f"the service ended with status {process.returncode}", log_file)
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError as error:
        raise _failure(f"the service was not ready within {_START.total_seconds():g} s", log_file) from error


async def _is_ready(client: httpx.AsyncClient) -> bool:
    try:
        response = await client.get("/health/ready")
    except httpx.TransportError:
        return False
    return response.status_code == HTTPStatus.OK


def _failure(what: str, log_file: Path) -> StartupError:
    said = log_file.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]
    return StartupError("\n".join([f"{what}; it said:", *said]))


async def _stop(process: Process) -> None:
    with suppress(ProcessLookupError):  # it has ended by itself
        process.terminate()
    try:
        async with asyncio.timeout(_FAREWELL.total_seconds()):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
