"""The client covers the HTTP API: every route of the OpenAPI document, and every field that it takes."""

from __future__ import annotations

import inspect
import pydoc
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final, get_type_hints

import pytest
from served import document

from app.client import MemoryClient, SyncMemoryClient
from app.client.asking import Call, Download, Pages, Route
from app.client.surface import Surface

NOT_YET_COVERED: Final[frozenset[str]] = frozenset()
"""Routes (`GET /v1/…`) without a method. It only ever gets shorter: a method is three lines in `app.client.surface`."""

FIELDS_NOT_YET_COVERED: Final[Mapping[str, frozenset[str]]] = {}
"""Fields of a route that its method does not take."""

SAID_OTHERWISE: Final[Mapping[str, frozenset[str]]] = {
    "PUT /v1/sessions/{session_id}": frozenset({"goal", "active_context", "thoughts", "related_episodes"}),
}
"""Fields that a method takes as one value: here a `SessionState`."""


@cache
def whole() -> dict[str, Any]:
    return document()


def calls() -> Iterator[tuple[str, Call[Any, Any] | Download[Any]]]:
    """The methods of the surface that stand for a route."""
    for name in dir(Surface):
        found = getattr(Surface, name)
        if isinstance(found, Call | Download):
            yield name, found


def named(route: Route) -> str:
    return f"{route.method} {route.path}"


def operations() -> dict[str, dict[str, Any]]:
    """Every operation of the API, by `GET /v1/…`."""
    return {f"{verb.upper()} {path}": o for path, verbs in whole()["paths"].items() for verb, o in verbs.items()}


def fields_of(operation: Mapping[str, Any]) -> frozenset[str]:
    """What an operation takes in its path, its query and its body."""
    schemas = whole()["components"]["schemas"]
    given = {p["name"] for p in operation.get("parameters", ()) if p["in"] in {"path", "query"}}
    schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    references = [schema, *schema.get("anyOf", ())]
    bodies = [schemas[s["$ref"].rsplit("/", 1)[-1]] for s in references if "$ref" in s]
    return frozenset(given.union(*(body["properties"] for body in bodies)))


def parameters_of(describe: Any) -> frozenset[str]:
    """What a method takes, those by name included that its `**` stands for."""
    signature, hints = inspect.signature(describe), get_type_hints(describe)
    unpacked = [hints[p.name].__args__[0] for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD]
    plain = {p.name for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD}
    return frozenset(plain.union(*(get_type_hints(fields) for fields in unpacked)))


def test_every_route_has_a_method() -> None:
    """A new route without a method on the client fails here, and so does a method whose route is gone."""
    assert {named(call.route) for _, call in calls()} | NOT_YET_COVERED == operations().keys()
    assert {named(call.route) for _, call in calls()} & NOT_YET_COVERED == set()


def test_every_field_is_a_parameter() -> None:
    """What a route takes, one of its methods takes under the same name."""
    covered: dict[str, frozenset[str]] = {}
    for _, call in calls():
        route = named(call.route)
        covered[route] = covered.get(route, frozenset()) | parameters_of(call.describe) | SAID_OTHERWISE.get(route, frozenset())
    taken = {route: fields_of(operation) for route, operation in operations().items() if route in covered}
    missing = {route: fields - covered[route] for route, fields in taken.items() if fields - covered[route]}
    assert missing == FIELDS_NOT_YET_COVERED


def test_every_method_says_what_it_does() -> None:
    """Each method of the surface has a docstring, which `help` shows on either client."""
    for name in dir(Surface):
        found = getattr(Surface, name)
        if isinstance(found, Call | Download | Pages):
            for client in (MemoryClient("http://nowhere"), SyncMemoryClient("http://nowhere")):
                assert (getattr(client, name).__doc__ or "").strip() == (found.describe.__doc__ or "").strip() != ""


@pytest.mark.parametrize("client", [MemoryClient, SyncMemoryClient])
def test_every_method_shows_what_it_takes(client: type[MemoryClient] | type[SyncMemoryClient]) -> None:
    """`inspect.signature` of a method names each field and its type, and of the machinery behind it nothing."""
    for name in dir(Surface):
        described = getattr(Surface, name)
        if not isinstance(described, Call | Download | Pages):
            continue
        signature = inspect.signature(getattr(client, name))
        of_a_client = inspect.signature(getattr(client("http://nowhere"), name))
        assert frozenset(signature.parameters) == parameters_of(described.describe)
        assert list(of_a_client.parameters) == [parameter for parameter in signature.parameters if parameter != "self"]
        assert not {"Ask", "Paging", "Unpack"} & set(re.findall(r"\w+", str(signature)))
        assert all(p.annotation is not p.empty for p in of_a_client.parameters.values())
        assert not any(p.kind is p.VAR_KEYWORD for p in of_a_client.parameters.values())


def test_a_signature_reads_as_it_is_called() -> None:
    """The whole of some, of each kind of method: awaited and not, with the type of the answer."""
    shown = [
        str(inspect.signature(getattr(client, name)))
        for client in (MemoryClient, SyncMemoryClient)
        for name in ("record_feedback", "iter_outcomes", "export")
    ]
    fields = (
        "namespace: str = ..., user_id: str | None = ..., agent_id: str | None = ..., project_id: str | None = ..., "
        "session_id: str | None = ..., kind: app.records.base.RecordKind | str | None = ..., query: str | None = ..., "
        "note: str | None = ..., search_id: uuid.UUID | None = ..."
    )
    verdict = "verdict: app.standing.Verdict | str, *, idempotency_key: str | None = None"
    said = f"(self, record_id: uuid.UUID, {verdict}, {fields})"
    listed = "(self, episode_id: uuid.UUID, *, namespace: str = 'default', page_size: int = 500) -> collections.abc."
    assert shown == [
        f"{said} -> app.records.feedback.Feedback",
        f"{listed}AsyncIterator[app.records.feedback.OutcomeRevision]",
        "(self, namespace: str) -> collections.abc.AsyncGenerator[bytes, None]",
        f"{said} -> app.records.feedback.Feedback",
        f"{listed}Iterator[app.records.feedback.OutcomeRevision]",
        "(self, namespace: str) -> collections.abc.Generator[bytes, None, None]",
    ]
    assert inspect.iscoroutinefunction(MemoryClient.record_feedback)
    assert not inspect.iscoroutinefunction(SyncMemoryClient.record_feedback)


@pytest.mark.parametrize("client", [MemoryClient, SyncMemoryClient])
def test_help_begins_each_method_with_a_sentence(client: type[MemoryClient] | type[SyncMemoryClient]) -> None:
    """`help` of a client lists its calls as methods, and each docstring says first what the call does."""
    text = pydoc.plain(pydoc.render_doc(client))
    for name in dir(Surface):
        if isinstance(getattr(Surface, name), Call | Download | Pages):
            assert re.search(rf"^ \|  (async )?{name}\(self", text, re.MULTILINE), name
            assert not (getattr(client, name).__doc__ or "").lstrip().startswith("Raises"), name


def test_both_clients_have_the_same_methods() -> None:
    """What one can be asked the other can, under the same name and with the same parameters."""
    public = [{n for n in dir(c) if not n.startswith("_")} - {"aclose", "close"} for c in (MemoryClient, SyncMemoryClient)]
    assert public[0] == public[1]
    assert list(inspect.signature(MemoryClient.ingest).parameters) == list(inspect.signature(SyncMemoryClient.ingest).parameters)
