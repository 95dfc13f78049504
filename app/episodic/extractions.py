"""Queries about the queue of episodes that are due to be learned from."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import DateTime, Integer, Text, bindparam, exists, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.types import BigInteger, Boolean, Uuid

from app.episodic.engine import Session
from app.episodic.learning_tables import extractions
from app.episodic.outbox import MAX_ERROR_CHARACTERS
from app.episodic.tables import episode_steps, episodes
from app.ports import Extraction
from app.records import EpisodeKind

_MOMENT: Final = DateTime(timezone=True)
_UIDS: Final = ARRAY(Uuid)


async def open_(session: Session, episode_ids: Sequence[UUID]) -> None:
    """Make these episodes due, so far as there is something to learn from them; whoever holds one holds it no more."""
    has_steps = exists().where(episode_steps.c.episode_id == episodes.c.id)
    is_asked = episodes.c.id == func.any(bindparam("ids", list(episode_ids), _UIDS))
    is_lesson = or_(episodes.c.kind != EpisodeKind.CONVERSATION.value, has_steps)
    found = select(episodes.c.id, episodes.c.namespace).where(is_asked, ~episodes.c.is_open, is_lesson)
    statement = insert(extractions).from_select(["episode_id", "namespace"], found)
    renewed = {
        "generation": statement.excluded.generation,
        "attempts": 0,
        "failures": 0,
        "next_attempt_at": None,
        "leased_until": None,
        "last_error": None,
        "is_dead": False,
    }
    await session.run(
        "open_extractions", statement.on_conflict_do_update(index_elements=[extractions.c.episode_id], set_=renewed)
    )


_CLAIM: Final = text(
    """
    WITH due AS MATERIALIZED (
        SELECT episode_id FROM extractions
        WHERE NOT is_dead
          AND (next_attempt_at IS NULL OR next_attempt_at <= :now)
          AND (leased_until IS NULL OR leased_until <= :now)
          AND (:namespace IS NULL OR namespace = :namespace)
        ORDER BY generation
        LIMIT :limit
        FOR UPDATE SKIP LOCKED
    )
    UPDATE extractions SET attempts = attempts + 1, leased_until = :leased_until, generation = DEFAULT
    WHERE episode_id = ANY (ARRAY(SELECT episode_id FROM due))
    RETURNING episode_id, namespace, generation, attempts, failures
    """
).bindparams(
    bindparam("now", type_=_MOMENT),
    bindparam("leased_until", type_=_MOMENT),
    bindparam("limit", type_=BigInteger()),
    bindparam("namespace", type_=Text()),
)


async def claim(
    session: Session, limit: int, *, lease: timedelta, now: datetime, namespace: str | None
) -> tuple[Extraction, ...]:
    parameters = {"limit": limit, "now": now, "leased_until": now + lease, "namespace": namespace}
    claimed = await session.run("claim_extractions", _CLAIM, parameters)
    extractions_of = (Extraction(r.episode_id, r.namespace, r.generation, r.attempts, r.failures) for r in claimed)
    return tuple(sorted(extractions_of, key=lambda extraction: extraction.generation))


_RELEASE: Final = text(
    """
    UPDATE extractions SET leased_until = NULL, last_error = :error, next_attempt_at = :next_attempt_at,
                           is_dead = :is_dead, failures = failures + :failures
    FROM unnest(:ids, :generations) AS given (episode_id, generation)
    WHERE extractions.episode_id = given.episode_id AND extractions.generation = given.generation
    """
).bindparams(
    bindparam("ids", type_=_UIDS),
    bindparam("generations", type_=ARRAY(BigInteger)),
    bindparam("error", type_=Text()),
    bindparam("next_attempt_at", type_=_MOMENT),
    bindparam("failures", type_=Integer()),
    bindparam("is_dead", type_=Boolean()),
)


async def release(session: Session, given: Sequence[Extraction], *, error: str, **verdict: object) -> None:
    await session.run("release_extractions", _RELEASE, _identified(given) | verdict | {"error": error[:MAX_ERROR_CHARACTERS]})


async def retry(session: Session, now: datetime, *, namespace: str | None) -> int:
    revived = {"is_dead": False, "attempts": 0, "failures": 0, "next_attempt_at": now}
    statement = update(extractions).where(extractions.c.is_dead).values(revived).returning(extractions.c.episode_id)
    if namespace is not None:
        statement = statement.where(extractions.c.namespace == namespace)
    return len(await session.run("retry_extractions", statement))


async def void_leases(session: Session) -> None:
    is_leased = extractions.c.leased_until.is_not(None)
    await session.run("void_extractions", update(extractions).where(is_leased).values(leased_until=None))


# The episodes are locked first, as who changes or deletes one does; then a lesson is held or not, until the commit.
_LOCK_EPISODES: Final = text("SELECT id FROM episodes WHERE id = ANY (:ids) ORDER BY id FOR KEY SHARE").bindparams(
    bindparam("ids", type_=_UIDS)
)
_COMPLETE: Final = text(
    """
    DELETE FROM extractions USING unnest(:ids, :generations) AS given (episode_id, generation)
    WHERE extractions.episode_id = given.episode_id AND extractions.generation = given.generation
    RETURNING extractions.episode_id
    """
).bindparams(bindparam("ids", type_=_UIDS), bindparam("generations", type_=ARRAY(BigInteger)))


async def complete(session: Session, given: Sequence[Extraction]) -> frozenset[UUID]:
    """Tick off those that are still the caller's, and keep their episodes from being deleted; returns their ids."""
    await session.run("lock_episodes", _LOCK_EPISODES, {"ids": [one.episode_id for one in given]})
    return frozenset(row[0] for row in await session.run("complete_extractions", _COMPLETE, _identified(given)))


def _identified(given: Sequence[Extraction]) -> dict[str, Any]:
    return {"ids": [one.episode_id for one in given], "generations": [one.generation for one in given]}
