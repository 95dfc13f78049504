"""Queries about patterns and their evidence, and about marks on what is out of date.

Who learns from episodes only ever inserts patterns, adds and removes evidence, and leaves marks: any number of workers do
so at once and wait for nobody. Who weighs takes marks and locks the patterns they lead to, in the order of ids, in a mode
that does not keep others from adding evidence to them; what is added meanwhile has left another mark.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, DateTime, Text, Uuid, bindparam, delete, exists, func, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import BigInteger

from app.episodic import extractions, rows
from app.episodic.engine import Session, dump_json
from app.episodic.learning_tables import extractions as queue
from app.episodic.learning_tables import learning_marks, pattern_evidence, patterns
from app.episodic.scoping import admitted
from app.episodic.sessions import share_learning
from app.episodic.tables import episode_steps
from app.ports import LearningStatus, Lesson, PatternQuery, StaleScope
from app.records import Json, Pattern, PatternState, Scope

_MOST_EVIDENCE: Final = 1000
"""Ids of episodes a pattern is shown with on each side; all of them count."""
_MOMENT: Final = DateTime(timezone=True)
_UIDS: Final = ARRAY(Uuid)


async def first_steps(session: Session, episode_ids: Sequence[UUID], limit: int) -> Mapping[UUID, Sequence[Json]]:
    position = episode_steps.c["index"]
    statement = (
        select(episode_steps.c.episode_id, episode_steps.c.content)
        .where(episode_steps.c.episode_id == func.any(bindparam("ids", list(episode_ids), _UIDS)), position < limit)
        .order_by(episode_steps.c.episode_id, position)
    )
    found: dict[UUID, list[Json]] = defaultdict(list)
    for episode_id, content in rows.readable(await session.run("first_steps", statement), rows.step_of_episode):
        found[episode_id].append(content)
    return found


_INSERT_PATTERNS: Final = text(
    """
    INSERT INTO patterns (
        id, kind, namespace, project_id, family, gist, premise, conclusion, words, description, content, first_seen_at)
    SELECT id, kind, namespace, project_id, family, gist, premise, conclusion,
           ARRAY(SELECT jsonb_array_elements_text(words)), description, content, first_seen_at
    FROM jsonb_to_recordset(CAST(:patterns AS jsonb)) AS new (
        id uuid, kind text, namespace text, project_id text, family uuid, gist uuid, premise jsonb, conclusion jsonb, words jsonb,
        description text, content jsonb, first_seen_at timestamptz
    )
    ORDER BY id
    ON CONFLICT (id) DO NOTHING
    """
).bindparams(bindparam("patterns", type_=Text()))
_MARK: Final = """
    INSERT INTO learning_marks (namespace, project_id, family)
    SELECT DISTINCT namespace, project_id, family FROM patterns
