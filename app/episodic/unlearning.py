"""What deleting episodes takes along: their evidence, and what was learned from nothing else or says it in their words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Uuid, delete, func, literal, or_, select
from sqlalchemy.dialects.postgresql import ARRAY, insert

from app.episodic import extractions
from app.episodic.engine import Session
from app.episodic.learning_tables import learning_marks, pattern_evidence, patterns
from app.episodic.tables import episodes, knowledge
from app.records import Origin

_UIDS: Final = ARRAY(Uuid)


async def unlearn(session: Session, condition: ColumnElement[bool]) -> Sequence[UUID]:
    """The episodes that meet the condition are about to be deleted or emptied: what they taught is taken back.

    Nobody learns meanwhile: see `exclude_learning`. Returns the ids of patterns that are gone, and of what else was
    learned from nothing but these episodes: knowledge of these ids quotes them.
    """
    going = select(episodes.c.id).where(condition)
    quoting = await _learned_from(session, condition)
    gone = delete(pattern_evidence).where(pattern_evidence.c.episode_id.in_(going)).returning(pattern_evidence.c.pattern_id)
    touched = list({row.pattern_id for row in await session.run("unlearn", gone)})
    if not touched:
        return quoting
    await _mark(session, condition, touched)
    dissolved = await _dissolve_merged(session, touched)
    return list({*quoting, *dissolved, *await _delete_unsupported(session, touched)})


async def _mark(session: Session, condition: ColumnElement[bool], touched: Sequence[UUID]) -> None:
    owner = (episodes.c.namespace, episodes.c.project_id)
    scopes = insert(learning_marks).from_select(["namespace", "project_id"], select(*owner).where(condition).distinct())
    await session.run("mark_scopes", scopes)
    whose = (patterns.c.namespace, patterns.c.project_id, patterns.c.family)
    stale = select(*whose).where(_among(patterns.c.id, touched)).distinct()
    await session.run("mark_families", insert(learning_marks).from_select(["namespace", "project_id", "family"], stale))


async def _dissolve_merged(session: Session, touched: Sequence[UUID]) -> Sequence[UUID]:
    """Patterns that others were merged into may say in a forgotten episode's words what is left of them.

    Whose words those are nobody knows any more: such a pattern goes, and its other episodes are learned from again,
    in their own. Returns the ids of those that are gone.
    """
    into = select(patterns.c.merged_into).where(_among(patterns.c.merged_into, touched)).distinct()
    merged = [row.merged_into for row in await session.run("merged_into", into)]
    if not merged:
        return ()
    is_part = or_(_among(patterns.c.id, merged), _among(patterns.c.merged_into, merged))
    parts = [row.id for row in await session.run("merged_parts", select(patterns.c.id).where(is_part))]
    gone = delete(pattern_evidence).where(_among(pattern_evidence.c.pattern_id, parts)).returning(pattern_evidence.c.episode_id)
    await extractions.open_(session, list({row.episode_id for row in await session.run("dissolve", gone)}))
    await session.run("delete_patterns", delete(patterns).where(_among(patterns.c.id, parts)))
    return merged


async def _delete_unsupported(session: Session, ids: Sequence[UUID]) -> Sequence[UUID]:
    has_evidence = select(pattern_evidence.c.pattern_id).where(pattern_evidence.c.pattern_id == patterns.c.id).exists()
    statement = delete(patterns).where(_among(patterns.c.id, ids), ~has_evidence).returning(patterns.c.id)
    return [row.id for row in await session.run("delete_patterns", statement)]


async def _learned_from(session: Session, condition: ColumnElement[bool]) -> Sequence[UUID]:
    """Knowledge with no evidence but the episodes that meet the condition."""
    going = await session.run("episodes_going", select(episodes.c.id, episodes.c.namespace).where(condition))
    evidence = knowledge.c.supporting_episodes.concat(knowledge.c.contradicting_episodes)
    theirs = select(knowledge.c.id).where(
        knowledge.c.origin == Origin.LEARNED.value,
        knowledge.c.namespace.in_({row.namespace for row in going}),
        func.cardinality(evidence) > 0,
        evidence.contained_by(literal([row.id for row in going], _UIDS)),
    )
    return [row.id for row in await session.run("learned_from", theirs)]


def _among(column: ColumnElement[Any], ids: Sequence[UUID]) -> ColumnElement[bool]:
    return column == func.any(literal(list(ids), _UIDS))
