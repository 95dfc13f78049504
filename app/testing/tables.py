"""The in-memory twin of `TableStore`: tables are lists of lines, and nothing is read into them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from app.errors import Conflict, InvalidInput

Lines = dict[str, list[str]]


class InMemoryTables:
    """Tables of one revision, in the order in which they are given."""

    def __init__(self, revision: str, tables: Mapping[str, Sequence[str]]) -> None:
        self.revision = revision
        self.content: Lines = {name: list(rows) for name, rows in tables.items()}

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[InMemorySnapshot]:
        yield InMemorySnapshot(self.revision, _copy(self.content))

    @asynccontextmanager
    async def filling(self, revision: str) -> AsyncIterator[InMemoryFilling]:
        if revision != self.revision:
            raise InvalidInput("file", f"was made by a newer version of this program (its tables are at {revision!r})")
        if any(self.content.values()):
            raise Conflict("installation", "is not empty; a backup is restored into an empty one only")
        filling = InMemoryFilling(_copy(self.content))
        yield filling
        self.content = filling.content


@dataclass(frozen=True, slots=True)
class InMemorySnapshot:
    """See `TableSnapshot`."""

    revision: str
    content: Lines

    @property
    def tables(self) -> tuple[str, ...]:
        return tuple(self.content)

    async def rows(self, table: str) -> AsyncIterator[Sequence[str]]:
        for row in self.content[table]:
            yield [row]


@dataclass(frozen=True, slots=True)
class InMemoryFilling:
    """See `TableFilling`."""

    content: Lines

    async def insert(self, table: str, rows: Sequence[str]) -> None:
        if table not in self.content:
            raise InvalidInput("file", f"holds a table {table!r}, which its own revision does not have")
        self.content[table] += rows


def _copy(content: Lines) -> Lines:
    return {name: list(rows) for name, rows in content.items()}
