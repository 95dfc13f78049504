"""The tools for models beside the API, asked by the official client over real HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client, MCPError
from mcp_clients import answered, held, over_http, over_stdio, refused
from served import Served

from app.integrations.mcp.bounds import MOST_ANSWER_BYTES, MOST_TEXT_BYTES
from app.records import Permission, new_id

VET = "Miso sees the vet on Thursday."
READS = {"recall", "get_context", "get_strategies"}
NO_ID = "00000000-0000-0000-0000-000000000000"


@pytest.fixture(params=["legacy", "auto"])
async def client(request: pytest.FixtureRequest, api: Served) -> AsyncIterator[Client]:
    """Of the handshake's generation of the protocol, and of the one without."""
    async with held(over_http(api.url, mode=request.param)) as client:
        yield client


@pytest.fixture
async def plain(api: Served) -> AsyncIterator[Client]:
    async with held(over_http(api.url)) as client:
        yield client


async def test_the_tools_say_what_they_do(client: Client) -> None:
    """Eight tools, each with a schema of what it takes and answers, and with hints that are true."""
    tools = (await client.list_tools()).tools
    hints = {
        t.name: (t.annotations.read_only_hint, t.annotations.destructive_hint, t.annotations.idempotent_hint)
        for t in tools
        if t.annotations
    }
    assert hints == {
        "remember": (False, False, True),
        "recall": (True, False, True),
        "get_context": (True, False, True),
        "log_decision": (False, False, False),
        "record_outcome": (False, False, True),
        "learn": (False, False, False),
        "get_strategies": (True, False, True),
        "forget": (False, True, True),
    }
    assert [t.name for t in tools if t.input_schema.get("additionalProperties") is not False or not t.output_schema] == []
    assert [name for t in tools for name, field in t.input_schema["properties"].items() if "description" not in field] == []


async def test_what_is_remembered_is_recalled_at_once(client: Client, namespace: str) -> None:
    """Before any job ran; the record says whose words they are and where."""
    kept = await answered(client, "remember", content=VET, name="Ana", session_id="kitchen", namespace=namespace)
    found = await answered(client, "recall", text="When does Miso see the vet?", namespace=namespace)
    (hit,) = found.pop("results")
    assert (kept["session_id"], kept["stored_in"], kept["degraded"]) == ("kitchen", "working", [])
    assert {k: hit[k] for k in ("id", "kind", "text", "author", "session_id")} == {
        "id": kept["id"], "kind": "message", "text": VET, "author": "Ana", "session_id": "kitchen"
    }  # fmt: skip
    assert found == {"degraded": [], "note": None}


async def test_the_same_words_are_remembered_once(plain: Client, api: Served, namespace: str) -> None:
    """A model that repeats its call does no harm; the same words of somebody else are another message."""
    same = [await answered(plain, "remember", content=VET, namespace=namespace) for _ in range(2)]
    await answered(plain, "remember", content=VET, name="Ben", namespace=namespace)
    history = api.http.get("/v1/sessions/notes/messages", params={"namespace": namespace}).json()["messages"]
    assert [(m["content"], m["name"]) for m in history] == [(VET, None), (VET, "Ben")]
    assert same[0] == same[1]


async def test_a_decision_meets_its_outcome(client: Client, api: Served, namespace: str) -> None:
    """What was logged is an episode with its parts, text or JSON; saying the outcome again replaces it."""
    logged = await answered(
        client, "log_decision", perception={"backlog": 12}, reasoning="The team is tired.", action={"plan": 9},
        summary="Nine stories were planned.", session_id="s1", namespace=namespace,
    )  # fmt: skip
    about = {"episode_id": logged["episode_id"], "namespace": namespace}
    await answered(client, "record_outcome", **about, outcome="seven done", outcome_quality=0.5)
    said = await answered(client, "record_outcome", **about, outcome={"done": 8}, outcome_quality=0.9)
    episode = api.http.get(f"/v1/episodes/{logged['episode_id']}", params={"namespace": namespace}).json()
    assert said == {"episode_id": logged["episode_id"], "outcome_quality": 0.9, "version": episode["version"]}
    fields = ("kind", "perception", "reasoning", "action", "outcome", "outcome_quality", "summary", "session_id")
    assert {name: episode[name] for name in fields} == {
        "kind": "decision", "perception": {"backlog": 12}, "reasoning": {"text": "The team is tired."}, "action": {"plan": 9},
        "outcome": {"done": 8}, "outcome_quality": 0.9, "summary": "Nine stories were planned.", "session_id": "s1",
    }  # fmt: skip