"""
_REPLACE_EVIDENCE: Final = text(
    f"""
    WITH given AS (SELECT * FROM unnest(:patterns, :episodes) AS given (pattern_id, episode_id)),
    gone AS (
        DELETE FROM pattern_evidence AS old WHERE old.episode_id = ANY (:learned) AND NOT EXISTS (
            SELECT FROM given WHERE given.pattern_id = old.pattern_id AND given.episode_id = old.episode_id)
        RETURNING old.pattern_id
    ),
    new AS (
        INSERT INTO pattern_evidence (pattern_id, episode_id) SELECT DISTINCT pattern_id, episode_id FROM given
        ON CONFLICT DO NOTHING
        RETURNING pattern_id
    )
    {_MARK} WHERE id IN (SELECT pattern_id FROM gone UNION SELECT pattern_id FROM new)
    """  # noqa: S608 - a part of this module
).bindparams(bindparam("patterns", type_=_UIDS), bindparam("episodes", type_=_UIDS), bindparam("learned", type_=_UIDS))
_MARK_SCOPES: Final = text(
    """
    INSERT INTO learning_marks (namespace, project_id)
    SELECT DISTINCT namespace, project_id FROM episodes WHERE id = ANY (:ids)
    """
).bindparams(bindparam("ids", type_=_UIDS))


async def learn(session: Session, lessons: Sequence[Lesson]) -> frozenset[UUID]:
    await share_learning(session, {lesson.extraction.namespace for lesson in lessons})
    held = await extractions.complete(session, [lesson.extraction for lesson in lessons])
    own = [lesson for lesson in lessons if lesson.extraction.episode_id in held]
    if own:
        await _record(session, own)
        await session.run("mark_scopes", _MARK_SCOPES, {"ids": list(held)})
    return held


async def _record(session: Session, lessons: Sequence[Lesson]) -> None:
    found = {pattern.id: pattern for lesson in lessons for pattern in lesson.patterns}
    merged = await _merged(session, list(found))
    new = [_document(pattern) for pattern in found.values() if pattern.id not in merged]
    await session.run("insert_patterns", _INSERT_PATTERNS, {"patterns": dump_json(new)})
    pairs = [(merged.get(p.id, p.id), lesson.extraction.episode_id) for lesson in lessons for p in lesson.patterns]
    parameters = {
        "patterns": [pattern_id for pattern_id, _ in pairs],
        "episodes": [episode_id for _, episode_id in pairs],
        "learned": [lesson.extraction.episode_id for lesson in lessons],
    }
    await session.run("replace_evidence", _REPLACE_EVIDENCE, parameters)


async def _merged(session: Session, ids: Sequence[UUID]) -> Mapping[UUID, UUID]:
    """Where the evidence of those that were merged goes. What is merged right now is moved when it is weighed."""
    statement = select(patterns.c.id, patterns.c.merged_into).where(
        _among(patterns.c.id, ids), patterns.c.merged_into.is_not(None)
    )
    return {row.id: row.merged_into for row in await session.run("merged_patterns", statement)}


def _document(pattern: Pattern) -> Json:
    same = ("id", "family", "gist", "premise", "conclusion", "words", "description", "content", "first_seen_at")
    scope = {"namespace": pattern.scope.namespace, "project_id": pattern.scope.project_id}
    return {name: getattr(pattern, name) for name in same} | scope | {"kind": pattern.kind.value}


_TAKE_MARKS: Final = text(
    """
    WITH oldest AS MATERIALIZED (
        SELECT family FROM learning_marks
        WHERE family IS NOT NULL AND (:namespace IS NULL OR namespace = :namespace)
        ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED
    ),
    all_of_them AS MATERIALIZED (
        SELECT id FROM learning_marks WHERE family IN (SELECT family FROM oldest) FOR UPDATE SKIP LOCKED
    ),
    taken AS (DELETE FROM learning_marks WHERE id IN (SELECT id FROM all_of_them) RETURNING family, namespace)
    SELECT DISTINCT family, namespace FROM taken
    """
).bindparams(bindparam("limit", type_=BigInteger()), bindparam("namespace", type_=Text()))
_MOVE: Final = f"""
    WITH moved AS (
        DELETE FROM pattern_evidence AS old USING patterns AS alias
        WHERE alias.id = old.pattern_id AND alias.merged_into IS NOT NULL AND {{condition}}
        RETURNING alias.merged_into AS pattern_id, old.episode_id
    ),
    put AS (
        INSERT INTO pattern_evidence (pattern_id, episode_id) SELECT DISTINCT pattern_id, episode_id FROM moved
        ON CONFLICT DO NOTHING
    )
    {_MARK} WHERE id IN (SELECT pattern_id FROM moved)
