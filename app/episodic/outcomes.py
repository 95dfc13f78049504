"""Queries about what was known of episodes' outcomes, and when."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.dialects.postgresql import insert

from app.episodic import rows
from app.episodic.engine import Session
from app.episodic.tables import episode_outcomes, episodes
from app.records import Episode, EpisodeKind, OutcomeRevision, first_outcome

_POSITION: Final = episode_outcomes.c["index"]
_REVISIONS: Final = select(
    episode_outcomes.c.episode_id,
    _POSITION.label("position"),  # `Row.index` is a method of the tuple
    *(episode_outcomes.c[name] for name in ("outcome", "outcome_quality", "recorded_at", "call_id")),
).order_by(_POSITION)


async def page(session: Session, episode_id: UUID, *, after: int, limit: int) -> tuple[OutcomeRevision, ...]:
    statement = _REVISIONS.where(episode_outcomes.c.episode_id == episode_id, after < _POSITION).limit(limit)
    return rows.readable(await session.run("outcomes", statement), rows.outcome_revision)


async def revise(session: Session, before: Episode, after: Episode, at: datetime, call: UUID | None) -> None:
    """The episode is locked by whoever changes it: nobody else takes the next index."""
    if (before.outcome, before.outcome_quality) == (after.outcome, after.outcome_quality):
        return
    last = select(func.max(_POSITION)).where(episode_outcomes.c.episode_id == before.id)
    known = (await session.run("last_outcome", last))[0][0]
    new = [] if known is not None else list(first_outcome(before))
    index = len(new) if known is None else known + 1
    revision = OutcomeRevision(index, after.outcome, after.outcome_quality, at, call)
    await insert_all(session, before.id, [*new, revision])


async def insert_all(session: Session, episode_id: UUID, revisions: Sequence[OutcomeRevision]) -> int:
    if not revisions:
        return 0
    values = [_values(episode_id, revision) for revision in revisions]
    statement = insert(episode_outcomes).values(values).on_conflict_do_nothing().returning(_POSITION.label("position"))
    return len(await session.run("insert_outcomes", statement))


def _values(episode_id: UUID, revision: OutcomeRevision) -> dict[str, Any]:
    return {
        "episode_id": episode_id,
        "index": revision.index,
        "outcome": revision.outcome,
        "outcome_quality": revision.outcome_quality,
        "recorded_at": revision.recorded_at,
        "call_id": revision.call,
    }


def is_missing(ended_before: datetime | None, kind: EpisodeKind | None) -> list[ColumnElement[bool]]:
    """The conditions under which an outcome is waited for in vain."""
    conditions = [episodes.c.outcome.is_(None), ~episodes.c.is_open, episodes.c.archived_at.is_(None)]
    if ended_before is not None:
        conditions.append(episodes.c.ended_at < ended_before)
    if kind is not EpisodeKind.CONVERSATION:
        conditions.append(episodes.c.kind != EpisodeKind.CONVERSATION.value)
    return conditions
