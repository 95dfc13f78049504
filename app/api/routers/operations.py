"""For orchestrators and Prometheus: alive, ready, metrics. Open, and free of anybody's memories."""

from __future__ import annotations

from dataclasses import asdict, replace

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app.api.dependencies import Service
from app.api.wire.operations import HealthOut, TierOut

router = APIRouter(tags=["operations"])


@router.get("/health/live", summary="The process answers")
async def live() -> dict[str, str]:
    return {"status": "live"}


@router.get("/health/ready", summary="A ping per dependency; 503 when one is down", responses={503: {"model": HealthOut}})
async def ready(service: Service, response: Response) -> HealthOut:
    """The model loads in the background and does not hold readiness up: until then search answers by words."""
    tiers = await service.health()
    is_ready = all(t.is_up for t in tiers)
    response.status_code = 200 if is_ready else 503
    out = [TierOut(**asdict(replace(t, latency_ms=round(t.latency_ms, 3)))) for t in tiers]
    return HealthOut(status="ready" if is_ready else "degraded", tiers=out)


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
async def metrics(service: Service) -> Response:
    await service.status()  # brings the gauges up to date
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