"""  # noqa: S608 - a part of this module
_MOVE_FAMILIES: Final = text(_MOVE.format(condition="alias.family = ANY (:families)")).bindparams(
    bindparam("families", type_=_UIDS)
)
_MOVE_ONE: Final = text(_MOVE.format(condition="alias.id = :id")).bindparams(bindparam("id", type_=Uuid()))
_LOCK_FAMILIES: Final = text(
    "SELECT id FROM patterns WHERE family = ANY (:families) AND merged_into IS NULL ORDER BY id FOR NO KEY UPDATE"
).bindparams(bindparam("families", type_=_UIDS))


async def take_stale(session: Session, limit: int, *, namespace: str | None) -> tuple[Pattern, ...] | None:
    taken = await session.run("take_marks", _TAKE_MARKS, {"limit": limit, "namespace": namespace})
    if not taken:
        return None
    await share_learning(session, {row.namespace for row in taken})
    families = {"families": [row.family for row in taken]}
    await session.run("move_evidence", _MOVE_FAMILIES, families)
    await session.run("lock_families", _LOCK_FAMILIES, families)
    # Counted in a statement of its own: it sees what was committed until the locks were there.
    return rows.readable(await session.run("weigh_families", _COUNTED, families), rows.pattern)


_COLUMNS: Final = """
    p.id, p.kind, p.namespace, NULL AS user_id, NULL AS agent_id, NULL AS session_id, p.project_id, p.family, p.gist, p.premise,
    p.conclusion, p.words, p.description, p.content, p.confidence, p.state, p.first_seen_at, p.weighed_at
