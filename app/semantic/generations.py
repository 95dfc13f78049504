"""Where a space's points lie on disk: one directory a generation, and a file that says which one counts.

    <home>/<space name>/space.json      the space, as it was named
                       /CURRENT         the name of the generation that counts; replaced in one step
                       /<generation>/   a shard
                       /<generation>.lock

Without `CURRENT` nothing was ever stored: whatever lies there was left half-made by a process that died.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

from app.records import Space

_CURRENT: Final = "CURRENT"
_SPACE: Final = "space.json"


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
