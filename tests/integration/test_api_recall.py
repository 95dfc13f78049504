"""Search and context over real HTTP and real engines: the same answers before and after consolidation."""

from __future__ import annotations

from typing import Any

import pytest
from served import Served
from talking import SAID_AT, SESSION, append, created, said, search


@pytest.mark.parametrize(("wait", "tier"), [("none", "working"), ("indexed", "semantic")])
def test_a_hit_is_the_message_that_was_said(api: Served, namespace: str, wait: str, tier: str) -> None:
    """A message is found at once and later, with its own id, time and metadata; components add up to the score."""
    message = said("Miso sees the vet on Thursday")
    created(append(api, namespace, [message, said("something else", role="assistant")], wait=wait))
    answer = search(api, namespace, "When does Miso see the vet?", limit=1)
    (hit,) = answer["hits"]
    assert sum(hit["components"].values()) == pytest.approx(hit["score"], abs=1e-6)
    assert answer["latency_ms"] > 0
    assert answer == {"hits": [hit], "degraded": [], "latency_ms": answer["latency_ms"]}
    assert hit == {
        "id": message["id"], "kind": "message", "text": message["content"], "score": hit["score"],
        "components": hit["components"], "tier": tier, "session_id": "s1", "created_at": SAID_AT, "author": "Ana",
        "role": "user", "sequence": 1, "metadata": {"n": 1},
    }  # fmt: skip


@pytest.mark.parametrize("wait", ["none", "indexed"])
def test_search_narrows_alike_in_every_tier(api: Served, namespace: str, wait: str) -> None:
    """Filters, times, kinds and scope mean the same in the buffer and in the index; what they exclude is never found."""
    created(append(api, namespace, [said("red cat", metadata={"colour": "red", "n": 1})], wait=wait, user_id="ana"))
    created(append(api, namespace, [said("blue cat", role="assistant", name=None, metadata={"n": True})], wait=wait))

    def found(**fields: Any) -> list[str]:
        return sorted(hit["text"] for hit in search(api, namespace, "cat", kinds=["message"], **fields)["hits"])

    assert found() == ["blue cat", "red cat"]
    assert found(filter={"metadata.colour": "red"}) == ["red cat"]
    assert found(filter={"metadata.n": 1.0}) == ["red cat"]
    assert found(filter={"metadata.n": [True, "x"]}) == ["blue cat"]
    assert found(filter={"author": ["Ana", "Rui"]}) == ["red cat"]
    assert found(filter={"role": "assistant", "metadata.colour": "red"}) == []
    assert found(user_id="ana") == ["red cat"]
    assert found(session_id="s2") == []
    assert found(since=SAID_AT, until=SAID_AT) == ["blue cat", "red cat"]
    assert found(since="2026-03-01T09:30:01Z") == []
    assert found(until="2026-03-01T10:29:59+01:00") == []


def test_all_kinds_are_found_once_consolidated(api: Served, namespace: str) -> None:
    """Messages, episodes and knowledge answer one question; `kinds` keeps to those that are wanted."""
    created(append(api, namespace, [said("the lighthouse is closed")]))
    created(api.http.post("/v1/episodes", json={"namespace": namespace, "action": {"chose": "lighthouse"}}))
    created(api.http.post("/v1/knowledge", json={"namespace": namespace, "description": "the lighthouse opens in May"}))
    assert api.http.post("/v1/admin/consolidate", json={"namespace": namespace}).json()["errors"] == []
    assert {hit["kind"] for hit in search(api, namespace, "lighthouse")["hits"]} == {"message", "episode", "knowledge"}
    assert [hit["kind"] for hit in search(api, namespace, "lighthouse", kinds=["knowledge"])["hits"]] == ["knowledge"]


def test_context_is_packed_into_its_budget(api: Served, namespace: str) -> None:
    """The text holds state and messages with their citations, and the account adds up to what was spent."""
    message = said("Miso sees the vet on Thursday")
    created(append(api, namespace, [message]))
    api.http.put(SESSION, json={"namespace": namespace, "goal": "care for Miso"})
    body = {"text": "vet", "namespace": namespace, "session_id": "s1", "budget_tokens": 100}
    answer = api.http.post("/v1/context", json=body).json()
    assert "care for Miso" in answer["text"]
    assert message["content"] in answer["text"]
    assert answer["citations"] == [message["id"]]
    assert [section["name"] for section in answer["sections"]] == ["state", "knowledge", "episodes", "recalled", "recent"]
    assert sum(section["spent_tokens"] for section in answer["sections"]) <= answer["spent_tokens"] <= 100
    assert answer["degraded"] == []
