"""Backup and restore of a whole installation: what Postgres has, after what Redis held was drained into it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Final

import structlog

from app.consolidation.drain import Drain
from app.errors import Conflict
from app.ports import Clock, SemanticMemory, TableSnapshot, TableStore, WorkingMemory
from app.transfer.container import Header, Packer, Page, check, pages, row_lines
from app.transfer.threads import in_thread

log = structlog.get_logger(__name__)

Progress = Callable[[int], None]
"""Is told how many bytes of a file are done with."""

_PACK_BYTES: Final = 1 << 18
"""Compressed in a thread in portions of this size: the service goes on answering."""


class Backups:
    """Carries the whole of tier 2. Vectors are not carried: they are made again, from what is."""

    def __init__(
        self, working: WorkingMemory, tables: TableStore, semantic: SemanticMemory, drain: Drain, *,
        clock: Clock, program: str, space: Callable[[], str | None],
    ) -> None:  # fmt: skip
        self._working = working
        self._tables = tables
        self._semantic = semantic
        self._drain = drain
        self._clock = clock
        self._program = program
        self._space = space

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """The bytes of a backup, in portions: one moment, at which nothing is missing that was acknowledged before the call.

        Raises:
            TierUnavailable: Redis or Postgres went away; what came so far is no backup and is known as none.
        """
        await self._drain.drain_all()
        packer, rows = Packer(), Counter[str]()
        async with self._tables.snapshot() as snapshot:
            header = Header(snapshot.revision, self._clock().isoformat(), self._program, self._space())
            yield packer.begin(header)
            async for lines in _portions(snapshot, rows):
                if packed := await asyncio.to_thread(packer.pack, lines):
                    yield packed
            yield await asyncio.to_thread(packer.finish, rows)
        log.info("backed_up", **rows)

    async def restore(self, path: Path, progress: Progress | None = None) -> Mapping[str, int]:
        """Fill this empty installation with a backup, all of it or nothing; returns the rows of each table.

        Raises:
            InvalidInput: the file is no backup, of a newer version, cut short or damaged; nothing was changed.
            Conflict: there is something in this installation; nothing was changed.
        """
        header = await asyncio.to_thread(check, path)
        await self._refuse_unless_empty()
        rows: Counter[str] = Counter()
        async with self._tables.filling(header.revision) as filling:
            async for page in in_thread(pages(path)):
                await filling.insert(page.table, page.rows)
                rows[page.table] += len(page.rows)
                if progress is not None:
                    progress(page.position)
        log.info("restored", **rows)
        return dict(rows)

    async def _refuse_unless_empty(self) -> None:
        """Of tiers 1 and 3; the table store sees to its own."""
        backlog = await self._working.backlog()
        sessions = backlog.sessions + len(await self._working.unreleased_sessions(1))
        points = await self._semantic.count()
        if sessions or backlog.episodes or points:
            found = f"{sessions} sessions and {backlog.episodes} episodes in Redis, {points} points in the index"
            raise Conflict("installation", f"is not empty ({found}); a backup is restored into an empty one only")


async def _portions(snapshot: TableSnapshot, counted: Counter[str]) -> AsyncIterator[bytes]:
    """The lines of all rows, in portions worth compressing."""
    portion: list[bytes] = []
    for table in snapshot.tables:
        async for rows in snapshot.rows(table):
            counted[table] += len(rows)
            portion.append(row_lines(Page(table, rows)))
            if sum(map(len, portion)) >= _PACK_BYTES:
                yield b"".join(portion)
                portion = []
    yield b"".join(portion)
