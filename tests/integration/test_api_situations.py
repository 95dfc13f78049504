"""Similar situations, outcomes and feedback over real HTTP and real engines."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from served import Served
from talking import append, created, said, search

from app.records import new_id

PLANNING = {"backlog": 12, "team": {"velocity": 9}}


def decide(api: Served, namespace: str, decision: str, *, wait: str = "indexed", **fields: Any) -> str:
    """Store a decision about the planning; its id."""
    sent = {"namespace": namespace, "perception": PLANNING, "action": {"decision": decision}, **fields}
    return str(created(api.http.post("/v1/episodes", json=sent, params={"wait": wait}))["id"])


def similar(api: Served, namespace: str, context: Any = PLANNING, **fields: Any) -> dict[str, Any]:
    response = api.http.post("/v1/episodes/similar", json={"namespace": namespace, "context": context, **fields})
    assert response.status_code == 200, response.text
    return dict(response.json())


def judge(api: Served, namespace: str, record_id: str, verdict: str, **fields: Any) -> httpx.Response:
    return api.http.post("/v1/feedback", json={"namespace": namespace, "record_id": record_id, "verdict": verdict, **fields})


def ids(answer: dict[str, Any]) -> list[str]:
    return [hit["id"] for hit in answer["hits"]]


def test_good_outcomes_come_first_and_bad_ones_can_be_asked_for(api: Served, namespace: str) -> None:
    """Among episodes about as similar the outcome decides, each says why it is there, and either kind can be had alone."""
    bad = decide(api, namespace, "take nine stories", outcome={"done": 2}, outcome_quality=0.1)
    unknown = decide(api, namespace, "take nine stories")
    good = decide(api, namespace, "take nine stories", outcome={"done": 9}, outcome_quality=0.9)
    found = similar(api, namespace)
    assert (ids(found)[0], set(ids(found)), found["degraded"]) == (good, {good, unknown, bad}, [])
    best = found["hits"][0]
    assert (best["outcome_quality"], best["quality"], best["components"]["outcome"]) == (0.9, 0.7, pytest.approx(0.12))
    assert best["score"] == pytest.approx(sum(best["components"].values()))
    assert "turned out well: outcome quality 0.90 (+0.12)" in best["why"]
    assert ids(similar(api, namespace, outcome="good")) == [good]
    assert ids(similar(api, namespace, outcome="bad")) == [bad]
    assert ids(similar(api, namespace, min_outcome_quality=0.1, ranking={"outcome": 10.0})) == [good, bad]


def test_situations_are_narrowed(api: Served, namespace: str) -> None:
    """By project, kind, metadata and quality; a text asks as well as an object; another namespace has nothing."""
    mine = decide(api, namespace, "wait", project_id="apollo", kind="task", metadata={"control_mode": "memory_augmented"})
    decide(api, namespace, "wait", project_id="gemini")
    asked: list[dict[str, Any]] = [
        {"project_id": "apollo"},
        {"kind": "task"},
        {"filter": {"metadata.control_mode": "memory_augmented"}},
    ]
    assert [ids(similar(api, namespace, **narrowed)) for narrowed in asked] == [[mine]] * 3
    assert len(ids(similar(api, namespace, "a backlog of 12, a velocity of 9"))) == 2
    assert ids(similar(api, namespace, min_quality=0.99)) == []
    assert ids(similar(api, f"{namespace}-other")) == []


def test_an_answer_is_given_again_until_something_changes(api: Served, namespace: str) -> None:
    """The same question about the same memory is answered from the cache; a write, a judgement or a forget end that."""
    first = decide(api, namespace, "take nine stories")
    fresh, again = similar(api, namespace), similar(api, namespace)
    assert (fresh["is_cached"], again["is_cached"], again["hits"]) == (False, True, fresh["hits"])
    assert similar(api, namespace, limit=6)["is_cached"] is False
    second = decide(api, namespace, "take eight stories")
    after_write = similar(api, namespace)
    assert (after_write["is_cached"], set(ids(after_write))) == (False, {first, second})
    assert judge(api, namespace, ids(after_write)[0], "harmful").status_code == 201
    after_judgement = similar(api, namespace)
    assert (after_judgement["is_cached"], ids(after_judgement)) == (False, ids(after_write)[::-1])
    assert similar(api, namespace)["is_cached"] is True
    forgotten = api.http.post("/v1/admin/forget", json={"namespace": namespace})
    assert forgotten.status_code == 200, forgotten.text
    gone = similar(api, namespace)
    assert (gone["is_cached"], gone["hits"]) == (False, [])


def test_outcomes_are_revised_with_their_history(api: Served, namespace: str) -> None:
    """Each outcome is kept with when it was recorded and by which call; the newest one counts, in a search as well."""
    episode = decide(api, namespace, "take nine stories", outcome={"done": 3}, ended_at="2026-03-01T09:30:00Z")
    path = f"/v1/episodes/{episode}"

    def history(**parameters: Any) -> dict[str, Any]:
        return dict(api.http.get(f"{path}/outcomes", params={"namespace": namespace, **parameters}).json())

    came_with = {"index": 0, "outcome": {"done": 3}, "outcome_quality": None, "recorded_at": "2026-03-01T09:30:00Z", "call": None}
    assert history() == {"outcomes": [came_with], "next": None}
    for done, named in ((6, {}), (9, {"Idempotency-Key": "final"})):
        told = {"namespace": namespace, "outcome": {"done": done}, "outcome_quality": done / 10}
        assert api.http.post(f"{path}/outcome", json=told, headers=named).status_code == 200
    outcomes = history()["outcomes"]
    assert outcomes[0] == came_with
    assert [(o["index"], o["outcome"], o["outcome_quality"]) for o in outcomes[1:]] == [
        (1, {"done": 6}, 0.6),
        (2, {"done": 9}, 0.9),
    ]
    assert [o["call"] is None for o in outcomes[1:]] == [True, False]
    assert history(after=0, limit=1) == {"outcomes": [outcomes[1]], "next": 1}
    api.http.post("/v1/admin/consolidate", json={"namespace": namespace})
    assert [hit["outcome_quality"] for hit in similar(api, namespace)["hits"]] == [0.9]


def test_episodes_without_outcome_are_listed(api: Served, namespace: str) -> None:
    """Those that ended before a moment and are still waited for, newest first and in pages."""
    old, older = [
        decide(api, namespace, "wait", wait="stored", ended_at=f"2026-03-0{day}T09:30:00Z", started_at="2026-03-01T00:00:00Z")
        for day in (1, 2)
    ]
    decide(api, namespace, "wait", wait="stored")
    decide(api, namespace, "wait", wait="stored", ended_at="2026-03-01T09:30:00Z", outcome={})
    asked: dict[str, Any] = {"namespace": namespace, "lacks_outcome": True, "ended_before": "2026-03-03T00:00:00Z"}
    page = api.http.get("/v1/episodes", params=asked | {"limit": 1}).json()
    assert ([e["id"] for e in page["episodes"]], page["next"]) == ([older], older)
    rest = api.http.get("/v1/episodes", params=asked | {"before": older}).json()
    assert ([e["id"] for e in rest["episodes"]], rest["next"]) == ([old], None)


@pytest.mark.parametrize(("verdict", "sign"), [("useful", 1), ("wrong", -1), ("outdated", -1), ("harmful", -1)])
def test_feedback_moves_every_kind_of_record(api: Served, namespace: str, verdict: str, sign: int) -> None:
    """A message said a moment ago, an episode and a piece of knowledge: each is judged at once, as `components` says."""
    message = created(append(api, namespace, [said("the velocity was nine")]))["messages"][0]["id"]
    episode = decide(api, namespace, "the velocity was nine")
    knowledge = created(api.http.post("/v1/knowledge", json={"namespace": namespace, "description": "the velocity was nine"}))[
        "id"
    ]
    given = {"query": "velocity?", "note": "it was ten"}
    answers = [judge(api, namespace, record, verdict, **given) for record in (message, episode, knowledge)]
    assert [(a.status_code, a.json()["kind"]) for a in answers] == [(201, "message"), (201, "episode"), (201, "knowledge")]
    answer = answers[1].json()
    assert answer == given | {
        "id": answer["id"], "namespace": namespace, "user_id": None, "agent_id": None, "session_id": None, "project_id": None,
        "kind": "episode", "record_id": episode, "verdict": verdict, "created_at": answer["created_at"],
    }  # fmt: skip
    api.http.post("/v1/admin/consolidate", json={"namespace": namespace})
    hits = {hit["kind"]: hit["components"] for hit in search(api, namespace, "velocity")["hits"]}
    assert {kind: components["feedback"] * sign > 0 for kind, components in hits.items()} == dict.fromkeys(hits, True)
    assert len(hits) == 3


def test_bad_situations_are_refused_by_field(api: Served, namespace: str) -> None:
    """A refusal names the field and the limit."""
    bad: list[tuple[dict[str, Any], str, str]] = [
        ({"context": ""}, "context", "must not be blank"),
        ({"context": {}}, "context", "must not be empty"),
        ({"context": {"": ""}}, "context", "must not be blank"),
        ({"context": []}, "context", "must be a text or a JSON object"),
        ({"context": {"a": "x" * 65_536}}, "context", "must have at most 65536 bytes as JSON, has 65544"),
        ({"min_quality": 1.5}, "min_quality", "must be between 0 and 1, is 1.5"),
        ({"min_outcome_quality": -0.5}, "min_outcome_quality", "must be between 0 and 1, is -0.5"),
        ({"outcome": "fine"}, "outcome", "Input should be 'any', 'good' or 'bad'"),
        ({"deadline_ms": 0.0}, "deadline_ms", "must be between 1 and 30000"),
        ({"deadline_ms": -1e64}, "deadline_ms", "must be between 1 and 30000"),
        ({"deadline_ms": 1e308}, "deadline_ms", "must be between 1 and 30000"),
        ({"limit": 0}, "limit", "must be between 1 and 1000, is 0"),
        ({"filter": {"color": "red"}}, "filter.color", "is not a field; use one of"),
    ]
    for fields, field, problem in bad:
        response = api.http.post("/v1/episodes/similar", json={"namespace": namespace, "context": "x", **fields})
        (error,) = response.json()["errors"]
        assert (response.status_code, error["field"], error["problem"].startswith(problem)) == (422, field, True), response.text


def test_bad_feedback_is_refused(api: Served, namespace: str) -> None:
    """Unknown verdicts and long texts by field; an unknown record and one of another namespace alike, and nothing is stored."""
    foreign = created(api.http.post("/v1/knowledge", json={"namespace": f"{namespace}-other", "description": "x"}))["id"]
    mine = created(api.http.post("/v1/knowledge", json={"namespace": namespace, "description": "x"}))["id"]
    refused = [
        judge(api, namespace, mine, "great"),
        judge(api, namespace, mine, "useful", note="x" * 8193),
        judge(api, namespace, mine, "useful", query=" "),
    ]
    assert [(r.status_code, r.json()["errors"][0]) for r in refused] == [
        (422, {"field": "verdict", "problem": "Input should be 'useful', 'wrong', 'outdated' or 'harmful'"}),
        (422, {"field": "note", "problem": "must have at most 8192 bytes, has 8193"}),
        (422, {"field": "query", "problem": "must not be blank"}),
    ]
    strangers = [judge(api, namespace, record, "useful") for record in (foreign, str(new_id()))]
    of_another_kind = judge(api, namespace, mine, "useful", kind="episode")
    assert [r.status_code for r in (*strangers, of_another_kind)] == [404] * 3
    assert strangers[0].json()["detail"].replace(foreign, "…") == "no record '…' in this namespace"
    unknown = api.http.get(f"/v1/episodes/{new_id()}/outcomes", params={"namespace": namespace})
    assert unknown.status_code == 404


def test_contradictory_listings_are_refused(api: Served, namespace: str) -> None:
    """What would be ignored in silence is refused instead."""
    asked: list[dict[str, Any]] = [
        {"ended_before": "2026-03-03T00:00:00Z"},
        {"lacks_outcome": True, "archived": True},
        {"lacks_outcome": True, "ended_before": "2026-03-03T00:00:00"},
        {"lacks_outcome": "lost"},
    ]
    answers = [api.http.get("/v1/episodes", params={"namespace": namespace, **parameters}) for parameters in asked]
    assert [(a.status_code, a.json()["errors"][0]["field"]) for a in answers] == [
        (422, "ended_before"), (422, "archived"), (422, "ended_before"), (422, "lacks_outcome"),
    ]  # fmt: skip