async def test_what_was_learned_is_found_by_the_situation(client: Client, api: Served, namespace: str) -> None:
    """Strategies and the like, if they are sure enough and their conditions hold; facts are for recall."""
    conditions = {"conditions": [{"field": "rain_mm", "op": "gt", "value": 2}]}
    rule = await answered(
        client, "learn", description="In rain take the bus.", kind="strategy", content=conditions, namespace=namespace
    )
    await answered(client, "learn", description="Rain is wet.", kind="fact", namespace=namespace)
    await answered(client, "learn", description="In rain, swim.", kind="heuristic", confidence=0.2, namespace=namespace)
    api.http.post("/v1/admin/consolidate", json={"namespace": namespace}).raise_for_status()
    for context, expected in (
        ("Rain is coming.", 1),
        ({"weather": "rain", "rain_mm": 9}, 1),
        ({"weather": "rain", "rain_mm": 1}, 0),
    ):
        found = await answered(client, "get_strategies", context=context, namespace=namespace)
        assert (found["note"], found["degraded"], len(found["strategies"])) == (None, [], expected)
        for strategy in found["strategies"]:
            assert strategy.pop("why")
            assert strategy == {
                "id": rule["knowledge_id"], "kind": "strategy", "description": "In rain take the bus.",
                "confidence": 0.8, "times_applied": 0, "success_rate": None,
            }  # fmt: skip


async def test_context_keeps_to_its_budget_and_names_its_sources(client: Client, namespace: str) -> None:
    """One text with the newest messages of the session, and the ids it is made of."""
    kept = await answered(client, "remember", content=VET, session_id="s1", namespace=namespace)
    context = await answered(client, "get_context", text="the vet", session_id="s1", budget_tokens=60, namespace=namespace)
    assert context == {
        "text": f"## Recent messages\nuser: {VET}",
        "spent_tokens": context["spent_tokens"], "citations": [kept["id"]], "degraded": [],
    }  # fmt: skip
    assert context["spent_tokens"] <= 60


async def test_a_record_is_forgotten_by_its_id(client: Client, namespace: str) -> None:
    """From every tier; a second time there is nothing left to remove."""
    kept = await answered(client, "remember", content=VET, namespace=namespace)
    named = {"kind": "message", "id": kept["id"], "session_id": "notes", "namespace": namespace}
    gone = [await answered(client, "forget", **named) for _ in range(2)]
    assert [(g["removed"] != {}, g["remaining"], g["pending"], g["degraded"]) for g in gone] == [
        (True, 0, [], []), (False, 0, [], [])
    ]  # fmt: skip
    assert (await answered(client, "recall", text=VET, namespace=namespace))["results"] == []


async def test_answers_are_bounded_and_say_what_was_cut(plain: Client, api: Served, namespace: str) -> None:
    """A model's context is small: long texts are cut, then results are left out."""
    messages = [{"role": "user", "content": f"The vet's report, part {n}. " + "Miso ate well. " * 200} for n in range(30)]
    body = {"namespace": namespace, "messages": messages}
    api.http.post("/v1/sessions/s1/messages", json=body).raise_for_status()
    found = await answered(plain, "recall", text="the vet's report", limit=30, namespace=namespace)
    sizes = [len(hit["text"].encode()) for hit in found["results"]]
    cut, left_out = len(sizes), 30 - len(sizes)
    assert found["note"] == (
        f"{cut} texts were cut to {MOST_TEXT_BYTES} bytes; {left_out} results were left out: ask more narrowly, or for fewer"
    )
    assert sum(sizes) <= MOST_ANSWER_BYTES
    assert all(hit["text"].endswith(" more bytes]") for hit in found["results"])


