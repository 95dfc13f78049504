"""Queries about episodes and their steps."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, Integer, Text, bindparam, func, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import DateTime, Uuid

from app.episodic import rows
from app.episodic.engine import Session, dump_json
from app.episodic.owned import OwnedTable
from app.episodic.tables import episode_steps, episodes
from app.errors import NotFound
from app.ports import StepsHeld
from app.records import Episode, EpisodeKind, EpisodeStep, Json, SessionKey

EPISODES: Final = OwnedTable(
    episodes,
    tuple(c for c in episodes.c if c.name not in {"search", "created_at", "updated_at", "step_count", "step_bytes"}),
    rows.episode,
)
_IS_OPEN_CONVERSATION: Final = episodes.c.is_open & (episodes.c.kind == EpisodeKind.CONVERSATION.value)


def archived_or_not(archived: bool | None) -> tuple[ColumnElement[bool], ...]:
    """The condition that asks for the archive, for the rest, or (None) for none."""
    if archived is None:
        return ()
    return (episodes.c.archived_at.is_not(None) if archived else episodes.c.archived_at.is_(None),)


async def idle(session: Session, *, idle_since: datetime | None, limit: int) -> tuple[Episode, ...]:
    statement = EPISODES.select().where(_IS_OPEN_CONVERSATION).order_by(episodes.c.ended_at, episodes.c.id).limit(limit)
    if idle_since is not None:
        statement = statement.where(episodes.c.ended_at < idle_since)
    return rows.readable(await session.run("open_episodes", statement), rows.episode)


async def open_of(session: Session, key: SessionKey) -> Episode | None:
    statement = EPISODES.select().where(
        _IS_OPEN_CONVERSATION, episodes.c.namespace == key.namespace, episodes.c.session_id == key.session_id
    )
    return rows.only(await session.run("open_episode", statement.with_for_update()), rows.episode)


_POSITION: Final = episode_steps.c["index"]
# `Row.index` is a method of the tuple, hence the label.
_STEPS: Final = select(_POSITION.label("position"), episode_steps.c.content, episode_steps.c.created_at).order_by(_POSITION)


async def steps(session: Session, episode_id: UUID, *, after: int, limit: int) -> tuple[EpisodeStep, ...]:
    statement = _STEPS.where(episode_steps.c.episode_id == episode_id, after < _POSITION).limit(limit)
    return rows.readable(await session.run("steps", statement), rows.step)


async def steps_of_call(session: Session, episode_id: UUID, call: UUID) -> tuple[EpisodeStep, ...]:
    statement = _STEPS.where(episode_steps.c.episode_id == episode_id, episode_steps.c.call_id == call)
    return rows.readable(await session.run("steps_of_call", statement), rows.step)


_APPEND_STEPS: Final = (
    text(
        """
    INSERT INTO episode_steps (episode_id, "index", content, created_at, call_id)
    SELECT :episode_id, last.position + new.ordinality, new.content::jsonb, :at, :call
    FROM unnest(:contents) WITH ORDINALITY AS new (content, ordinality),
         (SELECT coalesce(max("index"), -1) AS position FROM episode_steps WHERE episode_id = :episode_id) AS last
    RETURNING "index" AS position, content, created_at
    """
    )
    .bindparams(
        bindparam("episode_id", type_=Uuid()),
        bindparam("contents", type_=ARRAY(Text)),
        bindparam("at", type_=DateTime(timezone=True)),
        bindparam("call", type_=Uuid()),
    )
    .columns(position=Integer, content=episode_steps.c.content.type, created_at=DateTime(timezone=True))
)


async def append_steps(
    session: Session, episode_id: UUID, contents: Sequence[Json], at: datetime, call: UUID | None
) -> tuple[EpisodeStep, ...]:
    documents = [dump_json(content) for content in contents]
    await _count_in(session, episode_id, documents)
    parameters = {"episode_id": episode_id, "contents": documents, "at": at, "call": call}
    added = rows.readable(await session.run("append_steps", _APPEND_STEPS, parameters), rows.step)
    return tuple(sorted(added, key=lambda step: step.index))


async def _count_in(session: Session, episode_id: UUID, documents: Sequence[str]) -> None:
    """Count new steps, which keeps other writers from numbering this episode's steps until the transaction ends."""
    held = {
        "step_count": episodes.c.step_count + len(documents),
        "step_bytes": episodes.c.step_bytes + sum(len(document.encode()) for document in documents),
    }
    statement = update(episodes).where(episodes.c.id == episode_id).values(held).returning(episodes.c.id)
    if not await session.run("count_steps", statement):
        raise NotFound("episode", str(episode_id))


async def steps_held(session: Session, episode_id: UUID) -> StepsHeld:
    statement = select(episodes.c.step_count, episodes.c.step_bytes).where(episodes.c.id == episode_id)
    found = await session.run("steps_held", statement)
    return StepsHeld(*found[0]) if found else StepsHeld()


async def touch(session: Session, episode_id: UUID) -> None:
    changed = {"version": episodes.c.version + 1, "updated_at": func.now()}
    await session.run("touch_episode", update(episodes).where(episodes.c.id == episode_id).values(changed))
