"""Knowledge over HTTP: evidence, validity, supersession, retirement, history, and what helps in a situation."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import pytest
from served import Served

BACKLOG = {"conditions": [{"field": "backlog", "op": "gt", "value": 20}], "action": "split the sprint"}


def post(api: Served, namespace: str, path: str, **body: Any) -> httpx.Response:
    return api.http.post(f"/v1/knowledge{path}", json={"namespace": namespace, **body})


def made(response: httpx.Response) -> dict[str, Any]:
    assert response.is_success, response.text
    return dict(response.json())


def refused(response: httpx.Response, status: int = 422) -> dict[str, str]:
    """The fields of a refusal, each with its problem."""
    assert response.status_code == status, response.text
    return {error["field"]: error["problem"] for error in response.json()["errors"]}


def get(api: Served, namespace: str, path: str, **params: Any) -> dict[str, Any]:
    return made(api.http.get(f"/v1/knowledge{path}", params={"namespace": namespace, **params}))


def episodes(api: Served, namespace: str, count: int, wait: str = "stored") -> list[str]:
    answers = [api.http.post("/v1/episodes", json={"namespace": namespace}, params={"wait": wait}) for _ in range(count)]
    return [made(answer)["id"] for answer in answers]


def found(api: Served, namespace: str, text: str, **asked: Any) -> list[str]:
    body = {"namespace": namespace, "text": text, "kinds": ["knowledge"], **asked}
    return [hit["text"] for hit in made(api.http.post("/v1/search", json=body))["hits"]]


def consolidate(api: Served, namespace: str) -> None:
    made(api.http.post("/v1/admin/consolidate", json={"namespace": namespace}))


def test_what_was_learned_names_three_episodes(api: Served, namespace: str) -> None:
    """Three distinct ones that are there, also if they are only logged yet; its confidence is what they make of it."""
    ids = [*episodes(api, namespace, 2), *episodes(api, namespace, 1, wait="none")]
    learned = {"kind": "strategy", "description": "ask first", "origin": "learned"}
    few = post(api, namespace, "", **learned, supporting_episodes=[*ids[:2], ids[0]])
    assert refused(few) == {"supporting_episodes": "must name at least 3 distinct episodes for learned knowledge, names 2"}
    stranger = str(uuid4())
    assert stranger in refused(post(api, namespace, "", **learned, supporting_episodes=[*ids, stranger]))["supporting_episodes"]
    piece = made(post(api, namespace, "", **learned, supporting_episodes=ids))
    assert (piece["origin"], piece["confidence"], piece["evidence_count"], piece["supporting_episodes"]) == (
        "learned",
        0.8,
        3,
        ids,
    )
    assert post(api, namespace, "", description="x", origin="dreamt").status_code == 422


def test_evidence_is_added_later(api: Served, namespace: str) -> None:
    """An episode on either side moves the confidence; one that is not there is named."""
    ids, stranger = episodes(api, namespace, 2), str(uuid4())
    piece = made(post(api, namespace, "", description="ask first", confidence=0.5))
    backed = made(post(api, namespace, f"/{piece['id']}/evidence", supporting_episodes=[ids[0]]))
    doubted = made(post(api, namespace, f"/{piece['id']}/evidence", contradicting_episodes=[ids[1]]))
    assert [round(p["confidence"], 9) for p in (backed, doubted)] == [round(2 / 3, 9), 0.5]
    assert (doubted["supporting_episodes"], doubted["contradicting_episodes"], doubted["evidence_count"]) == (
        [ids[0]],
        [ids[1]],
        2,
    )
    problem = refused(post(api, namespace, f"/{piece['id']}/evidence", supporting_episodes=[stranger]))["supporting_episodes"]
    assert problem == f"must be episodes of this namespace; not there: {stranger}"
    assert post(api, namespace, f"/{uuid4()}/evidence", supporting_episodes=[ids[0]]).status_code == 404


def test_supersession_over_time(api: Served, namespace: str) -> None:
    """Search, list and history know what held when; by default what holds now."""
    porto = made(post(api, namespace, "", description="Ana lives in Porto", valid_from="2020-01-01T00:00:00Z"))
    lisbon = made(
        post(api, namespace, f"/{porto['id']}/supersede", description="Ana lives in Lisbon", valid_from="2024-01-01T00:00:00Z")
    )
    consolidate(api, namespace)
    ended = get(api, namespace, f"/{porto['id']}")
    assert (ended["superseded_by"], ended["valid_to"]) == (lisbon["id"], "2024-01-01T00:00:00Z")
    assert (lisbon["supersedes"], lisbon["kind"]) == (porto["id"], "fact")
    times = [{"as_of": "2019-06-01T00:00:00Z"}, {"as_of": "2023-06-01T00:00:00Z"}, {"as_of": "2024-01-01T00:00:00Z"}, {}]
    expected = [[], ["Ana lives in Porto"], ["Ana lives in Lisbon"], ["Ana lives in Lisbon"]]
    assert [found(api, namespace, "Where does Ana live?", **at) for at in times] == expected
    assert [[k["description"] for k in get(api, namespace, "", **at)["knowledge"]] for at in times] == expected
    assert len(found(api, namespace, "Where does Ana live?", include_superseded=True)) == 2
    assert len(get(api, namespace, "", include_superseded=True)["knowledge"]) == 2
    history = get(api, namespace, f"/{porto['id']}/history")
    assert [v["id"] for v in history["versions"]] == [porto["id"], lisbon["id"]]
    assert [(r["number"], r["cause"]) for r in history["revisions"]] == [(1, "stored"), (2, "superseded")]
    assert history["revisions"][1]["changes"] == {"superseded_by": lisbon["id"], "valid_to": "2024-01-01T00:00:00+00:00"}
    assert get(api, namespace, f"/{porto['id']}/history", limit=1)["next"] == 1


def test_a_bad_supersession_is_refused(api: Served, namespace: str) -> None:
    """A fork, a circle, a beginning before the older one's, nothing new, and what is not there."""
    first = made(post(api, namespace, "", description="one", valid_from="2024-01-01T00:00:00Z"))
    second = made(post(api, namespace, f"/{first['id']}/supersede", description="two"))
    fork = post(api, namespace, f"/{first['id']}/supersede", description="three")
    assert refused(fork, 409) == {"superseded_by": f"is {second['id']} already: supersede that one"}
    circle = api.http.patch(f"/v1/knowledge/{second['id']}", json={"namespace": namespace, "superseded_by": first["id"]})
    assert refused(circle) == {"superseded_by": "must not be a piece that it supersedes itself, directly or not"}
    early = post(api, namespace, f"/{second['id']}/supersede", description="x", valid_from="2023-01-01T00:00:00Z")
    assert "must not be before that of what it supersedes" in refused(early)["valid_from"]
    assert refused(post(api, namespace, f"/{second['id']}/supersede")) == {"description": "must be given, or content"}
    assert post(api, f"{namespace}-2", f"/{second['id']}/supersede", description="x").status_code == 404
    assert get(api, namespace, f"/{second['id']}")["superseded_by"] is None


