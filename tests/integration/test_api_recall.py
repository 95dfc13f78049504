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
        "role": "user", "sequence": 1, "metadata": {"n": 1}, "duplicates": [], "episode_id": None, "neighbours": [],
        "outcome_quality": None,
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


@pytest.mark.parametrize(
    "question",
    [
        "word " * 10_000,
        "what was that of the",
        "🦓 🎉 …",
        "我的猫在哪里",
        "Ana?",
        "Ana's May Will?",
        "in 99999 years, last May 0000-13-45",
    ],
)
@pytest.mark.parametrize("wait", ["none", "indexed"])
def test_any_question_is_answered(api: Served, namespace: str, question: str, wait: str) -> None:
    """Very long, of little words alone, of no words, in another script, of names alone: an answer, whole and in its namespace."""
    created(
        append(
            api, namespace, [said("the cat is here", name="Ana"), said("me too", name="May"), said("so", name="Will")], wait=wait
        )
    )
    answer = search(api, namespace, question, now="1900-01-01T00:00:00Z")
    assert answer["degraded"] == []
    assert {hit["text"] for hit in answer["hits"] if hit["kind"] == "message"} <= {"the cat is here", "me too", "so"}


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("author", 10.5, "less than or equal to 10"),
        ("bm25", -0.1, "greater than or equal to 0"),
        ("session", "much", "valid number"),
        ("rrf_k", 0, "greater than or equal to 1"),
        ("charm", 1.0, "Extra inputs"),
    ],
)
def test_weights_are_checked(api: Served, namespace: str, field: str, value: object, problem: str) -> None:
    """A weight out of bounds, of another type, or unknown is refused by name."""
    answer = api.http.post("/v1/search", json={"text": "q", "namespace": namespace, "ranking": {field: value}})
    assert answer.status_code == 422
    ((named, said_of_it),) = [(e["field"], e["problem"]) for e in answer.json()["errors"]]
    assert (named, problem in said_of_it) == (f"ranking.{field}", True)


@pytest.mark.parametrize("wait", ["none", "indexed"])
def test_who_said_it_counts(api: Served, namespace: str, wait: str) -> None:
    """The one person whom the question names comes first, and the component says so; a weight of 0 undoes it."""
    texts = [("Ben", "I painted the fence and the door, Ana"), ("Ana", "I painted the fence")]
    created(append(api, namespace, [said(text, name=name) for name, text in texts], wait=wait))
    hits = search(api, namespace, "What did Ana paint?", kinds=["message"])["hits"]
    if wait == "indexed":
        assert [(hit["author"], hit["components"].get("author")) for hit in hits] == [("Ana", 0.5), ("Ben", None)]
    plain = search(api, namespace, "What did Ana paint?", kinds=["message"], ranking={"author": 0.0})["hits"]
    assert all("author" not in hit["components"] for hit in plain)


def test_neighbours_and_episodes_come_on_request(api: Served, namespace: str) -> None:
    """What was said before and after a hit stands beside it, and hits of an episode stand together."""
    created(append(api, namespace, [said("one"), said("the lighthouse is closed"), said("three")], wait="stored"))
    created(append(api, namespace, [said("four")]))
    (hit,) = search(api, namespace, "lighthouse", kinds=["message"], limit=1, neighbours=1, group_by_episode=True)["hits"]
    assert [(m["sequence"], m["content"]) for m in hit["neighbours"]] == [(1, "one"), (3, "three")]
    assert hit["episode_id"] is not None
