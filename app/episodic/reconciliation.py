"""Queries for comparing the tables with the vector index, and for the comparisons themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Select,
    Text,
    bindparam,
    func,
    literal,
    not_,
    null,
    select,
    true,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.types import Uuid

from app.episodic import rows
from app.episodic.engine import Session
from app.episodic.tables import episodes, item_vectors, knowledge, messages, reconciliations
from app.ports import Indexable
from app.records import ReconcileState, Reconciliation, RecordKind

_KEYS: Final = {
    RecordKind.MESSAGE: messages.c.uid,
    RecordKind.EPISODE: episodes.c.id,
    RecordKind.KNOWLEDGE: knowledge.c.id,
    RecordKind.ITEM: item_vectors.c.uid,
}
_BELONGS: Final[Mapping[RecordKind, ColumnElement[bool]]] = {
    RecordKind.MESSAGE: not_(messages.c.is_archived),
    RecordKind.EPISODE: not_(episodes.c.is_open) & episodes.c.archived_at.is_(None),
    RecordKind.KNOWLEDGE: knowledge.c.is_active,
    RecordKind.ITEM: true(),
}
_HASHES: Final[Mapping[RecordKind, ColumnElement[str | None]]] = {
    RecordKind.MESSAGE: messages.c.content_sha256,
    RecordKind.EPISODE: null().cast(Text),
    RecordKind.KNOWLEDGE: null().cast(Text),
    RecordKind.ITEM: item_vectors.c.content_sha256,
}


async def scroll_indexable(session: Session, *, after: UUID | None, limit: int, namespace: str | None) -> tuple[Indexable, ...]:
    """Each table brings its own next `limit`, by its primary key; of those the first `limit` count."""
    pages = [_page(kind, after, limit, namespace).subquery() for kind in RecordKind]
    statement = _union(pages).order_by("uid").limit(limit)
    return rows.readable(await session.run("scroll_indexable", statement), rows.indexable)


def _page(kind: RecordKind, after: UUID | None, limit: int, namespace: str | None) -> Select[Any]:
    key = _KEYS[kind]
    statement = _indexable(kind).order_by(key).limit(limit)
    if after is not None:
        statement = statement.where(key > after)
    return statement if namespace is None else statement.where(key.table.c.namespace == namespace)


async def indexable(session: Session, uids: Sequence[UUID]) -> tuple[Indexable, ...]:
    asked = bindparam("uids", list(uids), ARRAY(Uuid))
    found = [_indexable(kind).where(_KEYS[kind] == func.any(asked)).subquery() for kind in RecordKind]
    return rows.readable(await session.run("indexable", _union(found)), rows.indexable)


def _indexable(kind: RecordKind) -> Select[Any]:
    key = _KEYS[kind]
    return select(
        key.label("uid"),
        literal(kind.value, Text).label("kind"),
        key.table.c.namespace.label("namespace"),
        _HASHES[kind].label("content_sha256"),
    ).where(_BELONGS[kind])


def _union(parts: Sequence[Any]) -> CompoundSelect[Any]:
    return union_all(*(select(part) for part in parts))


async def newest(session: Session, limit: int) -> tuple[Reconciliation, ...]:
    newest_first = (reconciliations.c.started_at.desc(), reconciliations.c.id.desc())
    statement = select(reconciliations).order_by(*newest_first).limit(limit)
    return rows.readable(await session.run("reconciliations", statement), rows.reconciliation)


async def lock_running(session: Session) -> Reconciliation | None:
    is_running = reconciliations.c.state == ReconcileState.RUNNING.value
    statement = select(reconciliations).where(is_running).with_for_update()
    return rows.only(await session.run("lock_reconciliation", statement), rows.reconciliation)


async def save(session: Session, run: Reconciliation) -> bool:
    values = rows.reconciliation_values(run)
    statement = insert(reconciliations).values(values)
    replacing = statement.on_conflict_do_update(
        index_elements=[reconciliations.c.id], set_=values, where=reconciliations.c.generation <= run.generation
    )
    return bool(await session.run("save_reconciliation", replacing.returning(reconciliations.c.id)))


async def void_leases(session: Session) -> None:
    is_leased = reconciliations.c.leased_until.is_not(None)
    await session.run("void_reconcile_leases", update(reconciliations).where(is_leased).values(leased_until=None))