"""
# Who does not support a pattern of a family supports a rival of it: the rest of the family's episodes contradict.
_COUNTED: Final = text(
    f"""
    WITH of_pattern AS (
        SELECT e.pattern_id, count(*) AS count FROM pattern_evidence AS e JOIN patterns AS p ON p.id = e.pattern_id
        WHERE p.family = ANY (:families) AND p.merged_into IS NULL GROUP BY e.pattern_id
    ),
    of_family AS (
        SELECT p.family, count(DISTINCT e.episode_id) AS count
        FROM pattern_evidence AS e JOIN patterns AS p ON p.id = e.pattern_id
        WHERE p.family = ANY (:families) AND p.merged_into IS NULL GROUP BY p.family
    )
    SELECT {_COLUMNS}, coalesce(mine.count, 0) AS supporters, coalesce(whole.count, 0) - coalesce(mine.count, 0) AS contradictors
    FROM patterns AS p
    LEFT JOIN of_pattern AS mine ON mine.pattern_id = p.id
    LEFT JOIN of_family AS whole ON whole.family = p.family
    WHERE p.family = ANY (:families) AND p.merged_into IS NULL
    ORDER BY p.id
    """  # noqa: S608 - parts of this module
).bindparams(bindparam("families", type_=_UIDS))
_EVIDENCE: Final = text(
    f"""
    SELECT p.id, mine.ids AS supporting, theirs.ids AS contradicting
    FROM patterns AS p
    CROSS JOIN LATERAL (
        SELECT (array_agg(e.episode_id ORDER BY e.episode_id DESC))[1:{_MOST_EVIDENCE}] AS ids
        FROM pattern_evidence AS e WHERE e.pattern_id = p.id
    ) AS mine
    CROSS JOIN LATERAL (
        SELECT (array_agg(rival.episode_id ORDER BY rival.episode_id DESC))[1:{_MOST_EVIDENCE}] AS ids
        FROM (
            SELECT e.episode_id
            FROM patterns AS other JOIN pattern_evidence AS e ON e.pattern_id = other.id
            WHERE other.family = p.family AND other.id <> p.id AND other.merged_into IS NULL
            EXCEPT SELECT e.episode_id FROM pattern_evidence AS e WHERE e.pattern_id = p.id
        ) AS rival
    ) AS theirs
    WHERE p.id = ANY (:ids)
    """  # noqa: S608 - a constant of ours
).bindparams(bindparam("ids", type_=_UIDS))


async def with_evidence(session: Session, given: Sequence[Pattern]) -> tuple[Pattern, ...]:
    if not given:
        return ()
    found = {row.id: row for row in await session.run("evidence", _EVIDENCE, {"ids": [pattern.id for pattern in given]})}
    return tuple(
        replace(p, supporting_episodes=_uuids(found[p.id].supporting), contradicting_episodes=_uuids(found[p.id].contradicting))
        for p in given
        if p.id in found
    )


def _uuids(ids: Sequence[UUID] | None) -> tuple[UUID, ...]:
    return tuple(ids or ())


_LISTED: Final = text(
    f"SELECT {_COLUMNS}, p.supporters, p.contradictors FROM patterns AS p WHERE p.id = ANY (:ids) ORDER BY p.id"  # noqa: S608 - a constant of ours
).bindparams(bindparam("ids", type_=_UIDS))


async def page(session: Session, query: PatternQuery) -> tuple[Pattern, ...]:
    whose = Scope(query.scope.namespace, project_id=query.scope.project_id)
    conditions: list[ColumnElement[bool]] = [
        *admitted(patterns, whose),
        patterns.c.weighed_at.is_not(None),
        patterns.c.merged_into.is_(None),
        patterns.c.confidence >= query.min_confidence,
    ]
    if query.kind is not None:
        conditions.append(patterns.c.kind == query.kind.value)
    if query.state is not None:
        conditions.append(patterns.c.state == query.state.value)
    if query.after is not None:
        conditions.append(patterns.c.id > query.after)
    statement = select(patterns.c.id).where(*conditions).order_by(patterns.c.id).limit(query.limit)
    ids = [row.id for row in await session.run("patterns_page", statement)]
    listed = rows.readable(await session.run("list_patterns", _LISTED, {"ids": ids}), rows.pattern) if ids else ()
    return await with_evidence(session, listed)


_SIMILAR: Final = text(
    f"""
    SELECT given.id AS of_id, {_COLUMNS}, p.supporters, p.contradictors
    FROM patterns AS given
    CROSS JOIN LATERAL (
        SELECT * FROM (
            SELECT * FROM patterns AS same WHERE same.gist = given.gist
            UNION
            SELECT * FROM patterns AS near
            WHERE cardinality(given.words) > 0 AND near.words && given.words AND near.namespace = given.namespace
              AND near.project_id IS NOT DISTINCT FROM given.project_id AND near.kind = given.kind
              AND 4 * (SELECT count(*) FROM unnest(near.words) AS word WHERE word = ANY (given.words))
                  >= 3 * greatest(cardinality(near.words), cardinality(given.words))
        ) AS found
        WHERE found.id <> given.id AND found.merged_into IS NULL
          AND (found.weighed_at IS NOT NULL OR (found.first_seen_at, found.id) < (given.first_seen_at, given.id))
        ORDER BY found.first_seen_at, found.id
        LIMIT :limit
    ) AS p
    WHERE given.id = ANY (:ids)
    """  # noqa: S608 - a part of this module
).bindparams(bindparam("ids", type_=_UIDS), bindparam("limit", type_=BigInteger()))


async def similar(session: Session, given: Sequence[Pattern], limit: int) -> Mapping[UUID, Sequence[Pattern]]:
    if not given:
        return {}
    found: dict[UUID, list[Pattern]] = defaultdict(list)
    rows_found = await session.run("similar_patterns", _SIMILAR, {"ids": [pattern.id for pattern in given], "limit": limit})
    for of_id, pattern in rows.readable(rows_found, rows.pattern_similar_to):
        found[of_id].append(pattern)
    return found


_SAVE: Final = text(
    """
    UPDATE patterns SET confidence = new.confidence, supporters = new.supporters, contradictors = new.contradictors,
                        state = new.state, weighed_at = new.weighed_at
    FROM jsonb_to_recordset(CAST(:patterns AS jsonb)) AS new (
        id uuid, confidence double precision, supporters integer, contradictors integer, state text, weighed_at timestamptz
    )
    WHERE patterns.id = new.id
    """
).bindparams(bindparam("patterns", type_=Text()))
_DECIDED: Final = ("confidence", "supporters", "contradictors", "state", "weighed_at")


async def save(session: Session, weighed: Sequence[Pattern]) -> None:
    # The driver's UUIDs are a class of their own, which is no JSON.
    values = [{name: getattr(pattern, name) for name in _DECIDED} | {"id": str(pattern.id)} for pattern in weighed]
    await session.run("save_patterns", _SAVE, {"patterns": dump_json(values)})


async def merge(session: Session, pattern: Pattern, into: Pattern) -> None:
    said = {"merged_into": into.id, "description": "", "premise": [], "conclusion": [], "words": [], "content": {}}
    statement = update(patterns).where(patterns.c.id == pattern.id).values(said | {"state": PatternState.CANDIDATE.value})
    await session.run("merge_pattern", statement)
    chained = update(patterns).where(patterns.c.merged_into == pattern.id).values(merged_into=into.id)
    await session.run("merge_pattern", chained)
    await session.run("move_evidence", _MOVE_ONE, {"id": pattern.id})


async def delete_without_evidence(session: Session, ids: Sequence[UUID]) -> Sequence[UUID]:
    """Those of them that are gone now. What somebody adds evidence to right now stays: it is weighed again."""
    has_evidence = exists().where(pattern_evidence.c.pattern_id == patterns.c.id)
    free = select(patterns.c.id).where(_among(patterns.c.id, ids)).with_for_update(skip_locked=True)
    locked = [row.id for row in await session.run("lock_patterns", free)]
    statement = delete(patterns).where(_among(patterns.c.id, locked), ~has_evidence).returning(patterns.c.id)
    return [row.id for row in await session.run("delete_patterns", statement)]


async def stale_scopes(session: Session, limit: int, *, namespace: str | None) -> tuple[StaleScope, ...]:
    owner = (learning_marks.c.namespace, learning_marks.c.project_id)
    statement = select(*owner, func.array_agg(learning_marks.c.id).label("marks")).where(learning_marks.c.family.is_(None))
    if namespace is not None:
        statement = statement.where(learning_marks.c.namespace == namespace)
    statement = statement.group_by(*owner).order_by(func.min(learning_marks.c.id)).limit(limit)
    found = await session.run("stale_scopes", statement)
    return tuple(StaleScope(Scope(row.namespace, project_id=row.project_id), tuple(row.marks)) for row in found)


async def settle_scope(session: Session, stale: StaleScope) -> None:
    is_settled = learning_marks.c.id == func.any(bindparam("ids", list(stale.marks), ARRAY(BigInteger)))
    await session.run("settle_scope", delete(learning_marks).where(is_settled))


async def status(session: Session) -> LearningStatus:
    open_ones = select(
        func.count().filter(~queue.c.is_dead).label("pending"),
        func.count().filter(queue.c.is_dead).label("dead"),
        func.min(queue.c.created_at).filter(~queue.c.is_dead).label("oldest_at"),
        select(func.count()).select_from(learning_marks).scalar_subquery().label("stale"),
    ).select_from(queue)
    row = (await session.run("learning_status", open_ones))[0]
    is_shown = (patterns.c.weighed_at.is_not(None), patterns.c.merged_into.is_(None))
    counted = select(patterns.c.state, func.count().label("counted")).where(*is_shown).group_by(patterns.c.state)
    found = {PatternState(row.state): row.counted for row in await session.run("learning_status", counted)}
    return LearningStatus(row.pending, row.dead, row.stale, row.oldest_at, {state: found.get(state, 0) for state in PatternState})


def _among(column: ColumnElement[Any], ids: Sequence[UUID]) -> ColumnElement[bool]:
    return column == func.any(bindparam(None, list(ids), _UIDS))
