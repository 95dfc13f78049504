"""Versions over real HTTP and real engines: `ETag`, `If-Match`, `If-None-Match`, PATCH and applications."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from served import Served
from talking import SESSION, created, history, search

from app.records import new_id


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of record that has a version, and how to make and change one."""

    path: str
    first: dict[str, Any]
    change: dict[str, Any]

    def make(self, api: Served, namespace: str) -> str:
        """The record's path."""
        if self.path == SESSION:
            assert api.http.put(SESSION, json={"namespace": namespace, **self.first}).headers["etag"] == '"1"'
            return SESSION
        return f"{self.path}/{created(api.http.post(self.path, json={'namespace': namespace, **self.first}))['id']}"


EPISODE = Kind("/v1/episodes", {"kind": "task", "summary": "packing"}, {"summary": "packed"})
KNOWLEDGE = Kind("/v1/knowledge", {"description": "Ana eats no nuts"}, {"confidence": 0.5})
STATE = Kind(SESSION, {"goal": "move"}, {"thoughts": ["ask Rui"]})
KINDS = [EPISODE, KNOWLEDGE, STATE]
RECORDS = [EPISODE, KNOWLEDGE]
each_kind = pytest.mark.parametrize("kind", KINDS, ids=["episode", "knowledge", "state"])
each_record = pytest.mark.parametrize("kind", RECORDS, ids=["episode", "knowledge"])


def get(api: Served, namespace: str, path: str, **headers: str) -> httpx.Response:
    return api.http.get(path, params={"namespace": namespace}, headers=headers)


def patch(api: Served, namespace: str, path: str, change: dict[str, Any], if_match: str | None = None) -> httpx.Response:
    headers = {} if if_match is None else {"If-Match": if_match}
    return api.http.patch(path, json={"namespace": namespace, **change}, headers=headers)


def version_of(api: Served, namespace: str, path: str) -> int:
    answer = get(api, namespace, path)
    assert answer.headers["etag"] == f'"{answer.json()["version"]}"'
    return int(answer.json()["version"])


@each_kind
def test_each_change_is_one_version_more(api: Served, namespace: str, kind: Kind) -> None:
    """A record begins at version 1; a change answers with the new version, which is what is read from then on."""
    path = kind.make(api, namespace)
    assert version_of(api, namespace, path) == 1
    for version, condition in ((2, None), (3, '"2"'), (4, "*")):
        change = {name: f"{value} {version}" if name == "summary" else value for name, value in kind.change.items()}
        change |= {"confidence": 1 / version} if "confidence" in change else {}
        changed = patch(api, namespace, path, change, condition)
        assert (changed.is_success, changed.headers["etag"]) == (True, f'"{version}"'), changed.text
        assert version_of(api, namespace, path) == version


@each_kind
@pytest.mark.parametrize("tag", ['"2"', '"0"', 'W/"1"', '"one"', '""', '"01"', '"99999999999999999999"'])
def test_a_change_of_another_version_is_refused(api: Served, namespace: str, kind: Kind, tag: str) -> None:
    """412 with the version the record has, in the problem and in `ETag`; neither PATCH nor DELETE did anything."""
    path = kind.make(api, namespace)
    before = get(api, namespace, path).json() | {"created_at": None}  # of a session that is not drained: when it is read
    refusals = [
        patch(api, namespace, path, kind.change, tag),
        api.http.delete(path, params={"namespace": namespace}, headers={"If-Match": tag}),
    ]
    for refused in refusals:
        name = {"/v1/episodes": "episode", "/v1/knowledge": "knowledge", SESSION: "state"}[kind.path]
        problem = f"the {name} is at version 1: read it again and decide anew"
        assert (refused.status_code, refused.headers["etag"], refused.headers["content-type"]) == (
            412, '"1"', "application/problem+json",
        )  # fmt: skip
        assert refused.json()["errors"] == [{"field": "version", "problem": problem}]
    assert get(api, namespace, path).json() | {"created_at": None} == before


@each_kind
@pytest.mark.parametrize("tag", ["1", "one", '"1", "2"', '"a b"', "W/1", ""])
def test_what_is_no_entity_tag_is_refused(api: Served, namespace: str, kind: Kind, tag: str) -> None:
    """`If-Match` takes `*` or one quoted tag; the refusal names the header."""
    path = kind.make(api, namespace)
    refused = patch(api, namespace, path, kind.change, tag)
    problem = 'must be * or one entity tag, such as "3"'
    assert (refused.status_code, refused.json()["errors"]) == (422, [{"field": "If-Match", "problem": problem}])
    assert version_of(api, namespace, path) == 1


