"""Episodes and knowledge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar, cast
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response

from app.api.dependencies import MayRead, MayWrite, ReadScope, Service
from app.api.idempotency import Once, once
from app.api.openapi import ANY, BODY, CHANGED, NOT_FOUND, NOT_MODIFIED, ONCE
from app.api.versions import IfMatch, IfNoneMatch, is_known, not_modified, tag
from app.api.wire.records import (
    ApplicationIn,
    EpisodeIn,
    EpisodeInFullOut,
    EpisodeOut,
    EpisodePatch,
    EpisodesOut,
    EpisodeStoredOut,
    KnowledgeIn,
    KnowledgeListOut,
    KnowledgeOut,
    KnowledgePatch,
    OutcomeIn,
    StepOut,
    StepsIn,
    StepsOut,
)
from app.errors import InvalidInput
from app.records import DEFAULT_NAMESPACE, Episode, EpisodeKind, KnowledgeKind, Wait, utc_now
from app.service import HybridMemoryService

router = APIRouter(prefix="/v1", responses=ANY)
Namespace = Annotated[str, Query()]
Limit = Annotated[int, Query()]
Shown = TypeVar("Shown", EpisodeInFullOut, KnowledgeOut)


@router.post(
    "/episodes", status_code=201, tags=["episodes"], summary="Store a decision, negotiation or task", responses=BODY | ONCE
)
@once
async def store_episode(
    body: EpisodeIn, service: Service, access: MayWrite, attempt: Once, wait: Annotated[Wait, Query()] = Wait.STORED
) -> EpisodeStoredOut:
    """On 201 the episode survives the death of any process and is found by its id.

    `wait=none` answers as soon as it is logged in Redis, `wait=stored` once it is in Postgres, `wait=indexed` once a search
    finds it. While Postgres is away it is logged in any case: `stored_in` says how far it came. With an `Idempotency-Key` it
    goes to Postgres first, where the key is noted with it. While logging is switched off nothing is kept, and `skipped` says so.
    """
    access.check(body.namespace)
    receipt = await service.store_episode(body.episode(utc_now()), body.steps, wait=wait, call=attempt.effect)
    return EpisodeStoredOut.of_receipt(receipt, is_learnable=service.is_learnable(receipt.episode))


@dataclass(frozen=True, slots=True)
class EpisodesAsked:
    """Which episodes: of one session or kind, and those in the archive or (without `archived`) the others."""

    session_id: Annotated[str | None, Query()] = None
    kind: Annotated[EpisodeKind | None, Query()] = None
    archived: Annotated[bool, Query()] = False


@router.get("/episodes", tags=["episodes"], summary="Episodes, newest first, paged")
async def list_episodes(
    service: Service, access: MayRead, params: ReadScope, asked: Annotated[EpisodesAsked, Depends()],
    before: UUID | None = None, limit: Limit = 50,
) -> EpisodesOut:  # fmt: skip
    access.check(params.namespace)
    found = await service.list_episodes(
        params.scope(asked.session_id), kind=asked.kind, before=before, limit=limit, archived=asked.archived
    )
    shown = await _shown_episodes(service, found)
    return EpisodesOut(episodes=shown, next=found[-1].id if len(found) == limit else None)


@router.get(
    "/episodes/{episode_id}", tags=["episodes"], summary="One episode with its first 100 steps",
    responses=NOT_FOUND | NOT_MODIFIED,
)  # fmt: skip
async def get_episode(
    episode_id: UUID, service: Service, access: MayRead, response: Response, held: IfNoneMatch,
    namespace: Namespace = DEFAULT_NAMESPACE,
) -> EpisodeInFullOut:  # fmt: skip
    access.check(namespace)
    found = await service.read_episode(namespace, episode_id)
    if found.requires_embedding:
        response.headers["Cache-Control"] = "no-store"  # that changes without a new version
    reasons = _reasons(service, found.episode)
    return _shown(
        response,
        EpisodeInFullOut.of_full(found, is_learnable=service.is_learnable(found.episode), reasons=reasons),
        held,
    )


@router.patch(
    "/episodes/{episode_id}", tags=["episodes"], summary="Change fields of an episode", responses=BODY | NOT_FOUND | CHANGED
)
async def change_episode(
    episode_id: UUID, body: EpisodePatch, service: Service, access: MayWrite, response: Response, expected: IfMatch
) -> EpisodeOut:
    """What is given replaces what is there; what an episode is (its kind, scope and span) stays."""
    access.check(body.namespace)
    changed = await service.change_episode(body.namespace, episode_id, body.applied_to, expected_version=expected.version)
    tag(response, changed.version)
    return await _shown_episode(service, changed)


@router.delete(
    "/episodes/{episode_id}", tags=["episodes"], status_code=204, summary="Delete an episode", responses=NOT_FOUND | CHANGED
)
async def delete_episode(
    episode_id: UUID, service: Service, access: MayWrite, expected: IfMatch, namespace: Namespace = DEFAULT_NAMESPACE
) -> None:
    access.check(namespace)
    await service.delete_episode(namespace, episode_id, expected_version=expected.version)


@router.post(
    "/episodes/{episode_id}/outcome", tags=["episodes"], summary="Say how it turned out", responses=BODY | NOT_FOUND | ONCE
)
@once
async def record_outcome(episode_id: UUID, body: OutcomeIn, service: Service, access: MayWrite, attempt: Once) -> EpisodeOut:
    access.check(body.namespace)
    judged = await service.record_outcome(body.namespace, episode_id, body.outcome, body.outcome_quality, call=attempt.effect)
    return await _shown_episode(service, judged)


@router.post(
    "/episodes/{episode_id}/steps", tags=["episodes"], status_code=201, summary="Append steps", responses=BODY | NOT_FOUND | ONCE
)
@once
async def append_steps(episode_id: UUID, body: StepsIn, service: Service, access: MayWrite, attempt: Once) -> StepsOut:
    access.check(body.namespace)
    steps = await service.append_steps(body.namespace, episode_id, body.steps, call=attempt.effect)
    return StepsOut(steps=[StepOut.of(s) for s in steps], step_count=steps[-1].index + 1, next=None)


@dataclass(frozen=True, slots=True)
class StepsAsked:
    """Which steps: those behind `after`, or the page of this number."""

    after: Annotated[int | None, Query(ge=-1, le=2**31 - 1)] = None
    page: Annotated[int | None, Query(ge=1, le=10_000, description="From 1, each of `limit` steps; instead of `after`")] = None

    def behind(self, limit: int) -> int:
        """The index behind which the steps asked for begin."""
        if self.page is None:
            return -1 if self.after is None else self.after
        if self.after is not None:
            raise InvalidInput("page", "cannot be given together with after")
        return (self.page - 1) * limit - 1


@router.get("/episodes/{episode_id}/steps", tags=["episodes"], summary="Steps in order, paged", responses=NOT_FOUND)
async def list_steps(
    episode_id: UUID, service: Service, access: MayRead, asked: Annotated[StepsAsked, Depends()],
    namespace: Namespace = DEFAULT_NAMESPACE, limit: Limit = 100,
) -> StepsOut:  # fmt: skip
    access.check(namespace)
    return StepsOut.of(await service.read_steps(namespace, episode_id, after=asked.behind(limit), limit=limit))


@router.post(
    "/knowledge", status_code=201, tags=["knowledge"], summary="Store a fact, strategy, pattern, constraint…",
    responses=BODY | ONCE,
)  # fmt: skip
@once
async def store_knowledge(body: KnowledgeIn, service: Service, access: MayWrite, attempt: Once) -> KnowledgeOut:
    access.check(body.namespace)
    return KnowledgeOut.of(await service.store_knowledge(body.knowledge(utc_now()), call=attempt.effect))


@router.get("/knowledge", tags=["knowledge"], summary="Knowledge, newest first, paged")
async def list_knowledge(
    service: Service, access: MayRead, params: ReadScope, session_id: str | None = None,
    kind: KnowledgeKind | None = None, before: UUID | None = None, limit: Limit = 50,
) -> KnowledgeListOut:  # fmt: skip
    access.check(params.namespace)
    found = await service.list_knowledge(params.scope(session_id), kind=kind, before=before, limit=limit)
    return KnowledgeListOut(knowledge=[KnowledgeOut.of(k) for k in found], next=found[-1].id if len(found) == limit else None)


@router.get("/knowledge/{knowledge_id}", tags=["knowledge"], summary="One piece of knowledge", responses=NOT_FOUND | NOT_MODIFIED)
async def get_knowledge(
    knowledge_id: UUID, service: Service, access: MayRead, response: Response, held: IfNoneMatch,
    namespace: Namespace = DEFAULT_NAMESPACE,
) -> KnowledgeOut:  # fmt: skip
    access.check(namespace)
    knowledge = await service.get_knowledge(namespace, knowledge_id)
    return _shown(response, KnowledgeOut.of(knowledge), held)


@router.patch(
    "/knowledge/{knowledge_id}", tags=["knowledge"], summary="Change fields of a piece of knowledge",
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
    "/knowledge/{knowledge_id}", tags=["knowledge"], status_code=204, summary="Delete a piece of knowledge",
    responses=NOT_FOUND | CHANGED,
)  # fmt: skip
async def delete_knowledge(
    knowledge_id: UUID, service: Service, access: MayWrite, expected: IfMatch, namespace: Namespace = DEFAULT_NAMESPACE
) -> None:
    access.check(namespace)
    await service.delete_knowledge(namespace, knowledge_id, expected_version=expected.version)


async def _shown_episode(service: HybridMemoryService, episode: Episode) -> EpisodeOut:
    return (await _shown_episodes(service, [episode]))[0]


async def _shown_episodes(service: HybridMemoryService, episodes: Sequence[Episode]) -> list[EpisodeOut]:
    awaiting = await service.awaiting_embedding([e.uid for e in episodes])
    return [EpisodeOut.of(e, is_learnable=service.is_learnable(e), requires_embedding=e.uid in awaiting) for e in episodes]


def _reasons(service: HybridMemoryService, episode: Episode) -> list[str]:
    """Why the quality validator took points off; none where it has no say."""
    if episode.is_quality_given or episode.kind is EpisodeKind.CONVERSATION:
        return []
    in_order = sorted(service.assess(episode).reasons, key=lambda reason: -reason.lost)
    return [f"{reason.part}: {reason.problem} (−{reason.lost:.1%})" for reason in in_order]


def _shown(response: Response, record: Shown, held: frozenset[int] | None) -> Shown:
    """The record with its `ETag`, or 304 for a caller who has this version."""
    if is_known(record.version, held):
        return cast(Shown, not_modified(record.version))  # a response goes out as it is
    tag(response, record.version)
    return record
