"""Experiments and trends over real HTTP and real engines."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID

import httpx
import pytest
from served import Served
from talking import append, created, said, search

from app.cli.trending import trends_table
from app.client import SyncMemoryClient
from app.records import Scope, Verdict, new_id

VARIANTS = [
    {"name": "control"},
    {"name": "words", "ranking": {"bm25": 0.5}, "mode": "sparse", "limit": 1},
]
AS_MADE = {
    "description": "", "unit": "session", "traffic_share": 1.0, "metric": "outcome_quality", "metric_kind": "continuous",
    "lower_is_better": False, "alpha": 0.05, "minimum_subjects": 30, "planned_subjects": 1000, "minimum_effect": 0.0,
}  # fmt: skip


def make(api: Served, namespace: str, name: str = "words-first", *, start: bool = True, **fields: Any) -> dict[str, Any]:
    body = {"namespace": namespace, "name": name, "variants": VARIANTS, **fields}
    made = created(api.http.post("/v1/experiments", json=body))
    return move(api, namespace, "start", name).json() if start else made


def move(api: Served, namespace: str, verb: str, name: str = "words-first") -> httpx.Response:
    return api.http.post(f"/v1/experiments/{name}/{verb}", json={"namespace": namespace})


def analysis(api: Served, namespace: str, name: str = "words-first", **asked: str) -> dict[str, Any]:
    answer = api.http.get(f"/v1/experiments/{name}/analysis", params={"namespace": namespace, **asked})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def assigned(api: Served, namespace: str, variant: str, wanted: int) -> list[str]:
    """Subjects that get this variant, as the service says."""
    found: list[str] = []
    for n in range(100):
        answer = api.http.get(f"/v1/experiments/words-first/assignments/s{n}", params={"namespace": namespace}).json()
        found += [answer["subject"]] if answer["variant"] == variant else []
        if len(found) == wanted:
            break
    return found


def test_an_experiment_is_made_started_and_stopped(api: Served, namespace: str) -> None:
    """Its settings come back as they were given, whole; what a variant does not name is not there."""
    made = make(api, namespace, start=False)
    variants = [
        {"name": "control", "weight": 1.0, "ranking": {}, "mode": None, "stages": None, "limit": None},
        {"name": "words", "weight": 1.0, "ranking": {"bm25": 0.5}, "mode": "sparse", "stages": None, "limit": 1},
    ]
    assert made == AS_MADE | {
        "id": made["id"], "namespace": namespace, "name": "words-first", "variants": variants, "state": "draft",
        "created_at": made["created_at"], "started_at": None, "stopped_at": None,
    }  # fmt: skip
    started = move(api, namespace, "start").json()
    assert started == made | {"state": "running", "started_at": started["started_at"]}
    assert move(api, namespace, "start").json() == started
    stopped = move(api, namespace, "stop").json()
    assert stopped == started | {"state": "stopped", "stopped_at": stopped["stopped_at"]}
    assert move(api, namespace, "start").status_code == 409
    mine = {"namespace": namespace}
    assert api.http.get("/v1/experiments/words-first", params=mine).json() == stopped
    assert api.http.get("/v1/experiments", params=mine).json() == {"experiments": [stopped], "next": None}
    assert api.http.get("/v1/experiments", params=mine | {"limit": 1}).json()["next"] == "words-first"
    assert api.http.get("/v1/experiments", params=mine | {"state": "running"}).json()["experiments"] == []


def test_a_name_is_taken_and_a_named_call_is_not_repeated(api: Served, namespace: str) -> None:
    """A second experiment of the name is 409; the same call again, by its key, is answered as before."""
    body = {"namespace": namespace, "name": "words-first", "variants": VARIANTS}
    headers = {"Idempotency-Key": str(new_id())}
    first, again = (created(api.http.post("/v1/experiments", json=body, headers=headers)) for _ in range(2))
    assert first == again
    taken = api.http.post("/v1/experiments", json=body)
    assert (taken.status_code, taken.json()["errors"][0]["field"]) == (409, "name")


def test_a_search_takes_part(api: Served, namespace: str) -> None:
    """It has its variant's settings and says so; the others are as they were, and say so too."""
    created(append(api, namespace, [said("the cat sleeps"), said("the cat eats")], wait="indexed"))
    make(api, namespace)
    ((control,), (words,)) = (assigned(api, namespace, variant, 1) for variant in ("control", "words"))
    search_id = str(new_id())
    answer = search(api, namespace, "cat", experiment="words-first", subject=words, search_id=search_id)
    assert answer["experiment"] == {
        "name": "words-first", "variant": "words", "subject": words, "enrolment": "assigned", "search_id": search_id,
    }  # fmt: skip
    assert len(answer["hits"]) == 1
    plain = search(api, namespace, "cat", experiment="words-first", subject=control)
    assert (plain["experiment"]["variant"], len(plain["hits"]) > 1) == ("control", True)
    assert "experiment" not in search(api, namespace, "cat")
    found = analysis(api, namespace)
    assert [(v["variant"], v["exposed"]) for v in found["variants"]] == [("control", 1), ("words", 1)]
    move(api, namespace, "stop")
    after = search(api, namespace, "cat", experiment="words-first", subject=words)
    assert (after["experiment"]["enrolment"], after["experiment"]["variant"], len(after["hits"]) > 1) == ("stopped", None, True)


