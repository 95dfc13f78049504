"""Queries about messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Select, Text, bindparam, func, literal, select, text, tuple_
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import BigInteger, DateTime, Integer, TypeEngine, Uuid

from app.episodic import rows
from app.episodic.engine import Session, dump_json
from app.episodic.tables import messages
from app.ports import FiledMessage, MessageInContext
from app.records import Message, SessionKey, derived_uuid
from app.tokens import estimate_tokens

_NEIGHBOURS: Final = 2

_COLUMNS: Final = tuple(c for c in messages.c if c.name not in {"search", "content_sha256", "token_count", "episode_id"})
"""`uid` first: `rows` names an unreadable row by its first column."""


def _of_session(session: SessionKey) -> Select[Any]:
    return select(*_COLUMNS).where(messages.c.namespace == session.namespace, messages.c.session_id == session.session_id)


async def history(session: Session, key: SessionKey, *, after: int, limit: int) -> tuple[Message, ...]:
    statement = _of_session(key).where(messages.c.sequence > after).order_by(messages.c.sequence).limit(limit)
    return rows.readable(await session.run("history", statement), rows.message)


async def page(session: Session, namespace: str, *, after: tuple[str, int], limit: int) -> tuple[FiledMessage, ...]:
    place = tuple_(messages.c.session_id, messages.c.sequence)
    is_next = place > tuple_(literal(after[0], Text), literal(after[1], BigInteger))
    statement = select(*_COLUMNS, messages.c.episode_id).where(messages.c.namespace == namespace, is_next)
    ordered = statement.order_by(messages.c.session_id, messages.c.sequence).limit(limit)
    return rows.readable(await session.run("list_messages", ordered), rows.filed_message)


async def recent(session: Session, key: SessionKey, limit: int) -> tuple[Message, ...]:
    statement = _of_session(key).order_by(messages.c.sequence.desc()).limit(limit)
    return rows.readable(await session.run("recent", statement), rows.message)[::-1]


async def last_sequence(session: Session, key: SessionKey) -> int:
    statement = select(func.coalesce(func.max(messages.c.sequence), 0)).where(
        messages.c.namespace == key.namespace, messages.c.session_id == key.session_id
    )
    return int((await session.run("last_sequence", statement))[0][0])


async def by_id(session: Session, key: SessionKey, ids: Sequence[UUID]) -> Mapping[UUID, Message]:
    # The primary key is derived from session and id: no index on (session, id) is needed.
    uids = [derived_uuid("message", key.namespace, key.session_id, str(message_id)) for message_id in ids]
    statement = select(*_COLUMNS).where(messages.c.uid == func.any(bindparam("uids", uids, ARRAY(Uuid))))
    return {m.id: m for m in rows.readable(await session.run("messages_by_id", statement), rows.message)}


async def of_episode(session: Session, episode_id: UUID) -> tuple[Message, ...]:
    statement = select(*_COLUMNS).where(messages.c.episode_id == episode_id).order_by(messages.c.sequence)
    return rows.readable(await session.run("episode_messages", statement), rows.message)


async def episodes_of(session: Session, uids: Sequence[UUID]) -> Mapping[UUID, UUID]:
    asked = func.any(bindparam("uids", list(uids), ARRAY(Uuid)))
    statement = select(messages.c.uid, messages.c.episode_id).where(messages.c.uid == asked)
    return {row.uid: row.episode_id for row in await session.run("episodes_of", statement)}


_IN_CONTEXT: Final = (
    text(
        f"""
        WITH wanted AS (
            SELECT DISTINCT near.uid
            FROM messages AS target
            CROSS JOIN LATERAL (
                SELECT uid FROM messages
                WHERE namespace = target.namespace AND session_id = target.session_id AND sequence <= target.sequence
                ORDER BY sequence DESC
                LIMIT {_NEIGHBOURS + 1}
            ) AS near
            WHERE target.uid = ANY(:uids)
        )
        SELECT {", ".join(c.name for c in _COLUMNS)} FROM messages JOIN wanted USING (uid)
        ORDER BY namespace, session_id, sequence
        """  # noqa: S608 - column names and a constant of this module
    )
    .bindparams(bindparam("uids", type_=ARRAY(Uuid)))
    .columns(*_COLUMNS)
)


async def in_context(session: Session, uids: Sequence[UUID]) -> tuple[MessageInContext, ...]:
    """Each row is read once, however many of the messages it stands before."""
    found = rows.readable(await session.run("messages_in_context", _IN_CONTEXT, {"uids": list(uids)}), rows.message)
    asked = set(uids)
    return tuple(
        MessageInContext(message, tuple(m for m in found[max(0, place - _NEIGHBOURS) : place] if m.session == message.session))
        for place, message in enumerate(found)
        if message.uid in asked
    )


_ARRAYS: Final[Mapping[str, TypeEngine[Any]]] = {
    "uid": Uuid(),
    "namespace": Text(),
    "session_id": Text(),
    "sequence": BigInteger(),
    "id": Uuid(),
    "role": Text(),
    "name": Text(),
    "content": Text(),
    "created_at": DateTime(timezone=True),
    "metadata": Text(),
    "user_id": Text(),
    "agent_id": Text(),
    "project_id": Text(),
    "episode_id": Uuid(),
    "content_sha256": Text(),
    "token_count": Integer(),
}
"""One array a column; metadata travels as JSON text, which PostgreSQL parses faster than asyncpg's codec writes it."""

_INSERT: Final = (
    text(
        f"""
        WITH new AS (
            INSERT INTO messages ({", ".join(_ARRAYS)})
            SELECT {", ".join("m.metadata::jsonb" if name == "metadata" else f"m.{name}" for name in _ARRAYS)}
            FROM unnest({", ".join(f":{name}" for name in _ARRAYS)}) AS m ({", ".join(_ARRAYS)})
            ON CONFLICT (uid) DO NOTHING
            RETURNING uid
        )
        SELECT coalesce(array_agg(uid), '{{}}') AS uids FROM new
        """  # noqa: S608 - column names of this module
    )
    .bindparams(*(bindparam(name, type_=ARRAY(kind)) for name, kind in _ARRAYS.items()))
    .columns(uids=ARRAY(Uuid))
)


async def insert(session: Session, batch: Sequence[Message], episode_ids: Sequence[UUID]) -> frozenset[UUID]:
    if not batch:
        return frozenset()
    values = [_values(message, episode_id) for message, episode_id in zip(batch, episode_ids, strict=True)]
    arrays = dict(zip(_ARRAYS, map(list, zip(*values, strict=True)), strict=True))
    return frozenset((await session.run("insert_messages", _INSERT, arrays))[0].uids)


def _values(message: Message, episode_id: UUID) -> tuple[object, ...]:
    """One row, in the order of `_ARRAYS`."""
    scope = message.scope
    return (
        message.uid,
        scope.namespace,
        scope.session_id,
        message.sequence,
        message.id,
        message.role.value,
        message.name,
        message.content,
        message.created_at,
        dump_json(message.metadata),
        scope.user_id,
        scope.agent_id,
        scope.project_id,
        episode_id,
        message.content_sha256,
        estimate_tokens(message.content),
    )