@pytest.mark.parametrize(
    ("tool", "arguments", "problems"),
    [
        ("remember", {}, {"content": "must be given"}),
        ("remember", {"content": " "}, {"content": "must not be blank"}),
        ("remember", {"content": "x", "session_id": "a/b"}, {"session_id": "must not contain /"}),
        ("remember", {"content": "x" * 70_000}, {"content": "must have at most 65536 bytes, has 70000"}),
        ("remember", {"content": "x", "role": "tool"}, {"role": "Input should be 'user' or 'assistant'"}),
        ("recall", {"text": "x", "limit": 51}, {"limit": "Input should be less than or equal to 50"}),
        ("recall", {"text": "x", "limit": "5"}, {"limit": "Input should be a valid integer"}),
        ("recall", {"text": "x", "since": "yesterday"},
         {"since": "must be an RFC 3339 date and time, such as 2026-03-01T09:30:00Z"}),
        ("get_context", {"text": "x", "budget_tokens": 1}, {"budget_tokens": "Input should be greater than or equal to 50"}),
        ("log_decision", {"perception": "x"}, {"action": "must be given"}),
        ("record_outcome", {"episode_id": NO_ID, "outcome": "x", "outcome_quality": 1.5},
         {"outcome_quality": "Input should be less than or equal to 1"}),
        ("learn", {"description": "x", "kind": "rumour"},
         {"kind": "Input should be 'fact', 'strategy', 'pattern', 'constraint' or 'heuristic'"}),
        ("forget", {"kind": "message", "id": NO_ID}, {"session_id": "must be given"}),
        ("forget", {"kind": "knowledge", "id": "7"},
         {"id": "String should match pattern '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$'"}),
    ],
)  # fmt: skip
async def test_what_is_missing_or_wrong_is_named(
    plain: Client, api: Served, namespace: str, tool: str, arguments: dict[str, Any], problems: dict[str, str]
) -> None:
    """The answer names the argument and the limit, and nothing is written."""
    error = await refused(plain, tool, namespace=namespace, **arguments)
    assert error["kind"] == "invalid_input"
    assert {p["field"]: p["problem"] for p in error["problems"]} == problems
    assert stored_in(api, namespace) == []


@pytest.mark.parametrize("number", ["Infinity", "-Infinity", "NaN", "1e999"])
@pytest.mark.parametrize(
    ("tool", "field", "given"),
    [
        ("learn", "content", '{"description": "x", "content": {"a": [{"b": NUMBER}]}}'),
        ("get_strategies", "context", '{"context": {"a": NUMBER}}'),
        ("log_decision", "action", '{"perception": "x", "action": {"a": NUMBER}}'),
        ("record_outcome", "outcome", f'{{"episode_id": "{NO_ID}", "outcome": {{"a": NUMBER}}}}'),
    ],
)
def test_a_number_that_is_none_is_refused_by_its_argument(api: Served, tool: str, field: str, given: str, number: str) -> None:
    """JSON has no such numbers, though parsers read them: the argument is named, as for any other that is wrong."""
    call = f'{{"name": "{tool}", "arguments": {given.replace("NUMBER", number)}}}'
    body = f'{{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {call}}}'
    headers = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
    answer = api.http.post("/mcp", content=body, headers=headers).json()
    problems = answer["result"]["structuredContent"]["error"]["problems"]
    assert answer["result"]["isError"] is True
    assert problems == [{"field": field, "problem": "must be JSON, whose numbers are finite: no Infinity, no NaN"}]


