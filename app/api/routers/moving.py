"""Moving memories: a backup of everything, and a namespace as a file, out and in."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request

from app.api.dependencies import MayAdmin, Service
from app.api.idempotency import TAKES_KEY
from app.api.openapi import ANY, BODY
from app.api.streaming import Stream
from app.api.wire.operations import ImportOut
from app.transfer.portable import EXAMPLE

router = APIRouter(prefix="/v1/admin", tags=["operations"], responses=ANY)
IMPORT_PATH: Final = "/v1/admin/import"
_GZIP: Final = "application/gzip"
_LINES: Final = "application/x-ndjson"
Namespace = Annotated[str, Query(description="Has to be said: there is no default for moving")]


def _file(media_type: str) -> dict[int | str, dict[str, Any]]:
    schema = {"type": "string", "format": "binary"}
    return {200: {"content": {media_type: {"schema": schema}}, "description": "The file"}}


@router.get(
    "/backup",
    summary="Everything, as the file that `hybrid-memory restore` takes",
    status_code=200,
    response_class=Stream,
    responses=_file(_GZIP),
)
async def backup(service: Service, access: MayAdmin) -> Stream:
    """A file that lacks its end is known as no backup."""
    access.check(None)
    return await Stream.begun(service.backup(), media_type=_GZIP, filename="hybrid-memory.backup")


@router.get("/export", summary="A namespace as JSON Lines", status_code=200, response_class=Stream, responses=_file(_LINES))
async def export(namespace: Namespace, service: Service, access: MayAdmin) -> Stream:
    """The last line says how many there are: a file without it is not whole."""
    access.check(namespace)
    return await Stream.begun(service.export(namespace), media_type=_LINES, filename="hybrid-memory.jsonl")


@router.post(
    "/import",
    summary="Take in what was exported",
    responses=BODY,
    dependencies=[TAKES_KEY],
    openapi_extra={"requestBody": {"required": True, "content": {_LINES: {"schema": {"type": "string", "example": EXAMPLE}}}}},
)
async def import_lines(namespace: Namespace, request: Request, service: Service, access: MayAdmin) -> ImportOut:
    """Looked at as a whole before anything is written. What is there already is left as it is."""
    access.check(namespace)
    async with _spooled(request) as path:
        return ImportOut.of(await service.import_file(path, namespace))


@asynccontextmanager
async def _spooled(request: Request) -> AsyncIterator[Path]:
    """The body as a file, for as long as it is read."""
    with tempfile.NamedTemporaryFile(prefix="hybrid-memory-import-") as file:
        async for portion in request.stream():
            file.write(portion)
        file.flush()
        yield Path(file.name)