@each_kind
def test_what_was_read_can_be_deleted(api: Served, namespace: str, kind: Kind) -> None:
    """With the version that was read DELETE goes through."""
    path = kind.make(api, namespace)
    gone = api.http.delete(path, params={"namespace": namespace}, headers={"If-Match": get(api, namespace, path).headers["etag"]})
    assert gone.status_code == 204


@each_kind
async def test_of_changes_with_one_version_one_wins(api: Served, namespace: str, kind: Kind) -> None:
    """Twenty PATCHes at once that all read version 1: one is made, nineteen are told that it is 2 by now."""
    path = kind.make(api, namespace)
    body = {"namespace": namespace, **kind.change}
    async with httpx.AsyncClient(base_url=api.url, trust_env=False, timeout=30) as client:
        answers = await asyncio.gather(*(client.patch(path, json=body, headers={"If-Match": '"1"'}) for _ in range(20)))
    assert Counter((a.is_success, a.headers["etag"]) for a in answers) == {(True, '"2"'): 1, (False, '"2"'): 19}
    assert {a.status_code for a in answers if not a.is_success} == {412}
    assert version_of(api, namespace, path) == 2


@each_record
@pytest.mark.parametrize("held", ['"1"', 'W/"1"', '"7", "1"', "*"])
def test_who_has_the_version_is_not_sent_it_again(api: Served, namespace: str, kind: Kind, held: str) -> None:
    """304 without a body for a version the caller has; the record once it has changed."""
    path = kind.make(api, namespace)
    unchanged = get(api, namespace, path, **{"If-None-Match": held})
    assert (unchanged.status_code, unchanged.content, unchanged.headers["etag"]) == (304, b"", '"1"')
    patch(api, namespace, path, kind.change)
    changed = get(api, namespace, path, **{"If-None-Match": held})
    assert changed.status_code == (304 if held == "*" else 200)


@each_record
def test_a_bad_list_of_tags_is_refused(api: Served, namespace: str, kind: Kind) -> None:
    """`If-None-Match` takes `*` or quoted tags; the refusal names the header."""
    refused = get(api, namespace, kind.make(api, namespace), **{"If-None-Match": '"1" "2"'})
    problem = 'must be * or entity tags, such as "3", "4"'
    assert (refused.status_code, refused.json()["errors"]) == (422, [{"field": "If-None-Match", "problem": problem}])


# ── episodes and knowledge ────────────────────────────────────────────────────────────────────────────────────────


def stored(api: Served, episode: dict[str, Any]) -> dict[str, Any]:
    """The episode as it was answered, without where it went."""
    answer = created(api.http.post("/v1/episodes", json=episode))
    return {name: value for name, value in answer.items() if name not in {"stored_in", "degraded", "skipped"}}


def test_an_episode_is_changed_in_part(api: Served, namespace: str) -> None:
    """What is given replaces what was there, the rest stays, and the next search finds what it says now."""
    whole = {"kind": "decision", "namespace": namespace, "perception": {"a": 1}, "metadata": {"m": 1}, "summary": "walnuts"}
    made = stored(api, whole)
    change = {"summary": "pecans", "outcome": {"done": 8}, "outcome_quality": 0.75, "metadata": {"n": 2}}
    answer = patch(api, namespace, f"/v1/episodes/{made['id']}", change)
    judged = {"quality": answer.json()["quality"]}
    assert judged["quality"] > made["quality"]
    assert answer.json() == made | change | {"version": 2} | judged
    assert answer.json().items() <= get(api, namespace, f"/v1/episodes/{made['id']}").json().items()
    api.http.post("/v1/admin/consolidate", json={"namespace": namespace}).raise_for_status()
    (hit,) = search(api, namespace, "pecans")["hits"]
    assert ("pecans" in hit["text"], "walnuts" in hit["text"]) == (True, False)


def test_what_becomes_nothing_is_nothing(api: Served, namespace: str) -> None:
    """A null takes an outcome away; a field that is left out is left alone, and an empty change is none."""
    made = stored(api, {"namespace": namespace, "outcome": {"a": 1}, "outcome_quality": 0.5})
    path = f"/v1/episodes/{made['id']}"
    assert patch(api, namespace, path, {}).json() == made
    assert patch(api, namespace, path, {"outcome": None}).json() == made | {"outcome": None, "version": 2, "quality": 0.0}
    assert patch(api, namespace, path, {"outcome": None}).json()["version"] == 2


