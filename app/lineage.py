"""Stored documents from older releases, brought up to date as they are read (pure).

Each kind of document has a lineage: for every version there was, the step to the next. What is stored says which
version it has; writing it again stores the current one. A step never changes, for documents of its version may lie
anywhere, and it takes and returns plain JSON.

A new version of a document: add its step to its lineage, and write the new layout.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from app.records import Json

Step: TypeAlias = Callable[[Json], Json]


class NewerVersion(ValueError):
    """A newer release wrote it."""


class Damaged(ValueError):
    """It is not what any release wrote."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """`steps[n]` makes a document of version n + 1 of one of version n; there is one for every version but the current."""

    steps: Mapping[int, Step] = field(default_factory=dict)

    @property
    def current(self) -> int:
        return 1 + len(self.steps)

    def upgraded(self, document: Json, version: int) -> Json:
        """The document as the current version has it.

        Raises:
            NewerVersion: a newer release wrote it.
            Damaged: there never was such a version.
        """
        if version > self.current:
            raise NewerVersion(f"schema version {version}, this release reads up to {self.current}")
        if version < 1:
            raise Damaged(f"schema version {version}, the first one was 1")
        for step in range(version, self.current):
            document = self.steps[step](document)
        return document
