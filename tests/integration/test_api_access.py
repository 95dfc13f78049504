"""Who may do what where, on every route there is; and what is never told to anybody else."""

from __future__ import annotations

from datetime import timedelta

import pytest
from operations import OPERATIONS, Operation
from served import Served
from talking import append, created, history, said, search

from app.records import Permission, new_id, utc_now

every_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: f"{o.verb} {o.path}")


@pytest.fixture(scope="module")
def owner_key(guarded_api: Served) -> str:
    """May do everything everywhere; with it made, nobody may do anything without a key."""
    return guarded_api.make_key(*Permission)[1]


@every_operation
def test_every_operation_needs_a_key(guarded_api: Served, owner_key: str, namespace: str, operation: Operation) -> None:
    """Without a key there is no answer but 401, whatever is asked."""
    refused = operation.call(guarded_api.http, namespace, None)
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert refused.json()["detail"] == "a key is needed: send it as `Authorization: Bearer <key>`"


@every_operation
def test_every_operation_keeps_to_the_namespaces_of_the_key(
    guarded_api: Served, owner_key: str, namespace: str, operation: Operation
) -> None:
    """A key for one namespace is refused in another, and where all of them are meant."""
    _, key = guarded_api.make_key(*Permission, namespaces=["mine"])
    refused = operation.call(guarded_api.http, namespace, key)
    assert refused.status_code == 403
    assert refused.json()["detail"] == (
        f"this key does not cover namespace {namespace!r}"
        if operation.is_of_one_namespace
        else "this key is bound to namespaces: name one of them"
    )


@every_operation
def test_every_operation_needs_its_permission(guarded_api: Served, namespace: str, operation: Operation) -> None:
    """A key with all permissions but the one that is needed is refused; with that one alone it is let in."""
    others = set(Permission) - {operation.permission}
    refused = operation.call(guarded_api.http, namespace, guarded_api.make_key(*others)[1])
    assert refused.status_code == 403
    assert refused.json()["detail"] == f"this key lacks the permission {operation.permission.value}"
    home = [namespace] if operation.is_of_one_namespace else ["*"]
    answered = operation.call(guarded_api.http, namespace, guarded_api.make_key(operation.permission, namespaces=home)[1])
    assert answered.status_code in {200, 201, 204, 404}, answered.text


def test_all_routes_are_looked_at() -> None:
    """The list of operations is not empty by mistake: it holds at least what the design names."""
    assert len(OPERATIONS) >= 28
    assert [o for o in OPERATIONS if o.verb in {"POST", "PUT", "PATCH"} and not (o.body or o.lines)] == []


@pytest.mark.parametrize("key", ["wrong", "hm_", "x" * 10_000, "é"])
def test_an_unknown_key_is_refused(guarded_api: Served, owner_key: str, key: str) -> None:
    """A key that was never made is 401, of whatever characters it is."""
    answer = guarded_api.http.get("/v1/episodes", headers={b"Authorization": f"Bearer {key}".encode()})
    assert answer.status_code == 401


@pytest.mark.parametrize("scheme", ["Basic", "bearer2", ""])
def test_a_key_in_another_scheme_is_no_key(guarded_api: Served, owner_key: str, scheme: str) -> None:
    """Keys are bearer tokens."""
    answer = guarded_api.http.get("/v1/episodes", headers={"Authorization": f"{scheme} {owner_key}".strip()})
    assert answer.status_code == 401


