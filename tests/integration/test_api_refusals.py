"""Bad input over real HTTP: each is refused by field and limit, and nothing of it is written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from operations import OPERATIONS, Operation
from served import MAX_REQUEST_BYTES, Served
from talking import SESSION, append, created, history, said

from app.records import new_id, utc_now

JSON = {"content-type": "application/json"}
NOT_A_TIME = "must be an RFC 3339 date and time, such as 2026-03-01T09:30:00Z"
NO_OFFSET = "must carry a UTC offset, such as 2026-03-01T09:30:00Z"
NOT_TEXT = "must not contain NUL or lone surrogate characters"
UNDECODABLE = "Input should be a valid string, unable to parse raw data as a unicode string"
A_DICTIONARY = "Input should be a valid dictionary or object to extract fields from"
UNKNOWN = "Extra inputs are not permitted"


def refusal(response: httpx.Response, status: int = 422) -> dict[str, str]:
    """What is wrong with each field, from a problem document that is whole."""
    problem = response.json()
    fields = {error["field"]: error["problem"] for error in problem["errors"]}
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json"), problem
    named = {key: problem[key] for key in ("type", "facts") if key in problem}
    assert problem == named | {
        "title": problem["title"], "status": status, "instance": response.request.url.path,
        "detail": "; ".join(f"{field}: {wrong}" for field, wrong in fields.items()), "errors": problem["errors"],
    }  # fmt: skip
    return fields


_MADE_NOW = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d{4}-\d\d-\d\dT[\d:.]+")


def shown(value: object) -> str:
    """A short name for a parameter, the same in every process that collects the tests."""
    return _MADE_NOW.sub("X", str(value))[:40]


def nested(levels: int) -> dict[str, Any]:
    return {"a": nested(levels - 1)} if levels > 1 else {}


# ── a message ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fields", "field", "problem"),
    [
        ({"content": ""}, "content", "must not be blank"),
        ({"content": " \n\t"}, "content", "must not be blank"),
        ({"content": None}, "content", "Input should be a valid string"),
        ({"content": 5}, "content", "Input should be a valid string"),
        ({"content": ["a"]}, "content", "Input should be a valid string"),
        ({"content": "x" * 65_537}, "content", "must have at most 65536 bytes, has 65537"),
        ({"content": "é" * 32_769}, "content", "must have at most 65536 bytes, has 65538"),
        ({"content": "a\x00b"}, "content", "must not contain NUL characters"),
        ({"content": "a\ud800"}, "content", "must not contain lone surrogate characters"),
        ({"role": "bot"}, "role", "Input should be 'user', 'assistant', 'system' or 'tool'"),
        ({"role": "USER"}, "role", "Input should be 'user', 'assistant', 'system' or 'tool'"),
        ({"role": None}, "role", "Input should be 'user', 'assistant', 'system' or 'tool'"),
        ({"role": "\ud800"}, "role", UNDECODABLE),
        ({"name": ""}, "name", "must not be blank"),
        ({"name": "x" * 256}, "name", "must have at most 255 characters, has 256"),
        ({"name": "a\nb"}, "name", "must not contain control characters"),
        ({"name": "\udfff"}, "name", "must not contain control characters"),
        ({"id": "7"}, "id", "Input should be a valid UUID, invalid length: found 1"),
        ({"id": 7}, "id", "UUID input should be a string, bytes or UUID object"),
        ({"id": "\ud800"}, "id", UNDECODABLE),
        ({"created_at": "2026-03-01T09:30:00"}, "created_at", NO_OFFSET),
        ({"created_at": "2026-03-01"}, "created_at", NOT_A_TIME),
        ({"created_at": "yesterday"}, "created_at", NOT_A_TIME),
        ({"created_at": ""}, "created_at", NOT_A_TIME),
        ({"created_at": 1_577_836_800}, "created_at", NOT_A_TIME),
        ({"created_at": "1577836800"}, "created_at", NOT_A_TIME),
        ({"created_at": True}, "created_at", NOT_A_TIME),
        ({"created_at": "1899-12-31T23:59:59Z"}, "created_at", "must not be before 1900-01-01"),
        ({"created_at": "0001-01-01T00:00:00+23:59"}, "created_at", "must not be before 1900-01-01"),
        ({"created_at": "9999-12-31T23:59:59-23:59"}, "created_at", "must not be more than 60 s in the future"),
        ({"created_at": (utc_now() + timedelta(days=1)).isoformat()}, "created_at", "must not be more than 60 s in the future"),
        ({"metadata": []}, "metadata", "Input should be a valid dictionary"),
        ({"metadata": None}, "metadata", "Input should be a valid dictionary"),
        ({"metadata": {"k": "x" * 8185}}, "metadata", "must have at most 8192 bytes as JSON, has 8193"),
        ({"metadata": nested(9)}, "metadata", "must be nested at most 8 levels deep"),
        ({"metadata": {"k": nested(100)}}, "metadata", "must be nested at most 8 levels deep"),
        ({"metadata": {"k": 2**63}}, "metadata", "must hold integers of at most 64 bits"),
        ({"metadata": {"k": int("9" * 4000)}}, "metadata", "must hold integers of at most 64 bits"),
        ({"metadata": {"k": float("nan")}}, "metadata", "must hold finite numbers"),
        ({"metadata": {"k": float("inf")}}, "metadata", "must hold finite numbers"),
        ({"metadata": {"k": "\x00"}}, "metadata", NOT_TEXT),
        ({"metadata": {"\x00": 1}}, "metadata", NOT_TEXT),
        ({"metadata": {"k": "\ud800"}}, "metadata", NOT_TEXT),
        ({"metadata": {"\udfff": 1}}, "metadata", NOT_TEXT),
        ({"sequence": 1}, "sequence", UNKNOWN),
    ],
    ids=shown,
)
def test_a_bad_message_is_refused_by_field(api: Served, namespace: str, fields: dict[str, Any], field: str, problem: str) -> None:
    """The refusal names the field by its place in the call, and the good message beside the bad one is not written."""
    body = {"namespace": namespace, "messages": [said("good"), {"role": "user", "content": "bad"} | fields]}
    response = api.http.post(f"{SESSION}/messages", content=json.dumps(body), headers=JSON)
    assert refusal(response) == {f"messages[1].{field}": problem}
    assert history(api, namespace)["messages"] == []


@pytest.mark.parametrize(
    ("messages", "refused"),
    [
        ([], {"messages": "must be between 1 and 1000, is 0"}),
        ([said("a")] * 1001, {"messages": "must be between 1 and 1000, is 1001"}),
        (None, {"messages": "Input should be a valid list"}),
        ({"role": "user", "content": "a"}, {"messages": "Input should be a valid list"}),
        ([{}], {"messages[0].role": "Field required", "messages[0].content": "Field required"}),
        (["a"], {"messages[0]": A_DICTIONARY}),
        ([None], {"messages[0]": A_DICTIONARY}),
    ],
    ids=shown,
)
def test_a_call_without_good_messages_is_refused(api: Served, namespace: str, messages: object, refused: dict[str, str]) -> None:
    """A call holds a list of one to a thousand messages."""
    response = api.http.post(f"{SESSION}/messages", json={"namespace": namespace, "messages": messages})
    assert refusal(response) == refused


def test_what_is_just_within_the_limits_is_taken(api: Served, namespace: str) -> None:
    """The longest content, the largest and deepest metadata, the largest integer and the longest call are admitted."""
    largest = {"k": "x" * 8184}
    created(append(api, namespace, [said("x" * 65_536), said("a", metadata=largest), said("b", metadata=nested(8))]))
    created(append(api, namespace, [said("c", metadata={"n": [2**63 - 1, -(2**63), 1e308, -0.0]})]))
    assert [m["metadata"] for m in history(api, namespace)["messages"][1:]] == [
        largest, nested(8), {"n": [2**63 - 1, -(2**63), 1e308, -0.0]},
    ]  # fmt: skip
    receipt = created(append(api, f"{namespace}-2", [said(str(n)) for n in range(1000)]))
    assert [message["sequence"] for message in receipt["messages"]] == list(range(1, 1001))


def test_many_faults_are_named_up_to_a_number(api: Served, namespace: str) -> None:
    """A body with a fault in every message is not answered with all of them."""
    response = append(api, namespace, [{"role": "user", "content": n} for n in range(900)])
    assert list(refusal(response)) == [f"messages[{n}].content" for n in range(20)]


# ── a body ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"{", "must be JSON: Expecting property name enclosed in double quotes at character 1"),
        (b"", None),
        (b"\xff\xfe", "must be JSON: Expecting value at character 0"),
        (b'{"text": "\xff"}', "must be UTF-8"),
        (b'{"text": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "is nested too deeply to be read"),
        (b'{"a":' * 10_000, "is nested too deeply to be read"),
        (b'{"text": ' + b"9" * 5000 + b"}", "holds a number with too many digits to be read"),
    ],
    ids=shown,
)
def test_what_is_not_json_is_refused(api: Served, body: bytes, problem: str | None) -> None:
    """The refusal says why the body could not be read, and where; an empty one is a field that is missing."""
    response = api.http.post("/v1/search", content=body, headers=JSON)
    assert refusal(response, 400 if problem else 422) == {"body": problem or "Field required"}


@pytest.mark.parametrize("body", [b"[]", b"null", b"1", b'"text"', b"NaN", b"true"])
def test_json_that_is_no_object_is_refused(api: Served, body: bytes) -> None:
    """A body is an object."""
    assert refusal(api.http.post("/v1/search", content=body, headers=JSON)) == {"body": A_DICTIONARY}


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "json"]
)
def test_a_body_has_to_call_itself_json(api: Served, namespace: str, content_type: str) -> None:
    """JSON under another name is refused, and the name to use is said."""
    body = json.dumps({"namespace": namespace, "messages": [said("a")]})
    response = api.http.post(f"{SESSION}/messages", content=body, headers={"content-type": content_type})
    assert refusal(response, 415) == {"content-type": "must be application/json"}
    assert history(api, namespace)["messages"] == []


def chunks(body: bytes) -> Iterator[bytes]:
    return (body[start : start + 65_536] for start in range(0, len(body), 65_536))


@pytest.mark.parametrize("is_chunked", [False, True], ids=["declared", "chunked"])
def test_a_body_over_the_limit_is_refused(api: Served, namespace: str, is_chunked: bool) -> None:
    """Declared or found out while it arrives, a body that is too large gets 413; one of the greatest size is read."""
    largest = json.dumps({"namespace": namespace, "messages": [said("a")]}).encode().ljust(MAX_REQUEST_BYTES)
    for body, status in ((largest, 201), (largest + b" ", 413)):
        sent = chunks(body) if is_chunked else body
        response = api.http.post(f"{SESSION}/messages", content=sent, headers=JSON)
        assert response.status_code == status
    assert refusal(response, 413) == {"body": f"must have at most {MAX_REQUEST_BYTES} bytes"}
    assert len(history(api, namespace)["messages"]) == 1


# ── the other endpoints ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ({"text": " "}, {"text": "must not be blank"}),
        ({"text": "a\x00"}, {"text": "must not contain NUL characters"}),
        ({"text": "x" * 65_537}, {"text": "must have at most 65536 bytes, has 65537"}),
        *(({"limit": limit}, {"limit": f"must be between 1 and 1000, is {limit}"}) for limit in (0, -1, 10**9, 2**70)),
        *(({"limit": limit}, {"limit": "Input should be a valid integer"}) for limit in (1.0, 1.5, True, "5", None)),
        ({"kinds": []}, {"kinds": "must name at least one kind"}),
        ({"kinds": ["fact"]}, {"kinds[0]": "Input should be 'message', 'episode' or 'knowledge'"}),
        ({"filter": {"author": None}}, {"filter.author": "must be a string, a number, a boolean, or a list of these"}),
        ({"filter": {"author": {}}}, {"filter.author": "must be a string, a number, a boolean, or a list of these"}),
        ({"filter": {"author": []}}, {"filter.author values": "must be between 1 and 100, is 0"}),
        ({"filter": {"metadata.a": 2**63}}, {"filter.metadata.a": "must hold integers of at most 64 bits"}),
        ({"filter": {"metadata.a": float("nan")}}, {"filter.metadata.a": "must hold finite numbers"}),
        ({"filter": {"metadata.a": "\x00"}}, {"filter.metadata.a": NOT_TEXT}),
        ({"filter": {f"metadata.{n}": 1 for n in range(21)}}, {"filter": "must have at most 20 fields, has 21"}),
        ({"since": "2026-03-02T00:00:00Z", "until": "2026-03-01T00:00:00Z"}, {"since": "must not be after until"}),
        ({"since": "2026-03-01T00:00:00"}, {"since": NO_OFFSET}),
        ({"until": 0}, {"until": NOT_A_TIME}),
        ({"until": "9999-12-31T23:59:59-01:00"}, {"until": "is out of range"}),
        ({"now": "2026-03-01T00:00:00"}, {"now": NO_OFFSET}),
        ({"namespace": ""}, {"namespace": "must not be blank"}),
        ({"user_id": "x" * 256}, {"user_id": "must have at most 255 characters, has 256"}),
        ({"colour": "red"}, {"colour": UNKNOWN}),
    ],
    ids=shown,
)
@pytest.mark.parametrize("path", ["/v1/search", "/v1/context"])
def test_a_bad_question_is_refused(
    api: Served, namespace: str, path: str, fields: dict[str, Any], refused: dict[str, str]
) -> None:
    """Searches and contexts are refused alike, by field and limit."""
    body = json.dumps({"text": "cat", "namespace": namespace} | fields)
    assert refusal(api.http.post(path, content=body, headers=JSON)) == refused


@pytest.mark.parametrize("field", ["colour", "namespace", "metadata.", "content", "\ud800", ""])
def test_a_filter_on_an_unknown_field_is_refused(api: Served, namespace: str, field: str) -> None:
    """A condition that cannot be asked is an error, never left out; the namespace is no condition."""
    body = json.dumps({"text": "cat", "namespace": namespace, "filter": {field: "x"}})
    (named,) = refusal(api.http.post("/v1/search", content=body, headers=JSON)).items()
    known = "kind, role, author, user_id, agent_id, session_id, project_id or metadata.<key>"
    assert named == (f"filter.{field}".replace("\ud800", "?"), f"is not a field; use one of {known}")


@pytest.mark.parametrize(
    ("path", "fields", "refused"),
    [
        ("/v1/episodes", {"kind": "conversation"},
         {"kind": "conversation episodes are cut from messages; use decision, negotiation or task"}),
        ("/v1/episodes", {"outcome_quality": 1.1}, {"outcome_quality": "must be between 0 and 1, is 1.1"}),
        ("/v1/episodes", {"outcome_quality": True}, {"outcome_quality": "Input should be a valid number"}),
        ("/v1/episodes", {"perception": {"k": "x" * 2**20}},
         {"perception": "must have at most 1048576 bytes as JSON, has 1048584"}),
        ("/v1/episodes", {"reasoning": nested(33)}, {"reasoning": "must be nested at most 32 levels deep"}),
        ("/v1/episodes", {"steps": [{}] * 10_001}, {"steps": "must be between 1 and 10000, is 10001"}),
            ("/v1/episodes", {"steps": [{"k": "x" * 600_000}] * 2},
             {"episode": "must have at most 1048576 bytes as JSON with its steps, would have 1200024"}),
            ("/v1/episodes", {"control_mode": "by_hand"},
             {"control_mode": "Input should be 'rule_based_only', 'intelligence_enhanced' or 'memory_augmented'"}),
            ("/v1/episodes", {"quality": -0.1}, {"quality": "must be between 0 and 1, is -0.1"}),
            ("/v1/episodes", {"sprint_id": ""}, {"sprint_id": "must not be blank"}),
            ("/v1/episodes", {"patterns": ["x"] * 101}, {"patterns": "must have at most 100 items, has 101"}),
            ("/v1/admin/backfill", {"batch_size": 0}, {"batch_size": "must be between 1 and 1000, is 0"}),
            ("/v1/admin/backfill", {"rate": 0.0}, {"rate": "must be at least 0.1 a second, is 0.0"}),
        ("/v1/episodes", {"steps": [{}, {"k": "\x00"}]}, {"steps[1]": NOT_TEXT}),
        ("/v1/episodes", {"started_at": "2026-03-02T00:00:00Z", "ended_at": "2026-03-01T00:00:00Z"},
         {"ended_at": "must not be before started_at"}),
        ("/v1/episodes", {"project_id": "x" * 256}, {"project_id": "must have at most 255 characters, has 256"}),
        ("/v1/episodes", {"id": str(new_id())}, {"id": UNKNOWN}),
        ("/v1/knowledge", {"description": ""}, {"description": "must not be blank"}),
        ("/v1/knowledge", {"confidence": float("nan")}, {"confidence": "must be between 0 and 1, is nan"}),
        ("/v1/knowledge", {"kind": "rumour"},
         {"kind": "Input should be 'fact', 'strategy', 'pattern', 'constraint' or 'heuristic'"}),
        ("/v1/knowledge", {"valid_from": "2026-03-02T00:00:00Z", "valid_to": "2026-03-01T00:00:00Z"},
         {"valid_to": "must not be before valid_from"}),
        ("/v1/admin/outbox/retry", {"ids": [2**63]}, {"ids[0]": "Input should be less than or equal to 9223372036854775807"}),
        ("/v1/admin/outbox/retry", {"ids": [1.0]}, {"ids[0]": "Input should be a valid integer"}),
        ("/v1/admin/forget", {}, {"namespace": "Field required"}),
        ("/v1/admin/forget", {"namespace": ""}, {"namespace": "must not be blank"}),
        ("/v1/admin/consolidate", {"session_id": "s1"}, {"namespace": "must be given with session_id"}),
    ],
    ids=shown,
)  # fmt: skip
def test_a_bad_record_is_refused(api: Served, path: str, fields: dict[str, Any], refused: dict[str, str]) -> None:
    """Records and operations are refused by field and limit."""
    needed = {"description": "x"} if path == "/v1/knowledge" else {}
    response = api.http.post(path, content=json.dumps(needed | fields), headers=JSON)
    assert refusal(response) == refused


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ({"goal": " "}, {"goal": "must not be blank"}),
        ({"thoughts": ["fine", "\x00"]}, {"thoughts[1]": "must not contain NUL characters"}),
        ({"thoughts": ["x"] * 1001}, {"thoughts": "must have at most 1000 items, has 1001"}),
        ({"related_episodes": [str(new_id())] * 1001}, {"related_episodes": "must have at most 1000 items, has 1001"}),
        ({"active_context": {"k": "x" * 65_536}}, {"active_context": "must have at most 65536 bytes as JSON, has 65544"}),
        ({"mood": "good"}, {"mood": UNKNOWN}),
    ],
    ids=shown,
)
def test_a_bad_state_is_refused(api: Served, namespace: str, fields: dict[str, Any], refused: dict[str, str]) -> None:
    """A state is bounded field by field, and what is refused leaves no session behind."""
    assert refusal(api.http.put(SESSION, json={"namespace": namespace} | fields)) == refused
    assert api.http.get(SESSION, params={"namespace": namespace}).status_code == 404


def test_a_state_does_not_grow_without_end(api: Served, namespace: str) -> None:
    """Thoughts are added until there are as many as a state may hold; the one too many changes nothing."""
    full = {"namespace": namespace, "thoughts": ["x"] * 1000}
    assert api.http.put(SESSION, json=full).status_code == 204
    more = api.http.patch(SESSION, json={"namespace": namespace, "thoughts": ["y"]})
    assert refusal(more) == {"thoughts": "must have at most 1000 items, has 1001"}
    assert api.http.get(SESSION, params={"namespace": namespace}).json()["state"]["thoughts"] == ["x"] * 1000


# ── paths and parameters ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("query", "refused"),
    [
        ("limit=0", {"limit": "must be between 1 and 1000, is 0"}),
        ("limit=-1", {"limit": "must be between 1 and 1000, is -1"}),
        ("limit=1000000000", {"limit": "must be between 1 and 1000, is 1000000000"}),
        ("limit=1.5", {"limit": "Input should be a valid integer, unable to parse string as an integer"}),
        ("limit=true", {"limit": "Input should be a valid integer, unable to parse string as an integer"}),
        ("limit=", {"limit": "Input should be a valid integer, unable to parse string as an integer"}),
        (f"limit={'9' * 5000}", {"limit": "Unable to parse input string as an integer, exceeded maximum size"}),
        ("limit=1&limit=2", {"limit": "must be given once"}),
        ("after=-1", {"after": "Input should be greater than or equal to 0"}),
        (f"after={2**53 + 1}", {"after": "Input should be less than or equal to 9007199254740992"}),
        ("namespace=", {"namespace": "must not be blank"}),
        ("namespace=%00", {"namespace": "must not contain control characters"}),
        (f"namespace={'x' * 256}", {"namespace": "must have at most 255 characters, has 256"}),
        ("namespaces=x", {"namespaces": "is not a parameter here; known are after, limit, namespace"}),
    ],
    ids=shown,
)
def test_a_bad_parameter_is_refused(api: Served, query: str, refused: dict[str, str]) -> None:
    """Parameters are refused like fields; one that is misspelt is not ignored, which would widen the answer."""
    assert refusal(api.http.get(f"{SESSION}/messages?{query}")) == refused


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (" ", "must not be blank"),
        ("a\x00b", "must not contain control characters"),
        ("x" * 256, "must have at most 255 characters, has 256"),
    ],
    ids=["blank", "NUL", "long"],
)
@pytest.mark.parametrize("operation", [o for o in OPERATIONS if o.is_of_one_namespace], ids=lambda o: f"{o.verb} {o.path}")
def test_a_bad_namespace_is_refused_everywhere(api: Served, operation: Operation, given: str, problem: str) -> None:
    """No operation takes for a namespace what another would refuse."""
    assert refusal(operation.call(api.http, given, None)) == {"namespace": problem}


@pytest.mark.parametrize(
    ("session_id", "problem"),
    [
        ("%20", "must not be blank"),
        ("%00", "must not contain control characters"),
        ("a%0ab", "must not contain control characters"),
        ("x" * 256, "must have at most 255 characters, has 256"),
        ("x" * 10_000, "must have at most 255 characters, has 10000"),
    ],
    ids=shown,
)
@pytest.mark.parametrize(
    ("verb", "rest"), [("GET", ""), ("GET", "/messages"), ("GET", "/context"), ("POST", "/messages"), ("PUT", "")]
)
def test_a_bad_session_id_is_refused(api: Served, verb: str, rest: str, session_id: str, problem: str) -> None:
    """On every way to a session its id is held to the same limits."""
    body = {"POST": {"messages": [said("a")]}, "PUT": {}}.get(verb)
    response = api.http.request(verb, f"/v1/sessions/{session_id}{rest}", json=body)
    assert {error["field"]: error["problem"] for error in response.json()["errors"]} == {"session_id": problem}
    assert response.status_code == 422


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("/v1/sessions/%ff/messages", "path"),
        ("/v1/sessions/%ed%a0%80/messages", "path"),
        (f"{SESSION}/scratchpad/%c3", "path"),
        (f"{SESSION}/messages?namespace=%ff", "query"),
    ],
)
def test_an_address_has_to_be_utf8(api: Served, path: str, part: str) -> None:
    """Bytes that are no text are refused: replaced by a character, two ids would be one."""
    assert refusal(api.http.get(path))[part] == "must be UTF-8"


@pytest.mark.parametrize("session_id", ["é", "%F0%9F%98%80", "%2E%2E", "%25", "a%3Fb", "a:b", "{p01}", "*", "a b", "%E2%80%AE"])
def test_any_text_may_name_a_session(api: Served, namespace: str, session_id: str) -> None:
    """What is text and within its length is a session id: what was written under it is read under it."""
    message = said("hello")
    path = f"/v1/sessions/{session_id}/messages"
    created(api.http.post(path, json={"namespace": namespace, "messages": [message]}))
    assert api.http.get(path, params={"namespace": namespace}).json()["messages"] == [message | {"sequence": 1}]
    assert history(api, namespace)["messages"] == []


@pytest.mark.parametrize(
    ("verb", "path", "status"),
    [
        ("GET", "/v1", 404), ("GET", "/v1//search", 404), ("POST", "/v1/search/", 404),
        ("GET", "/v1/sessions/a%2Fb/messages", 404),
        ("GET", "/v1/sessions//messages", 404), ("GET", "/v1/episodes/..%2Fknowledge", 404), ("GET", "/v1/search", 405),
        ("DELETE", "/v1/search", 405),
    ],
)  # fmt: skip
def test_a_path_that_is_none_is_not_found(api: Served, verb: str, path: str, status: int) -> None:
    """There are no redirects and no guesses: another path is another path, and the answer says where to look."""
    refused = api.http.request(verb, path)
    assert refusal_without_fields(refused, status)
    said = {404: "no such path: /docs lists those there are", 405: "this path answers POST"}
    assert refused.json()["detail"] == said[status]


def refusal_without_fields(response: httpx.Response, status: int) -> bool:
    is_problem = response.headers["content-type"] == "application/problem+json"
    return is_problem and response.status_code == response.json()["status"] == status


def test_a_refused_method_names_those_that_are_known(api: Served) -> None:
    """`Allow` lists every method of the path (RFC 9110 §15.5.6)."""
    assert api.http.put("/v1/episodes").headers["allow"] == "GET, POST"
    assert api.http.options(SESSION).headers["allow"] == "DELETE, GET, PATCH, PUT"


@pytest.mark.parametrize("path", ["/v1/episodes/similar", "/v1/knowledge/strategies"])
@pytest.mark.parametrize("verb", ["GET", "PATCH", "DELETE", "PUT", "OPTIONS"])
def test_a_name_beside_ids_is_no_id(api: Served, verb: str, path: str) -> None:
    """Whatever comes along, it is the method that is refused: for no other request would the id be right."""
    response = api.http.request(verb, path, params={"unknown": 1}, headers=JSON, content=b"{")
    assert refusal_without_fields(response, 405)
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize("what", ["episodes", "knowledge"])
def test_an_unknown_record_is_not_found(api: Served, namespace: str, what: str) -> None:
    """An id that stands for nothing is 404, one that is no id 422."""
    missing = f"/v1/{what}/{new_id()}"
    for verb in ("GET", "DELETE"):
        assert refusal_without_fields(api.http.request(verb, missing, params={"namespace": namespace}), 404)
        assert api.http.request(verb, f"/v1/{what}/7", params={"namespace": namespace}).status_code == 422


def test_an_unknown_session_has_no_state_and_no_messages(api: Served, namespace: str) -> None:
    """A session that nobody wrote to has an empty history, and no state to read, change or end."""
    assert history(api, namespace) == {"messages": [], "next": None, "degraded": []}
    scope = {"namespace": namespace}
    statuses = [
        api.http.get(SESSION, params=scope).status_code,
        api.http.patch(SESSION, json=scope).status_code,
        api.http.delete(SESSION, params=scope).status_code,
    ]
    assert statuses == [404, 404, 404]
