"""Queries about erasures: what the buffers in Redis are owed, since whoever forgot could not wait for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import CTE, bindparam, delete, func, insert, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import BigInteger

from app.episodic import rows
from app.episodic.engine import Session
from app.episodic.tables import erasures
from app.ports import Erasure, OwedErasure
from app.records import SessionKey


async def owe(session: Session, erasure: Erasure) -> None:
    ids = None if erasure.ids is None else list(erasure.ids)
    values: dict[str, Any] = {**asdict(erasure.scope), "record_ids": ids, "requested_at": erasure.before}
    await session.run("owe_erasure", insert(erasures).values(values))


def owing(gone: CTE) -> CTE:
    """A part of a statement that owes the erasure of `gone` (namespace, session_id, id), an entry a session."""
    ids = func.array_agg(gone.c.id)
    owed = select(gone.c.namespace, gone.c.session_id, ids, func.now()).group_by(gone.c.namespace, gone.c.session_id)
    return insert(erasures).from_select(["namespace", "session_id", "record_ids", "requested_at"], owed).cte("owed")


async def owed(session: Session, limit: int, key: SessionKey | None) -> tuple[OwedErasure, ...]:
    statement = select(erasures).order_by(erasures.c.id).limit(limit)
    if key is not None:
        concerns = erasures.c.session_id.is_(None) | (erasures.c.session_id == key.session_id)
        statement = statement.where(erasures.c.namespace == key.namespace, concerns)
    return rows.readable(await session.run("owed_erasures", statement), rows.owed_erasure)


async def settle(session: Session, ids: Sequence[int]) -> None:
    is_done = erasures.c.id == func.any(bindparam("ids", list(ids), ARRAY(BigInteger)))
    await session.run("settle_erasures", delete(erasures).where(is_done))
