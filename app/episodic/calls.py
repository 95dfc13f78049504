"""Queries about named calls: which were carried out."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert

from app.episodic.engine import Session
from app.episodic.tables import idempotency_keys


async def note(session: Session, call: UUID, record_id: UUID, at: datetime) -> UUID | None:
    """The unique index makes one of two transactions wait for the other."""
    values = {"call_id": call, "record_id": record_id, "carried_out_at": at}
    statement = insert(idempotency_keys).values(values).on_conflict_do_nothing().returning(idempotency_keys.c.call_id)
    if await session.run("note_call", statement):
        return None
    noted = select(idempotency_keys.c.record_id).where(idempotency_keys.c.call_id == call)
    record: UUID = (await session.run("noted_call", noted))[0].record_id
    return record


async def delete_expired(session: Session, before: datetime, limit: int) -> int:
    at = idempotency_keys.c.carried_out_at
    oldest = select(idempotency_keys.c.call_id).where(at < before).order_by(at).limit(limit)
    statement = delete(idempotency_keys).where(idempotency_keys.c.call_id.in_(oldest)).returning(idempotency_keys.c.call_id)
    return len(await session.run("delete_expired_calls", statement))
