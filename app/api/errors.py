"""Every error as problem details (RFC 9457): one table from class to status, most specific class wins."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from app import errors
from app.api.wire import FieldProblem, Problem

log = structlog.get_logger(__name__)

STATUS: Final[dict[type[errors.HybridMemoryError], HTTPStatus]] = {
    errors.InvalidInput: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.Conflict: HTTPStatus.CONFLICT,
    errors.Unauthenticated: HTTPStatus.UNAUTHORIZED,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.TierUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.EmbedderUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.DimensionMismatch: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.ConfigurationError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.DataDirectoryInUse: HTTPStatus.INTERNAL_SERVER_ERROR,
}
_RETRY_AFTER_SECONDS: Final = "1"
_MEDIA_TYPE: Final = "application/problem+json"

_TITLES: Final = {
    HTTPStatus.UNPROCESSABLE_ENTITY: "The request breaks a limit",
    HTTPStatus.SERVICE_UNAVAILABLE: "A tier is away; the call may be repeated",
    HTTPStatus.CONFLICT: "The record is taken by other content",
}

RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": Problem, "description": description, "content": {_MEDIA_TYPE: {}}}
    for status, description in {
        400: "The body is not JSON",
        401: "A key is needed",
        403: "The key does not cover this",
        404: "No such record in this namespace",
        409: "The id is taken by other content",
        413: "The body is too large",
        422: "A field breaks a limit: `errors` names it",
        503: "A tier is away; the call may be repeated",
    }.items()
}
"""What every endpoint may answer besides its own response."""


def status_of(error: errors.HybridMemoryError) -> HTTPStatus:
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def install(app: FastAPI) -> None:
    """Make every error leave as problem details."""
    app.add_exception_handler(errors.HybridMemoryError, _on_own)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_bug)


async def _on_own(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, errors.HybridMemoryError)  # noqa: S101 - registered for this class
    fields: list[FieldProblem] = []
    if isinstance(error, errors.InvalidInput | errors.Conflict):
        fields.append(FieldProblem(field=error.field, problem=error.problem))
    return problem(request, status_of(error), str(error), fields)


async def _on_validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class
    found = error.errors()
    fields = [FieldProblem(field=_path(e["loc"]), problem=e["msg"]) for e in found]
    is_unreadable = any(e["type"] == "json_invalid" for e in found)
    status = HTTPStatus.BAD_REQUEST if is_unreadable else HTTPStatus.UNPROCESSABLE_ENTITY
    return problem(request, status, "; ".join(f"{f.field}: {f.problem}" for f in fields[:5]), fields)


async def _on_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class
    response = problem(request, HTTPStatus(error.status_code), str(error.detail))
    response.headers.update(error.headers or {})
    return response


async def _on_bug(request: Request, error: Exception) -> JSONResponse:
    """The process outlives a bug; the caller learns nothing of its inside, the log everything."""
    log.error("unhandled_error", path=request.url.path, exc_info=error)
    return problem(request, HTTPStatus.INTERNAL_SERVER_ERROR, "an internal error; the log has it under this request id")


def problem(request: Request, status: HTTPStatus, detail: str, fields: Sequence[FieldProblem] = ()) -> JSONResponse:
    body = Problem(
        title=_TITLES.get(status, status.phrase),
        status=status.value,
        detail=detail,
        instance=request.url.path,
        errors=list(fields),
    )
    headers = {"Retry-After": _RETRY_AFTER_SECONDS} if status is HTTPStatus.SERVICE_UNAVAILABLE else {}
    if status is HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body.model_dump(), status.value, headers, media_type=_MEDIA_TYPE)


def _path(loc: Sequence[str | int]) -> str:
    """`("body", "messages", 3, "content")` as `messages[3].content`."""
    path = ""
    for part in loc[1:] if len(loc) > 1 else loc:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path