def test_an_expired_or_revoked_key_is_refused(guarded_api: Served, owner_key: str) -> None:
    """Both answer as an unknown key does."""
    _, expired = guarded_api.make_key(*Permission, expires_at=utc_now() - timedelta(seconds=1))
    key_id, revoked = guarded_api.make_key(*Permission)
    guarded_api.portal.call(guarded_api.installation.access.revoke, key_id)
    details = []
    for key in ("unknown", expired, revoked):
        answer = guarded_api.http.get("/v1/episodes", headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == 401
        details.append(answer.json()["detail"])
    assert details == ["this key is unknown, expired or revoked"] * 3


def test_health_and_metrics_are_open(guarded_api: Served, owner_key: str) -> None:
    """Orchestrators have no keys."""
    paths = ("/health/live", "/health/ready", "/metrics", "/openapi.json", "/docs")
    assert [guarded_api.http.get(path).status_code for path in paths] == [200] * len(paths)


# ── what belongs to others ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("wait", ["none", "indexed"])
def test_one_namespace_never_sees_another(api: Served, namespace: str, wait: str) -> None:
    """The same session, ids and words in two namespaces: each sees its own alone, buffered or consolidated."""
    mine, theirs = said("my lighthouse"), said("their lighthouse")
    theirs["id"] = mine["id"]
    other = f"{namespace}-other"
    created(append(api, namespace, [mine], wait=wait, user_id="ana"))
    created(append(api, other, [theirs], wait=wait, user_id="ana"))
    for home, text in ((namespace, "my lighthouse"), (other, "their lighthouse")):
        assert [m["content"] for m in history(api, home)["messages"]] == [text]
        assert [hit["text"] for hit in search(api, home, "lighthouse", user_id="ana")["hits"]] == [text]
        assert [hit["text"] for hit in search(api, home, "lighthouse", mode="sparse")["hits"]] == [text]
        body = {"text": "lighthouse", "namespace": home, "session_id": "s1", "budget_tokens": 500}
        context = api.http.post("/v1/context", json=body).json()["text"]
        assert ("my lighthouse" in context, "their lighthouse" in context) == (text[:2] == "my", text[:2] == "th")
    for pretended in (f"{namespace}*", namespace[:-1], namespace.upper(), f"{namespace}:s1", "*", f" {namespace}"):
        assert search(api, pretended, "lighthouse")["hits"] == []
        assert history(api, pretended)["messages"] == []


@pytest.mark.parametrize(("path", "fields"), [("/v1/episodes", {"summary": "mine"}), ("/v1/knowledge", {"description": "mine"})])
def test_a_record_of_another_namespace_is_as_good_as_none(api: Served, namespace: str, path: str, fields: dict[str, str]) -> None:
    """Reading, judging and deleting it by id answer exactly as for an id that was never made, and leave it alone."""
    record = created(api.http.post(path, json={"namespace": namespace, **fields}))
    stranger = {"namespace": f"{namespace}-other"}
    never_made = str(new_id())

    def answers(record_id: str) -> list[tuple[int, str]]:
        calls = [
            api.http.get(f"{path}/{record_id}", params=stranger),
            api.http.delete(f"{path}/{record_id}", params=stranger),
        ]
        if path == "/v1/episodes":
            calls += [
                api.http.get(f"{path}/{record_id}/steps", params=stranger),
                api.http.post(f"{path}/{record_id}/steps", json=stranger | {"steps": [{}]}),
                api.http.post(f"{path}/{record_id}/outcome", json=stranger | {"outcome": {}}),
            ]
        return [(answer.status_code, answer.text.replace(record_id, "ID")) for answer in calls]

    assert answers(record["id"]) == answers(never_made)
    assert {status for status, _ in answers(record["id"])} == {404}
    kept = api.http.get(f"{path}/{record['id']}", params={"namespace": namespace}).json()
    assert {name: kept[name] for name in record if name in kept} == {name: record[name] for name in record if name in kept}


def test_forgetting_stops_at_the_namespace(api: Served, namespace: str) -> None:
    """A forgotten namespace takes nothing of another with it, however alike their names are."""
    others = (f"{namespace}-2", f"{namespace}:s1", f"{namespace}*")
    for home in (namespace, *others):
        created(append(api, home, [said("kept")], wait="indexed"))
    receipt = api.http.post("/v1/admin/forget", json={"namespace": namespace}).json()
    assert receipt["remaining"] == 0
    assert history(api, namespace)["messages"] == []
    for home in others:
        assert [m["content"] for m in history(api, home)["messages"]] == ["kept"]
        assert [hit["text"] for hit in search(api, home, "kept", kinds=["message"])["hits"]] == ["kept"]
