"""How good episodes are and how they read; backfill; and what is switched on."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from app.api.dependencies import MayAdmin, MayRead, Service
from app.api.idempotency import Once, once
from app.api.openapi import ANY, BODY, NOT_FOUND, ONCE
from app.api.wire.quality import (
    BackfillIn,
    BackfillOut,
    BackfillPendingOut,
    DistributionOut,
    FeaturesIn,
    FeaturesOut,
    PendingOut,
    QualityOut,
    RenderingOut,
)
from app.records import DEFAULT_NAMESPACE, EpisodeKind

router = APIRouter(prefix="/v1", responses=ANY)
Namespace = Annotated[str, Query()]


@router.get(
    "/episodes/{episode_id}/quality", tags=["episodes"], summary="How good it is, with a reason for every point lost",
    responses=NOT_FOUND,
)  # fmt: skip
async def episode_quality(
    episode_id: UUID, service: Service, access: MayRead, namespace: Namespace = DEFAULT_NAMESPACE
) -> QualityOut:
    access.check(namespace)
    episode = await service.get_episode(namespace, episode_id)
    quality = None if episode.kind is EpisodeKind.CONVERSATION else service.assess(episode)
    return QualityOut.of(
        episode, quality, is_learnable=service.is_learnable(episode), threshold=service.quality_threshold
    )  # fmt: skip


@router.get(
    "/episodes/{episode_id}/rendering", tags=["episodes"], summary="The text it is embedded by", responses=NOT_FOUND
)  # fmt: skip
async def episode_rendering(
    episode_id: UUID, service: Service, access: MayRead, namespace: Namespace = DEFAULT_NAMESPACE
) -> RenderingOut:
    access.check(namespace)
    text, version = service.render_episode(await service.get_episode(namespace, episode_id))
    return RenderingOut(episode_id=episode_id, text=text, rendering_version=version)


@router.get("/admin/quality", tags=["operations"], summary="How good the episodes are, by tenths and by project")
async def quality_distribution(service: Service, access: MayAdmin, namespace: str | None = None) -> DistributionOut:
    """Of one namespace, or of all; conversations do not count."""
    access.check(namespace)
    return DistributionOut.of_projects(await service.count_quality(namespace), service.quality_threshold)


@router.post(
    "/admin/backfill", tags=["operations"], summary="Score and embed episodes that lack a quality or a vector",
    responses=BODY | ONCE,
)  # fmt: skip
@once
async def backfill(service: Service, access: MayAdmin, _: Once, body: BackfillIn | None = None) -> BackfillOut:
    """Returns when it is done. Oldest and best first; safe beside traffic, and beside other backfills."""
    asked = body or BackfillIn()
    access.check(asked.namespace)
    return BackfillOut.of(await service.backfill(asked.backfill()))


@router.get("/admin/backfill", tags=["operations"], summary="How many episodes a backfill would find")
async def backfill_pending(service: Service, access: MayAdmin, namespace: str | None = None) -> BackfillPendingOut:
    access.check(namespace)
    return BackfillPendingOut(pending=PendingOut.of(await service.backfill_pending(namespace)))


@router.get("/admin/features", tags=["operations"], summary="What is switched on")
async def features(service: Service, access: MayAdmin) -> FeaturesOut:
    access.check(None)
    return FeaturesOut.of(await service.features())


@router.put("/admin/features", tags=["operations"], summary="Switch features on or off, without a restart", responses=BODY)
async def switch_features(body: FeaturesIn, service: Service, access: MayAdmin) -> FeaturesOut:
    """Here at once, in other processes within two seconds; it stays so until it is switched again."""
    access.check(None)
    return FeaturesOut.of(await service.switch_features(body.given))
