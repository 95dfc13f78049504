"""Queries about what has outlived its retention: sessions' states, episodes for the archive, archived episodes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, Select, and_, false, func, select, update

from app.episodic import outbox
from app.episodic.engine import Session
from app.episodic.forgetting import among, delete_kind, delete_messages
from app.episodic.sessions import exclude_learning, last_active
from app.episodic.tables import episodes, messages, sessions
from app.ports import Cutoffs, Expired, OutboxEntry, OutboxOp, Taken
from app.records import RecordKind

_IS_KEPT_IN_SIGHT: Final = and_(episodes.c.archived_at.is_(None), ~episodes.c.is_open, ~episodes.c.pinned)


async def expired(session: Session, cutoffs: Cutoffs) -> Expired:
    old, gone = _is_to_archive(cutoffs.ended_before), _is_to_delete(cutoffs.archived_before)
    idle = false() if cutoffs.sessions_idle_since is None else last_active() < cutoffs.sessions_idle_since
    statement = select(
        select(func.count()).select_from(sessions).where(idle).scalar_subquery().label("sessions"),
        _episodes(old).label("episodes_to_archive"),
        _messages(old).label("messages_to_archive"),
        _episodes(gone).label("episodes_to_delete"),
        _messages(gone).label("messages_to_delete"),
    )
    return Expired(*(await session.run("expired", statement))[0])


async def archive(session: Session, ended_before: datetime, *, at: datetime, limit: int) -> Taken:
    taken = await _locked(session, _is_to_archive(ended_before), episodes.c.ended_at, limit)
    ids = [row.id for row in taken]
    filed = {"archived_at": at, "version": episodes.c.version + 1, "updated_at": func.now()}
    await session.run("archive_episodes", update(episodes).where(among(episodes.c.id, ids)).values(filed))
    hidden = update(messages).where(among(messages.c.episode_id, ids)).values(is_archived=True)
    said = await session.run("archive_messages", hidden.returning(messages.c.uid, messages.c.namespace))
    await outbox.enqueue(session, [*_removals(RecordKind.EPISODE, taken), *_removals(RecordKind.MESSAGE, said)])
    return Taken(len(taken), len(said))


async def delete_archived(session: Session, archived_before: datetime, *, limit: int) -> Taken:
    is_due = _is_to_delete(archived_before)
    oldest = select(episodes.c.namespace).where(is_due).order_by(episodes.c.archived_at, episodes.c.id).limit(limit)
    namespaces = {row.namespace for row in await session.run("expired_whose", oldest)}
    await exclude_learning(session, namespaces)
    taken = await _locked(session, and_(is_due, episodes.c.namespace.in_(namespaces)), episodes.c.archived_at, limit)
    ids = [row.id for row in taken]
    removed, _ = await delete_messages(session, among(messages.c.episode_id, ids))
    return Taken(await delete_kind(session, RecordKind.EPISODE, among(episodes.c.id, ids)), removed)


def _is_to_archive(ended_before: datetime | None) -> ColumnElement[bool]:
    return false() if ended_before is None else and_(_IS_KEPT_IN_SIGHT, episodes.c.ended_at < ended_before)


def _is_to_delete(archived_before: datetime | None) -> ColumnElement[bool]:
    return false() if archived_before is None else and_(episodes.c.archived_at < archived_before, ~episodes.c.pinned)


def _episodes(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return select(func.count()).select_from(episodes).where(condition).scalar_subquery()


def _messages(condition: ColumnElement[bool]) -> ColumnElement[int]:
    held = messages.join(episodes, messages.c.episode_id == episodes.c.id)
    return select(func.count()).select_from(held).where(condition).scalar_subquery()


async def _locked(
    session: Session, condition: ColumnElement[bool], oldest_first: ColumnElement[Any], limit: int
) -> Sequence[Row[Any]]:
    """Take up to `limit` episodes until the transaction ends; those that another worker holds are left to it."""
    statement: Select[Any] = select(episodes.c.id, episodes.c.namespace).where(condition)
    statement = statement.order_by(oldest_first, episodes.c.id).limit(limit).with_for_update(skip_locked=True)
    return await session.run("take_expired", statement)


def _removals(kind: RecordKind, taken: Sequence[Row[Any]]) -> list[OutboxEntry]:
    """Each row's uid is its first column."""
    return [OutboxEntry(OutboxOp.DELETE, kind, row.namespace, row[0]) for row in taken]
