"""A data directory has exactly one owner: the process that holds its lock."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import filelock
import orjson
import structlog

from app.errors import ConfigurationError, DataDirectoryInUse

log = structlog.get_logger(__name__)

_PRIVATE: Final = 0o700
_TRAVERSABLE: Final = 0o711
"""As root: PostgreSQL runs under another account and must reach its own subdirectory, which stays private."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Who holds a data directory; `address` is where it answers over HTTP, if it does."""

    pid: int
    address: str | None

    def __str__(self) -> str:
        if self.address is None:
            return f"process {self.pid}, which does not answer over HTTP: end it, or choose another MEMORY_DATA_DIR"
        return f"process {self.pid}: talk to it at {self.address}, or choose another MEMORY_DATA_DIR"


class DataDirectory:
    """Exclusive ownership of a directory, as a context manager; ends with the process that has it, however that ends.

    `address` is the HTTP address that others are pointed to while this process owns the directory.
    """

    def __init__(self, path: Path, *, address: str | None = None) -> None:
        self.path: Final = path.expanduser().resolve()
        self._owner: Final = Owner(os.getpid(), address)
        # A soft lock would outlive a killed owner; a thread-local one could not be released by another thread.
        self._lock: Final = filelock.FileLock(self.path / "lock", timeout=0, thread_local=False, fallback_to_soft=False)

    def open(self) -> Self:
        """Make the directory if need be, and take it.

        Raises:
            DataDirectoryInUse: another process has it; the message names the process and how to reach it.
            ConfigurationError: it cannot be made or written.
        """
        try:
            _make(self.path)
            self._lock.acquire()
            self._owner_file.write_bytes(orjson.dumps(asdict(self._owner)))
        except filelock.Timeout as error:
            raise self._refusal() from error
        except OSError as error:
            raise ConfigurationError(f"MEMORY_DATA_DIR {self.path} cannot be used: {error.strerror}") from error
        log.info("data directory opened", path=str(self.path))
        return self

    def close(self) -> None:
        """Give the directory up; engines in it must have been stopped."""
        self._owner_file.unlink(missing_ok=True)
        self._lock.release()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def _owner_file(self) -> Path:
        return self.path / "owner.json"

    def _refusal(self) -> DataDirectoryInUse:
        try:
            owner = Owner(**orjson.loads(self._owner_file.read_bytes()))
        except (OSError, ValueError, TypeError):  # it has only just taken the lock, or is just giving it up
            return DataDirectoryInUse(str(self.path), "another process that is starting or stopping: try again")
        return DataDirectoryInUse(str(self.path), str(owner), owner.address, owner.pid)


def _make(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(_TRAVERSABLE if os.geteuid() == 0 else _PRIVATE)
