"""Queries about sessions: their archived state, and the checkpoint that says how far each is drained."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any, Final

from sqlalchemy import BigInteger, ColumnElement, Table, bindparam, delete, func, select, text, tuple_
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.types import DateTime, Integer

from app.episodic import rows
from app.episodic.engine import Session
from app.episodic.tables import consolidation_checkpoints, sessions
from app.errors import VersionMismatch
from app.ports import Checkpoint, SessionRecord
from app.records import SCHEMA_VERSION, SessionKey, SessionState


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
    INSERT INTO sessions (namespace, session_id, state, schema_version, version, created_at, updated_at, last_message_at)
    VALUES (:namespace, :session_id, coalesce(:state, '{}'::jsonb), :schema_version, :version, :now, :now, :last_message_at)
    ON CONFLICT (namespace, session_id) DO UPDATE SET
        state = CASE WHEN :version < sessions.version THEN sessions.state ELSE coalesce(:state, sessions.state) END,
        schema_version = CASE
            WHEN :version < sessions.version OR :state IS NULL THEN sessions.schema_version ELSE :schema_version
        END,
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
    bindparam("schema_version", type_=Integer()),
)


async def save(
    session: Session, key: SessionKey, *, state: SessionState | None, last_message_at: datetime | None, now: datetime
) -> None:
    document = None if state is None else rows.state_document(state)
    times = {"last_message_at": last_message_at, "now": now}
    values = {"state": document, "version": 0 if state is None else state.version, "schema_version": SCHEMA_VERSION}
    await session.run("save_session", _SAVE, _named(key) | values | times)


# One statement, so that of several at once with the same expectation one wins: the others wait for its row, and see it.
_REPLACE_STATE: Final = text(
    """
    INSERT INTO sessions (namespace, session_id, state, schema_version, version, created_at, updated_at)
    SELECT :namespace, :session_id, :state, :schema_version, :floor + 1, :now, :now
    WHERE coalesce(:expected, 0) = 0
       OR EXISTS (SELECT FROM sessions WHERE namespace = :namespace AND session_id = :session_id)
    ON CONFLICT (namespace, session_id) DO UPDATE SET
        state = :state, schema_version = :schema_version, version = greatest(sessions.version, :floor) + 1, updated_at = :now
    WHERE :expected IS NULL OR sessions.version = :expected
    RETURNING version
    """
).bindparams(
    bindparam("state", type_=JSONB),
    bindparam("schema_version", type_=Integer()),
    bindparam("expected", type_=BigInteger()),
    bindparam("floor", type_=BigInteger()),
    bindparam("now", type_=DateTime(timezone=True)),
)


async def replace_state(
    session: Session, key: SessionKey, state: SessionState, *, expected: int | None, floor: int, now: datetime
) -> int:
    document = {"state": rows.state_document(state), "schema_version": SCHEMA_VERSION}
    values = document | {"expected": expected, "floor": floor, "now": now}
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


def last_active() -> ColumnElement[datetime]:
    """When a session was ended, or else last heard of."""
    return func.coalesce(sessions.c.ended_at, func.greatest(sessions.c.last_message_at, sessions.c.updated_at))


async def delete_expired(session: Session, idle_since: datetime, limit: int) -> int:
    key = tuple_(sessions.c.namespace, sessions.c.session_id)
    oldest = select(sessions.c.namespace, sessions.c.session_id).where(last_active() < idle_since).order_by(last_active())
    statement = delete(sessions).where(key.in_(oldest.limit(limit))).returning(sessions.c.session_id)
    return len(await session.run("delete_expired_sessions", statement))


# The advisory lock, not the row's, decides who holds the session: an INSERT would wait for another worker that is
# making the same row, and a worker must never wait here. It ends with the transaction, which PgBouncer needs.
_LOCK: Final = text(
    """
    INSERT INTO consolidation_checkpoints AS checkpoint (namespace, session_id)
    SELECT :namespace, :session_id
    WHERE pg_try_advisory_xact_lock_shared(hashtextextended(:namespace, 1))
      AND pg_try_advisory_xact_lock(hashtextextended(:namespace || chr(31) || :session_id, 0))
    ON CONFLICT (namespace, session_id) DO UPDATE SET updated_at = now()
    RETURNING checkpoint.sequence
    """
)


async def lock_checkpoint(session: Session, key: SessionKey) -> Checkpoint | None:
    locked = await session.run("lock_checkpoint", _LOCK, _named(key))
    return Checkpoint(key, locked[0].sequence) if locked else None


# Sessions share the namespace's lock, which forgetting has alone. (Another seed than the sessions' locks have.)
_HOLD: Final = text("SELECT pg_advisory_xact_lock(hashtextextended(:namespace, 1))")


async def hold_namespace(session: Session, namespace: str) -> None:
    await session.run("hold_namespace", _HOLD, {"namespace": namespace})
    await exclude_learning(session, [namespace])


_SHARE: Final = text("SELECT pg_advisory_xact_lock_shared(hashtextextended(:namespace, 1))")


async def share_namespace(session: Session, namespace: str) -> None:
    await session.run("share_namespace", _SHARE, {"namespace": namespace})


_EACH: Final = "FROM (SELECT DISTINCT unnest(CAST(:namespaces AS text[])) AS namespace ORDER BY 1) AS each"
_SHARE_LEARNING: Final = text(f"SELECT pg_advisory_xact_lock_shared(hashtextextended(namespace, 2)) {_EACH}")
_EXCLUDE_LEARNING: Final = text(f"SELECT pg_advisory_xact_lock(hashtextextended(namespace, 2)) {_EACH}")


async def share_learning(session: Session, namespaces: Collection[str]) -> None:
    """Learners and weighers wait for nobody but who takes lessons back; to be asked before any row is locked."""
    await session.run("share_learning", _SHARE_LEARNING, {"namespaces": list(namespaces)})


async def exclude_learning(session: Session, namespaces: Collection[str]) -> None:
    """Have nobody learn or weigh there until the transaction ends; to be asked before any row is locked."""
    await session.run("exclude_learning", _EXCLUDE_LEARNING, {"namespaces": list(namespaces)})


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
