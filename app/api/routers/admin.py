"""Operations: consolidation, status, the outbox, forgetting."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from app.api.dependencies import MayAdmin, Service, installation_of
from app.api.idempotency import Once, once
from app.api.openapi import ANY, BODY, ONCE
from app.api.wire.operations import (
    ConsolidateIn,
    EmbeddingOut,
    ForgetIn,
    ForgetOut,
    OutboxEntryOut,
    OutboxOut,
    ReconcileIn,
    ReconcileOut,
    ReconciliationsOut,
    RetryIn,
    RetryOut,
    RunOut,
    RunsOut,
    StatusOut,
)
from app.bootstrap import Installation
from app.errors import EmbedderUnavailable, InvalidInput
from app.records import Scope

router = APIRouter(prefix="/v1/admin", tags=["operations"], responses=ANY)
Limit = Annotated[int, Query()]


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
    return StatusOut.of(await service.status(), _embedding(installation))


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


@router.get("/outbox", summary="Records waiting to be indexed, and dead letters with their reason")
async def list_outbox(
    service: Service, access: MayAdmin, is_dead: Annotated[bool | None, Query()] = None, limit: Limit = 100
) -> OutboxOut:
    access.check(None)
    entries = await service.list_outbox(is_dead=is_dead, limit=limit)
    return OutboxOut(entries=[OutboxEntryOut.of(e) for e in entries])


@router.post("/outbox/retry", summary="Make dead letters due again", responses=BODY | ONCE)
@once
async def retry_dead_letters(service: Service, access: MayAdmin, _: Once, body: RetryIn | None = None) -> RetryOut:
    access.check(None)
    return RetryOut(retried=await service.retry_dead_letters(None if body is None else body.ids))


@router.post("/forget", summary="Remove a session, or a whole namespace, from all tiers", responses=BODY | ONCE)
@once
async def forget(body: ForgetIn, service: Service, access: MayAdmin, _: Once) -> ForgetOut:
    """The receipt counts what was removed and what a second look still found."""
    access.check(body.namespace)
    return ForgetOut.of(await service.forget(Scope(body.namespace, session_id=body.session_id)))


def _embedding(installation: Installation) -> EmbeddingOut | None:
    try:
        space = installation.embedder.space
    except EmbedderUnavailable:
        return None
    provider = installation.provider_in_use()
    return EmbeddingOut(space=space.name, model=space.model, dimension=space.dimension, provider=provider)