def test_outcomes_and_observations_are_analysed(api: Served, namespace: str) -> None:
    """A variant whose sessions turn out better is rolled out; an outcome of a session counts by itself."""
    make(api, namespace, minimum_subjects=5, planned_subjects=20)
    control, words = (assigned(api, namespace, variant, 12) for variant in ("control", "words"))
    values = [(s, 0.4 + n % 3 / 50) for n, s in enumerate(control[1:])] + [(s, 0.8 + n % 3 / 50) for n, s in enumerate(words)]
    seen = [{"subject": subject, "value": value} for subject, value in values]
    body = {"namespace": namespace, "observations": seen}
    headers = {"Idempotency-Key": str(new_id())}
    for _ in range(2):
        answer = api.http.post("/v1/experiments/words-first/observations", json=body, headers=headers)
        assert created(answer) == {"recorded": 23, "outside": 0}
    search(api, namespace, "cat", experiment="words-first", session_id=control[0])
    episode = {"namespace": namespace, "session_id": control[0], "outcome": {"done": 1}, "outcome_quality": 0.42}
    created(api.http.post("/v1/episodes", json=episode))
    found = analysis(api, namespace)
    (comparison,) = found.pop("comparisons")
    assert [(v["variant"], v["exposed"], v["subjects"]) for v in found.pop("variants")] == [("control", 1, 12), ("words", 0, 12)]
    assert found == {
        "experiment": "words-first", "state": "running", "metric": "outcome_quality", "lower_is_better": False,
        "confidence": 0.95, "control": "control", "recommendation": "roll_out", "variant": "words",
        "reasons": found["reasons"], "sample_ratio_p": pytest.approx(1.0),
    }  # fmt: skip
    assert (
        comparison["low"] < comparison["fixed"]["low"] < comparison["effect"] < comparison["fixed"]["high"] < comparison["high"]
    )
    assert (comparison["variant"], comparison["effect"]) == ("words", pytest.approx(0.4, abs=0.01))
    assert analysis(api, namespace, metric="other")["recommendation"] == "keep_going"


def test_feedback_on_a_search_reaches_its_subject(api: Served, namespace: str) -> None:
    """What is observed of a search, by its name, counts for the subject that searched."""
    make(api, namespace, metric="feedback", metric_kind="binary")
    arm = search(api, namespace, "cat", experiment="words-first", subject="s1")["experiment"]
    service = api.installation.service
    assert api.portal.call(service.observe_search, namespace, arm["search_id"], 1.0) == 1
    assert api.portal.call(service.observe_search, f"{namespace}-other", arm["search_id"], 1.0) == 0
    assert sum(v["subjects"] for v in analysis(api, namespace)["variants"]) == 1


