"""Deleting records: each leaves a delete entry in the outbox, and no trace in the episode it was part of."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import CTE, ColumnElement, Select, Text, and_, delete, exists, false, func, literal, null, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import DateTime, Uuid

from app.episodic import erasures, extractions, outbox, unlearning
from app.episodic.engine import Session
from app.episodic.scoping import admitted, narrowings
from app.episodic.sessions import exclude_learning
from app.episodic.tables import consolidation_checkpoints, episodes, item_vectors, knowledge, messages, sessions
from app.ports import OutboxEntry, OutboxOp
from app.records import EpisodeKind, RecordKind, Scope

KEYS: Final = {
    RecordKind.MESSAGE: messages.c.uid,
    RecordKind.EPISODE: episodes.c.id,
    RecordKind.KNOWLEDGE: knowledge.c.id,
    RecordKind.ITEM: item_vectors.c.uid,
}


_HAS_MESSAGES: Final = exists().where(messages.c.episode_id == episodes.c.id)


async def delete_records(session: Session, kind: RecordKind, namespace: str, uids: Sequence[UUID]) -> int:
    """Delete these records of the namespace; how many there were.

    An episode takes its messages with it. A message leaves its episode as `forget` says.
    """
    is_asked = and_(KEYS[kind].table.c.namespace == namespace, among(KEYS[kind], uids))
    if kind in {RecordKind.EPISODE, RecordKind.MESSAGE}:
        await exclude_learning(session, [namespace])
    if kind is RecordKind.EPISODE:
        await _lock_episodes(session, is_asked)
        await delete_messages(session, and_(messages.c.namespace == namespace, among(messages.c.episode_id, uids)))
    if kind is RecordKind.MESSAGE:
        removed, homes = await delete_messages(session, is_asked)
        await _mend(session, homes)
        return removed
    return await delete_kind(session, kind, is_asked)


async def forget(session: Session, scope: Scope) -> Mapping[RecordKind, int]:
    """Delete every record that `scope` admits; how many there were of each kind.

    A conversation episode that is left without messages goes too. One that still holds messages which `scope` does
    not admit (another speaker's) stays as their home, but forgets: it is counted anew, its summary and documents are
    emptied, the forgotten owner is taken off it, and, unless it is open, it is queued to be summarised and indexed
    again.
    """
    if scope.session_id is not None or not any(narrowings(scope)):
        await _forget_sessions(session, scope)
    row = await _delete_returning(session, RecordKind.MESSAGE, and_(*admitted(messages, scope)), messages.c.episode_id)
    homes = row.extras or ()
    affected = await _lock_episodes(session, or_(and_(*admitted(episodes, scope)), among(episodes.c.id, homes)))
    emptied, lessons = await _delete_emptied(session, affected, is_forgotten=and_(*admitted(episodes, scope)))
    lessons += await _clear(session, affected, scope)
    known = await delete_kind(session, RecordKind.KNOWLEDGE, and_(*admitted(knowledge, scope)))
    return {RecordKind.MESSAGE: row.removed, RecordKind.EPISODE: emptied, RecordKind.KNOWLEDGE: lessons + known}


async def _forget_sessions(session: Session, scope: Scope) -> None:
    """Checkpoints go first: that waits for whoever is draining one of these sessions right now."""
    for table in (consolidation_checkpoints, sessions):
        is_asked = table.c.namespace == scope.namespace
        if scope.session_id is not None:
            is_asked &= table.c.session_id == scope.session_id
        await session.run("forget_sessions", delete(table).where(is_asked))


async def _mend(session: Session, episode_ids: Collection[UUID]) -> None:
    """Bring episodes into line with the messages they have left."""
    affected = await _lock_episodes(session, among(episodes.c.id, episode_ids))
    await _delete_emptied(session, affected, is_forgotten=false())
    await _clear(session, affected, forgotten=None)


async def _lock_episodes(session: Session, condition: ColumnElement[bool]) -> Sequence[UUID]:
    """Keep others from adding messages to these episodes until the transaction ends."""
    statement = select(episodes.c.id).where(condition).order_by(episodes.c.id).with_for_update()
    return [row.id for row in await session.run("lock_episodes", statement)]


async def _delete_emptied(
    session: Session, episode_ids: Collection[UUID], *, is_forgotten: ColumnElement[bool]
) -> tuple[int, int]:
    """How many there were, and how many pieces of knowledge went with them."""
    is_conversation = episodes.c.kind == EpisodeKind.CONVERSATION.value
    is_empty = and_(among(episodes.c.id, episode_ids), ~_HAS_MESSAGES, or_(is_forgotten, is_conversation))
    lessons = await _unlearn(session, is_empty)
    return await _delete(session, RecordKind.EPISODE, is_empty), lessons


async def _clear(session: Session, episode_ids: Collection[UUID], forgotten: Scope | None) -> int:
    """Count these episodes anew and empty what was made from messages that are gone; how much knowledge went with it."""
    lessons = await _unlearn(session, and_(among(episodes.c.id, episode_ids), _HAS_MESSAGES))
    owners = dict(narrowings(forgotten)) if forgotten else {}
    left = _what_is_left(episode_ids).subquery()
    statement = (
        update(episodes)
        .where(episodes.c.id == left.c.episode_id)
        .values(
            **{column.name: column for column in left.c if column.name != "episode_id"},
            **{name: func.nullif(episodes.c[name], owner) for name, owner in owners.items()},
            **{name: {} for name in ("perception", "reasoning", "action")},
            summary="",
            version=episodes.c.version + 1,
            updated_at=func.now(),
        )
        .returning(episodes.c.id, episodes.c.namespace, episodes.c.is_open)
    )
    cleared = await session.run("clear_episodes", statement)
    closed = [row for row in cleared if not row.is_open]
    await extractions.open_(session, [row.id for row in closed])
    await outbox.enqueue(session, [OutboxEntry(OutboxOp.UPSERT, RecordKind.EPISODE, row.namespace, row.id) for row in closed])
    return lessons


async def recount(session: Session, episode_ids: Collection[UUID]) -> None:
    """Count these episodes anew by the messages they hold; what was made from them stays."""
    left = _what_is_left(episode_ids).subquery()
    counts = {column.name: column for column in left.c if column.name != "episode_id"}
    statement = update(episodes).where(episodes.c.id == left.c.episode_id).values(**counts, updated_at=func.now())
    await session.run("recount_episodes", statement)


def _what_is_left(episode_ids: Collection[UUID]) -> Select[Any]:
    return (
        select(
            messages.c.episode_id,
            func.count().label("message_count"),
            func.sum(messages.c.token_count).label("token_count"),
            func.min(messages.c.sequence).label("first_sequence"),
            func.max(messages.c.sequence).label("last_sequence"),
            func.min(messages.c.created_at).label("started_at"),
            func.max(messages.c.created_at).label("ended_at"),
        )
        .where(among(messages.c.episode_id, episode_ids))
        .group_by(messages.c.episode_id)
    )


async def delete_messages(session: Session, condition: ColumnElement[bool]) -> tuple[int, Sequence[UUID]]:
    """How many there were, and the episodes they were part of. The buffers are owed their erasure."""
    row = await _delete_returning(session, RecordKind.MESSAGE, condition, messages.c.episode_id, is_owed=True)
    return row.removed, row.extras or ()


async def delete_kind(session: Session, kind: RecordKind, condition: ColumnElement[bool]) -> int:
    """Delete rows and queue their deletion from the index; how many there were.

    An episode takes what was learned from it alone with it, and what may say the same in its words.
    """
    if kind is RecordKind.EPISODE:
        await _unlearn(session, condition)
    return await _delete(session, kind, condition)


async def _unlearn(session: Session, condition: ColumnElement[bool]) -> int:
    """Take back what these episodes taught; how many pieces of knowledge that were."""
    forgotten = await unlearning.unlearn(session, condition)
    return await _delete(session, RecordKind.KNOWLEDGE, among(knowledge.c.id, forgotten)) if forgotten else 0


async def _delete(session: Session, kind: RecordKind, condition: ColumnElement[bool]) -> int:
    row = await _delete_returning(session, kind, condition, KEYS[kind])
    return int(row.removed)


async def _delete_returning(
    session: Session, kind: RecordKind, condition: ColumnElement[bool], extra: ColumnElement[Any], *, is_owed: bool = False
) -> Any:
    """Delete rows and queue their deletion from the index, without moving their ids to and fro.

    Returns `removed`, the number of rows, and `extras`, the distinct values of the column `extra`.
    """
    key = KEYS[kind]
    owner = key.table.c
    named = [owner.session_id.label("session_id"), owner.id.label("id")] if is_owed else []
    returned = (key.label("uid"), owner.namespace.label("namespace"), extra.label("extra"), *named)
    gone = delete(key.table).where(condition).returning(*returned).cte("gone")
    totals = select(func.count().label("removed"), func.array_agg(gone.c.extra.distinct()).label("extras")).select_from(gone)
    ctes = [outbox.opening(_removals(kind, gone)).cte("queued"), *([erasures.owing(gone)] if is_owed else [])]
    return (await session.run(f"delete_{kind.value}", totals.add_cte(*ctes)))[0]


def _removals(kind: RecordKind, gone: CTE) -> Select[Any]:
    """Delete entries for the records in `gone` (namespace, uid)."""
    return select(
        literal(OutboxOp.DELETE.value, Text),
        literal(kind.value, Text),
        gone.c.namespace,
        gone.c.uid,
        null().cast(DateTime(timezone=True)),
    )


def among(column: ColumnElement[Any], ids: Collection[UUID]) -> ColumnElement[bool]:
    return column == func.any(literal(list(ids), ARRAY(Uuid)))
