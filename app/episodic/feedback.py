"""Queries about feedback: which records of a name there are, what was said about them, and how it adds up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Column, ColumnElement, Select, Text, case, delete, func, literal, null, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.types import DateTime, Double

from app.episodic import outbox, rows
from app.episodic.engine import Session
from app.episodic.forgetting import among
from app.episodic.scoping import admitted
from app.episodic.tables import episodes, feedback, knowledge, messages
from app.ports import NamedRecord, OutboxOp
from app.records import Feedback, RecordKind, Scope, Standing, Verdict
from app.standing import APPROVALS, DISAPPROVALS, HALF_LIFE, MEMORY

_SUBJECTS: Final[Mapping[RecordKind, Column[Any]]] = {
    RecordKind.MESSAGE: feedback.c.message_uid,
    RecordKind.EPISODE: feedback.c.episode_id,
    RecordKind.KNOWLEDGE: feedback.c.knowledge_id,
}
_UID: Final = func.coalesce(*_SUBJECTS.values())
_KIND: Final = case(*((column.is_not(None), literal(kind.value, Text)) for kind, column in _SUBJECTS.items()))
_NAMES: Final = {
    RecordKind.EPISODE: (episodes.c.id, episodes.c.id, null().cast(Text)),
    RecordKind.KNOWLEDGE: (knowledge.c.id, knowledge.c.id, null().cast(Text)),
    RecordKind.MESSAGE: (messages.c.id, messages.c.uid, messages.c.session_id),
}
"""Of each kind: what its records are called by, the column of their uids, and of the sessions that belong to their names."""


async def hold_records(session: Session, namespace: str, record_id: UUID, *, kind: RecordKind | None) -> tuple[NamedRecord, ...]:
    """A shared lock on the keys: changes go on, deletions wait."""
    found: list[NamedRecord] = []
    for asked in _NAMES if kind is None else (kind,):
        statement = _named(asked, namespace, record_id).with_for_update(read=True, key_share=True)
        held = await session.run("hold_records", statement)
        found += [NamedRecord(asked, row.uid, row.session_id) for row in held]
    return tuple(found)


def _named(kind: RecordKind, namespace: str, record_id: UUID) -> Select[Any]:
    name, uid, session_id = _NAMES[kind]
    asked = select(uid.label("uid"), session_id.label("session_id"))
    return asked.where(name.table.c.namespace == namespace, name == record_id)


async def insert_all(session: Session, given: Sequence[Feedback]) -> frozenset[UUID]:
    if not given:
        return frozenset()
    statement = insert(feedback).values([rows.feedback_values(one, _SUBJECTS[one.kind].name) for one in given])
    inserted = await session.run("insert_feedback", statement.on_conflict_do_nothing().returning(feedback.c.id))
    return frozenset(row.id for row in inserted)


_FEEDBACK: Final = select(
    *(column for column in feedback.c if column not in set(_SUBJECTS.values())), _UID.label("record_uid"), _KIND.label("kind")
)


async def one(session: Session, namespace: str, feedback_id: UUID) -> Feedback | None:
    statement = _FEEDBACK.where(feedback.c.namespace == namespace, feedback.c.id == feedback_id)
    return rows.only(await session.run("feedback", statement), rows.feedback)


async def page(session: Session, namespace: str, *, after: UUID | None, limit: int) -> tuple[Feedback, ...]:
    statement = _FEEDBACK.where(feedback.c.namespace == namespace).order_by(feedback.c.id).limit(limit)
    if after is not None:
        statement = statement.where(feedback.c.id > after)
    return rows.readable(await session.run("list_feedback", statement), rows.feedback)


async def standings(session: Session, uids: Sequence[UUID], as_of: datetime) -> Mapping[UUID, Standing]:
    """The arithmetic of `app.standing`, done where the rows are."""
    if not uids:
        return {}
    age = func.greatest(func.extract("epoch", as_of - feedback.c.created_at), 0.0).cast(Double)
    share = func.power(literal(2.0, Double), -age / HALF_LIFE.total_seconds())
    said = [func.sum(_weight(weights) * share) for weights in (APPROVALS, DISAPPROVALS)]
    about = [among(column, uids) for column in _SUBJECTS.values()]
    statement = (
        select(_UID.label("uid"), said[0].label("approval"), said[1].label("disapproval"))
        .where(about[0] | about[1] | about[2], feedback.c.created_at > as_of - MEMORY)
        .group_by(_UID)
    )
    found = await session.run("standings", statement)
    return {row.uid: Standing(row.approval, row.disapproval, as_of) for row in found}


def _weight(weights: Mapping[Verdict, float]) -> ColumnElement[float]:
    return case({verdict.value: weight for verdict, weight in weights.items()}, value=feedback.c.verdict, else_=0.0).cast(Double)


async def forget(session: Session, scope: Scope) -> None:
    """Delete the feedback of whom `scope` admits, and have what it was about indexed again."""
    said = [_UID.label("record_uid"), _KIND.label("kind"), feedback.c.namespace]
    gone = delete(feedback).where(*admitted(feedback, scope)).returning(*said).cte("gone")
    upsert = literal(OutboxOp.UPSERT.value, Text)
    at_once = null().cast(DateTime(timezone=True))
    owed = select(upsert, gone.c.kind, gone.c.namespace, gone.c.record_uid, at_once).distinct()
    await session.run("forget_feedback", outbox.opening(owed))
