"""Files that are there when they are whole, and not before."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from app.errors import InvalidInput


@contextmanager
def replaced(path: Path, check: Callable[[Path], object]) -> Iterator[IO[bytes]]:
    """A new file that takes the place of `path` when the context ends, `check` agrees, and it is on the disk.

    Until then, and after an error, `path` is as it was. Only its owner can read it: it holds memories.

    Raises:
        InvalidInput: the directory or the disk does not take the file.
    """
    try:
        with _beside(path) as (file, unfinished):
            yield file
            file.flush()
            os.fsync(file.fileno())
            check(unfinished)
            unfinished.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise InvalidInput(str(path), f"cannot be written: {error.strerror or error}") from error


@contextmanager
def _beside(path: Path) -> Iterator[tuple[IO[bytes], Path]]:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".unfinished", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file, Path(name)
    finally:
        with suppress(FileNotFoundError):
            Path(name).unlink()


def _sync(directory: Path) -> None:
    """Have the renaming itself survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