@pytest.mark.parametrize("tool", ["remember", "recall", "get_context", "log_decision", "record_outcome", "learn", "forget"])
async def test_an_argument_that_no_tool_knows_is_refused(plain: Client, api: Served, namespace: str, tool: str) -> None:
    """Ignored, it would widen an answer or lose what was meant; all that is known is named."""
    error = await refused(plain, tool, namespace=namespace, contents="x")
    assert {p["field"]: p["problem"] for p in error["problems"]}["contents"].startswith(
        "is not an argument of this tool; known are namespace, user_id, "
    )
    assert stored_in(api, namespace) == []


async def test_an_unknown_tool_is_refused(plain: Client) -> None:
    """By the protocol's own error, which names those there are."""
    with pytest.raises(MCPError, match=r"^no tool 'delete_all'; known are remember, recall, "):
        await plain.call_tool("delete_all", {})


async def test_what_is_not_there_is_not_found(plain: Client, namespace: str) -> None:
    """An outcome for an episode of nobody's, or of another namespace: the same answer."""
    logged = await answered(plain, "log_decision", perception="x", action="y", namespace=namespace)
    for episode_id in (NO_ID, logged["episode_id"]):
        error = await refused(plain, "record_outcome", episode_id=episode_id, outcome="z", namespace=f"{namespace}-other")
        assert (error["kind"], error["detail"]) == ("not_found", f"no episode {episode_id!r} in this namespace")


async def test_a_session_is_a_resource(client: Client, api: Served, namespace: str) -> None:
    """Its goal, what it holds, and its newest messages, as text."""
    await answered(client, "remember", content=VET, name="Ana", session_id="the kitchen", namespace=namespace)
    state = {"namespace": namespace, "goal": "Plan the week", "active_context": {"budget": 40}}
    api.http.put("/v1/sessions/the kitchen", json=state).raise_for_status()
    (template,) = (await client.list_resource_templates()).resource_templates
    assert template.uri_template == "memory://sessions/{session_id}/context{?namespace}"
    (content,) = (await client.read_resource(f"memory://sessions/the%20kitchen/context?namespace={namespace}")).contents
    assert (content.mime_type, getattr(content, "text", None)) == (
        "text/markdown", f"Goal: Plan the week\nbudget: 40\nAna: {VET}"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("uri", "complaint"),
    [
        ("memory://sessions/nobody/context", "no session 'nobody' in this namespace"),
        ("memory://sessions/../context", "no session '..' in this namespace"),
        ("memory://sessions/a%2Fb/context", "session_id: must not contain /"),
        ("memory://secrets", "no resource memory://secrets: sessions are at memory://sessions/{session_id}/context{?namespace}"),
    ],
)  # fmt: skip
async def test_a_resource_that_is_not_there_is_refused(plain: Client, uri: str, complaint: str) -> None:
    """By name, whatever its path would mean elsewhere."""
    with pytest.raises(MCPError) as error:
        await plain.read_resource(uri)
    assert error.value.message == complaint


@pytest.fixture(scope="module")
def owner(guarded_api: Served) -> str:
    """May do everything everywhere; with it made, nobody may do anything without a key."""
    return guarded_api.make_key(*Permission)[1]


def test_without_a_key_nobody_comes_in(guarded_api: Served, owner: str) -> None:
    """Not even to list the tools: 401, with the problem document of the API."""
    for headers in ({}, {"Authorization": "Bearer hm_wrong"}):
        answer = httpx.post(f"{guarded_api.url}/mcp", json={}, headers=headers, trust_env=False)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert answer.headers["content-type"] == "application/problem+json"


async def test_a_key_that_reads_may_not_write(guarded_api: Served, owner: str, namespace: str) -> None:
    """It is told which permission is missing, and nothing is written; what it may read, it reads."""
    _, key = guarded_api.make_key(Permission.READ)
    calls: dict[str, dict[str, Any]] = {
        "remember": {"content": "x"},
        "log_decision": {"perception": "x", "action": "y"},
        "record_outcome": {"episode_id": str(new_id()), "outcome": "x"},
        "learn": {"description": "x"},
    }
    async with over_http(guarded_api.url, key) as client:
        for tool, arguments in calls.items():
            error = await refused(client, tool, namespace=namespace, **arguments)
            assert (error["kind"], error["detail"]) == ("forbidden", "this key lacks the permission memory:write")
        error = await refused(client, "forget", kind="episode", id=NO_ID, namespace=namespace)
        assert error["detail"] == "this key lacks the permission memory:admin"
        assert (await answered(client, "recall", text="x", namespace=namespace))["results"] == []


