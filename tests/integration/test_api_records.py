"""Episodes and knowledge over real HTTP and real engines: what goes in comes out."""

from __future__ import annotations

from typing import Any

import pytest
from served import Served
from talking import SAID_AT, created, pages


def test_an_episode_is_stored_judged_and_deleted(api: Served, namespace: str) -> None:
    """An episode comes back as it was sent, takes an outcome, and is gone when it is deleted."""
    sent = {
        "kind": "negotiation", "namespace": namespace, "user_id": "ana", "agent_id": "bot", "session_id": "s1",
        "project_id": "move", "perception": {"price": 900}, "reasoning": {"why": "rent"}, "action": {"offer": 850},
        "outcome": None, "outcome_quality": None, "summary": "haggling", "started_at": SAID_AT,
        "ended_at": "2026-03-01T10:30:00Z", "metadata": {"tags": ["flat"]}, "pinned": True, "agent_version": "2.1",
        "control_mode": "memory_augmented", "decision_source": "strategy", "sprint_id": "s-7", "chronicle_note_id": "n-1",
        "patterns": ["anchoring"],
    }  # fmt: skip
    answer = created(api.http.post("/v1/episodes", json=sent | {"steps": [{"say": "850"}]}))
    made = {"is_open": False, "message_count": 0, "token_count": 0, "first_sequence": 0, "last_sequence": 0}
    claims = {"is_quality_given": False, "is_learnable": False, "requires_embedding": True, "quality": answer["quality"]}
    where = {name: answer.pop(name) for name in ("stored_in", "degraded", "skipped")}
    assert answer == sent | made | claims | {"id": answer["id"], "schema_version": 1, "version": 1, "archived_at": None}
    assert where == {"stored_in": "episodic", "degraded": [], "skipped": None}
    path, parameters = f"/v1/episodes/{answer['id']}", {"namespace": namespace}
    read = api.http.get(path, params=parameters).json()
    steps = [{"index": 0, "content": {"say": "850"}, "created_at": read["steps"][0]["created_at"]}]
    assert read == answer | {"steps": steps, "step_count": 1, "next": None, "quality_reasons": read["quality_reasons"]}
    judged = api.http.post(
        f"{path}/outcome", json={"namespace": namespace, "outcome": {"got": 870}, "outcome_quality": 0.5}
    ).json()
    assert judged == answer | {"outcome": {"got": 870}, "outcome_quality": 0.5, "version": 2, "quality": judged["quality"]}
    assert judged["quality"] > answer["quality"]
    assert judged.items() <= api.http.get(path, params=parameters).json().items()
    assert api.http.delete(path, params=parameters).status_code == 204
    assert [api.http.request(verb, path, params=parameters).status_code for verb in ("GET", "DELETE")] == [404, 404]


def test_steps_are_appended_and_paged(api: Served, namespace: str) -> None:
    """Steps are numbered on from those that are there, and come page by page in order."""
    steps = [{"n": n} for n in range(5)]
    episode = created(api.http.post("/v1/episodes", json={"namespace": namespace, "steps": steps[:2]}))
    path = f"/v1/episodes/{episode['id']}/steps"
    added = created(api.http.post(path, json={"namespace": namespace, "steps": steps[2:]}))
    assert [(step["index"], step["content"]) for step in added["steps"]] == [(2, {"n": 2}), (3, {"n": 3}), (4, {"n": 4})]

    def page(after: int | None) -> dict[str, Any]:
        at = {} if after is None else {"after": after}
        return dict(api.http.get(path, params={"namespace": namespace, "limit": 2, **at}).json())

    assert [[step["content"] for step in part] for part in pages(page, "steps")] == [steps[:2], steps[2:4], steps[4:]]


@pytest.mark.parametrize(
    ("path", "items", "fields"),
    [("/v1/episodes", "episodes", {"kind": "task"}), ("/v1/knowledge", "knowledge", {"description": "x", "kind": "pattern"})],
)
def test_records_are_listed_newest_first(api: Served, namespace: str, path: str, items: str, fields: dict[str, str]) -> None:
    """Page by page each record of the scope comes once, and what is of another kind or user does not come."""
    ids = [created(api.http.post(path, json={"namespace": namespace, "user_id": "ana", **fields}))["id"] for _ in range(3)]
    created(api.http.post(path, json={"namespace": namespace, "user_id": "rui", **fields}))
    created(api.http.post(path, json={"namespace": namespace, "user_id": "ana", **fields} | {"kind": OTHER_KIND[items]}))

    def page(before: str | None) -> dict[str, Any]:
        at = {} if before is None else {"before": before}
        scope = {"namespace": namespace, "user_id": "ana", "kind": fields["kind"]}
        return dict(api.http.get(path, params={"limit": 2, **scope, **at}).json())

    assert [[record["id"] for record in part] for part in pages(page, items)] == [ids[:0:-1], ids[:1]]


OTHER_KIND = {"episodes": "decision", "knowledge": "fact"}


def test_knowledge_is_stored_and_deleted(api: Served, namespace: str) -> None:
    """A piece of knowledge comes back as it was sent, with what is counted about it at zero."""
    sent = {
        "namespace": namespace, "user_id": "ana", "agent_id": None, "session_id": None, "project_id": None,
        "kind": "constraint", "description": "Ana eats no nuts", "content": {"severity": 3}, "confidence": 0.75,
        "valid_from": SAID_AT, "valid_to": "2030-01-01T00:00:00Z", "pinned": True,
    }  # fmt: skip
    answer = created(api.http.post("/v1/knowledge", json=sent))
    made = {
        "supporting_episodes": [], "contradicting_episodes": [], "times_applied": 0, "success_count": 0, "failure_count": 0,
        "success_rate": None, "superseded_by": None, "schema_version": 1, "version": 1, "origin": "stated", "is_active": True,
        "inactive_reason": None, "supersedes": None, "evidence_count": 0, "applied_when_activated": 0,
        "estimated_success": {"mean": 0.5, "lower": 0.05, "upper": 0.95},
    }  # fmt: skip
    assert answer == sent | made | {"id": answer["id"], "created_at": answer["created_at"]}
    path, parameters = f"/v1/knowledge/{answer['id']}", {"namespace": namespace}
    assert api.http.get(path, params=parameters).json() == answer
    assert api.http.delete(path, params=parameters).status_code == 204
    assert [api.http.request(verb, path, params=parameters).status_code for verb in ("GET", "DELETE")] == [404, 404]