def test_knowledge_is_changed_in_part(api: Served, namespace: str) -> None:
    """What is given replaces what was there, and superseded knowledge is kept but no longer recalled."""
    older = created(api.http.post("/v1/knowledge", json={"namespace": namespace, "description": "Ana lives in Porto"}))
    newer = created(api.http.post("/v1/knowledge", json={"namespace": namespace, "description": "Ana lives in Lisbon"}))
    api.http.post("/v1/admin/consolidate", json={"namespace": namespace}).raise_for_status()
    change = {"confidence": 0.25, "superseded_by": newer["id"], "valid_to": "2026-03-01T09:30:00Z"}
    answer = patch(api, namespace, f"/v1/knowledge/{older['id']}", change)
    assert answer.json() == older | change | {"version": 2}
    api.http.post("/v1/admin/consolidate", json={"namespace": namespace}).raise_for_status()
    assert [hit["id"] for hit in search(api, namespace, "Where does Ana live?")["hits"]] == [newer["id"]]


@pytest.mark.parametrize(
    ("kind", "change", "field"),
    [
        (EPISODE, {"outcome_quality": 1.5}, "outcome_quality"),
        (EPISODE, {"summary": "x" * 65_537}, "summary"),
        (EPISODE, {"metadata": None}, "metadata"),
        (EPISODE, {"kind": "decision"}, "kind"),
        (EPISODE, {"ended_at": "2026-03-01T09:30:00Z"}, "ended_at"),
        (KNOWLEDGE, {"description": " "}, "description"),
        (KNOWLEDGE, {"confidence": -1.0}, "confidence"),
        (KNOWLEDGE, {"times_applied": 9}, "times_applied"),
        (KNOWLEDGE, {"superseded_by": str(new_id())}, "superseded_by"),
        (KNOWLEDGE, {"valid_from": "2026-03-02T00:00:00Z", "valid_to": "2026-03-01T00:00:00Z"}, "valid_to"),
    ],
)
def test_a_bad_change_is_refused_by_field(api: Served, namespace: str, kind: Kind, change: dict[str, Any], field: str) -> None:
    """What breaks a limit, and what makes a record the one it is, is refused by name, and nothing changes."""
    path = kind.make(api, namespace)
    refused = patch(api, namespace, path, change)
    assert (refused.status_code, [error["field"] for error in refused.json()["errors"]]) == (422, [field])
    assert version_of(api, namespace, path) == 1


@each_record
def test_another_namespaces_record_cannot_be_changed(api: Served, namespace: str, kind: Kind) -> None:
    """From elsewhere a record is not found, whatever version is expected, and stays as it is."""
    path = kind.make(api, namespace)
    assert {patch(api, f"{namespace}-2", path, kind.change, tag).status_code for tag in (None, '"1"', '"2"', "*")} == {404}
    assert version_of(api, namespace, path) == 1


def test_applications_are_counted(api: Served, namespace: str) -> None:
    """Each application counts, and the episode it happened in becomes evidence on its side, once."""
    made = created(api.http.post("/v1/knowledge", json={"namespace": namespace, "kind": "strategy", "description": "ask first"}))
    good, bad = (created(api.http.post("/v1/episodes", json={"namespace": namespace}))["id"] for _ in range(2))
    told = [("success", good), ("success", good), ("failure", bad), ("success", None)]
    for outcome, episode in told:
        answer = applied(api, namespace, made["id"], outcome=outcome, episode_id=episode)
        assert answer.status_code == 200, answer.text
    assert answer.json() == made | {
        "times_applied": 4, "success_count": 3, "failure_count": 1, "success_rate": 0.75,
        "supporting_episodes": [good], "contradicting_episodes": [bad], "version": 5, "evidence_count": 4,
        "confidence": pytest.approx(5 / 6), "estimated_success": {"mean": 4 / 6, "lower": 0.342592, "upper": 0.923560},
    }  # fmt: skip
    assert get(api, namespace, f"/v1/knowledge/{made['id']}").json() == answer.json()


def applied(api: Served, namespace: str, knowledge_id: str, **fields: Any) -> httpx.Response:
    return api.http.post(f"/v1/knowledge/{knowledge_id}/applications", json={"namespace": namespace, **fields})


def test_an_application_needs_its_knowledge_and_its_episode(api: Served, namespace: str) -> None:
    """Unknown here, or known in another namespace only, is not found, and nothing is counted."""
    made = created(api.http.post("/v1/knowledge", json={"namespace": namespace, "description": "ask first"}))
    theirs = created(api.http.post("/v1/episodes", json={"namespace": f"{namespace}-2"}))["id"]
    refusals = [
        applied(api, namespace, str(new_id()), outcome="success"),
        applied(api, f"{namespace}-2", made["id"], outcome="success"),
        applied(api, namespace, made["id"], outcome="success", episode_id=theirs),
    ]
    assert [refused.status_code for refused in refusals] == [404, 404, 404]
    assert applied(api, namespace, made["id"], outcome="luck").status_code == 422
    assert get(api, namespace, f"/v1/knowledge/{made['id']}").json() == made


