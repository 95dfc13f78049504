"""Queries about sessions: their archived state, and the checkpoint that says how far each is drained."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import BigInteger, ColumnElement, Table, bindparam, delete, func, select, text, tuple_
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.types import DateTime

from app.episodic import rows
from app.episodic.engine import Session
from app.episodic.tables import consolidation_checkpoints, sessions
from app.errors import VersionMismatch
from app.ports import Checkpoint, SessionRecord
from app.records import SessionKey, SessionState


def _is(table: Table, key: SessionKey) -> ColumnElement[bool]:
    return (table.c.namespace == key.namespace) & (table.c.session_id == key.session_id)


async def one(session: Session, key: SessionKey) -> SessionRecord | None:
    statement = select(sessions).where(_is(sessions, key))
    return rows.only(await session.run("session", statement), rows.session)


async def page(session: Session, namespace: str, *, after: str, limit: int) -> tuple[SessionRecord, ...]:
    is_next = (sessions.c.namespace == namespace) & (sessions.c.session_id > after)
    statement = select(sessions).where(is_next).order_by(sessions.c.session_id).limit(limit)
    return rows.readable(await session.run("list_sessions", statement), rows.session)


# A null parameter leaves what is there. Imported messages come in any order, so the newest one counts. A state that was
# saved here while Redis was away is newer than the one that Redis held meanwhile.
_SAVE: Final = text(
    """
    INSERT INTO sessions (namespace, session_id, state, version, created_at, updated_at, last_message_at)
    VALUES (:namespace, :session_id, coalesce(:state, '{}'::jsonb), :version, :now, :now, :last_message_at)
    ON CONFLICT (namespace, session_id) DO UPDATE SET
        state = CASE WHEN :version < sessions.version THEN sessions.state ELSE coalesce(:state, sessions.state) END,
        version = greatest(sessions.version, :version),
        updated_at = :now,
        last_message_at = greatest(sessions.last_message_at, :last_message_at),
        ended_at = CASE WHEN :last_message_at IS NULL THEN sessions.ended_at END
    """
).bindparams(
    bindparam("state", type_=JSONB(none_as_null=True)),
    bindparam("version", type_=BigInteger()),
    bindparam("now", type_=DateTime(timezone=True)),
    bindparam("last_message_at", type_=DateTime(timezone=True)),
)


async def save(
    session: Session, key: SessionKey, *, state: SessionState | None, last_message_at: datetime | None, now: datetime
) -> None:
    document = None if state is None else rows.state_document(state)
    times = {"last_message_at": last_message_at, "now": now}
    version = 0 if state is None else state.version
    await session.run("save_session", _SAVE, _named(key) | {"state": document, "version": version} | times)


# One statement, so that of several at once with the same expectation one wins: the others wait for its row, and see it.
_REPLACE_STATE: Final = text(
    """
    INSERT INTO sessions (namespace, session_id, state, version, created_at, updated_at)
    SELECT :namespace, :session_id, :state, :floor + 1, :now, :now
    WHERE coalesce(:expected, 0) = 0
       OR EXISTS (SELECT FROM sessions WHERE namespace = :namespace AND session_id = :session_id)
    ON CONFLICT (namespace, session_id) DO UPDATE SET
        state = :state, version = greatest(sessions.version, :floor) + 1, updated_at = :now
    WHERE :expected IS NULL OR sessions.version = :expected
    RETURNING version
    """
).bindparams(
    bindparam("state", type_=JSONB),
    bindparam("expected", type_=BigInteger()),
    bindparam("floor", type_=BigInteger()),
    bindparam("now", type_=DateTime(timezone=True)),
)


async def replace_state(
    session: Session, key: SessionKey, state: SessionState, *, expected: int | None, floor: int, now: datetime
) -> int:
    values = {"state": rows.state_document(state), "expected": expected, "floor": floor, "now": now}
    saved = await session.run("replace_state", _REPLACE_STATE, _named(key) | values)
    if saved:
        return int(saved[0].version)
    known = await one(session, key)
    raise VersionMismatch("state", 0 if known is None else known.state.version)


async def end(session: Session, key: SessionKey, at: datetime) -> None:
    statement = (
        insert(sessions)
        .values(**_named(key), created_at=at, updated_at=at, ended_at=at)
        .on_conflict_do_update(
            index_elements=[sessions.c.namespace, sessions.c.session_id],
            set_={"ended_at": func.coalesce(sessions.c.ended_at, at)},
        )
    )
    await session.run("end_session", statement)


async def delete_expired(session: Session, idle_since: datetime, limit: int) -> int:
    key = tuple_(sessions.c.namespace, sessions.c.session_id)
    last_active = func.coalesce(sessions.c.ended_at, func.greatest(sessions.c.last_message_at, sessions.c.updated_at))
    expired = (
        select(sessions.c.namespace, sessions.c.session_id).where(last_active < idle_since).order_by(last_active).limit(limit)
    )
    statement = delete(sessions).where(key.in_(expired)).returning(sessions.c.session_id)
    return len(await session.run("delete_expired_sessions", statement))


# The advisory lock, not the row's, decides who holds the session: an INSERT would wait for another worker that is
# making the same row, and a worker must never wait here. It ends with the transaction, which PgBouncer needs.
_LOCK: Final = text(
    """
    INSERT INTO consolidation_checkpoints AS checkpoint (namespace, session_id)
    SELECT :namespace, :session_id
    WHERE pg_try_advisory_xact_lock(hashtextextended(:namespace || chr(31) || :session_id, 0))
    ON CONFLICT (namespace, session_id) DO UPDATE SET updated_at = now()
    RETURNING checkpoint.sequence
    """
)


async def lock_checkpoint(session: Session, key: SessionKey) -> Checkpoint | None:
    locked = await session.run("lock_checkpoint", _LOCK, _named(key))
    return Checkpoint(key, locked[0].sequence) if locked else None


async def save_checkpoint(session: Session, checkpoint: Checkpoint) -> None:
    statement = (
        insert(consolidation_checkpoints)
        .values(**_named(checkpoint.session), sequence=checkpoint.sequence)
        .on_conflict_do_update(
            index_elements=[consolidation_checkpoints.c.namespace, consolidation_checkpoints.c.session_id],
            set_={"sequence": checkpoint.sequence, "updated_at": func.now()},
        )
    )
    await session.run("save_checkpoint", statement)


def _named(key: SessionKey) -> dict[str, Any]:
    return {"namespace": key.namespace, "session_id": key.session_id}
