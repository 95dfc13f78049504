"""Experiments over recall and ranking, and trends."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from app.api.dependencies import MayAdmin, MayRead, MayWrite, Service
from app.api.idempotency import Once, once
from app.api.openapi import ANY, BODY, NOT_FOUND, ONCE
from app.api.wire.experiments import (
    AnalysisOut,
    AssignmentOut,
    ExperimentIn,
    ExperimentOut,
    ExperimentsOut,
    ObservationsIn,
    ObservedOut,
    TransitionIn,
    TrendsOut,
)
from app.records import DEFAULT_NAMESPACE, ExperimentState, utc_now

router = APIRouter(prefix="/v1", responses=ANY)
Namespace = Annotated[str, Query()]
Limit = Annotated[int, Query()]


@router.post("/experiments", status_code=201, tags=["experiments"], summary="Make an experiment", responses=BODY | ONCE)
@once
async def create_experiment(body: ExperimentIn, service: Service, access: MayWrite, attempt: Once) -> ExperimentOut:
    """Named variants of what a search may be asked with; nothing changes before it is started."""
    access.check(body.namespace)
    return ExperimentOut.of(await service.create_experiment(body.experiment(attempt.id(0), utc_now())))


@router.get("/experiments", tags=["experiments"], summary="Experiments by name, paged")
async def list_experiments(
    service: Service, access: MayRead, namespace: Namespace = DEFAULT_NAMESPACE,
    state: ExperimentState | None = None, after: str = "", limit: Limit = 50,
) -> ExperimentsOut:  # fmt: skip
    access.check(namespace)
    found = await service.list_experiments(namespace, state=state, after=after, limit=limit)
    return ExperimentsOut(experiments=[ExperimentOut.of(e) for e in found], next=found[-1].name if len(found) == limit else None)


@router.get("/experiments/{name}", tags=["experiments"], summary="One experiment", responses=NOT_FOUND)
async def get_experiment(name: str, service: Service, access: MayRead, namespace: Namespace = DEFAULT_NAMESPACE) -> ExperimentOut:
    access.check(namespace)
    return ExperimentOut.of(await service.get_experiment(namespace, name))


@router.post(
    "/experiments/{name}/start", tags=["experiments"], summary="Let searches take part", responses=BODY | NOT_FOUND | ONCE
)
@once
async def start_experiment(
    name: str, service: Service, access: MayWrite, _: Once, body: TransitionIn | None = None
) -> ExperimentOut:
    """Other processes follow within five seconds. One that runs goes on; one that was stopped stays so: 409."""
    asked = body or TransitionIn()
    access.check(asked.namespace)
    return ExperimentOut.of(await service.start_experiment(asked.namespace, name))


@router.post(
    "/experiments/{name}/stop", tags=["experiments"], summary="Let no more searches take part", responses=BODY | NOT_FOUND | ONCE
)
@once
async def stop_experiment(
    name: str, service: Service, access: MayWrite, _: Once, body: TransitionIn | None = None
) -> ExperimentOut:
    """Outcomes of those that did take part still count when they come in later."""
    asked = body or TransitionIn()
    access.check(asked.namespace)
    return ExperimentOut.of(await service.stop_experiment(asked.namespace, name))


@router.get(
    "/experiments/{name}/assignments/{subject:path}", tags=["experiments"], summary="What a subject gets", responses=NOT_FOUND
)
async def get_assignment(
    name: str, subject: str, service: Service, access: MayRead, namespace: Namespace = DEFAULT_NAMESPACE
) -> AssignmentOut:
    """For whoever applies settings of their own. Always the same for the same subject; no exposure is noted."""
    access.check(namespace)
    return AssignmentOut.of(await service.assign(namespace, name, subject))


@router.post(
    "/experiments/{name}/observations", status_code=201, tags=["experiments"], summary="Record what was seen of subjects",
    responses=BODY | NOT_FOUND | ONCE,
)  # fmt: skip
@once
async def observe(name: str, body: ObservationsIn, service: Service, access: MayWrite, attempt: Once) -> ObservedOut:
    """All or none. A subject counts once, by the mean of its values, for the variant that it is assigned to."""
    access.check(body.namespace)
    drafts = [observation.draft(attempt.id(place)) for place, observation in enumerate(body.observations)]
    return ObservedOut.of(await service.observe(body.namespace, name, drafts))


@router.get("/experiments/{name}/analysis", tags=["experiments"], summary="What it says so far", responses=NOT_FOUND)
async def analyse_experiment(
    name: str, service: Service, access: MayRead, namespace: Namespace = DEFAULT_NAMESPACE, metric: str | None = None
) -> AnalysisOut:
    """Effects, intervals and a recommendation, by the experiment's metric or another one that was observed.

    The intervals hold at every look at once, so look as often as you like.
    """
    access.check(namespace)
    return AnalysisOut.of(await service.analyse_experiment(namespace, name, metric=metric))


@router.get("/admin/trends", tags=["operations"], summary="Quality, recall latency and error rate over 7 or 30 days")
async def trends(
    service: Service, access: MayAdmin, namespace: Annotated[str | None, Query()] = None, days: Annotated[int, Query()] = 7
) -> TrendsOut:
    """Of a namespace, or (without one, for a key of all) of all. A direction is named only where it is statistically there."""
    access.check(namespace)
    return TrendsOut.of(await service.trends(namespace=namespace, days=days))
