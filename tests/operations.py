"""Every operation of the API, from its own OpenAPI document: what holds for all of them is tested on all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
from served import document

from app.records import Permission, new_id

_LINES = "application/x-ndjson"
PATH_PARAMETERS = {
    "session_id": "s1",
    "key": "k",
    "name": "e1",
    "subject": "s1",
    "episode_id": str(new_id()),
    "knowledge_id": str(new_id()),
}


@dataclass(frozen=True, slots=True)
class Operation:
    """One verb on one path, as the OpenAPI document has it. `body` or `lines` is the document's own example."""

    verb: str
    path: str
    body: dict[str, Any] | None
    lines: str | None
    takes_namespace_in_query: bool
    takes_namespace_in_body: bool

    @property
    def permission(self) -> Permission:
        if self.path.startswith("/v1/admin/"):
            return Permission.ADMIN
        reads = {"/v1/search", "/v1/context", "/v1/episodes/similar", "/v1/knowledge/strategies"}
        is_read = self.verb == "GET" or self.path in reads
        return Permission.READ if is_read else Permission.WRITE

    @property
    def is_of_one_namespace(self) -> bool:
        return self.takes_namespace_in_query or self.takes_namespace_in_body

    def call(self, http: httpx.Client, namespace: str, key: str | None, **headers: str) -> httpx.Response:
        named = {"namespace": namespace}
        typed = {} if self.lines is None else {"Content-Type": _LINES}
        return http.request(
            self.verb,
            self.path.format(**PATH_PARAMETERS),
            params=named if self.takes_namespace_in_query else None,
            json=self.body if self.body is None or not self.takes_namespace_in_body else self.body | named,
            content=self.lines,
            headers=headers | typed if key is None else {"Authorization": f"Bearer {key}"} | headers | typed,
        )


def operations() -> Iterator[Operation]:
    """Every operation but those for orchestrators, which hold nothing of anybody's."""
    whole = document()
    schemas = whole["components"]["schemas"]
    for path, verbs in whole["paths"].items():
        for verb, operation in verbs.items():
            if not path.startswith("/v1/"):
                continue
            body = schemas[name] if (name := _body_of(operation)) else {}
            yield Operation(
                verb.upper(),
                path,
                body["examples"][0] if body else None,
                _content_of(operation).get(_LINES, {}).get("schema", {}).get("example"),
                any(parameter["name"] == "namespace" for parameter in operation.get("parameters", ())),
                "namespace" in body.get("properties", ()),
            )


def _content_of(operation: dict[str, Any]) -> dict[str, Any]:
    """What the body may be, by media type."""
    content: dict[str, Any] = operation.get("requestBody", {}).get("content", {})
    return content


def _body_of(operation: dict[str, Any]) -> str | None:
    """The name of the body's model."""
    schema = _content_of(operation).get("application/json", {}).get("schema", {})
    references = [schema, *schema.get("anyOf", ())]
    return next((reference["$ref"].rsplit("/", 1)[-1] for reference in references if "$ref" in reference), None)


OPERATIONS = list(operations())
