"""`ExperimentStore` on PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Text, bindparam, delete, func, or_, select, text, true, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.types import Uuid

from app.episodic import rows
from app.episodic.engine import Session, UnreadJson, connected
from app.episodic.experiment_tables import experiment_exposures, experiment_observations, experiments
from app.episodic.forgetting import among
from app.errors import Conflict
from app.lineage import Damaged
from app.records import (
    OUTCOME_QUALITY,
    Experiment,
    ExperimentState,
    Exposure,
    Metric,
    MetricKind,
    Mode,
    Observation,
    Plan,
    Sample,
    Scope,
    Stage,
    Unit,
    Variant,
)

_AT_ONCE: Final = 1000
_SEEN: Final = (experiment_exposures, experiment_observations)


class PostgresExperiments:
    """`ExperimentStore` on the engine it is given, which its maker disposes of."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def create(self, experiment: Experiment) -> Experiment:
        statement = insert(experiments).values(_values(experiment)).on_conflict_do_nothing()
        async with connected(self._engine) as session:
            await session.run("create_experiment", statement)
            kept = await _one(session, experiments.c.id == experiment.id)
            await session.commit()
        if kept is None:
            raise Conflict("name", f"{experiment.name!r} is taken by another experiment in this namespace")
        return kept

    async def find(self, namespace: str, name: str) -> Experiment | None:
        async with connected(self._engine) as session:
            return await _one(session, (experiments.c.namespace == namespace) & (experiments.c.name == name))

    async def page(self, namespace: str, *, state: ExperimentState | None, after: str, limit: int) -> tuple[Experiment, ...]:
        is_asked = (experiments.c.namespace == namespace) & (experiments.c.name > after)
        if state is not None:
            is_asked &= experiments.c.state == state.value
        statement = select(experiments).where(is_asked).order_by(experiments.c.name).limit(limit)
        async with connected(self._engine) as session:
            return rows.readable(await session.run("list_experiments", statement), experiment)

    async def change_state(
        self, experiment_id: UUID, *, former: Sequence[ExperimentState], state: ExperimentState, at: datetime
    ) -> bool:
        is_asked = (experiments.c.id == experiment_id) & experiments.c.state.in_([s.value for s in former])
        since = {ExperimentState.RUNNING: "started_at", ExperimentState.STOPPED: "stopped_at"}[state]
        statement = update(experiments).where(is_asked).values({"state": state.value, since: at}).returning(experiments.c.id)
        async with connected(self._engine) as session:
            changed = await session.run("change_experiment", statement)
            await session.commit()
        return bool(changed)

    async def record_exposures(self, exposures: Sequence[Exposure]) -> None:
        async with connected(self._engine) as session:
            known = await _known(session, {e.experiment_id for e in exposures})
            values = [{**asdict(e)} for e in exposures if e.experiment_id in known]
            for value in values:
                del value["namespace"]
            await _insert(session, experiment_exposures, values)
            await session.commit()

    async def exposures_of(self, namespace: str, search_id: UUID) -> tuple[Exposure, ...]:
        statement = (
            select(experiment_exposures, experiments.c.namespace)
            .join(experiments)
            .where(experiments.c.namespace == namespace, experiment_exposures.c.search_id == search_id)
        )
        async with connected(self._engine) as session:
            return rows.readable(await session.run("exposures_of", statement), exposure)

    async def record_observations(self, observations: Sequence[Observation]) -> None:
        async with connected(self._engine) as session:
            await _insert(session, experiment_observations, [asdict(o) for o in observations])
            await session.commit()

    async def samples(self, experiment: Experiment, metric: Metric) -> tuple[Sample, ...]:
        asked = {"id": experiment.id, "namespace": experiment.namespace, "name": experiment.name, "metric": metric.name}
        async with connected(self._engine) as session:
            found = await session.run("experiment_samples", _SAMPLES[experiment.unit], asked)
        return tuple(_sample(row) for row in found)

    async def forget(self, scope: Scope) -> int:
        async with connected(self._engine) as session:
            forgotten = 0
            for table in _SEEN:
                statement = delete(table).where(table.c.experiment_id == experiments.c.id, _admitted(table.c.subject, scope))
                forgotten += len(await session.run("forget_seen", statement.returning(table.c.experiment_id)))
            if scope == Scope(scope.namespace):
                await session.run("forget_experiments", delete(experiments).where(experiments.c.namespace == scope.namespace))
            await session.commit()
        return forgotten