async def test_no_application_is_lost(api: Served, namespace: str) -> None:
    """Fifty at once are fifty."""
    made = created(api.http.post("/v1/knowledge", json={"namespace": namespace, "description": "ask first"}))
    path = f"/v1/knowledge/{made['id']}/applications"
    async with httpx.AsyncClient(base_url=api.url, trust_env=False, timeout=30) as client:
        outcomes = ["success", "failure"] * 25
        calls = (client.post(path, json={"namespace": namespace, "outcome": outcome}) for outcome in outcomes)
        assert {answer.status_code for answer in await asyncio.gather(*calls)} == {200}
    counted = get(api, namespace, f"/v1/knowledge/{made['id']}").json()
    assert [counted[name] for name in ("times_applied", "success_count", "failure_count", "success_rate", "version")] == [
        50, 25, 25, 0.5, 51,
    ]  # fmt: skip


# ── session state ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_state_is_replaced_only_over_the_version_read(api: Served, namespace: str) -> None:
    """PUT honours `If-Match` too: 0 stands for no state yet, `*` for any that exists."""
    created(api.http.post(f"{SESSION}/messages", json={"namespace": namespace, "messages": [{"role": "user", "content": "a"}]}))
    assert get(api, namespace, SESSION).headers["etag"] == '"0"'

    def put(if_match: str, goal: str, path: str = SESSION) -> tuple[int, str | None]:
        answer = api.http.put(path, json={"namespace": namespace, "goal": goal}, headers={"If-Match": if_match})
        return answer.status_code, answer.headers.get("etag")

    tries = [put('"1"', "a"), put('"0"', "b"), put('"0"', "c"), put('"1"', "d"), put("*", "e"), put("*", "f", "/v1/sessions/s2")]
    assert tries == [(412, '"0"'), (204, '"1"'), (412, '"1"'), (204, '"2"'), (204, '"3"'), (412, '"0"')]
    assert get(api, namespace, SESSION).json()["state"]["goal"] == "e"


def test_a_states_version_outlives_redis(api: Served, namespace: str) -> None:
    """Drained and expired, the state is still at its version, and an older one is still refused."""
    STATE.make(api, namespace)
    assert patch(api, namespace, SESSION, STATE.change).headers["etag"] == '"2"'
    api.http.post("/v1/admin/consolidate", json={"namespace": namespace}).raise_for_status()
    api.expire(namespace, "s1")
    assert version_of(api, namespace, SESSION) == 2
    assert patch(api, namespace, SESSION, STATE.change, '"1"').status_code == 412
    assert patch(api, namespace, SESSION, STATE.change, '"2"').headers["etag"] == '"3"'


async def test_no_thought_is_lost(api: Served, namespace: str) -> None:
    """Twenty PATCHes at once without a condition are all made, one after the other."""
    STATE.make(api, namespace)
    thoughts = [f"thought {n}" for n in range(20)]
    async with httpx.AsyncClient(base_url=api.url, trust_env=False, timeout=30) as client:
        calls = (client.patch(SESSION, json={"namespace": namespace, "thoughts": [thought]}) for thought in thoughts)
        assert {answer.status_code for answer in await asyncio.gather(*calls)} == {204}
    found = get(api, namespace, SESSION).json()
    assert (sorted(found["state"]["thoughts"]), found["version"]) == (sorted(thoughts), 21)


# ── messages ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_fifty_writers_lose_and_double_nothing(api: Served, namespace: str) -> None:
    """Fifty at once on one session, each call sent twice under a key, are numbered 1 to n and each there once."""
    async with httpx.AsyncClient(base_url=api.url, trust_env=False, timeout=60) as client:

        async def write(writer: int) -> list[tuple[str, int]]:
            contents = [f"writer {writer} message {n}" for n in range(4)]
            body = {"namespace": namespace, "messages": [{"role": "user", "content": content} for content in contents]}
            answers = [
                await client.post(f"{SESSION}/messages", json=body, headers={"Idempotency-Key": f"w{writer}"}) for _ in range(2)
            ]
            assert answers[0].content == answers[1].content
            return [(content, m["sequence"]) for content, m in zip(contents, created(answers[0])["messages"], strict=True)]

        written = [pair for pairs in await asyncio.gather(*map(write, range(50))) for pair in pairs]
    messages = history(api, namespace, limit=1000)["messages"]
    assert [m["sequence"] for m in messages] == list(range(1, 201))
    assert sorted((m["content"], m["sequence"]) for m in messages) == sorted(written)
