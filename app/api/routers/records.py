"""Episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, TypedDict
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response

from app.api.dependencies import MayRead, MayWrite, ReadScope, Service
from app.api.idempotency import Once, once
from app.api.naming import EPISODE
from app.api.openapi import ANY, BODY, CHANGED, NOT_FOUND, NOT_MODIFIED, ONCE
from app.api.versions import IfMatch, IfNoneMatch, shown, tag
from app.api.wire.base import Moment
from app.api.wire.records import (
    EpisodeIn,
    EpisodeInFullOut,
    EpisodeOut,
    EpisodePatch,
    EpisodesOut,
    EpisodeStoredOut,
    FeedbackIn,
    FeedbackOut,
    OutcomeIn,
    OutcomeRevisionOut,
    OutcomesOut,
    StepOut,
    StepsIn,
    StepsOut,
)
from app.errors import InvalidInput
from app.records import DEFAULT_NAMESPACE, Episode, EpisodeKind, Wait, utc_now
from app.service import HybridMemoryService

router = APIRouter(prefix="/v1", responses=ANY)
Namespace = Annotated[str, Query()]
Limit = Annotated[int, Query()]


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


class _Page(TypedDict):
    kind: EpisodeKind | None
    before: UUID | None
    limit: int


@dataclass(frozen=True, slots=True)
class EpisodesAsked:
    """Which episodes: of one session or kind, and those in the archive or (without `archived`) the others.

    `lacks_outcome` asks for those in sight whose outcome is still waited for, `ended_before` how long for; conversations are
    among these only if `kind` asks for them.
    """

    session_id: Annotated[str | None, Query()] = None
    kind: Annotated[EpisodeKind | None, Query()] = None
    archived: Annotated[bool, Query()] = False
    lacks_outcome: Annotated[bool, Query(description="Only those whose outcome is still waited for")] = False
    ended_before: Annotated[Moment | None, Query(description="With `lacks_outcome` only")] = None

    def refuse_contradictions(self) -> None:
        if self.lacks_outcome and self.archived:
            raise InvalidInput("archived", "cannot be asked for together with lacks_outcome")
        if not self.lacks_outcome and self.ended_before is not None:
            raise InvalidInput("ended_before", "can only be asked for together with lacks_outcome")


@router.get("/episodes", tags=["episodes"], summary="Episodes, newest first, paged")
async def list_episodes(
    service: Service, access: MayRead, params: ReadScope, asked: Annotated[EpisodesAsked, Depends()],
    before: UUID | None = None, limit: Limit = 50,
) -> EpisodesOut:  # fmt: skip
    access.check(params.namespace)
    asked.refuse_contradictions()
    scope, page = params.scope(asked.session_id), _Page(kind=asked.kind, before=before, limit=limit)
    if asked.lacks_outcome:
        found = await service.list_episodes_without_outcome(scope, ended_before=asked.ended_before, **page)
    else:
        found = await service.list_episodes(scope, archived=asked.archived, **page)
    return EpisodesOut(episodes=await _shown_episodes(service, found), next=found[-1].id if len(found) == limit else None)


@router.get(
    EPISODE, tags=["episodes"], summary="One episode with its first 100 steps",
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
    return shown(
        response,
        EpisodeInFullOut.of_full(found, is_learnable=service.is_learnable(found.episode), reasons=reasons),
        held,
    )


@router.patch(EPISODE, tags=["episodes"], summary="Change fields of an episode", responses=BODY | NOT_FOUND | CHANGED)
async def change_episode(
    episode_id: UUID, body: EpisodePatch, service: Service, access: MayWrite, response: Response, expected: IfMatch
) -> EpisodeOut:
    """What is given replaces what is there; what an episode is (its kind, scope and span) stays."""
    access.check(body.namespace)
    changed = await service.change_episode(body.namespace, episode_id, body.applied_to, expected_version=expected.version)
    tag(response, changed.version)
    return await _shown_episode(service, changed)


@router.delete(EPISODE, tags=["episodes"], status_code=204, summary="Delete an episode", responses=NOT_FOUND | CHANGED)
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
    """For now or for good: what was said before is replaced, and kept in `GET …/outcomes`."""
    access.check(body.namespace)
    judged = await service.record_outcome(body.namespace, episode_id, body.outcome, body.outcome_quality, call=attempt.effect)
    return await _shown_episode(service, judged)


@router.get("/episodes/{episode_id}/outcomes", tags=["episodes"], summary="What was known of it, and when", responses=NOT_FOUND)
async def list_outcomes(
    episode_id: UUID, service: Service, access: MayRead, namespace: Namespace = DEFAULT_NAMESPACE,
    after: Annotated[int, Query(ge=-1, le=2**31 - 1)] = -1, limit: Limit = 100,
) -> OutcomesOut:  # fmt: skip
    access.check(namespace)
    outcomes = await service.list_outcomes(namespace, episode_id, after=after, limit=limit)
    following = outcomes[-1].index if len(outcomes) == limit else None
    return OutcomesOut(outcomes=[OutcomeRevisionOut.of(o) for o in outcomes], next=following)


@router.post(
    "/feedback", status_code=201, tags=["recall"], summary="Say what a recalled record was worth",
    responses=BODY | NOT_FOUND | ONCE,
)  # fmt: skip
@once
async def record_feedback(body: FeedbackIn, service: Service, access: MayWrite, attempt: Once) -> FeedbackOut:
    """The record ranks higher (`useful`) or lower (`wrong`, `outdated`, `harmful`) at once, within bounds, and less so as time
    goes by: `components.feedback` of a hit says how much. If its search took part in an experiment, `search_id` has the
    feedback count there as well."""
    access.check(body.namespace)
    scope = body.scope(body.session_id)
    return FeedbackOut.of(
        await service.record_feedback(
            scope,
            body.record_id,
            body.verdict,
            kind=body.kind,
            query=body.query,
            note=body.note,
            search_id=body.search_id,
            call=attempt.effect,
        )
    )


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
