"""Operations: consolidation, status, the outbox, retention, forgetting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from app.api.dependencies import MayAdmin, Service, installation_of
from app.api.idempotency import Once, once
from app.api.openapi import ANY, BODY, ONCE
from app.api.wire.operations import (
    ConsolidateIn,
    DropIn,
    DropOut,
    EmbeddingOut,
    ForgetIn,
    ForgetOut,
    OutboxEntryOut,
    OutboxOut,
    ReconcileIn,
    ReconcileOut,
    ReconciliationsOut,
    RetentionIn,
    RetentionOut,
    RetryIn,
    RetryOut,
    RunOut,
    RunsOut,
    StatusOut,
)
from app.bootstrap import Installation
from app.errors import EmbedderUnavailable, InvalidInput, TierUnavailable
from app.ports import LearningStatus, OutboxQuery, OutboxState
from app.records import Scope

router = APIRouter(prefix="/v1/admin", tags=["operations"], responses=ANY)
Limit = Annotated[int, Query()]


@dataclass(frozen=True, slots=True)
class OutboxParams:
    """Which entries: of one state, or (`is_dead`) dead letters or all others; of one namespace or all."""

    state: Annotated[OutboxState | None, Query()] = None
    is_dead: Annotated[bool | None, Query()] = None
    namespace: Annotated[str | None, Query()] = None
    after: Annotated[int, Query(ge=0, le=2**63 - 1)] = 0
    limit: Limit = 100

    @property
    def query(self) -> OutboxQuery:
        asked = set(OutboxState) if self.state is None else {self.state}
        if self.is_dead is not None:
            asked &= {s for s in OutboxState if (s is OutboxState.DEAD) == self.is_dead}
        if not asked:
            raise InvalidInput("is_dead", "contradicts state")
        return OutboxQuery(self.limit, tuple(sorted(asked)), self.namespace, self.after)


@router.post("/consolidate", summary="Consolidate until nothing is left to do", responses=BODY | ONCE)
@once
async def consolidate(service: Service, access: MayAdmin, _: Once, body: ConsolidateIn | None = None) -> RunOut:
    asked = body or ConsolidateIn()
    access.check(asked.namespace)
    if asked.namespace is None:
        if asked.session_id is not None:
            raise InvalidInput("namespace", "must be given with session_id")
        return RunOut.of(await service.consolidate())
    return RunOut.of(await service.consolidate(Scope(asked.namespace, session_id=asked.session_id)))


@router.get("/status", summary="What waits where, and how far the index is from the truth")
async def status(
    service: Service, access: MayAdmin, installation: Annotated[Installation, Depends(installation_of)]
) -> StatusOut:
    access.check(None)
    return StatusOut.of(await service.status(), _embedding(installation), await _learning(service))


@router.get("/runs", summary="The newest consolidation runs")
async def list_runs(service: Service, access: MayAdmin, limit: Limit = 20) -> RunsOut:
    access.check(None)
    return RunsOut(runs=[RunOut.of(run) for run in await service.list_runs(limit)])


@router.post("/reconcile", summary="Compare the index with PostgreSQL, record by record", responses=BODY | ONCE)
@once
async def reconcile(service: Service, access: MayAdmin, _: Once, body: ReconcileIn | None = None) -> ReconcileOut:
    """Reports what is missing, orphaned, stale or in the wrong space; with `repair` it is queued for the indexer as well.

    Returns when everything was compared. One that was interrupted is gone on with; 409 while another one runs.
    """
    asked = body or ReconcileIn()
    access.check(asked.namespace)
    return ReconcileOut.of(await service.reconcile(is_repair=asked.repair, namespace=asked.namespace))


@router.get("/reconcile", summary="The newest comparisons, also one that is running")
async def list_reconciliations(service: Service, access: MayAdmin, limit: Limit = 20) -> ReconciliationsOut:
    access.check(None)
    return ReconciliationsOut(runs=[ReconcileOut.of(run) for run in await service.list_reconciliations(limit)])


@router.get("/outbox", summary="Records waiting to be indexed, and dead letters with their reason, paged")
async def list_outbox(service: Service, access: MayAdmin, params: Annotated[OutboxParams, Depends()]) -> OutboxOut:
    access.check(params.namespace)
    query = params.query
    entries = await service.list_outbox(query)
    return OutboxOut(
        entries=[OutboxEntryOut.of(e) for e in entries], next=entries[-1].entry.id if len(entries) == query.limit else None
    )


@router.post("/outbox/retry", summary="Make dead letters due again", responses=BODY | ONCE)
@once
async def retry_dead_letters(service: Service, access: MayAdmin, _: Once, body: RetryIn | None = None) -> RetryOut:
    asked = body or RetryIn()
    access.check(asked.namespace)
    return RetryOut(retried=await service.retry_dead_letters(asked.ids, namespace=asked.namespace))


@router.post("/outbox/drop", summary="Give up on dead letters for good", responses=BODY | ONCE)
@once
async def drop_dead_letters(service: Service, access: MayAdmin, _: Once, body: DropIn) -> DropOut:
    """Their records stay as they are: what was to be indexed is not found, what was to leave the index stays in it."""
    access.check(body.namespace)
    return DropOut(dropped=await service.drop_dead_letters(body.ids, namespace=body.namespace))


@router.post("/retention", summary="Retire, archive and delete what has outlived its retention", responses=BODY | ONCE)
@once
async def retain(service: Service, access: MayAdmin, _: Once, body: RetentionIn | None = None) -> RetentionOut:
    """A dry run changes nothing, and counts what a run would do now."""
    access.check(None)
    dry_run = body is not None and body.dry_run
    return RetentionOut.of(await service.retain(dry_run=dry_run), dry_run=dry_run)


@router.post("/forget", summary="Remove a scope, or records by name, from all tiers", responses=BODY | ONCE)
@once
async def forget(body: ForgetIn, service: Service, access: MayAdmin, _: Once) -> ForgetOut:
    """The receipt counts what was removed from each tier and what a second look still found."""
    access.check(body.namespace)
    if body.names_records:
        return ForgetOut.of(await service.forget_records(body.selection))
    return ForgetOut.of(await service.forget(body.scope))


async def _learning(service: Service) -> LearningStatus | None:
    try:
        return await service.learning_status()
    except TierUnavailable:
        return None


def _embedding(installation: Installation) -> EmbeddingOut | None:
    try:
        space = installation.embedder.space
    except EmbedderUnavailable:
        return None
    provider = installation.provider_in_use()
    return EmbeddingOut(space=space.name, model=space.model, dimension=space.dimension, provider=provider)
