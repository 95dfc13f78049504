"""Moving memories: a backup of everything, and a namespace as a file, out and in."""

from __future__ import annotations

from fastapi import APIRouter

from app.api.dependencies import MayAdmin, Service
from app.api.openapi import ANY
from app.api.streaming import Stream

router = APIRouter(prefix="/v1/admin", tags=["operations"], responses=ANY)
_GZIP = "application/gzip"


@router.get(
    "/backup",
    summary="Everything, as the file that `hybrid-memory restore` takes",
    response_class=Stream,
    responses={200: {"content": {_GZIP: {"schema": {"type": "string", "format": "binary"}}}, "description": "The file"}},
)
async def backup(service: Service, access: MayAdmin) -> Stream:
    """A file that lacks its end is known as no backup."""
    access.check(None)
    return await Stream.begun(service.backup(), media_type=_GZIP, filename="hybrid-memory.backup")
