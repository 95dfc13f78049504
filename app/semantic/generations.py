"""Where a space's points lie on disk: one directory a generation, and a file that says which one counts.

    <home>/<space name>/space.json      the space, as it was named
                       /CURRENT         the name of the generation that counts; replaced in one step
                       /<generation>/   a shard
                       /<generation>.lock

Without `CURRENT` nothing was ever stored: whatever lies there was left half-made by a process that died.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

from app.records import Space

_CURRENT: Final = "CURRENT"
_SPACE: Final = "space.json"
_CHUNK_BYTES: Final = 1_048_576


@dataclass(frozen=True, slots=True)
class Home:
    """The directory of one space."""

    directory: Path
    space: Space

    @classmethod
    def of(cls, directory: Path, space: Space) -> Home:
        """The space's home in the index's directory, made if need be."""
        home = cls(directory / space.name, space)
        home.directory.mkdir(parents=True, exist_ok=True)
        if home.current is None:
            _replace(home.directory / _SPACE, json.dumps(asdict(space)))
        return home

    @property
    def current(self) -> Path | None:
        """The generation that counts; None before the first."""
        pointer = self.directory / _CURRENT
        return self.directory / pointer.read_text(encoding="utf-8") if pointer.is_file() else None

    def fresh(self) -> Path:
        """The path of a generation that does not exist yet."""
        return self.directory / uuid4().hex

    def promote(self, generation: Path) -> None:
        """From now on `generation` counts, whatever happens."""
        _replace(self.directory / _CURRENT, generation.name)

    def remove(self) -> None:
        """Remove the space. Interrupted after the first step it is gone all the same, and the next `of` or start sweeps."""
        (self.directory / _CURRENT).unlink(missing_ok=True)
        shutil.rmtree(self.directory, ignore_errors=True)

    def sweep(self) -> None:
        """Remove the generations that do not count."""
        for path in self.directory.iterdir():
            if path.is_dir() and path != self.current:
                # A process whose parent was killed may still write there; the next sweep gets what this one leaves.
                shutil.rmtree(path, ignore_errors=True)
                path.with_suffix(".lock").unlink(missing_ok=True)


def homes(directory: Path) -> list[Home]:
    """The spaces that have something stored, by name."""
    stored = (path.parent for path in sorted(directory.glob(f"*/{_CURRENT}")))
    return [Home(path, Space(**json.loads((path / _SPACE).read_text(encoding="utf-8")))) for path in stored]


def copy_shard(source: Path, target: Path) -> None:
    """Copy a shard's directory without its holes: the engine reserves 250 MB and more for a few points."""
    shutil.copytree(source, target, copy_function=_copy_with_holes)


def _copy_with_holes(source: str, target: str) -> None:
    with Path(source).open("rb") as reader, Path(target).open("wb") as writer:
        size = os.fstat(reader.fileno()).st_size
        writer.truncate(size)
        for start, end in _stretches(reader.fileno(), size):
            reader.seek(start)
            writer.seek(start)
            while (left := end - reader.tell()) > 0:
                writer.write(reader.read(min(left, _CHUNK_BYTES)))


def _stretches(file: int, size: int) -> Iterator[tuple[int, int]]:
    """Where the file holds data, from and to."""
    end = 0
    while end < size:
        try:
            start = os.lseek(file, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole from here on
                return
            raise
        end = os.lseek(file, start, os.SEEK_HOLE)
        yield start, end


def _replace(path: Path, text: str) -> None:
    """Write a file so that it has its old content or its new one, even after a power cut."""
    draft = path.with_name(f".{path.name}")
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    parent = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)