# A subject's own values, and (for the metric that is joined) those of its episodes since its first search; a subject's
# value is the mean of them.
_VALUES: Final = """
    WITH exposed AS (
        SELECT subject, min(variant) AS variant, min(at) AS first_at
        FROM experiment_exposures WHERE experiment_id = :id GROUP BY subject
    ), seen AS (
        SELECT subject, variant, value FROM experiment_observations WHERE experiment_id = :id AND metric = :metric
        UNION ALL
        SELECT x.subject, x.variant, e.outcome_quality
        FROM exposed x JOIN (
            SELECT id, ended_at, outcome_quality, {owner} AS subject
            FROM episodes WHERE namespace = :namespace AND outcome_quality IS NOT NULL
            UNION
            SELECT id, ended_at, outcome_quality, metadata #>> '{{experiment,subject}}'
            FROM episodes
            WHERE namespace = :namespace AND outcome_quality IS NOT NULL AND metadata #>> '{{experiment,name}}' = :name
        ) e ON e.subject = x.subject AND e.ended_at >= x.first_at
        WHERE :metric = :joined
    ), subjects AS (
        SELECT variant, subject, avg(value) AS value FROM seen GROUP BY variant, subject
    )
    SELECT v.variant,
           (SELECT count(*) FROM exposed x WHERE x.variant = v.variant) AS exposed,
           count(s.subject) AS subjects,
           coalesce(avg(s.value), 0) AS mean,
           coalesce(var_samp(s.value), 0) AS variance,
           coalesce(bool_and(s.value IN (0, 1)), false) AS is_binary
    FROM (SELECT variant FROM exposed UNION SELECT variant FROM subjects) v LEFT JOIN subjects s ON s.variant = v.variant
    GROUP BY v.variant ORDER BY v.variant
"""
_OWNERS: Final = {Unit.SESSION: "session_id", Unit.USER: "user_id", Unit.AGENT: "agent_id", Unit.CUSTOM: "NULL::text"}
_SAMPLES: Final = {
    unit: text(_VALUES.format(owner=owner)).bindparams(
        bindparam("id", type_=Uuid()),
        bindparam("namespace", type_=Text()),
        bindparam("name", type_=Text()),
        bindparam("metric", type_=Text()),
        bindparam("joined", OUTCOME_QUALITY, type_=Text()),
    )
    for unit, owner in _OWNERS.items()
}


async def _one(session: Session, condition: ColumnElement[bool]) -> Experiment | None:
    return rows.only(await session.run("experiment", select(experiments).where(condition)), experiment)


async def _known(session: Session, ids: set[UUID]) -> set[UUID]:
    """Those that exist, and go on to until the transaction ends."""
    statement = select(experiments.c.id).where(among(experiments.c.id, ids)).with_for_update(read=True, key_share=True)
    return {row.id for row in await session.run("known_experiments", statement)}


async def _insert(session: Session, table: Any, values: Sequence[dict[str, Any]]) -> None:
    for start in range(0, len(values), _AT_ONCE):
        statement = insert(table).values(values[start : start + _AT_ONCE]).on_conflict_do_nothing()
        await session.run(f"insert_{table.name}", statement)


def _admitted(subject: ColumnElement[str], scope: Scope) -> ColumnElement[bool]:
    """The whole namespace, or the subjects that the one owner named is; nothing where there are several."""
    is_here = experiments.c.namespace == scope.namespace
    if scope == Scope(scope.namespace):
        return is_here & true()
    owned = [unit for unit in Unit if (name := unit.subject_in(scope)) is not None and scope == _alone(scope, unit, name)]
    return is_here & or_(
        *((experiments.c.unit == u.value) & (subject == u.subject_in(scope)) for u in owned), func.now().is_(None)
    )


def _alone(scope: Scope, unit: Unit, name: str) -> Scope:
    return Scope(scope.namespace, **{f"{unit.value}_id": name})


def _values(experiment: Experiment) -> dict[str, Any]:
    plan, metric = asdict(experiment.plan), experiment.metric
    own = {c.name: getattr(experiment, c.name) for c in experiments.c if hasattr(experiment, c.name)}
    judged = {"metric": metric.name, "metric_kind": metric.kind.value, "is_lower_better": metric.is_lower_better}
    return {**own, **plan, **judged, "variants": [_document(variant) for variant in experiment.variants]}


def _document(variant: Variant) -> dict[str, Any]:
    return {**asdict(variant), "ranking": dict(variant.ranking)}


def experiment(row: Row[Any]) -> Experiment:
    return Experiment(
        id=row.id,
        namespace=row.namespace,
        name=row.name,
        variants=_variants(row.variants),
        created_at=row.created_at,
        description=row.description,
        unit=Unit(row.unit),
        traffic_share=row.traffic_share,
        metric=Metric(row.metric, MetricKind(row.metric_kind), row.is_lower_better),
        plan=Plan(row.alpha, row.minimum_subjects, row.planned_subjects, row.minimum_effect),
        state=ExperimentState(row.state),
        started_at=row.started_at,
        stopped_at=row.stopped_at,
    )


def _variants(documents: Any) -> tuple[Variant, ...]:
    if isinstance(documents, UnreadJson) or not isinstance(documents, list) or len(documents) < len(("control", "other")):
        raise Damaged("variants: not a list of at least two")
    try:
        return tuple(_variant(document) for document in documents)
    except (TypeError, KeyError, AttributeError) as error:
        raise Damaged(f"variants: {type(error).__name__}") from error


def _variant(document: dict[str, Any]) -> Variant:
    mode, stages = document["mode"], document["stages"]
    return Variant(
        name=document["name"],
        weight=document["weight"],
        ranking=dict(document["ranking"]),
        mode=None if mode is None else Mode(mode),
        stages=None if stages is None else tuple(Stage(stage) for stage in stages),
        limit=document["limit"],
    )


def exposure(row: Row[Any]) -> Exposure:
    return Exposure(row.experiment_id, row.namespace, row.subject, row.search_id, row.variant, row.at)


def _sample(row: Row[Any]) -> Sample:
    return Sample(row.variant, row.exposed, row.subjects, row.mean, row.variance, row.is_binary)
