"""A place for files that need not outlive the test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

_IN_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a directory of our own is made in it


@contextmanager
def volatile_directory() -> Iterator[Path]:
    """A directory in memory, where there is such a file system: a test may kill processes, but none cuts the power."""
    with TemporaryDirectory(dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None) as made:
        yield Path(made)
