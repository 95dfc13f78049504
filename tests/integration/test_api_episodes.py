"""Episodes in full over real HTTP and real engines: steps by page, quality, rendering, switches, backfill."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from served import Served, served
from talking import created, search

GOOD: dict[str, Any] = {
    "perception": {"backlog": 12, "velocity": 9, "team": "alpha"},
    "reasoning": {"why": "the velocity of the last three sprints covers nine stories"},
    "action": {"decision": "plan nine stories"},
}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """An API of this module's own, whose switches nobody else sees."""
    with served(tmp_path_factory.mktemp("own")) as running:
        yield running


def log(api: Served, namespace: str, wait: str = "none", **fields: Any) -> dict[str, Any]:
    return created(api.http.post("/v1/episodes", params={"wait": wait}, json={"namespace": namespace, **fields}))


def get(api: Served, namespace: str, path: str, **parameters: Any) -> dict[str, Any]:
    return dict(api.http.get(path, params={"namespace": namespace, **parameters}).raise_for_status().json())


def consolidated(api: Served, namespace: str) -> None:
    api.http.post("/v1/admin/consolidate", json={"namespace": namespace}).raise_for_status()


def numbers(steps: list[dict[str, Any]]) -> list[int]:
    assert [step["index"] for step in steps] == [step["content"]["n"] for step in steps]
    return [step["index"] for step in steps]


@pytest.mark.parametrize("wait", ["none", "stored"])
def test_the_first_hundred_steps_come_with_their_episode(api: Served, namespace: str, wait: str) -> None:
    """The others are fetched by number or by position, whether the episode is only logged yet or stored."""
    made = log(api, namespace, wait, steps=[{"n": n} for n in range(250)])
    path = f"/v1/episodes/{made['id']}"
    for _ in ("logged or stored", "stored"):
        whole = get(api, namespace, path)
        assert (numbers(whole["steps"]), whole["step_count"], whole["next"]) == (list(range(100)), 250, 99)
        page = get(api, namespace, f"{path}/steps", page=3)
        assert (numbers(page["steps"]), page["step_count"], page["next"]) == (list(range(200, 250)), 250, None)
        assert numbers(get(api, namespace, f"{path}/steps", page=2, limit=7)["steps"]) == list(range(7, 14))
        assert numbers(get(api, namespace, f"{path}/steps", after=whole["next"], limit=2)["steps"]) == [100, 101]
        assert get(api, namespace, f"{path}/steps", page=4)["steps"] == []
        consolidated(api, namespace)
    both = api.http.get(f"{path}/steps", params={"namespace": namespace, "page": 1, "after": 0})
    assert both.json()["errors"] == [{"field": "page", "problem": "cannot be given together with after"}]


def test_an_episode_is_bounded_with_all_its_steps(api: Served, namespace: str) -> None:
    """10,000 steps and a megabyte in all, however they come; what is refused leaves nothing behind."""
    many = log(api, namespace, "stored", steps=[{}] * 9_999)
    large = log(api, namespace, "stored", perception={"x": "y" * 500_000}, steps=[{"x": "y" * 500_000}])
    refusals = [
        (many["id"], [{}, {}], {"field": "steps", "problem": "must be at most 10000 in all, would be 10001"}),
        (large["id"], [{"x": "y" * 100_000}], {
            "field": "episode", "problem": "must have at most 1048576 bytes as JSON with its steps, would have 1100030"}),
    ]  # fmt: skip
    for episode_id, steps, problem in refusals:
        path = f"/v1/episodes/{episode_id}/steps"
        before = get(api, namespace, path)["step_count"]
        refused = api.http.post(path, json={"namespace": namespace, "steps": steps})
        assert (refused.status_code, refused.json()["errors"]) == (422, [problem])
        assert get(api, namespace, path)["step_count"] == before
    grown = api.http.patch(f"/v1/episodes/{large['id']}", json={"namespace": namespace, "outcome": {"x": "y" * 100_000}})
    assert grown.status_code == 422
    assert created(api.http.post(f"/v1/episodes/{many['id']}/steps", json={"namespace": namespace, "steps": [{}]}))[
        "step_count"
    ] == 10_000  # fmt: skip


def test_new_steps_are_a_new_version(api: Served, namespace: str) -> None:
    """Whoever holds the episode with its steps is not told that nothing changed."""
    path = f"/v1/episodes/{log(api, namespace, 'stored')['id']}"
    tag = api.http.get(path, params={"namespace": namespace}).headers["etag"]
    created(api.http.post(f"{path}/steps", json={"namespace": namespace, "steps": [{"n": 0}]}))
    again = api.http.get(path, params={"namespace": namespace}, headers={"If-None-Match": tag})
    assert (again.status_code, again.json()["step_count"], again.headers["etag"]) == (200, 1, '"2"')


def test_an_episode_says_whether_it_is_embedded(api: Served, namespace: str) -> None:
    """Logged and stored it requires embedding, indexed it does not, changed it does again; the list says the same."""
    made = log(api, namespace, **GOOD)
    path, seen = f"/v1/episodes/{made['id']}", [made["requires_embedding"]]
    fresh = api.http.get(path, params={"namespace": namespace})
    assert fresh.headers["cache-control"] == "no-store"
    seen.append(fresh.json()["requires_embedding"])
    consolidated(api, namespace)
    seen.append(get(api, namespace, path)["requires_embedding"])
    judged = api.http.post(f"{path}/outcome", json={"namespace": namespace, "outcome": {"done": 8}})
    seen.append(judged.json()["requires_embedding"])
    (listed,) = get(api, namespace, "/v1/episodes")["episodes"]
    assert (seen, listed["requires_embedding"]) == ([True, True, False, True], True)


