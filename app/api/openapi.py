"""What OpenAPI says about errors: which ones an endpoint may answer with, and that they are problem documents."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI

from app.api.wire.problems import PROBLEM_MEDIA_TYPE, Problem

_DESCRIPTIONS: Final = {
    HTTPStatus.BAD_REQUEST: "The body is not JSON",
    HTTPStatus.UNAUTHORIZED: "A key is needed",
    HTTPStatus.FORBIDDEN: "The key does not cover this",
    HTTPStatus.NOT_FOUND: "No such record in this namespace",
    HTTPStatus.CONFLICT: "An id is taken by other content, or the `Idempotency-Key` by another request or a running one",
    HTTPStatus.PRECONDITION_FAILED: "The record is not at the version that `If-Match` names: `errors` and `ETag` say its own",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is too large",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The body does not call itself JSON",
    HTTPStatus.UNPROCESSABLE_ENTITY: "A field breaks a limit: `errors` names it",
    HTTPStatus.SERVICE_UNAVAILABLE: "A tier is away; the call may be repeated",
}
Responses = dict[int | str, dict[str, Any]]


def _problems(*statuses: HTTPStatus) -> Responses:
    return {status.value: {"model": Problem, "description": _DESCRIPTIONS[status]} for status in statuses}


ANY: Final = _problems(
    HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE
)
"""What every endpoint may answer besides its own response."""
BODY: Final = _problems(HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
"""What an endpoint that takes a body may answer, too."""
NOT_FOUND: Final = _problems(HTTPStatus.NOT_FOUND)
ONCE: Final = _problems(HTTPStatus.CONFLICT)
"""What a POST may answer, too: all of them take an `Idempotency-Key`."""
CHANGED: Final = _problems(HTTPStatus.PRECONDITION_FAILED)
NOT_MODIFIED: Final[Responses] = {304: {"description": "The version is one of those that `If-None-Match` names"}}


class Api(FastAPI):
    """FastAPI, whose OpenAPI document gives problem documents their own media type."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = super().openapi()
            for response in _responses(self.openapi_schema):
                _retype(response)
        return self.openapi_schema


def _responses(document: dict[str, Any]) -> list[dict[str, Any]]:
    operations = (operation for path in document["paths"].values() for operation in path.values())
    return [response for operation in operations for response in operation["responses"].values()]


def _retype(response: dict[str, Any]) -> None:
    content = response.get("content", {})
    if content.get("application/json", {}).get("schema") == {"$ref": f"#/components/schemas/{Problem.__name__}"}:
        response["content"] = {PROBLEM_MEDIA_TYPE: content["application/json"]}
