"""Starting an engine's process, waiting for it, ending it, and finding those that a killed owner left behind."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
import structlog

from app.errors import StartupError

log = structlog.get_logger(__name__)

_POLL_SECONDS: Final = 0.005
_START_SECONDS: Final = 300
"""Not a guess at a start's length (a fraction of a second) but patience with the recovery of a large directory."""
_STOP_SECONDS: Final = 30
_LOG_TAIL_CHARACTERS: Final = 2000
_SOCKET_PATH_BYTES: Final = 100
"""The kernel's limit is 108 (Linux) or 104 (macOS), terminator included."""
_PLAIN_PATH: Final = re.compile(r"[A-Za-z0-9_./-]+")
"""Paths that need no quoting in a URL or in PostgreSQL's list of socket directories."""


@dataclass(frozen=True, slots=True)
class EmbeddedServer:
    """A running engine. `url` reaches it as long as it runs; it outlives this process unless `stop` is called."""

    url: str
    process: subprocess.Popen[bytes]
    stop_signal: signal.Signals
    socket_directory: Path

    def stop(self) -> None:
        """End the engine in good order and wait until its process is gone; calling it twice is no error."""
        end_process(self.process, self.stop_signal)
        remove_socket_directory(self.socket_directory)
        log.info("engine stopped", pid=self.process.pid)


def launch(command: Sequence[str], *, directory: Path, log_file: Path) -> subprocess.Popen[bytes]:
    """Start `command` in `directory`, its output in `log_file`; the log of the start before is kept as `.1`.

    The process gets a session of its own: Ctrl-C in a terminal reaches us, and we stop the engine in good order.
    """
    if log_file.exists():
        log_file.replace(log_file.with_name(log_file.name + ".1"))
    with log_file.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - the command is ours
            command,
            cwd=directory,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def clean_environment() -> dict[str, str]:
    """The environment without what would steer PostgreSQL (PGPORT, PGDATA, a locale this machine lacks)."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_"))} | {"LC_ALL": "C"}


@contextmanager
def ended_on_error(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End `process` if the block fails or is interrupted: a start that did not succeed leaves nothing running."""
    try:
        yield
    except BaseException:
        process.kill()
        process.wait()
        raise


def await_ready(process: subprocess.Popen[bytes], is_ready: Callable[[], bool], *, log_file: Path) -> None:
    """Return as soon as `is_ready`.

    Raises:
        StartupError: the process ended, or took more than `_START_SECONDS`; quotes the end of its log.
    """
    deadline = time.monotonic() + _START_SECONDS
    while not is_ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise StartupError(f"an embedded engine did not start; {log_file} ends with:\n{_tail(log_file)}")
        time.sleep(_POLL_SECONDS)


def _tail(log_file: Path) -> str:
    with suppress(OSError):
        return log_file.read_text(errors="replace")[-_LOG_TAIL_CHARACTERS:]
    return "(no log)"


def end_process(process: subprocess.Popen[bytes], stop_signal: signal.Signals) -> None:
    """Ask with `stop_signal`, wait, and kill what does not listen."""
    process.send_signal(stop_signal)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        log.warning("engine killed", pid=process.pid, waited_seconds=_STOP_SECONDS)
        process.kill()
        process.wait()


def end_leftovers(directory: Path, executables: frozenset[str], stop_signal: signal.Signals) -> None:
    """End every engine process that works in `directory`; the caller owns the directory, so they are orphans.

    An engine is known by its working directory and the name of its executable, never by a recorded process id:
    those are given out again.
    """
    leftovers = [p for p in psutil.process_iter() if _works_in(p, directory, executables)]
    _signal_all(_heads(leftovers), stop_signal)
    survivors = _outlasting(leftovers, _STOP_SECONDS)
    _signal_all(survivors, signal.SIGKILL)
    _outlasting(survivors, _STOP_SECONDS)
    if leftovers:
        log.warning("leftover engines ended", directory=str(directory), processes=len(leftovers), killed=len(survivors))


def _works_in(process: psutil.Process, directory: Path, executables: frozenset[str]) -> bool:
    try:
        return process.cwd() == str(directory) and Path(process.exe()).name in executables
    except psutil.Error:  # gone meanwhile, a zombie, or somebody else's
        return False


def _heads(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Those whose parent is not among them: an engine ends its own children, and in its own order."""
    pids = {p.pid for p in processes}
    return [p for p in processes if _parent_pid(p) not in pids]


def _parent_pid(process: psutil.Process) -> int | None:
    with suppress(psutil.NoSuchProcess):
        return process.ppid()
    return None


def _signal_all(processes: Sequence[psutil.Process], stop_signal: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(stop_signal)


def _outlasting(processes: Sequence[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those still alive after at most `seconds`."""
    deadline = time.monotonic() + seconds
    alive = [p for p in processes if _is_alive(p)]
    while alive and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        alive = [p for p in alive if _is_alive(p)]
    return alive


def _is_alive(process: psutil.Process) -> bool:
    # A container's first process may never reap the orphans it inherits: a zombie is as dead as they get.
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def socket_directory_for(directory: Path, socket_name: str) -> Path:
    """Where an engine in `directory` puts its socket: there, or in a short private directory if the path will not do.

    Raises:
        StartupError: the short directory is there already and belongs to somebody else.
    """
    if _will_do(directory / socket_name):
        return directory
    digest = hashlib.sha256(str(directory).encode()).hexdigest()[:16]
    short = _short_home() / f"{_SOCKET_PREFIX}{digest}"
    short.mkdir(mode=0o700, exist_ok=True)
    if short.is_symlink() or short.stat().st_uid not in {os.geteuid(), directory.stat().st_uid}:
        raise StartupError(f"{short} belongs to somebody else: remove it, or set TMPDIR to a directory of your own")
    return short


_SOCKET_PREFIX: Final = "hybrid-memory-"
_LONGEST_NAME: Final = f"{_SOCKET_PREFIX}{'0' * 16}/{'s' * 24}"


def _will_do(path: Path) -> bool:
    return len(str(path).encode()) <= _SOCKET_PATH_BYTES and _PLAIN_PATH.fullmatch(str(path)) is not None


def _short_home() -> Path:
    """The directory for temporary files; where that one's path is long or odd itself, the system's."""
    temporary = Path(tempfile.gettempdir())
    return temporary if _will_do(temporary / _LONGEST_NAME) else Path("/tmp")  # noqa: S108 - what goes there is private


def remove_socket_directory(path: Path) -> None:
    """Remove a short private socket directory; an engine's own directory is left alone."""
    if path.parent == _short_home() and path.name.startswith(_SOCKET_PREFIX):
        shutil.rmtree(path, ignore_errors=True)