def test_quality_comes_with_reasons(api: Served, namespace: str) -> None:
    """Judged when it is stored and again with its outcome; what a caller says holds until it is taken back."""
    made = log(api, namespace, "stored", **GOOD)
    path = f"/v1/episodes/{made['id']}"
    assert (made["quality"], made["is_learnable"], made["is_quality_given"]) == (0.85, True, False)
    assert get(api, namespace, path)["quality_reasons"] == ["outcome: outcome says nothing (−15.0%)"]
    api.http.post(f"{path}/outcome", json={"namespace": namespace, "outcome": {"done": 8}}).raise_for_status()
    quality = get(api, namespace, f"{path}/quality")
    assert (quality["quality"], quality["score"], quality["threshold"], quality["is_learnable"]) == (0.925, 0.925, 0.7, True)
    assert quality["parts"]["outcome"] == {"weight": 0.15, "score": 0.5, "completeness": 0.5, "substance": 1.0}
    problem = {"part": "outcome", "aspect": "completeness", "lost": 0.075, "problem": "without a value: outcome_quality"}
    assert quality["reasons"] == [problem]
    for given, expected in ((0.1, (0.1, True, False)), (None, (0.925, False, True))):
        changed = api.http.patch(path, json={"namespace": namespace, "quality": given}).json()
        assert (changed["quality"], changed["is_quality_given"], changed["is_learnable"]) == expected


def test_the_distribution_of_quality(api: Served, namespace: str) -> None:
    """By tenths, in all and project by project, with the share that nothing is learned from."""
    for project, fields in (("a", GOOD), ("a", {"quality": 0.7}), ("b", {}), (None, {"quality": 1.0})):
        log(api, namespace, "stored", project_id=project, **fields)
    found = get(api, namespace, "/v1/admin/quality")
    assert {name: found[name] for name in ("scored", "unscored", "counts", "mean", "share_below_threshold", "threshold")} == {
        "scored": 4, "unscored": 0, "counts": [1, 0, 0, 0, 0, 0, 0, 1, 1, 1], "mean": pytest.approx(2.55 / 4),
        "share_below_threshold": 0.25, "threshold": 0.7,
    }  # fmt: skip
    assert [(p["project_id"], p["scored"], p["share_below_threshold"]) for p in found["projects"]] == [
        (None, 1, 0.0), ("a", 2, 0.0), ("b", 1, 1.0),
    ]  # fmt: skip


def test_the_text_that_is_embedded_can_be_seen(api: Served, namespace: str) -> None:
    """It is what a search shows, and it says by which rendering it was made."""
    made = log(api, namespace, "stored", summary="Sprint 7", **GOOD)
    rendering = get(api, namespace, f"/v1/episodes/{made['id']}/rendering")
    consolidated(api, namespace)
    (hit,) = search(api, namespace, "sprint")["hits"]
    assert rendering["text"] == hit["text"]
    assert rendering["text"].splitlines()[:2] == ["Sprint 7", "perception: backlog 12; team alpha; velocity 9"]
    assert rendering["rendering_version"].startswith("1-")


def test_switched_off_nothing_is_kept_and_it_says_so(own: Served, namespace: str) -> None:
    """Logging and retrieval go off and on without a restart; the host's calls go through all the while."""
    kept = log(own, namespace, "stored", summary="walnuts")
    consolidated(own, namespace)

    def similar() -> tuple[list[str], list[str]]:
        answer = own.http.post("/v1/episodes/similar", json={"namespace": namespace, "context": "walnuts"}).json()
        return [hit["id"] for hit in answer["hits"]], answer["degraded"]

    assert similar() == similar() == ([kept["id"]], [])
    off = own.http.put("/v1/admin/features", json={"episode_logging": False, "retrieval": False})
    assert off.json() == own.http.get("/v1/admin/features").json() == {
        "episode_logging": False, "retrieval": False, "degraded": [],
    }  # fmt: skip
    skipped = log(own, namespace, summary="pecans")
    assert (skipped["stored_in"], skipped["skipped"], skipped["requires_embedding"]) == (None, "episode-logging-disabled", False)
    found = search(own, namespace, "walnuts")
    assert (found["hits"], found["degraded"]) == ([], ["retrieval-disabled"])
    assert similar() == ([], ["retrieval-disabled"])
    context = own.http.post("/v1/context", json={"namespace": namespace, "text": "walnuts"}).json()
    assert context["degraded"] == ["retrieval-disabled"]
    own.http.put("/v1/admin/features", json={"retrieval": True}).raise_for_status()
    assert [hit["id"] for hit in search(own, namespace, "walnuts")["hits"]] == [kept["id"]]
    own.http.put("/v1/admin/features", json={"episode_logging": True}).raise_for_status()
    assert log(own, namespace)["stored_in"] == "working"
    assert own.http.get(f"/v1/episodes/{skipped['id']}", params={"namespace": namespace}).status_code == 404


def test_a_backfill_is_asked_for(own: Served, namespace: str) -> None:
    """It embeds what waits, and says what it did and what is left."""
    log(own, namespace, "stored", **GOOD)
    before = get(own, namespace, "/v1/admin/backfill")
    done = own.http.post("/v1/admin/backfill", json={"namespace": namespace, "batch_size": 1, "rate": 1000.0}).json()
    assert before == {"pending": {"unscored": 0, "unembedded": 1}}
    assert done["counts"] == {"scored": 0, "unreadable": 0, "embedded": 1, "failed": 0, "postponed": 0}
    assert (done["pending"], done["errors"]) == ({"unscored": 0, "unembedded": 0}, [])