def test_feedback_that_names_its_search_counts_in_the_experiment(api: Served, namespace: str) -> None:
    """Useful is 1, anything else 0; after the stop as well; and once a call, also where its answer was lost."""
    make(api, namespace, metric="feedback", metric_kind="binary")
    fact = created(api.http.post("/v1/knowledge", json={"namespace": namespace, "description": "the cat sleeps"}))["id"]
    ((control,), (words,)) = (assigned(api, namespace, variant, 1) for variant in ("control", "words"))
    searches = {s: search(api, namespace, "cat", experiment="words-first", subject=s)["experiment"] for s in (control, words)}
    for subject, verdict in ((control, "useful"), (words, "outdated")):
        said = {"namespace": namespace, "record_id": fact, "verdict": verdict, "search_id": searches[subject]["search_id"]}
        headers = {"Idempotency-Key": str(new_id())}
        first, again = (created(api.http.post("/v1/feedback", json=said, headers=headers)) for _ in range(2))
        assert first == again
    assert subject_means(api, namespace) == {"control": (1, 1.0), "words": (1, 0.0)}
    move(api, namespace, "stop")
    repeated = partial(api.installation.service.record_feedback, search_id=UUID(searches[words]["search_id"]), call=new_id())
    for _ in range(2):
        api.portal.call(repeated, Scope(namespace), UUID(fact), Verdict.USEFUL)
    assert subject_means(api, namespace) == {"control": (1, 1.0), "words": (1, 0.5)}


def test_feedback_on_a_search_that_exposed_nobody_is_feedback(api: Served, namespace: str) -> None:
    """Unknown, of another namespace, or without an experiment: it is stored as it always was, and nothing is observed."""
    make(api, namespace, metric="feedback")
    arm = search(api, namespace, "cat", experiment="words-first", subject="s1")["experiment"]
    other = f"{namespace}-other"
    facts = [created(api.http.post("/v1/knowledge", json={"namespace": n, "description": "x"}))["id"] for n in (namespace, other)]
    for where, fact, search_id in ((namespace, facts[0], str(new_id())), (other, facts[1], arm["search_id"])):
        said = {"namespace": where, "record_id": fact, "verdict": "useful", "search_id": search_id}
        assert created(api.http.post("/v1/feedback", json=said))["verdict"] == "useful"
    assert subject_means(api, namespace) == {}
    malformed = api.http.post(
        "/v1/feedback", json={"namespace": namespace, "record_id": facts[0], "verdict": "useful", "search_id": "s"}
    )
    assert (malformed.status_code, malformed.json()["errors"][0]["field"]) == (422, "search_id")


def subject_means(api: Served, namespace: str) -> dict[str, tuple[int, float]]:
    """Of each variant of which something was observed: how many subjects there are, and their mean."""
    return {v["variant"]: (v["subjects"], v["mean"]) for v in analysis(api, namespace)["variants"] if v["subjects"]}