def test_a_supersession_is_made_once(api: Served, namespace: str) -> None:
    """Repeated under its key it gives the same successor; of several at once under none, one is made."""
    piece = made(post(api, namespace, "", description="one"))
    path, body = f"/v1/knowledge/{piece['id']}/supersede", {"namespace": namespace, "description": "two"}
    headers = {"idempotency-key": str(uuid4())}
    answers = [made(api.http.post(path, json=body, headers=headers)) for _ in range(2)]
    assert answers[0] == answers[1]
    newer = f"/v1/knowledge/{answers[0]['id']}/supersede"
    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(lambda _: api.http.post(newer, json=body).status_code, range(8)))
    assert statuses == [201, *[409] * 7]
    assert len(get(api, namespace, f"/{piece['id']}/history")["versions"]) == 3


def test_a_bad_strategy_retires_itself_and_may_come_back(api: Served, namespace: str) -> None:
    """It is kept, listed on request and not recalled, until somebody makes it active again."""
    piece = made(post(api, namespace, "", kind="strategy", description="always say yes"))
    for _ in range(5):
        judged = made(post(api, namespace, f"/{piece['id']}/applications", outcome="failure"))
    assert judged["is_active"] is False
    assert judged["inactive_reason"].startswith("retired: succeeded in 0 of 5 applications")
    assert judged["estimated_success"] == {"mean": pytest.approx(1 / 7), "lower": 0.008512, "upper": 0.393038}
    consolidate(api, namespace)
    assert found(api, namespace, "always say yes") == []
    assert get(api, namespace, "")["knowledge"] == []
    assert [k["id"] for k in get(api, namespace, "", include_inactive=True)["knowledge"]] == [piece["id"]]
    back = api.http.patch(f"/v1/knowledge/{piece['id']}", json={"namespace": namespace, "is_active": True})
    assert (made(back)["is_active"], made(back)["inactive_reason"]) == (True, None)
    consolidate(api, namespace)
    assert found(api, namespace, "always say yes") == ["always say yes"]


