"""Learning from episodes: a run on request, and the patterns that were found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from app.api.dependencies import MayAdmin, MayRead, Service
from app.api.idempotency import Once, once
from app.api.openapi import ANY, BODY, ONCE
from app.api.wire.learning import LearnIn, PatternOut, PatternsOut
from app.api.wire.operations import RunOut
from app.ports import PatternQuery
from app.records import DEFAULT_NAMESPACE, PatternKind, PatternState, Scope

router = APIRouter(prefix="/v1", responses=ANY)


@dataclass(frozen=True, slots=True)
class PatternParams:
    """Which patterns: of a namespace, and of one project if that is named."""

    namespace: Annotated[str, Query()] = DEFAULT_NAMESPACE
    project_id: Annotated[str | None, Query()] = None
    kind: Annotated[PatternKind | None, Query()] = None
    state: Annotated[PatternState | None, Query()] = None
    min_confidence: Annotated[float, Query(description="In [0, 1]")] = 0.0
    after: Annotated[UUID | None, Query()] = None
    limit: Annotated[int, Query()] = 50

    @property
    def query(self) -> PatternQuery:
        scope = Scope(self.namespace, project_id=self.project_id)
        return PatternQuery(scope, self.kind, self.state, self.min_confidence, self.after, self.limit)


@router.post("/admin/learn", tags=["operations"], summary="Learn from the episodes that are due", responses=BODY | ONCE)
@once
async def learn(service: Service, access: MayAdmin, _: Once, body: LearnIn | None = None) -> RunOut:
    """Extracts patterns, weighs their evidence, and looks for heuristics. Returns when nothing is left to do."""
    asked = body or LearnIn()
    access.check(asked.namespace)
    return RunOut.of(await service.learn(asked.namespace, retry=asked.retry))


@router.get("/patterns", tags=["knowledge"], summary="Patterns seen in episodes, candidates and kept ones, paged")
async def list_patterns(service: Service, access: MayRead, params: Annotated[PatternParams, Depends()]) -> PatternsOut:
    """Those with a confidence above 0.7 and three supporting episodes are kept: they are knowledge under the same id."""
    access.check(params.namespace)
    found = await service.list_patterns(params.query)
    is_full = len(found) == params.limit
    return PatternsOut(patterns=[PatternOut.of(p) for p in found], next=found[-1].id if is_full else None)
