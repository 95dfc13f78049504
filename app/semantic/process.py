"""A shard's process as its parent sees it: calls that are answered in order."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import structlog

from app.errors import InvalidInput, TierUnavailable
from app.observability import timed
from app.semantic.frames import LENGTH, Problem, from_body, to_frame

log = structlog.get_logger(__name__)

_BUFFER_BYTES: Final = 1_048_576
_WELCOME: Final = timedelta(minutes=2)
"""How long opening may take: replaying a write-ahead log, or waiting for a predecessor to let go."""
_FAREWELL: Final = timedelta(seconds=10)
"""How long a process may take to close its shard before it is killed; the write-ahead log then has it all."""


class EngineProblem(Exception):
    """The engine could not do it."""


class ProcessEnded(Exception):
    """The process is gone; what it had acknowledged is in its write-ahead log."""


class ShardProcess:
    """One child process with one open shard.

    `submit` sends at once and answers later, so that a caller can prepare the next request meanwhile.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self._answers: deque[asyncio.Future[Any]] = deque()
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, directory: Path, dimension: int) -> ShardProcess:
        """Open (or make) the shard in `directory`, in a new process; waits for a predecessor to let go of it.

        Raises:
            TierUnavailable: the engine could not open it.
        """
        command = (sys.executable, "-m", "app.semantic.worker", str(directory), str(dimension))
        # In a session of its own: Ctrl-C is for the parent, who then says goodbye properly.
        process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, limit=_BUFFER_BYTES, start_new_session=True, env=_environment()
        )
        started = cls(process)
        try:
            with _translated():
                async with asyncio.timeout(_WELCOME.total_seconds()):
                    await started._expect()
        except BaseException:
            await started.kill()
            raise
        return started

    @property
    def is_alive(self) -> bool:
        return not self._reader.done()

    def submit(self, operation: str, *arguments: object) -> asyncio.Future[Any]:
        """Send a request; the future holds its result, `EngineProblem`, `InvalidInput` or `ProcessEnded`."""
        answer = self._expect()
        if self.is_alive and self._process.stdin is not None:
            with suppress(RuntimeError):  # of a pipe that is closed already: the reader ends next, and tells all who wait
                self._process.stdin.write(to_frame((operation, arguments)))
        return answer

    async def call(self, operation: str, *arguments: object, patience: timedelta | None = None) -> Any:
        """Do one operation of `Shard` in the process.

        Raises:
            TierUnavailable: the engine failed, or did not answer within `patience` (the operation may still be done).
            InvalidInput: the engine cannot store what it was given.
        """
        return await self.result(operation, self.submit(operation, *arguments), patience)

    async def result(self, operation: str, answer: asyncio.Future[Any], patience: timedelta | None) -> Any:
        """The result of what was submitted; raises as `call` does."""
        with timed("semantic", operation), _translated():
            async with asyncio.timeout(patience.total_seconds() if patience is not None else None):
                return await answer

    async def close(self) -> None:
        """Let the process finish what it was asked, close its shard and end."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(_FAREWELL.total_seconds()):
                await self._reader
                await self._process.wait()
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._reader
        await self._process.wait()

    def _expect(self) -> asyncio.Future[Any]:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self.is_alive:
            self._answers.append(answer)
        else:
            answer.set_exception(ProcessEnded("the engine's process has ended"))
        return answer

    async def _read(self) -> None:
        """Hand each answer to whoever waits for it; those who are left when the process ends are told so."""
        stream = self._process.stdout
        try:
            while stream is not None:
                (length,) = LENGTH.unpack(await stream.readexactly(LENGTH.size))
                problem, result = from_body(await stream.readexactly(length))
                _settle(self._answers.popleft(), problem, result)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            for answer in self._answers:
                _fail(answer, ProcessEnded("the engine's process has ended"))


def _environment() -> dict[str, str]:
    """Ours, and the way to this very program, wherever it was started from."""
    ways = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, ways))}


def _settle(answer: asyncio.Future[Any], problem: Problem | None, result: Any) -> None:
    match problem:
        case Problem.VALUE:
            _fail(answer, InvalidInput("point", result))
        case Problem.ENGINE:
            message, its_traceback = result
            log.warning("index_engine_failed", problem=message, traceback=its_traceback)
            _fail(answer, EngineProblem(message))
        case _ if not answer.done():  # else the caller was cancelled
            answer.set_result(result)


def _fail(answer: asyncio.Future[Any], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except ProcessEnded as error:
        raise TierUnavailable("semantic", str(error)) from error
    except EngineProblem as error:
        raise TierUnavailable("semantic", f"Qdrant Edge: {error}") from error
    except TimeoutError as error:
        raise TierUnavailable("semantic", "Qdrant Edge did not answer in time") from error