def test_applications_at_once_lose_no_count(api: Served, namespace: str) -> None:
    """Counts, confidence and revisions of many at once are those of one after the other."""
    piece = made(post(api, namespace, "", kind="strategy", description="ask first", confidence=0.5))
    outcomes = ["success"] * 20 + ["failure"] * 10
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda o: made(post(api, namespace, f"/{piece['id']}/applications", outcome=o)), outcomes))
    told = get(api, namespace, f"/{piece['id']}")
    assert (told["times_applied"], told["success_count"], told["failure_count"]) == (30, 20, 10)
    assert told["confidence"] == pytest.approx(21 / 32)
    assert [r["number"] for r in get(api, namespace, f"/{piece['id']}/history")["revisions"]] == list(range(1, 32))


def test_strategies_for_a_situation(api: Served, namespace: str) -> None:
    """By conditions and by meaning, the most promising first, each with why; never out of the namespace."""
    split = made(post(api, namespace, "", kind="strategy", description="split it", content=BACKLOG))
    made(post(api, namespace, "", kind="heuristic", description="pairing helps with a large backlog", confidence=0.6))
    made(post(api, f"{namespace}-2", "", kind="strategy", description="theirs", content=BACKLOG))
    consolidate(api, namespace)
    answer = made(post(api, namespace, "/strategies", context={"backlog": 25}))
    assert [s["knowledge"]["description"] for s in answer["strategies"]] == ["split it", "pairing helps with a large backlog"]
    first = answer["strategies"][0]
    assert first["knowledge"] == split
    assert first["matched_conditions"] == [{"field": "backlog", "op": "gt", "value": 20, "found": 25}]
    assert set(first["components"]) == {"conditions", "meaning", "comparison", "success", "confidence"}
    assert first["score"] == pytest.approx(sum(first["components"].values()))
    assert first["why"][0] == "backlog gt 20: it is 25"
    few = made(post(api, namespace, "/strategies", context={"backlog": 5}, min_confidence=0.7))
    assert few["strategies"] == []
    texts = made(post(api, namespace, "/strategies", context="a large backlog", limit=1, kinds=["heuristic"]))
    assert [s["knowledge"]["kind"] for s in texts["strategies"]] == ["heuristic"]


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (
            "",
            {"kind": "strategy", "content": {"conditions": [{"field": "a", "op": "like", "value": 1}]}},
            "content.conditions[0].op",
        ),
        ("", {"confidence": 1.5}, "confidence"),
        ("", {"valid_from": "2026-03-02T00:00:00Z", "valid_to": "2026-03-01T00:00:00Z"}, "valid_to"),
        ("/strategies", {"context": {}}, "context"),
        ("/strategies", {"context": "x", "min_confidence": -0.1}, "min_confidence"),
        ("/strategies", {"context": "x", "limit": 1001}, "limit"),
        ("/strategies", {"context": "x", "kinds": []}, "kinds"),
    ],
)
def test_bad_input_is_refused_by_field(api: Served, namespace: str, path: str, body: dict[str, Any], field: str) -> None:
    """The refusal names the field, and nothing is stored."""
    described = {} if path else {"description": "x"}
    assert list(refused(post(api, namespace, path, **described, **body))) == [field]
    assert get(api, namespace, "", include_superseded=True)["knowledge"] == []