async def test_a_key_keeps_to_its_namespaces(guarded_api: Served, owner: str, namespace: str) -> None:
    """Bound to one, it means that one where none is named, and is refused in any other: tools and resources."""
    _, key = guarded_api.make_key(*Permission, namespaces=[namespace])
    async with over_http(guarded_api.url, owner) as client:
        await answered(client, "remember", content="The other tenant's secret.")
    async with over_http(guarded_api.url, key) as client:
        await answered(client, "remember", content=VET)
        assert [h["text"] for h in (await answered(client, "recall", text="secret vet"))["results"]] == [VET]
        error = await refused(client, "recall", text="secret", namespace="default")
        assert (error["kind"], error["detail"]) == ("forbidden", "this key does not cover namespace 'default'")
        with pytest.raises(MCPError, match=r"^this key does not cover namespace 'default'$"):
            await client.read_resource("memory://sessions/notes/context?namespace=default")


async def test_over_stdio_the_key_comes_from_the_environment(
    guarded_api: Served, owner: str, namespace: str, tmp_path: Path
) -> None:
    """The service is named by `MEMORY_URL` or `--url`; a call that names no namespace means the one of the command line."""
    _, key = guarded_api.make_key(*Permission, namespaces=[namespace])
    async with over_stdio(tmp_path, "--namespace", namespace, MEMORY_URL=guarded_api.url, MEMORY_API_KEY=key) as client:
        await answered(client, "remember", content=VET)
        error = await refused(client, "recall", text=VET, namespace="default")
        assert (error["kind"], error["detail"]) == ("forbidden", "this key does not cover namespace 'default'")
    async with over_stdio(tmp_path, "--url", guarded_api.url, MEMORY_API_KEY="hm_wrong") as client:
        assert (await refused(client, "recall", text=VET))["kind"] == "unauthenticated"
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}], ids=lambda h: str(*h.items())
)
def test_a_web_page_cannot_call_without_a_key(api: Served, headers: dict[str, str]) -> None:
    """Through its reader's browser, by a name that it has pointed at this machine."""
    answer = httpx.post(f"{api.url}/mcp", json={}, headers=headers, trust_env=False)
    assert (answer.status_code, answer.json()["detail"]) == (
        403, "without a key this can only be called from programs on this machine, by its loopback address"
    )  # fmt: skip


async def test_with_a_key_any_name_will_do(guarded_api: Served, owner: str) -> None:
    """A reverse proxy calls the service by its own name."""
    async with over_http(guarded_api.url, owner, Host="memory.example", Origin="https://agent.example") as client:
        assert len((await client.list_tools()).tools) == 8


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
def test_nothing_is_held_open(api: Served, method: str) -> None:
    """There is no session to end and no stream to wait on: 405, with what is allowed."""
    answer = httpx.request(method, f"{api.url}/mcp", headers={"Accept": "text/event-stream"}, trust_env=False)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_a_body_over_the_limit_is_refused(api: Served) -> None:
    """By the API's own limit, before it fills the memory."""
    answer = httpx.post(f"{api.url}/mcp", content=b"x" * 5_000_000, headers={"content-type": "application/json"}, trust_env=False)
    assert answer.status_code == 413


def stored_in(api: Served, namespace: str) -> list[Any]:
    """Everything that a refused call might have left behind."""
    scope = {"namespace": namespace}
    return [
        *api.http.get("/v1/sessions/notes/messages", params=scope).json()["messages"],
        *api.http.get("/v1/episodes", params=scope).json()["episodes"],
        *api.http.get("/v1/knowledge", params=scope).json()["knowledge"],
    ]
