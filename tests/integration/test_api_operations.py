"""Operations over real HTTP and real engines: consolidating, looking, forgetting."""

from __future__ import annotations

from uuid import UUID

import pytest
from prometheus_client.parser import text_string_to_metric_families
from served import Served
from talking import append, created, history, said, search, session

from app.records import Scope


def test_consolidation_leaves_nothing_to_do(api: Served, namespace: str) -> None:
    """A run drains and indexes a session, is listed, and leaves no backlog and no drift."""
    created(append(api, namespace, [said("a"), said("b")]))
    run = api.http.post("/v1/admin/consolidate", json={"namespace": namespace, "session_id": "s1"}).json()
    assert run["counts"]["messages_drained"] == 2
    assert run["errors"] == []
    api.http.post("/v1/admin/consolidate")
    assert run in api.http.get("/v1/admin/runs", params={"limit": 100}).json()["runs"]
    status = api.http.get("/v1/admin/status").json()
    assert status == {
        "backlog": {"sessions": 0, "messages": 0, "oldest_at": None, "malformed": 0, "episodes": 0},
        "outbox": {"depth": 0, "dead_letters": 0, "oldest_at": None, "erasures": 0},
        "records": status["records"],
        "indexed_points": sum(status["records"].values()),
        "misplaced_points": 0,
        "drift": 0,
        "embedding": {"space": "hashing__384", "model": "hashing", "dimension": 384, "provider": "hashing"},
        "learning": status["learning"],
        "degraded": [],
    }


def test_a_repair_finds_what_was_damaged(api: Served, namespace: str) -> None:
    """A point removed behind the service's back is reported, queued by a repair, and back after the indexer's work."""
    created(append(api, namespace, [said("a"), said("b")], wait="indexed"))
    asked = {"namespace": namespace}
    clean = api.http.post("/v1/admin/reconcile", json=asked).json()
    nothing = dict.fromkeys(("missing", "orphaned", "stale", "wrong_space"), 0)
    assert (clean["state"], clean["checked"], clean["findings"]) == ("done", 2, nothing)
    uid = remove_a_point(api, namespace)
    dry = api.http.post("/v1/admin/reconcile", json=asked | {"repair": False}).json()
    repair = api.http.post("/v1/admin/reconcile", json=asked | {"repair": True}).json()
    for run in (dry, repair):
        assert (run["findings"], run["examples"]["missing"]) == (nothing | {"missing": 1}, [uid])
    assert [entry["record_uid"] for entry in api.http.get("/v1/admin/outbox").json()["entries"]] == [uid]
    api.http.post("/v1/admin/consolidate")
    again = api.http.post("/v1/admin/reconcile", json=asked).json()
    assert (again["findings"], again["pending"]) == (nothing, 0)
    assert api.http.get("/v1/admin/reconcile", params={"limit": 3}).json() == {"runs": [again, repair, dry]}


def remove_a_point(api: Served, namespace: str) -> str:
    semantic = api.installation.service._parts.forgetting._semantic
    space = api.installation.embedder.space
    point, *_ = api.portal.call(lambda: semantic.scroll(space, scope=Scope(namespace)))
    api.portal.call(semantic.delete, [point.uid])
    return str(point.uid)


def test_the_outbox_shows_what_waits(api: Served, namespace: str) -> None:
    """A stored record waits in the outbox until it is indexed; where nothing is dead, nothing is retried."""
    api.http.post("/v1/admin/consolidate")
    knowledge = created(api.http.post("/v1/knowledge", json={"namespace": namespace, "description": "x"}))
    (entry,) = api.http.get("/v1/admin/outbox").json()["entries"]
    assert entry == {
        "id": entry["id"], "op": "upsert", "kind": "knowledge", "namespace": namespace, "record_uid": knowledge["id"],
        "state": "due", "attempts": 0, "failures": 0, "next_attempt_at": None, "last_error": None, "is_dead": False,
        "created_at": entry["created_at"],
    }  # fmt: skip
    assert api.http.get("/v1/admin/outbox", params={"is_dead": True}).json() == {"entries": [], "next": None}
    assert api.http.post("/v1/admin/outbox/retry", json={"ids": [entry["id"]]}).json() == {"retried": 0}


@pytest.mark.parametrize("wait", ["none", "indexed"])
def test_a_forgotten_session_is_gone_everywhere(api: Served, namespace: str, wait: str) -> None:
    """After forgetting, neither history nor search nor state has anything of the session; other sessions stay."""
    created(append(api, namespace, [said("secret plan")], wait=wait))
    other = {"namespace": namespace, "messages": [said("public plan")]}
    created(api.http.post("/v1/sessions/s2/messages", json=other, params={"wait": wait}))
    receipt = api.http.post("/v1/admin/forget", json={"namespace": namespace, "session_id": "s1"}).json()
    assert (receipt["remaining"], receipt["degraded"]) == (0, [])
    assert history(api, namespace)["messages"] == []
    assert session(api, namespace).status_code == 404
    assert {hit["text"] for hit in search(api, namespace, "plan", kinds=["message"])["hits"]} == {"public plan"}


def test_health_names_every_dependency(api: Served) -> None:
    """The process is live; it is ready when each of its dependencies answers, and says what they are."""
    assert api.http.get("/health/live").json() == {"status": "live"}
    response = api.http.get("/health/ready")
    assert response.status_code == 200
    answer = response.json()
    assert answer["status"] == "ready"
    assert [(tier["name"], tier["is_up"]) for tier in answer["tiers"]] == [
        ("working", True), ("episodic", True), ("semantic", True), ("embedder", True),
    ]  # fmt: skip


def test_metrics_count_requests_by_route(api: Served) -> None:
    """Prometheus can read the metrics; routes are labels, the paths and methods that callers invent are not."""
    api.http.get("/v1/episodes/not-an-id")
    api.http.request("PROPFIND", "/v1/nowhere/at-all")
    metrics = api.http.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(metrics.text)}
    labels = [sample.labels for sample in families["memory_http_request_duration_seconds"].samples]
    assert {"/v1/episodes/{episode_id}", "unmatched"} <= {label["route"] for label in labels}
    assert "PROPFIND" not in {label["method"] for label in labels}


def test_every_answer_carries_a_request_id(api: Served) -> None:
    """A sane id of the caller's is kept, any other is replaced; refusals carry one, too."""
    assert api.http.get("/health/live", headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
    for given in (b"", b"two words", b"x" * 129, "é".encode(), b"<script>"):
        answered = api.http.get("/v1/nowhere", headers={b"x-request-id": given}).headers["x-request-id"]
        assert UUID(answered).version == 7
