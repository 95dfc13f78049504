"""`TableStore` on PostgreSQL: every table read at one moment, and an empty database filled again.

PostgreSQL itself turns rows into JSON and back, so nothing is lost on the way through Python's types. Which tables
and columns there are is asked of the database: a table that a migration adds is carried without a change here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any, Final

from sqlalchemy import Column, Connection, MetaData, Table, delete, func, select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncEngine

from app.episodic import outbox
from app.episodic.engine import Session, connected
from app.episodic.migrations import is_known, revision_of
from app.errors import Conflict, InvalidInput

DERIVED: Final = frozenset({"outbox", "reconciliations", "erasures", "episode_generations"})
"""What a backup does not carry: after a restore everything is owed to the index anew, nothing was compared with it, the
buffers are empty: they owe nothing, and nothing was recalled from it yet that could be cached."""

NOTED: Final = frozenset({"consolidation_runs", "episode_generations", "learning_marks", "memory_metrics", "reconciliations"})
"""What an installation notes of its own running, a search or a job being enough: it is no memory, so that who has nothing else is
empty, and gives way to what a backup has of it. What is owed to the index or the buffers, keys and switches are not among it."""

_PAGE_ROWS: Final = 200
_STALL: Final = timedelta(minutes=10)
"""How long a reader may pause between pages before its snapshot is given up: a snapshot keeps VACUUM from its work."""
_quote: Final = postgresql.dialect().identifier_preparer.quote  # type: ignore[no-untyped-call]


class PostgresTables:
    """The whole database behind the engine it is given, which its maker disposes of."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._writing = engine
        self._snapshots = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Snapshot]:
        async with connected(self._snapshots) as session:
            await session.run(
                "backup", text(f"SET LOCAL idle_in_transaction_session_timeout = {_STALL // timedelta(milliseconds=1)}")
            )
            revision = await session.work("backup", revision_of)
            yield Snapshot(session, revision, await session.work("backup", _carried))

    @asynccontextmanager
    async def filling(self, revision: str) -> AsyncIterator[Filling]:
        if not is_known(revision):
            problem = f"was made by a newer version of this program (its tables are at {revision!r}): update this one first"
            raise InvalidInput("file", problem)
        from app.episodic.migrations.running import downgrade_within, upgrade_within  # with Alembic: only a restore needs it

        async with connected(self._writing) as session:
            await _own(session)
            await session.work("restore", partial(downgrade_within, revision=revision))
            tables = await session.work("restore", _carried)
            yield Filling(session, tables)
            await _count_on(session, tables)
            await session.work("restore", upgrade_within)
            await outbox.enqueue_everything(session)
            await session.commit()


class Snapshot:
    """See `TableSnapshot`."""

    def __init__(self, session: Session, revision: str, tables: Sequence[Table]) -> None:
        self._session = session
        self._tables = {str(table.name): table for table in tables}
        self.revision = revision

    @property
    def tables(self) -> tuple[str, ...]:
        return tuple(self._tables)

    async def rows(self, table: str) -> AsyncIterator[Sequence[str]]:
        kept = select(*_stored(self._tables[table])).subquery("kept")
        statement = select(func.row_to_json(kept.table_valued()).cast(postgresql.TEXT))
        async for page in self._session.pages("backup", statement, _PAGE_ROWS):
            yield [row[0] for row in page]


class Filling:
    """See `TableFilling`."""

    def __init__(self, session: Session, tables: Sequence[Table]) -> None:
        self._session = session
        self._statements: Mapping[str, str] = {table.name: _insert(table) for table in tables}

    async def insert(self, table: str, rows: Sequence[str]) -> None:
        statement = self._statements.get(table)
        if statement is None:
            raise InvalidInput("file", f"holds a table {table!r}, which its own revision does not have")
        await self._session.run("restore", text(statement), {"rows": f"[{','.join(rows)}]"})


def _tables(connection: Connection) -> Sequence[Table]:
    """The tables of this database, each after those it refers to."""
    found = MetaData()
    found.reflect(connection)
    return [table for table in found.sorted_tables if table.name != "alembic_version"]


def _carried(connection: Connection) -> Sequence[Table]:
    return [table for table in _tables(connection) if table.name not in DERIVED]


def _stored(table: Table) -> list[Column[Any]]:
    return [column for column in table.c if column.computed is None]


def _insert(table: Table) -> str:
    """Names come from the catalogue, never from a file."""
    name, columns = _quote(table.name), ", ".join(_quote(column.name) for column in _stored(table))
    return (
        f"INSERT INTO {name} ({columns}) OVERRIDING SYSTEM VALUE "  # noqa: S608 - quoted names of our own catalogue
        f"SELECT {columns} FROM json_populate_recordset(NULL::{name}, CAST(:rows AS json))"
    )


async def _own(session: Session) -> None:
    """Keep everybody else out until the transaction ends, and make sure that there is nothing. What is only noted goes.

    Raises:
        Conflict: a table has rows that count.
    """
    # Filling takes its time; waiting for whoever holds a table does not.
    for setting in ("statement_timeout", "idle_in_transaction_session_timeout"):
        await session.run("restore", text(f"SET LOCAL {setting} = 0"))
    found = await session.work("restore", _tables)
    names = ", ".join(_quote(table.name) for table in found)
    await session.run("restore", text(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE"))
    counts = {table.name: await _count(session, table) for table in found if table.name not in NOTED}
    held = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
    if held:
        raise Conflict("installation", f"is not empty (rows: {held}); a backup is restored into an empty one only")
    for table in found:
        if table.name in NOTED:
            await session.run("restore", delete(table))


async def _count(session: Session, table: Table) -> int:
    return int((await session.run("restore", select(func.count()).select_from(table)))[0][0])


async def _count_on(session: Session, tables: Sequence[Table]) -> None:
    """Have numbers that the database gives go on after those that were filled in."""
    for table in tables:
        for column in table.c:
            if column.identity is not None:
                sequence = func.pg_get_serial_sequence(_quote(table.name), column.name)
                await session.run("restore", select(func.setval(sequence, func.max(column))).select_from(table))
