"""What episodes and knowledge have in common: an id of their own, an owner, pages, and rows that are replaced whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, Generic
from uuid import UUID

from sqlalchemy import Column, ColumnElement, Executable, Select, Table, bindparam, func, select
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.types import Uuid

from app.episodic import rows
from app.episodic.engine import Session
from app.episodic.rows import Decode, Record
from app.episodic.scoping import admitted
from app.errors import Conflict
from app.records import Scope


@dataclass(frozen=True, slots=True)
class OwnedTable(Generic[Record]):
    """A table of records with the columns they are made of (`id` first) and how to make them."""

    table: Table
    columns: tuple[Column[Any], ...]
    decode: Decode[Record]

    def select(self) -> Select[Any]:
        return select(*self.columns)

    async def one(self, session: Session, namespace: str, record_id: UUID) -> Record | None:
        return rows.only(await session.run(f"{self.table.name}_one", self._named(namespace, record_id)), self.decode)

    async def locked(self, session: Session, namespace: str, record_id: UUID) -> Record | None:
        """Like `one`, and nobody else changes or deletes the record until the transaction ends."""
        statement = self._named(namespace, record_id).with_for_update()
        return rows.only(await session.run(f"{self.table.name}_locked", statement), self.decode)

    def _named(self, namespace: str, record_id: UUID) -> Select[Any]:
        return self.select().where(self.table.c.namespace == namespace, self.table.c.id == record_id)

    async def by_uid(self, session: Session, uids: Sequence[UUID]) -> tuple[Record, ...]:
        statement = self.select().where(self.table.c.id == func.any(bindparam("uids", list(uids), ARRAY(Uuid))))
        return rows.readable(await session.run(f"{self.table.name}_by_uid", statement), self.decode)

    async def page(
        self, session: Session, scope: Scope, *conditions: ColumnElement[bool], kind: str | None, before: UUID | None, limit: int
    ) -> tuple[Record, ...]:
        ids = self.table.c.id
        statement = self.select().where(*admitted(self.table, scope), *conditions).order_by(ids.desc()).limit(limit)
        if kind is not None:
            statement = statement.where(self.table.c.kind == kind)
        if before is not None:
            statement = statement.where(ids < before)
        return rows.readable(await session.run(f"{self.table.name}_page", statement), self.decode)

    async def save(self, session: Session, record: Record, scope: Scope) -> int:
        """Insert, or replace all but `created_at` and raise the version; returns the version it has now.

        Raises:
            Conflict: the id belongs to a record of another namespace, which is left as it is.
        """
        saved = await session.run(f"{self.table.name}_save", _saving(self.table, self.columns), self._values(record, scope))
        if not saved:
            raise Conflict("id", f"taken in {self.table.name} by another namespace")
        return int(saved[0].version)

    async def insert(self, session: Session, record: Record, scope: Scope) -> bool:
        """Insert; False when the id is taken."""
        statement = (
            insert(self.table)
            .values(self._values(record, scope))
            .on_conflict_do_nothing(index_elements=[self.table.c.id])
            .returning(self.table.c.id)
        )
        return bool(await session.run(f"{self.table.name}_insert", statement))

    def _values(self, record: Record, scope: Scope) -> Mapping[str, Any]:
        """Each column's value: from the owner, or from the record's field of the same name."""
        owner = asdict(scope)
        return {c.name: owner[c.name] if c.name in owner else getattr(record, c.name) for c in self.columns}


@cache  # made once: with its forty columns it costs more to make than to run
def _saving(table: Table, columns: tuple[Column[Any], ...]) -> Executable:
    statement = insert(table)
    given = statement.excluded
    renewed = {c.name: given[c.name] for c in columns if c.name != "created_at"}
    return statement.on_conflict_do_update(
        index_elements=[table.c.id],
        set_=renewed | {"version": table.c.version + 1, "updated_at": func.now()},
        where=table.c.namespace == given.namespace,
    ).returning(table.c.version)
