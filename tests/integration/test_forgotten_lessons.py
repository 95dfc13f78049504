"""What was learned from episodes goes with them when they are forgotten."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from served import Served


def post(api: Served, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = api.http.post(path, json=body)
    assert answer.is_success, answer.text
    found: dict[str, Any] = answer.json()
    return found


def decided(api: Served, namespace: str, diagnosis: str, action: str, quality: float) -> None:
    """A decision of Ana's that ended well or badly."""
    post(api, "/v1/episodes", {
        "namespace": namespace, "user_id": "ana", "kind": "decision", "quality": 1.0,
        "perception": {"diagnosis": diagnosis}, "action": {"choice": action},
        "outcome": {"done": True}, "outcome_quality": quality,
    })  # fmt: skip


def test_a_heuristic_goes_with_the_episodes_it_was_counted_from(api: Served) -> None:
    """All that quotes a forgotten user goes at once: heuristics, kept patterns, and their revisions."""
    namespace = f"lessons-{uuid4().hex}"
    for _ in range(20):
        decided(api, namespace, "lupus", "rest", 1.0)
        decided(api, namespace, "lupus", "work", 0.0)
        decided(api, namespace, "none", "rest", 0.0)
        decided(api, namespace, "none", "work", 1.0)
    assert post(api, "/v1/admin/learn", {"namespace": namespace})["counts"]["heuristics"] > 0
    asked: dict[str, str | bool] = {"namespace": namespace, "include_inactive": True, "include_superseded": True}
    learned = api.http.get("/v1/knowledge", params={**asked, "limit": 1000}).json()["knowledge"]
    assert any("lupus" in k["description"] for k in learned)
    receipt = post(api, "/v1/admin/forget", {"namespace": namespace, "user_id": "ana"})
    assert (receipt["removed"], receipt["remaining"]) == ({"episode": 80, "knowledge": len(learned)}, 0)
    assert api.http.get("/v1/knowledge", params=asked).json()["knowledge"] == []
    assert api.http.get("/v1/patterns", params={"namespace": namespace}).json()["patterns"] == []


def test_a_namespace_that_is_no_text_is_refused_with_a_key_and_without(api: Served) -> None:
    """Half a character in a body's namespace is a refusal that names the field, also where it would become part of a key."""
    body = b'{"namespace": "\\ud800", "steps": [{"a": 1}]}'
    for headers in ({}, {"Idempotency-Key": "k"}):
        sent = {"content-type": "application/json", **headers}
        answer = api.http.post(f"/v1/episodes/{uuid4()}/steps", content=body, headers=sent)
        assert (answer.status_code, [e["field"] for e in answer.json()["errors"]]) == (422, ["namespace"])
