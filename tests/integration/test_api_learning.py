"""Learning over HTTP: from episodes to patterns, knowledge and heuristics."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any
from uuid import UUID

import pytest
from rich.console import Console
from served import Served

from app.cli import learning
from app.client import MemoryClient
from app.records import PatternKind, PatternState, Scope

NOW = "2026-03-01T09:00:00Z"


def decide(api: Served, namespace: str, perception: dict[str, Any], choice: str, outcome: float | None, **fields: Any) -> str:
    """Store a decision, good enough to be learned from unless said otherwise; its id."""
    body = {
        "namespace": namespace, "kind": "decision", "started_at": NOW, "ended_at": NOW,
        "perception": perception, "action": {"choice": choice}, "quality": 1.0, **fields,
    }  # fmt: skip
    body.setdefault("quality", 0.9)
    if outcome is not None:
        body |= {"outcome": {"done": outcome}, "outcome_quality": outcome}
    answer = api.http.post("/v1/episodes", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def learn(api: Served, namespace: str) -> dict[str, Any]:
    answer = api.http.post("/v1/admin/learn", json={"namespace": namespace})
    assert answer.status_code == 200, answer.text
    report: dict[str, Any] = answer.json()
    assert report["errors"] == []
    return report


def patterns(api: Served, namespace: str, **asked: Any) -> list[dict[str, Any]]:
    answer = api.http.get("/v1/patterns", params={"namespace": namespace, **asked})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["patterns"]
    return found


def knowledge(api: Served, namespace: str, kind: str) -> list[dict[str, Any]]:
    asked: dict[str, Any] = {"namespace": namespace, "kind": kind, "include_inactive": True}
    found: list[dict[str, Any]] = api.http.get("/v1/knowledge", params=asked).json()["knowledge"]
    return found


def test_what_three_episodes_agree_on_becomes_knowledge(api: Served, namespace: str) -> None:
    """A pattern with three supporters and none against is kept as knowledge under its id; with fewer it is a candidate."""
    ids = [decide(api, namespace, {"risk": "high"}, "Cut scope", None) for _ in range(3)]
    decide(api, namespace, {"risk": "low"}, "Ship", None)
    counts = learn(api, namespace)["counts"]
    assert counts == {
        "episodes": 4, "episodes_skipped": 0, "patterns_found": 4, "patterns_merged": 0, "patterns_kept": 1, "heuristics": 0,
    }  # fmt: skip
    found = {p["description"]: p for p in patterns(api, namespace)}
    kept = found.pop("When risk is 'high', 'Cut scope' is chosen.")
    assert {**kept, "id": None, "supporting_episodes": set(kept["supporting_episodes"])} == {
        "id": None,
        "kind": "decision_point",
        "namespace": namespace,
        "project_id": None,
        "description": "When risk is 'high', 'Cut scope' is chosen.",
        "content": {"conditions": [{"field": "risk", "op": "eq", "value": "high"}], "action": "Cut scope"},
        "confidence": 0.8,
        "state": "kept",
        "supporters": 3,
        "contradictors": 0,
        "supporting_episodes": set(ids),
        "contradicting_episodes": [],
        "first_seen_at": NOW,
    }
    assert [(p["description"], p["state"], p["supporters"]) for p in found.values()] == [
        ("When risk is 'low', 'Ship' is chosen.", "candidate", 1)
    ]
    (known,) = knowledge(api, namespace, "pattern")
    assert (known["id"], known["origin"], known["confidence"], known["content"]) == (
        kept["id"], "learned", 0.8,
        {
            "pattern": "decision_point", "action": "Cut scope",
            "conditions": [{"field": "risk", "op": "eq", "value": "high"}],
        },
    )  # fmt: skip
    assert set(known["supporting_episodes"]) == set(ids)


def test_what_is_contradicted_is_withdrawn(api: Served, namespace: str) -> None:
    """Other choices under the same condition bring the confidence down; what falls is not active any more, and comes back."""
    for _ in range(3):
        decide(api, namespace, {"risk": "high"}, "cut scope", None)
    learn(api, namespace)
    for _ in range(2):
        decide(api, namespace, {"risk": "high"}, "ship", None)
    learn(api, namespace)
    assert [(p["state"], p["supporters"], p["contradictors"]) for p in patterns(api, namespace, min_confidence=0.5)] == [
        ("candidate", 3, 2)
    ]
    (fallen,) = knowledge(api, namespace, "pattern")
    assert fallen["confidence"] == pytest.approx(4 / 7)
    assert (fallen["is_active"], fallen["inactive_reason"]) == (False, "withdrawn: what happened since speaks against it")
    for _ in range(5):
        decide(api, namespace, {"risk": "high"}, "cut scope", None)
    learn(api, namespace)
    (back,) = knowledge(api, namespace, "pattern")
    assert (back["confidence"], back["is_active"], back["inactive_reason"]) == (0.75, True, None)


def test_a_heuristic_says_what_tells_good_from_bad(api: Served, namespace: str) -> None:
    """What goes well more often than chance explains becomes one heuristic, updated when more is known and never doubled."""
    for i in range(10):
        decide(api, namespace, {"risk": "high", "sprint": i}, "cut scope", 0.9)
        decide(api, namespace, {"risk": "high", "sprint": i}, "ship", 0.2)
        decide(api, namespace, {"risk": "low", "sprint": i}, "ship", 0.8)
        decide(api, namespace, {"risk": "low", "sprint": i}, "cut scope", 0.8 if i % 2 else 0.3)
    assert learn(api, namespace)["counts"]["heuristics"] == 1
    (first,) = knowledge(api, namespace, "heuristic")
    conditions = [{"field": "risk", "op": "eq", "value": "high"}]
    said = "When risk is 'high', choose 'cut scope': 10 of 10 went well, against 0 of 10 otherwise."
    assert (first["description"], first["content"]["conditions"], first["content"]["action"]) == (said, conditions, "cut scope")
    assert len(first["supporting_episodes"]) == 10
    decide(api, namespace, {"risk": "high", "sprint": 11}, "cut scope", 0.9)
    learn(api, namespace)
    (second,) = knowledge(api, namespace, "heuristic")
    assert (second["id"], second["content"]["well"], len(second["supporting_episodes"])) == (first["id"], 11, 11)
    assert learn(api, namespace)["counts"]["heuristics"] == 0


def test_what_was_compared_is_advised_first(api: Served, namespace: str) -> None:
    """A heuristic comes before the patterns that hold in the same situation, however many episodes support them."""
    random = Random(1)
    for _ in range(60):
        risk, choice = random.choice(["high", "low"]), random.choice(["cut scope", "ship"])
        perception = {"risk": risk, "backlog": random.randint(5, 40), "team": {"size": random.randint(3, 8)}}
        decide(api, namespace, perception, choice, 0.2 if (risk, choice) == ("high", "ship") else 0.9, project_id="apollo")
    learn(api, namespace)
    api.http.post("/v1/admin/consolidate", json={"namespace": namespace}).raise_for_status()
    said = "When risk is 'high', choose 'cut scope': 14 of 14 went well, against 0 of 18 otherwise."
    scope = {"namespace": namespace, "project_id": "apollo"}
    situation = {"risk": "high", "backlog": 20, "team": {"size": 5}}
    answer = api.http.post("/v1/knowledge/strategies", json={**scope, "context": situation}).json()["strategies"]
    assert [s["knowledge"]["kind"] for s in answer] == ["heuristic", *["pattern"] * 4]
    assert answer[0]["knowledge"]["description"] == said
    assert {s["components"]["conditions"] for s in answer} == {0.5}
    assert answer[0]["components"]["comparison"] == pytest.approx(0.5)
    asked = {**scope, "text": "risk is high: cut scope or ship?", "kinds": ["knowledge"], "budget_tokens": 300}
    heading, first, *rest = api.http.post("/v1/context", json=asked).json()["text"].splitlines()
    assert (heading, first.partition("] ")[2]) == ("## Knowledge", said)
    assert [line for line in rest if not re.fullmatch(r"- \[.{11}\] When .*'(cut scope|ship)' ends (well|badly)\.", line)] == []


def test_steps_teach_sequences_and_recoveries(api: Served, namespace: str) -> None:
    """Tools that follow each other, and what got an agent going again, are found in steps."""
    steps = [{"tool": "search"}, {"tool": "deploy", "error": "TimeoutError: 12 s"}, {"tool": "restart"}, {"tool": "deploy"}]
    for _ in range(3):
        decide(api, namespace, {}, "", None, kind="task", steps=steps)
    learn(api, namespace)
    assert [p["description"] for p in patterns(api, namespace, kind="error_recovery", state="kept")] == [
        "When deploy fails with 'TimeoutError', restart, then deploy gets on."
    ]
    assert {tuple(p["content"]["tools"]) for p in patterns(api, namespace, kind="tool_sequence")} == {
        ("search", "restart"), ("restart", "deploy"), ("search", "restart", "deploy"),
    }  # fmt: skip


def test_patterns_are_paged_within_a_namespace(api: Served, namespace: str) -> None:
    """Pages follow each other without gaps; another namespace sees none of it."""
    for place in ("home", "office", "train"):
        decide(api, namespace, {"place": place}, "write", None)
    learn(api, namespace)
    first = api.http.get("/v1/patterns", params={"namespace": namespace, "limit": 2}).json()
    second = api.http.get("/v1/patterns", params={"namespace": namespace, "limit": 2, "after": first["next"]}).json()
    assert [UUID(p["id"]) for p in (*first["patterns"], *second["patterns"])] == sorted(
        UUID(p["id"]) for p in patterns(api, namespace)
    )
    assert second["next"] is None
    assert patterns(api, f"{namespace}-other") == []


def test_unlearnable_episodes_are_skipped(api: Served, namespace: str) -> None:
    """What is judged below the threshold teaches nothing, and unteaches what it taught before."""
    episode_id = decide(api, namespace, {"risk": "high"}, "ship", None)
    learn(api, namespace)
    assert len(patterns(api, namespace)) == 1
    judged = partial(replace, quality=0.5)
    api.portal.call(api.installation.service.change_episode, namespace, UUID(episode_id), judged)
    assert learn(api, namespace)["counts"]["episodes_skipped"] == 1
    assert patterns(api, namespace) == []


def test_forgetting_forgets_what_was_learned(api: Served, namespace: str) -> None:
    """With the episodes of a user go the patterns, and the knowledge, that rest on them alone."""
    for _ in range(3):
        decide(api, namespace, {"place": "Ana's flat"}, "call", None, user_id="ana")
    learn(api, namespace)
    assert len(knowledge(api, namespace, "pattern")) == 1
    api.http.post("/v1/admin/forget", json={"namespace": namespace, "user_id": "ana"}).raise_for_status()
    assert (patterns(api, namespace), knowledge(api, namespace, "pattern")) == ([], [])


def test_the_status_tells_what_waits(api: Served, namespace: str) -> None:
    """Episodes that were not learned from yet are pending until a run has seen them."""
    learn_everything = api.http.post("/v1/admin/learn")
    assert learn_everything.status_code == 200
    decide(api, namespace, {"risk": "high"}, "ship", None)
    assert api.http.get("/v1/admin/status").json()["learning"]["pending"] == 1
    learn(api, namespace)
    status = api.http.get("/v1/admin/status").json()["learning"]
    assert (status["pending"], status["dead_letters"], status["stale"]) == (0, 0, 0)
    assert "memory_learning_pending" in api.http.get("/metrics").text


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"min_confidence": 1.5}, "min_confidence"),
        ({"limit": 0}, "limit"),
        ({"kind": "hunch"}, "kind"),
        ({"namespace": ""}, "namespace"),
    ],
)
def test_bad_questions_are_named(api: Served, asked: dict[str, Any], field: str) -> None:
    """A parameter outside its limit is refused by name."""
    answer = api.http.get("/v1/patterns", params=asked)
    assert answer.status_code == 422
    assert field in answer.json()["errors"][0]["field"]


async def test_the_command_learns_and_counts(api: Served, namespace: str) -> None:
    """`hybrid-memory learn` prints what the run did."""
    for _ in range(3):
        decide(api, namespace, {"risk": "high"}, "cut scope", None)
    console = Console(width=100, record=True, file=io.StringIO())
    await learning.learn(MemoryClient(api.url), namespace=namespace, retry=True, console=console)
    printed = dict(re.findall(r"(\w+) +(\d+) *\n", console.export_text()))
    del printed["milliseconds"]
    assert printed == {
        "retried": "0", "episodes": "3", "skipped": "0", "found": "3", "merged": "0", "kept": "1", "heuristics": "0",
    }  # fmt: skip


async def test_the_client_lists_patterns(api: Served, namespace: str) -> None:
    """`list_patterns` takes the parameters of the operation, and answers with values; so does `learn`."""
    decide(api, namespace, {"risk": "high"}, "cut scope", None)
    async with MemoryClient(api.url) as client:
        assert (await client.learn(namespace=namespace)).errors == ()
        page = await client.list_patterns(namespace=namespace, kind=PatternKind.DECISION_POINT, limit=5)
        assert [pattern async for pattern in client.iter_patterns(namespace=namespace, page_size=1)] == list(page.items)
    (found,) = page.items
    assert (found.description, found.scope, found.state, found.supporters, page.next) == (
        "When risk is 'high', 'cut scope' is chosen.", Scope(namespace), PatternState.CANDIDATE, 1, None,
    )  # fmt: skip
