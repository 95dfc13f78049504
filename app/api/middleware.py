"""What happens around every request: an id, a size limit, a log line, a measurement. Plain ASGI, for speed."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from http import HTTPMethod, HTTPStatus
from typing import Final

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.errors import problem
from app.api.wire.problems import FieldProblem
from app.observability import HTTP_LATENCY
from app.records import API_VERSION, API_VERSION_HEADER, new_id

log = structlog.get_logger(__name__)

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_METHODS: Final = frozenset(HTTPMethod)
_LENGTH_DIGITS: Final = 18
_QUIET: Final = frozenset({"/health/live", "/health/ready", "/metrics"})


class RequestContext:
    """Gives each request an id (the caller's, if it is a sane one), logs it and counts its time by route.

    Every answer carries the id, and the version of the API.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else str(new_id())

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])  # not everybody sends a plain number
                headers = MutableHeaders(scope=message)
                headers["x-request-id"], headers[API_VERSION_HEADER] = request_id, API_VERSION
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            finally:
                _account(scope, status, time.perf_counter() - started)


class BugBarrier:
    """Outlives a bug: the caller learns nothing of its inside, the log everything under the request's id."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_answered = False

        async def send_and_note(message: Message) -> None:
            nonlocal has_answered
            has_answered = True
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except Exception:  # counted by the request's status
            log.exception("unhandled_error")
            if scope["type"] != "http" or has_answered:
                raise  # nothing sensible can be said any more: the server ends the connection
            await _bug(scope)(scope, receive, send)


class BodyLimit:
    """Refuses bodies over the limit, by their declared length or while they arrive, before they fill the memory.

    `exceptions` are paths with limits of their own: what they take is not kept in memory.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, exceptions: Mapping[str, int] | None = None) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._exceptions = exceptions or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body, max_bytes = _Incoming(receive), self._exceptions.get(scope["path"], self._max_bytes)
        if _declared_bytes(scope) > max_bytes:
            await self._refuse(scope, body, send, max_bytes)
            return

        async def receive_within_limit() -> Message:
            message = await body()
            if body.size > max_bytes:
                raise _BodyTooLarge
            return message

        try:
            await self._app(scope, receive_within_limit, send)
        except _BodyTooLarge:
            await self._refuse(scope, body, send, max_bytes)

    async def _refuse(self, scope: Scope, body: _Incoming, send: Send, max_bytes: int) -> None:
        # A client whose connection ends while it sends sees no answer: as much again as is allowed is read on.
        while not body.is_whole and body.size <= 2 * max_bytes:
            await body()
        limit = FieldProblem(field="body", problem=f"must have at most {max_bytes} bytes")
        detail = f"{limit.field}: {limit.problem}"
        response = problem(Request(scope), HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, [limit])
        response.headers["connection"] = "close"
        await response(scope, body, send)


class _Incoming:
    """What arrives of one request, counted."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.size = 0
        self.is_whole = False

    async def __call__(self) -> Message:
        message = await self._receive()
        self.size += len(message.get("body", b""))
        self.is_whole = not message.get("more_body", False)
        return message


def _declared_bytes(scope: Scope) -> int:
    """What Content-Length says; 0 where it is absent or makes no sense: what arrives is counted anyway."""
    declared = Headers(scope=scope).get("content-length", "")
    return int(declared[:_LENGTH_DIGITS]) if declared.isdecimal() else 0


def _bug(scope: Scope) -> Response:
    detail = "an internal error; the log has it under this request id"
    return problem(Request(scope), HTTPStatus.INTERNAL_SERVER_ERROR, detail)


class _BodyTooLarge(BaseException):
    """Passes through the framework's handlers of `Exception` on its way out."""


def _account(scope: Scope, status: int, seconds: float) -> None:
    route = getattr(scope.get("route"), "path_format", "unmatched")
    method = scope["method"] if scope["method"] in _METHODS else "other"  # callers must not be able to invent labels
    HTTP_LATENCY.labels(method, route, str(status)).observe(seconds)
    if scope["path"] not in _QUIET:
        log.info("request", method=method, route=route, status=status, latency_ms=round(seconds * 1e3, 2))
