"""Queries about generations: whether cached recalls of a namespace's episodes may have become wrong."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from app.episodic.engine import Session
from app.episodic.tables import episode_generations
from app.records import RecordKind

RENEWED: Final = f"""
    renewed AS (
        INSERT INTO episode_generations (namespace, generation)
        SELECT namespace, gen_random_uuid()
        FROM (SELECT DISTINCT namespace FROM ended WHERE kind = '{RecordKind.EPISODE.value}' ORDER BY namespace) AS changed
        ON CONFLICT (namespace) DO UPDATE SET generation = excluded.generation
    )
"""  # noqa: S608 - a constant of ours
"""Renews the generations of the namespaces of the episodes in `ended`, in one order: two workers cannot lock each other out.

Nobody who holds a generation waits for an outbox entry: those are locked first, everywhere.
"""


async def current(session: Session, namespace: str) -> UUID | None:
    statement = select(episode_generations.c.generation).where(episode_generations.c.namespace == namespace)
    found = await session.run("episode_generation", statement)
    return found[0].generation if found else None


async def renew(session: Session, namespace: str) -> None:
    statement = insert(episode_generations).values(namespace=namespace, generation=func.gen_random_uuid())
    renewed = {"generation": statement.excluded.generation}
    await session.run("renew_generation", statement.on_conflict_do_update(index_elements=["namespace"], set_=renewed))