def test_nothing_is_found_from_another_namespace(api: Served, namespace: str) -> None:
    """Every call on an experiment of another namespace answers as if there were none."""
    make(api, namespace)
    stranger = {"namespace": f"{namespace}-other"}
    path = "/v1/experiments/words-first"
    refused = [
        api.http.get(path, params=stranger),
        api.http.get(f"{path}/analysis", params=stranger),
        api.http.get(f"{path}/assignments/s1", params=stranger),
        api.http.post(f"{path}/start", json=stranger),
        api.http.post(f"{path}/stop", json=stranger),
        api.http.post(f"{path}/observations", json=stranger | {"observations": [{"subject": "s1", "value": 1.0}]}),
        api.http.post("/v1/search", json=stranger | {"text": "q", "experiment": "words-first", "subject": "s1"}),
    ]
    assert {(r.status_code, r.json()["detail"]) for r in refused} == {(404, "no experiment 'words-first' in this namespace")}
    assert api.http.get("/v1/experiments", params=stranger).json() == {"experiments": [], "next": None}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"variants": VARIANTS[:1]}, "variants"),
        ({"variants": [VARIANTS[0], {"name": "x", "ranking": {"bm25": 11.0}}]}, "variants[1].ranking.bm25"),
        ({"variants": [VARIANTS[0], {"name": "x", "ranking": {"charm": 1.0}}]}, "variants[1].ranking.charm"),
        ({"variants": [VARIANTS[0], {"name": "x", "limit": 0}]}, "variants[1].limit"),
        ({"variants": [VARIANTS[0], VARIANTS[0]]}, "variants[1].name"),
        ({"traffic_share": 1.5}, "traffic_share"),
        ({"unit": "planet"}, "unit"),
        ({"alpha": 0.0}, "alpha"),
        ({"name": ""}, "name"),
        ({"name": "x" * 256}, "name"),
    ],
)
def test_an_experiment_is_refused_by_field(api: Served, namespace: str, fields: dict[str, Any], field: str) -> None:
    """422 names the field, and nothing is kept."""
    body = {"namespace": namespace, "name": "n", "variants": VARIANTS} | fields
    refused = api.http.post("/v1/experiments", json=body)
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, field)
    assert api.http.get("/v1/experiments", params={"namespace": namespace}).json()["experiments"] == []


def test_bad_observations_and_searches_are_refused_by_field(api: Served, namespace: str) -> None:
    """A value that a binary metric cannot have, a subject without an experiment, or nobody to take part."""
    make(api, namespace, metric_kind="binary", unit="custom")
    body = {"namespace": namespace, "observations": [{"subject": "s1", "value": 1.0}, {"subject": "s2", "value": 0.5}]}
    refused = api.http.post("/v1/experiments/words-first/observations", json=body)
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "observations[1].value")
    for fields, field in (({"subject": "s1"}, "experiment"), ({"experiment": "words-first"}, "subject")):
        refused = api.http.post("/v1/search", json={"namespace": namespace, "text": "q", **fields})
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, field)


def test_forgetting_a_namespace_takes_its_experiments(api: Served, namespace: str) -> None:
    """With all that was seen in them."""
    make(api, namespace)
    search(api, namespace, "cat", experiment="words-first", subject="s1")
    assert api.http.post("/v1/admin/forget", json={"namespace": namespace}).status_code == 200
    assert api.http.get("/v1/experiments/words-first", params={"namespace": namespace}).status_code == 404


def test_trends_are_read_and_drawn(api: Served, namespace: str) -> None:
    """Searches and episodes of today are in them at once; one day is no trend; other spans are refused."""
    for _ in range(3):
        search(api, namespace, "cat")
    episode = created(api.http.post("/v1/episodes", json={"namespace": namespace, "outcome": {}, "outcome_quality": 0.75}))
    answer = api.http.get("/v1/admin/trends", params={"namespace": namespace, "days": 7}).json()
    today = answer["series"]["error_rate"]["points"][0]["day"]
    nothing = {"slope_per_day": None, "p_value": None, "direction": "unknown"}
    assert (answer["namespace"], answer["days"]) == (namespace, 7)
    assert answer["series"]["outcome_quality"] == nothing | {"mean": 0.75, "points": [{"day": today, "value": 0.75, "count": 1}]}
    assert answer["series"]["error_rate"] == nothing | {"mean": 0.0, "points": [{"day": today, "value": 0.0, "count": 3}]}
    assert [point["value"] for point in answer["series"]["quality"]["points"]] == [episode["quality"]]
    assert answer["series"]["recall_latency_p95_ms"]["points"][0]["value"] > 0
    assert api.http.get("/v1/admin/trends", params={"days": 30}).json()["namespace"] is None
    refused = api.http.get("/v1/admin/trends", params={"days": 8})
    assert refused.json()["errors"] == [{"field": "days", "problem": "must be 7 or 30, is 8"}]
    with SyncMemoryClient(api.url) as client:
        assert trends_table(client.trends(namespace=namespace)).row_count == 5
