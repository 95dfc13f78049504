"""Episodes and knowledge."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from app.api.dependencies import MayRead, MayWrite, ReadScope, Service
from app.api.openapi import ANY, BODY, NOT_FOUND
from app.api.wire.records import (
    EpisodeIn,
    EpisodeOut,
    EpisodesOut,
    EpisodeStoredOut,
    KnowledgeIn,
    KnowledgeListOut,
    KnowledgeOut,
    OutcomeIn,
    StepOut,
    StepsIn,
    StepsOut,
)
from app.records import DEFAULT_NAMESPACE, EpisodeKind, KnowledgeKind, Wait, utc_now

router = APIRouter(prefix="/v1", responses=ANY)
Namespace = Annotated[str, Query()]
Limit = Annotated[int, Query()]


@router.post("/episodes", status_code=201, tags=["episodes"], summary="Store a decision, negotiation or task", responses=BODY)
async def store_episode(
    body: EpisodeIn, service: Service, access: MayWrite, wait: Annotated[Wait, Query()] = Wait.STORED
) -> EpisodeStoredOut:
    """On 201 the episode survives the death of any process and is found by its id.

    `wait=none` answers as soon as it is logged in Redis, `wait=stored` once it is in Postgres, `wait=indexed` once a search
    finds it. While Postgres is away it is logged in any case: `stored_in` says how far it came.
    """
    access.check(body.namespace)
    return EpisodeStoredOut.of_receipt(await service.store_episode(body.episode(utc_now()), body.steps, wait=wait))


@router.get("/episodes", tags=["episodes"], summary="Episodes, newest first, paged")
async def list_episodes(
    service: Service, access: MayRead, params: ReadScope, session_id: str | None = None,
    kind: EpisodeKind | None = None, before: UUID | None = None, limit: Limit = 50,
) -> EpisodesOut:  # fmt: skip
    access.check(params.namespace)
    found = await service.list_episodes(params.scope(session_id), kind=kind, before=before, limit=limit)
    return EpisodesOut(episodes=[EpisodeOut.of(e) for e in found], next=found[-1].id if len(found) == limit else None)


@router.get("/episodes/{episode_id}", tags=["episodes"], summary="One episode", responses=NOT_FOUND)
async def get_episode(
    episode_id: UUID, service: Service, access: MayRead, namespace: Namespace = DEFAULT_NAMESPACE
) -> EpisodeOut:
    access.check(namespace)
    return EpisodeOut.of(await service.get_episode(namespace, episode_id))


@router.delete("/episodes/{episode_id}", tags=["episodes"], status_code=204, summary="Delete an episode", responses=NOT_FOUND)
async def delete_episode(episode_id: UUID, service: Service, access: MayWrite, namespace: Namespace = DEFAULT_NAMESPACE) -> None:
    access.check(namespace)
    await service.delete_episode(namespace, episode_id)


@router.post("/episodes/{episode_id}/outcome", tags=["episodes"], summary="Say how it turned out", responses=BODY | NOT_FOUND)
async def record_outcome(episode_id: UUID, body: OutcomeIn, service: Service, access: MayWrite) -> EpisodeOut:
    access.check(body.namespace)
    return EpisodeOut.of(await service.record_outcome(body.namespace, episode_id, body.outcome, body.outcome_quality))


@router.post(
    "/episodes/{episode_id}/steps", tags=["episodes"], status_code=201, summary="Append steps", responses=BODY | NOT_FOUND
)
async def append_steps(episode_id: UUID, body: StepsIn, service: Service, access: MayWrite) -> StepsOut:
    access.check(body.namespace)
    steps = await service.append_steps(body.namespace, episode_id, body.steps)
    return StepsOut(steps=[StepOut.of(s) for s in steps], next=None)


@router.get("/episodes/{episode_id}/steps", tags=["episodes"], summary="Steps in order, paged", responses=NOT_FOUND)
async def list_steps(
    episode_id: UUID, service: Service, access: MayRead, namespace: Namespace = DEFAULT_NAMESPACE,
    after: Annotated[int, Query(ge=-1, le=2**31 - 1)] = -1, limit: Limit = 100,
) -> StepsOut:  # fmt: skip
    access.check(namespace)
    steps = await service.list_steps(namespace, episode_id, after=after, limit=limit)
    return StepsOut(steps=[StepOut.of(s) for s in steps], next=steps[-1].index if len(steps) == limit else None)


@router.post(
    "/knowledge", status_code=201, tags=["knowledge"], summary="Store a fact, strategy, pattern, constraint…", responses=BODY
)
async def store_knowledge(body: KnowledgeIn, service: Service, access: MayWrite) -> KnowledgeOut:
    access.check(body.namespace)
    return KnowledgeOut.of(await service.store_knowledge(body.knowledge(utc_now())))


@router.get("/knowledge", tags=["knowledge"], summary="Knowledge, newest first, paged")
async def list_knowledge(
    service: Service, access: MayRead, params: ReadScope, session_id: str | None = None,
    kind: KnowledgeKind | None = None, before: UUID | None = None, limit: Limit = 50,
) -> KnowledgeListOut:  # fmt: skip
    access.check(params.namespace)
    found = await service.list_knowledge(params.scope(session_id), kind=kind, before=before, limit=limit)
    return KnowledgeListOut(knowledge=[KnowledgeOut.of(k) for k in found], next=found[-1].id if len(found) == limit else None)


@router.get("/knowledge/{knowledge_id}", tags=["knowledge"], summary="One piece of knowledge", responses=NOT_FOUND)
async def get_knowledge(
    knowledge_id: UUID, service: Service, access: MayRead, namespace: Namespace = DEFAULT_NAMESPACE
) -> KnowledgeOut:
    access.check(namespace)
    return KnowledgeOut.of(await service.get_knowledge(namespace, knowledge_id))


@router.delete(
    "/knowledge/{knowledge_id}", tags=["knowledge"], status_code=204, summary="Delete a piece of knowledge", responses=NOT_FOUND
)
async def delete_knowledge(
    knowledge_id: UUID, service: Service, access: MayWrite, namespace: Namespace = DEFAULT_NAMESPACE
) -> None:
    access.check(namespace)
    await service.delete_knowledge(namespace, knowledge_id)
