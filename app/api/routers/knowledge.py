"""Knowledge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response

from app.api.dependencies import MayRead, MayWrite, ReadScope, Service
from app.api.idempotency import Once, once
from app.api.naming import KNOWLEDGE
from app.api.openapi import ANY, BODY, CHANGED, NOT_FOUND, NOT_MODIFIED, ONCE
from app.api.versions import IfMatch, IfNoneMatch, shown, tag
from app.api.wire.base import Moment
from app.api.wire.knowledge import (
    ApplicationIn,
    EvidenceIn,
    HistoryOut,
    KnowledgeIn,
    KnowledgeListOut,
    KnowledgeOut,
    KnowledgePatch,
    StrategiesIn,
    StrategiesOut,
    SupersedeIn,
)
from app.records import DEFAULT_NAMESPACE, KnowledgeKind, utc_now

router = APIRouter(prefix="/v1", responses=ANY)
Namespace = Annotated[str, Query()]
Limit = Annotated[int, Query()]


@router.post(
    "/knowledge", status_code=201, tags=["knowledge"], summary="Store a fact, strategy, pattern, constraint…",
    responses=BODY | ONCE,
)  # fmt: skip
@once
async def store_knowledge(body: KnowledgeIn, service: Service, access: MayWrite, attempt: Once) -> KnowledgeOut:
    access.check(body.namespace)
    return KnowledgeOut.of(await service.store_knowledge(body.knowledge(utc_now()), call=attempt.effect))


@dataclass(frozen=True, slots=True)
class KnowledgeAsked:
    """Which knowledge: of one session or kind, what held at a time, and what is usually left out."""

    session_id: Annotated[str | None, Query()] = None
    kind: Annotated[KnowledgeKind | None, Query()] = None
    as_of: Annotated[Moment | None, Query(description="What held then; now, if left out")] = None
    include_superseded: Annotated[bool, Query(description="Also what does not hold then, or no longer")] = False
    include_inactive: Annotated[bool, Query(description="Also what is not recalled")] = False


@router.get("/knowledge", tags=["knowledge"], summary="Knowledge that holds, newest first, paged")
async def list_knowledge(
    service: Service, access: MayRead, params: ReadScope, asked: Annotated[KnowledgeAsked, Depends()],
    before: UUID | None = None, limit: Limit = 50,
) -> KnowledgeListOut:  # fmt: skip
    access.check(params.namespace)
    found = await service.list_knowledge(
        params.scope(asked.session_id), kind=asked.kind, before=before, limit=limit, as_of=asked.as_of,
        include_superseded=asked.include_superseded, include_inactive=asked.include_inactive,
    )  # fmt: skip
    return KnowledgeListOut(knowledge=[KnowledgeOut.of(k) for k in found], next=found[-1].id if len(found) == limit else None)


@router.post("/knowledge/strategies", tags=["knowledge"], summary="What was learned that applies in a situation", responses=BODY)
async def get_learned_strategies(body: StrategiesIn, service: Service, access: MayRead) -> StrategiesOut:
    """All conditions of a piece have to hold in a JSON context; a text is compared in meaning. Each answer says why."""
    access.check(body.namespace)
    asked = body.situation()
    return StrategiesOut.of(
        await service.get_learned_strategies(
            asked.context,
            asked.scope,
            min_confidence=asked.min_confidence,
            kinds=asked.kinds,
            limit=asked.limit,
            as_of=asked.as_of,
        )
    )


@router.get(KNOWLEDGE, tags=["knowledge"], summary="One piece of knowledge", responses=NOT_FOUND | NOT_MODIFIED)
async def get_knowledge(
    knowledge_id: UUID, service: Service, access: MayRead, response: Response, held: IfNoneMatch,
    namespace: Namespace = DEFAULT_NAMESPACE,
) -> KnowledgeOut:  # fmt: skip
    access.check(namespace)
    knowledge = await service.get_knowledge(namespace, knowledge_id)
    return shown(response, KnowledgeOut.of(knowledge), held)


@router.patch(
    KNOWLEDGE, tags=["knowledge"], summary="Change fields of a piece of knowledge",
    responses=BODY | NOT_FOUND | CHANGED,
)  # fmt: skip
async def change_knowledge(
    knowledge_id: UUID, body: KnowledgePatch, service: Service, access: MayWrite, response: Response, expected: IfMatch
) -> KnowledgeOut:
    """What is given replaces what is there; kind, scope and what was counted stay."""
    access.check(body.namespace)
    changed = await service.change_knowledge(body.namespace, knowledge_id, body.applied_to, expected_version=expected.version)
    tag(response, changed.version)
    return KnowledgeOut.of(changed)


@router.post(
    "/knowledge/{knowledge_id}/applications", tags=["knowledge"], summary="Say that it was applied, and how that went",
    responses=BODY | NOT_FOUND | ONCE,
)  # fmt: skip
@once
async def apply_knowledge(
    knowledge_id: UUID, body: ApplicationIn, service: Service, access: MayWrite, attempt: Once
) -> KnowledgeOut:
    """Counted once a call; `episode_id` joins the episodes that support it, or those that contradict it."""
    access.check(body.namespace)
    return KnowledgeOut.of(
        await service.apply_knowledge(body.namespace, knowledge_id, body.outcome, episode_id=body.episode_id, call=attempt.effect)
    )


@router.delete(
    KNOWLEDGE, tags=["knowledge"], status_code=204, summary="Delete a piece of knowledge",
    responses=NOT_FOUND | CHANGED,
)  # fmt: skip
async def delete_knowledge(
    knowledge_id: UUID, service: Service, access: MayWrite, expected: IfMatch, namespace: Namespace = DEFAULT_NAMESPACE
) -> None:
    access.check(namespace)
    await service.delete_knowledge(namespace, knowledge_id, expected_version=expected.version)


@router.post(
    "/knowledge/{knowledge_id}/evidence", tags=["knowledge"], summary="Name episodes that support or contradict it",
    responses=BODY | NOT_FOUND | ONCE,
)  # fmt: skip
@once
async def add_evidence(knowledge_id: UUID, body: EvidenceIn, service: Service, access: MayWrite, attempt: Once) -> KnowledgeOut:
    """The confidence follows; an episode counts once, and stands on one side."""
    access.check(body.namespace)
    return KnowledgeOut.of(
        await service.add_evidence(
            body.namespace,
            knowledge_id,
            supporting_episodes=body.supporting_episodes,
            contradicting_episodes=body.contradicting_episodes,
            call=attempt.effect,
        )
    )


@router.post(
    "/knowledge/{knowledge_id}/supersede", status_code=201, tags=["knowledge"], summary="Say what holds instead",
    responses=BODY | NOT_FOUND | ONCE,
)  # fmt: skip
@once
async def supersede_knowledge(
    knowledge_id: UUID, body: SupersedeIn, service: Service, access: MayWrite, attempt: Once
) -> KnowledgeOut:
    """Answers with the successor. The older piece is kept and ends when the successor begins; each names the other."""
    access.check(body.namespace)
    older = await service.get_knowledge(body.namespace, knowledge_id)
    successor = body.successor(older, utc_now())
    return KnowledgeOut.of(await service.supersede_knowledge(body.namespace, knowledge_id, successor, call=attempt.effect))


@router.get(
    "/knowledge/{knowledge_id}/history", tags=["knowledge"], summary="What superseded what, and every change",
    responses=NOT_FOUND,
)  # fmt: skip
async def get_knowledge_history(
    knowledge_id: UUID, service: Service, access: MayRead, namespace: Namespace = DEFAULT_NAMESPACE,
    after: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0, limit: Limit = 100,
) -> HistoryOut:  # fmt: skip
    access.check(namespace)
    history = await service.get_knowledge_history(namespace, knowledge_id, after=after, limit=limit)
    return HistoryOut.of(history, limit)
