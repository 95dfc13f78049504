"""A Qdrant server: what it is asked to make, and what its failures are called."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from given import NOW, SCOPE
from qdrant_client import AsyncQdrantClient

from app.errors import InvalidInput, TierUnavailable
from app.ports import IndexQuery
from app.records import Point, RecordKind, Space, new_id
from app.semantic.bm25 import Bm25Encoder
from app.semantic.qdrant import QdrantRepository

SPACE = Space("Tiny", 2)
POINT = Point(
    id=new_id(), record_id=new_id(), kind=RecordKind.MESSAGE, scope=SCOPE, text="cat", sparse_text="cat",
    dense=np.ones(2, dtype=np.float32), created_at=NOW, content_sha256="ab",
)  # fmt: skip
Answer = Callable[[httpx.Request], httpx.Response]


def connected(answer: Answer, **options: Any) -> QdrantRepository:
    """A repository whose server is `answer`."""
    client = AsyncQdrantClient(url="http://qdrant.test", check_compatibility=False, transport=httpx.MockTransport(answer))
    return QdrantRepository(client, encoder=Bm25Encoder(), **options)


def ok(result: object) -> httpx.Response:
    return httpx.Response(200, json={"result": result, "status": "ok", "time": 0.0})


def refusing(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused", request=request)


def too_slow(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("slow", request=request)


def saying(status: int, headers: dict[str, str] | None = None) -> Answer:
    return lambda _: httpx.Response(status, json={"status": {"error": "no"}, "time": 0.0}, headers=headers)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (refusing, "ConnectError"),
        (too_slow, "ReadTimeout"),
        (saying(500), "500"),
        (saying(503), "503"),
        (saying(401), "401"),
        (saying(404), "404"),
        (saying(429, {"Retry-After": "1"}), "overloaded"),
        (lambda _: httpx.Response(200, content=b"<html>"), "no Qdrant"),
    ],
)
async def test_a_server_that_does_not_answer_is_an_unavailable_tier(answer: Answer, problem: str) -> None:
    """Whatever is wrong with the server, the tier is named and the call may be repeated."""
    repository = connected(answer)
    with pytest.raises(TierUnavailable, match=problem) as caught:
        await repository.ping()
    assert caught.value.tier == "semantic"


async def test_what_the_server_refuses_is_the_callers_mistake() -> None:
    """A request that is wrong in itself is no outage: repeating it would not help."""
    with pytest.raises(InvalidInput):
        await connected(saying(400)).ping()


class Server:
    """Answers as a server with nothing in it does; remembers what it was asked to make."""

    def __init__(self) -> None:
        self.made: dict[str, dict[str, object]] = {}
        self.indexes: dict[str, object] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/collections/memory__tiny__2")
        if path == "/exists":
            return ok({"exists": bool(self.made)})
        if request.method == "GET":
            return ok(self.collection())
        body = json.loads(request.content)
        if path == "/index":
            self.indexes[body["field_name"]] = body["field_schema"]
        elif not path:
            self.made[request.url.path] = body
        return ok(True if not path else {"operation_id": 0, "status": "completed"})

    def collection(self) -> dict[str, object]:
        body = next(iter(self.made.values()))
        params = {"vectors": body["vectors"], "sparse_vectors": body["sparse_vectors"]}
        hnsw = {"m": 0, "ef_construct": 100, "full_scan_threshold": 10_000}
        optimizers = {
            "deleted_threshold": 0.2,
            "vacuum_min_vector_number": 1000,
            "default_segment_number": 0,
            "flush_interval_sec": 5,
        }
        return {
            "status": "green", "optimizer_status": "ok", "segments_count": 1, "payload_schema": {},
            "config": {"params": params, "hnsw_config": hnsw, "optimizer_config": optimizers, "wal_config": None},
        }  # fmt: skip


async def test_a_collection_is_made_as_configured() -> None:
    """Named vectors, an int8 copy, a graph a tenant, shards and replicas as given, and the space under its own name."""
    server = Server()
    await connected(server, shards=3, replicas=2).upsert(SPACE, [POINT])
    assert server.made == {
        "/collections/memory__tiny__2": {
            "vectors": {"dense": {"size": 2, "distance": "Dot"}},
            "sparse_vectors": {"bm25": {"modifier": "idf"}},
            "shard_number": 3,
            "replication_factor": 2,
            "hnsw_config": {"m": 0, "payload_m": 16, "ef_construct": 100},
            "quantization_config": {"scalar": {"type": "int8", "quantile": 0.99, "always_ram": True}},
            "metadata": {"model": "Tiny", "dimension": 2},
        }
    }


async def test_every_field_that_is_filtered_by_has_an_index() -> None:
    """The namespace is the tenant, and the only one with graphs of its own."""
    server = Server()
    await connected(server).upsert(SPACE, [POINT])
    keywords = [
        "kind", "user_id", "agent_id", "session_id", "project_id", "author", "role", "content_sha256", "metadata_terms",
    ]  # fmt: skip
    assert server.indexes == {
        "namespace": {"type": "keyword", "is_tenant": True},
        **{name: {"type": "keyword", "enable_hnsw": False} for name in keywords},
        **{name: {"type": "datetime", "enable_hnsw": False} for name in ("created_at", "valid_from", "valid_to")},
        "day": {"type": "integer", "enable_hnsw": False},
        "quality": {"type": "float", "enable_hnsw": False},
        "outcome_quality": {"type": "float", "enable_hnsw": False},
    }


async def test_a_collection_is_prepared_once() -> None:
    """Later upserts only write."""
    server = Server()
    repository = connected(server)
    await repository.upsert(SPACE, [POINT])
    server.indexes.clear()
    await repository.upsert(SPACE, [POINT])
    assert server.indexes == {}


async def test_another_process_may_make_the_collection_first() -> None:
    """Losing the race to make a collection is no error."""
    server = Server()

    def overtaken(request: httpx.Request) -> httpx.Response:
        answer = server(request)
        is_making = request.method == "PUT" and request.url.path.endswith("memory__tiny__2")
        return httpx.Response(409, json={"status": {"error": "exists"}, "time": 0.0}) if is_making else answer

    await connected(overtaken).upsert(SPACE, [POINT])
    assert len(server.indexes) == 16


async def test_every_leg_is_asked_within_the_namespace() -> None:
    """Both legs carry the whole filter, and rarity is measured over the tenant's own corpus."""
    asked: list[dict[str, object]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/exists"):
            return ok({"exists": True})
        asked.extend(json.loads(request.content)["searches"])
        return ok([{"points": []}, {"points": []}])

    query = IndexQuery(SCOPE, np.ones(2, dtype=np.float32), "cat", 10, (RecordKind.MESSAGE,))
    assert await connected(answer).search(SPACE, query) == ()
    fields = {
        "namespace": "acme",
        "user_id": "ana",
        "agent_id": "bot",
        "session_id": "s1",
        "project_id": "move",
        "kind": "message",
    }
    must = [{"key": key, "match": {"value": value}} for key, value in fields.items()]
    assert [leg["filter"] for leg in asked] == [{"must": must}, {"must": must}]
    assert asked[1]["params"] == {"idf": {"corpus": {"must": must[:1]}}}
