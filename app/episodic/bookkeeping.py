"""Queries about the store as a whole: its runs, its books, and how much there is of what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, true
from sqlalchemy.dialects.postgresql import insert

from app.episodic import rows
from app.episodic.engine import Session
from app.episodic.forgetting import KEYS, among
from app.episodic.scoping import admitted
from app.episodic.tables import consolidation_runs, episodes, erasures, item_vectors, items, knowledge, messages, outbox
from app.ports import StoreStatus
from app.records import RecordKind, RunReport, Scope


async def runs(session: Session, limit: int) -> tuple[RunReport, ...]:
    newest_first = (consolidation_runs.c.started_at.desc(), consolidation_runs.c.id.desc())
    statement = select(consolidation_runs).order_by(*newest_first).limit(limit)
    return rows.readable(await session.run("runs", statement), rows.run_report)


async def record_run(session: Session, run: RunReport) -> None:
    values = {
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "counts": run.counts,
        "errors": list(run.errors),
    }
    statement = insert(consolidation_runs).values(id=run.id, **values)
    await session.run("record_run", statement.on_conflict_do_update(index_elements=[consolidation_runs.c.id], set_=values))


async def status(session: Session) -> StoreStatus:
    statement = select(
        _count(outbox.c.id, ~outbox.c.is_dead).label("depth"),
        _count(outbox.c.id, outbox.c.is_dead).label("dead"),
        select(func.min(outbox.c.created_at)).where(~outbox.c.is_dead).scalar_subquery().label("oldest_at"),
        _count(messages.c.uid, ~messages.c.is_archived).label(RecordKind.MESSAGE.value),
        _count(episodes.c.id, ~episodes.c.is_open, episodes.c.archived_at.is_(None)).label(RecordKind.EPISODE.value),
        _count(erasures.c.id, true()).label("erasures"),
        _count(knowledge.c.id, knowledge.c.is_active).label(RecordKind.KNOWLEDGE.value),
        _count(item_vectors.c.uid, true()).label(RecordKind.ITEM.value),
    )
    row = (await session.run("status", statement))[0]
    return StoreStatus(
        outbox_depth=row.depth,
        dead_letters=row.dead,
        indexable={kind: int(getattr(row, kind.value)) for kind in RecordKind},
        oldest_outbox_at=row.oldest_at,
        erasures=row.erasures,
    )


async def count(session: Session, scope: Scope) -> Mapping[RecordKind, int]:
    keys = {**KEYS, RecordKind.ITEM: items.c.id}  # items, whether or not they have texts in the index
    totals = [_count(key, *admitted(key.table, scope)).label(kind.value) for kind, key in keys.items()]
    row = (await session.run("count", select(*totals)))[0]
    return {kind: int(getattr(row, kind.value)) for kind in RecordKind}


async def uids(session: Session, kind: RecordKind, scope: Scope, *, after: UUID | None, limit: int) -> tuple[UUID, ...]:
    key = KEYS[kind]
    statement = select(key).where(*admitted(key.table, scope)).order_by(key).limit(limit)
    if after is not None:
        statement = statement.where(key > after)
    return tuple(row[0] for row in await session.run("uids", statement))


async def existing(session: Session, kind: RecordKind, namespace: str, wanted: Sequence[UUID]) -> frozenset[UUID]:
    key = KEYS[kind]
    statement = select(key).where(key.table.c.namespace == namespace, among(key, wanted))
    return frozenset(row[0] for row in await session.run("existing", statement))


def _count(column: ColumnElement[Any], *conditions: ColumnElement[bool]) -> ColumnElement[int]:
    return select(func.count(column)).where(*conditions).scalar_subquery()
