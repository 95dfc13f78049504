"""Every error as problem details (RFC 9457): one table from class to status, most specific class wins."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPMethod, HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from app import errors
from app.api.versions import etag
from app.api.wire.problems import PROBLEM_MEDIA_TYPE, FieldProblem, Problem

STATUS: Final[dict[type[errors.HybridMemoryError], HTTPStatus]] = {
    errors.InvalidInput: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.Conflict: HTTPStatus.CONFLICT,
    errors.IdTaken: HTTPStatus.CONFLICT,
    errors.StillRunning: HTTPStatus.CONFLICT,
    errors.VersionMismatch: HTTPStatus.PRECONDITION_FAILED,
    errors.Unauthenticated: HTTPStatus.UNAUTHORIZED,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.TierUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.EngineRefused: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.EmbedderUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.Unreadable: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.NewerRelease: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.DimensionMismatch: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.UnexpectedAnswer: HTTPStatus.BAD_GATEWAY,
    errors.IncompatibleVersion: HTTPStatus.BAD_GATEWAY,
    errors.ConfigurationError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.DataDirectoryInUse: HTTPStatus.INTERNAL_SERVER_ERROR,
}
_RETRY_AFTER_SECONDS: Final = "1"
_FIELDS_NAMED: Final = 20
"""A body may break limits a million times over; an answer names so many of them."""

_TITLES: Final = {
    HTTPStatus.UNPROCESSABLE_ENTITY: "The request breaks a limit",
    HTTPStatus.SERVICE_UNAVAILABLE: "A tier is away; the call may be repeated",
    HTTPStatus.CONFLICT: "An id or a key is taken",
    HTTPStatus.PRECONDITION_FAILED: "The record changed since it was read",
}
_UNREADABLE: Final[dict[type[BaseException], str]] = {
    UnicodeDecodeError: "must be UTF-8",
    RecursionError: "is nested too deeply to be read",
    ValueError: "holds a number with too many digits to be read",
}
"""Why a body could not be read as JSON, by what the parser raised, most specific first."""


def status_of(error: errors.HybridMemoryError) -> HTTPStatus:
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def install(app: FastAPI) -> None:
    """Make every error leave as problem details."""
    app.add_exception_handler(errors.HybridMemoryError, _on_own)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http)


async def _on_own(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, errors.HybridMemoryError)  # noqa: S101 - registered for this class
    return answer_to(request, error)


def answer_to(request: Request, error: errors.HybridMemoryError) -> JSONResponse:
    """The problem document for an error of ours."""
    fields: list[FieldProblem] = []
    if isinstance(error, errors.InvalidInput | errors.Conflict):
        fields.append(FieldProblem(field=error.field, problem=error.problem))
    response = problem(request, status_of(error), str(error), fields, error)
    if isinstance(error, errors.StillRunning):
        response.headers["Retry-After"] = _RETRY_AFTER_SECONDS
    if isinstance(error, errors.VersionMismatch):
        response.headers["ETag"] = etag(error.current)
    return response


async def _on_validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class
    if isinstance(error.body, bytes):  # only JSON is parsed, and only what calls itself JSON
        return _of_fields(request, HTTPStatus.UNSUPPORTED_MEDIA_TYPE, FieldProblem(field="content-type", problem=_NOT_JSON))
    unreadable = next((e for e in error.errors() if e["type"] == "json_invalid"), None)
    if unreadable is not None:
        return _unreadable(request, f"must be JSON: {unreadable['ctx']['error']} at character {unreadable['loc'][1]}")
    fields = (FieldProblem(field=_path(e["loc"]), problem=e["msg"]) for e in error.errors()[:_FIELDS_NAMED])
    return _of_fields(request, HTTPStatus.UNPROCESSABLE_ENTITY, *fields)


_NOT_JSON: Final = "must be application/json"


async def _on_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class
    reason = next((reason for kind, reason in _UNREADABLE.items() if isinstance(error.__cause__, kind)), None)
    if reason is not None:
        return _unreadable(request, reason)
    status, detail, headers = HTTPStatus(error.status_code), str(error.detail), dict(error.headers or {})
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_methods_of(request))
        detail = f"this path answers {headers['Allow']}"
    elif status is HTTPStatus.NOT_FOUND:
        detail = "no such path: /docs lists those there are"
    response = problem(request, status, detail)
    response.headers.update(headers)
    return response


def _methods_of(request: Request) -> list[str]:
    """All methods that the path knows (RFC 9110 §15.5.6); the framework names those of its first route alone."""

    def is_known(method: str) -> bool:
        return any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in request.app.routes)

    return [method for method in HTTPMethod if is_known(method)]


def _unreadable(request: Request, reason: str) -> JSONResponse:
    return _of_fields(request, HTTPStatus.BAD_REQUEST, FieldProblem(field="body", problem=reason))


def _of_fields(request: Request, status: HTTPStatus, *fields: FieldProblem) -> JSONResponse:
    return problem(request, status, "; ".join(f"{f.field}: {f.problem}" for f in fields), fields)


def problem(
    request: Request, status: HTTPStatus, detail: str, fields: Sequence[FieldProblem] = (),
    error: errors.HybridMemoryError | None = None,
) -> JSONResponse:  # fmt: skip
    """A problem document; with `error` it names the class and its facts, so that a client can raise the same."""
    named = {} if error is None else {"type": errors.problem_type(type(error)), "facts": _facts(error)}
    body = Problem(
        **named,
        title=_TITLES.get(status, status.phrase),
        status=status.value,
        detail=_encodable(detail),
        instance=request.url.path,
        errors=[FieldProblem(field=_encodable(f.field), problem=_encodable(f.problem)) for f in fields],
    )
    headers = {"Retry-After": _RETRY_AFTER_SECONDS} if status is HTTPStatus.SERVICE_UNAVAILABLE else {}
    if status is HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body.model_dump(exclude_none=True), status.value, headers, media_type=PROBLEM_MEDIA_TYPE)


def _facts(error: errors.HybridMemoryError) -> dict[str, Any]:
    return {name: _encodable(value) if isinstance(value, str) else value for name, value in error.facts.items()}


def _encodable(text: str) -> str:
    """A refused field's own name may hold what UTF-8 cannot say."""
    return text.encode(errors="replace").decode()


def _path(loc: Sequence[str | int]) -> str:
    """`("body", "messages", 3, "content")` as `messages[3].content`."""
    path = ""
    for part in loc[1:] if len(loc) > 1 else loc:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path
