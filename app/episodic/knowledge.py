"""Queries about knowledge, what superseded what, and revisions."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, DateTime, Select, and_, case, func, literal, null, or_, select
from sqlalchemy.dialects.postgresql import insert

from app.episodic import rows
from app.episodic.engine import Session
from app.episodic.owned import OwnedTable
from app.episodic.tables import knowledge, knowledge_revisions
from app.errors import NotFound
from app.records import BEGINNING, CONDITIONS, Cause, Json, Knowledge, KnowledgeCriteria, Revision

KNOWLEDGE: Final = OwnedTable(
    knowledge, tuple(c for c in knowledge.c if c.name not in {"search", "success_rate", "updated_at"}), rows.knowledge
)
_MOMENT: Final = DateTime(timezone=True)
_ENDS_AT: Final = func.coalesce(
    knowledge.c.valid_to,
    case((knowledge.c.superseded_by.is_not(None), func.coalesce(knowledge.c.valid_from, BEGINNING)), else_=null().cast(_MOMENT)),
)
"""As `Knowledge.ends_at`."""


def holds_at(moment: ColumnElement[datetime]) -> ColumnElement[bool]:
    """As `Knowledge.holds_at`."""
    has_begun = or_(knowledge.c.valid_from.is_(None), knowledge.c.valid_from <= moment)
    return and_(has_begun, or_(_ENDS_AT.is_(None), moment < _ENDS_AT))


def admitted_by(criteria: KnowledgeCriteria) -> list[ColumnElement[bool]]:
    """As `KnowledgeCriteria.admits`."""
    conditions: list[ColumnElement[bool]] = []
    if criteria.kinds:
        conditions.append(knowledge.c.kind.in_([kind.value for kind in criteria.kinds]))
    if criteria.origin is not None:
        conditions.append(knowledge.c.origin == criteria.origin.value)
    if criteria.is_active is not None:
        conditions.append(knowledge.c.is_active == criteria.is_active)
    if criteria.holds_at is not None:
        conditions.append(holds_at(literal(criteria.holds_at, _MOMENT)))
    if criteria.min_confidence > 0.0:
        conditions.append(knowledge.c.confidence >= criteria.min_confidence)
    if criteria.has_conditions is not None:
        conditions.append(_HAS_CONDITIONS if criteria.has_conditions else ~_HAS_CONDITIONS)
    return conditions


_HAS_CONDITIONS: Final = and_(
    knowledge.c.content.has_key(CONDITIONS), knowledge.c.content[CONDITIONS] != func.jsonb_build_array()
)


async def chain(session: Session, namespace: str, knowledge_id: UUID, limit: int) -> tuple[Knowledge, ...]:
    """Both ways from one piece, each link followed once, so that a ring in the data ends it too."""
    older = _linked(namespace, knowledge_id, knowledge.c.supersedes, limit)
    newer = _linked(namespace, knowledge_id, knowledge.c.superseded_by, limit)
    places = select(older.c.id, (-older.c.place).label("place")).union(select(newer.c.id, newer.c.place)).subquery()
    firsts = select(places.c.id, func.min(places.c.place).label("place")).group_by(places.c.id).subquery()
    statement = KNOWLEDGE.select().join(firsts, firsts.c.id == knowledge.c.id).order_by(firsts.c.place)
    return rows.readable(await session.run("knowledge_chain", statement), rows.knowledge)


def _linked(namespace: str, knowledge_id: UUID, link: ColumnElement[Any], limit: int) -> Any:
    """The ids that one finds from a piece by following a link, with how far they are, itself at 0."""
    name = "older" if link is knowledge.c.supersedes else "newer"
    start: Select[Any] = select(knowledge.c.id, link.label("next"), literal(0).label("place")).where(
        knowledge.c.namespace == namespace, knowledge.c.id == knowledge_id
    )
    found = start.cte(name, recursive=True)
    step = select(knowledge.c.id, link, found.c.place + 1).where(
        knowledge.c.namespace == namespace, knowledge.c.id == found.c.next, found.c.place < limit
    )
    return found.union(step)


_POSITION: Final = knowledge_revisions.c.number


async def revisions(session: Session, knowledge_id: UUID, *, after: int, limit: int) -> tuple[Revision, ...]:
    asked = knowledge_revisions.c.knowledge_id == knowledge_id, after < _POSITION
    columns = (_POSITION, *(c for c in knowledge_revisions.c if c is not _POSITION))
    statement = select(*columns).where(*asked).order_by(_POSITION).limit(limit)
    return rows.readable(await session.run("revisions", statement), rows.revision)


async def add_revision(session: Session, knowledge_id: UUID, cause: Cause, changes: Json, at: datetime) -> Revision:
    """The lock on the piece keeps others from numbering its revisions until the transaction ends."""
    locked = select(knowledge.c.id).where(knowledge.c.id == knowledge_id).with_for_update()
    if not await session.run("lock_knowledge", locked):
        raise NotFound("knowledge", str(knowledge_id))
    last = select(func.coalesce(func.max(_POSITION), 0) + 1).where(knowledge_revisions.c.knowledge_id == knowledge_id)
    values = {"knowledge_id": knowledge_id, "number": last.scalar_subquery(), "recorded_at": at, "cause": cause.value}
    statement = insert(knowledge_revisions).values(changes=changes, **values).returning(_POSITION)
    number = (await session.run("add_revision", statement))[0].number
    return Revision(int(number), at, cause, changes)
