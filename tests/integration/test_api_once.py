"""Calls that carry an `Idempotency-Key`, over real HTTP and real engines: repeated, racing, and cut off in between."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, TypeVar

import httpx
import pytest
import redis
from operations import OPERATIONS, Operation
from served import Served
from structlog.testing import capture_logs
from talking import SESSION, created, history

from app.api import create_app
from app.bootstrap import Installation
from app.client import MemoryClient
from app.errors import Conflict, TierUnavailable
from app.ports import AnswerStore
from app.records import Permission, Tier, new_id
from app.testing.faults import Fault, away, troubled

MESSAGES = {"messages": [{"role": "user", "content": "twice"}, {"role": "user", "content": "twice"}]}
POSTS = [operation for operation in OPERATIONS if operation.verb == "POST"]
DONE_AGAIN = {"/v1/search", "/v1/context", "/v1/episodes/similar", "/v1/knowledge/strategies", "/v1/admin/import"}


def named(key: str, secret: str | None = None) -> dict[str, str]:
    return {"Idempotency-Key": key} | ({} if secret is None else {"Authorization": f"Bearer {secret}"})


def post(api: Served, namespace: str, path: str, body: dict[str, Any], key: str | None = "k1") -> httpx.Response:
    return api.http.post(path, json={"namespace": namespace, **body}, headers={} if key is None else named(key))


def said_again(response: httpx.Response) -> bool:
    return bool(response.headers.get("idempotency-replayed") == "true")


def lose_answers(api: Served, namespace: str) -> None:
    """What a process does that dies between the write and the answer, and a Redis that was flushed besides."""
    with redis.Redis.from_url(api.redis_url) as client:
        keys = list(client.scan_iter(match=f"hm:call:{namespace}:*"))
        assert keys
        client.delete(*keys)


def filled_in(body: dict[str, Any], known: dict[str, str]) -> dict[str, Any]:
    """A body that names a record which is there."""
    return {name: value.format(**known) if name == "record_id" else value for name, value in body.items()}


def given_records(api: Served, namespace: str) -> dict[str, str]:
    """An episode and a piece of knowledge to call upon: the path parameters of every operation."""
    episode = created(post(api, namespace, "/v1/episodes", {}, key=None))
    knowledge = created(post(api, namespace, "/v1/knowledge", {"description": "Ana eats no nuts"}, key=None))
    return {"session_id": "s1", "episode_id": episode["id"], "knowledge_id": knowledge["id"]}


def bodies(api: Served, namespace: str) -> list[Any]:
    """All that a namespace holds, as its callers see it."""
    paths = ("/v1/episodes", "/v1/knowledge", f"{SESSION}/messages")
    listed = [api.http.get(path, params={"namespace": namespace}).json() for path in paths]
    steps = [f"/v1/episodes/{e['id']}/steps" for e in listed[0]["episodes"]]
    return [*listed, *(api.http.get(path, params={"namespace": namespace}).json() for path in steps)]


CHANGES = [
    (f"{SESSION}/messages", MESSAGES),
    ("/v1/episodes", {"steps": [{"did": "vote"}]}),
    ("/v1/episodes/{episode_id}/steps", {"steps": [{"did": "vote"}, {"did": "count"}]}),
    ("/v1/episodes/{episode_id}/outcome", {"outcome": {"done": 8}}),
    ("/v1/knowledge", {"description": "Ana eats no nuts"}),
    ("/v1/knowledge/{knowledge_id}/applications", {"outcome": "success"}),
    ("/v1/feedback", {"record_id": "{knowledge_id}", "verdict": "useful"}),
]


@pytest.mark.parametrize(("path", "body"), CHANGES, ids=[path for path, _ in CHANGES])
def test_a_repeated_call_gets_the_first_answer(api: Served, namespace: str, path: str, body: dict[str, Any]) -> None:
    """Status and body come again, marked as such, and nothing is done a second time."""
    known = given_records(api, namespace)
    path, body = path.format(**known), filled_in(body, known)
    first = post(api, namespace, path, body)
    there = bodies(api, namespace)
    again = post(api, namespace, path, body)
    assert (first.is_success, said_again(first), said_again(again)) == (True, False, True)
    assert (again.status_code, again.content, again.headers["content-type"]) == (
        first.status_code, first.content, first.headers["content-type"],
    )  # fmt: skip
    assert bodies(api, namespace) == there


@pytest.mark.parametrize(("path", "body"), CHANGES, ids=[path for path, _ in CHANGES])
def test_a_call_whose_answer_was_lost_meets_its_own_work(api: Served, namespace: str, path: str, body: dict[str, Any]) -> None:
    """Repeated after its answer was lost, it is carried out to no effect and answers with what is there."""
    known = given_records(api, namespace)
    path, body = path.format(**known), filled_in(body, known)
    first = post(api, namespace, path, body)
    there = bodies(api, namespace)
    lose_answers(api, namespace)
    again = post(api, namespace, path, body)
    assert (again.status_code, again.json(), said_again(again)) == (first.status_code, first.json(), False)
    assert bodies(api, namespace) == there


@pytest.mark.parametrize(("path", "body"), CHANGES[1:], ids=[path for path, _ in CHANGES[1:]])
def test_a_call_is_carried_out_once_without_redis_too(api: Served, namespace: str, path: str, body: dict[str, Any]) -> None:
    """With nowhere to remember answers, a repeated call still changes nothing more: PostgreSQL knows it."""
    known = given_records(api, namespace)
    path, body = path.format(**known), filled_in(body, known)
    answers = away(api.installation.answers, Tier.WORKING)

    async def twice(door: httpx.AsyncClient) -> list[httpx.Response]:
        return [await send(door, path, {"namespace": namespace, **body}) for _ in range(2)]

    first, again = through(api, with_answers(api, answers), twice)
    there = bodies(api, namespace)
    assert (first.is_success, again.json(), said_again(again)) == (True, first.json(), False)
    assert post(api, namespace, path, body).json() == first.json()
    assert bodies(api, namespace) == there


async def test_the_client_names_calls(api: Served, namespace: str) -> None:
    """What is appended twice under one key is there once; another request under it is a conflict."""
    async with MemoryClient(api.url) as client:
        said = [{"role": "user", "content": "once"}]
        receipts = [await client.append("s1", said, namespace=namespace, idempotency_key="k1") for _ in range(2)]
        with pytest.raises(Conflict, match="Idempotency-Key: was used for another request"):
            await client.append("s2", said, namespace=namespace, idempotency_key="k1")
    assert receipts[0] == receipts[1]
    assert [m["content"] for m in history(api, namespace)["messages"]] == ["once"]


def test_messages_of_a_named_call_have_ids_of_their_own(api: Served, namespace: str) -> None:
    """Equal messages of one call are two messages, those of another key two more; given ids are kept."""
    mine = {"messages": [{"role": "user", "content": "twice", "id": str(new_id())}]}
    for key, body in (("k1", MESSAGES), ("k2", MESSAGES), ("k3", mine)):
        created(post(api, namespace, f"{SESSION}/messages", body, key))
    messages = history(api, namespace)["messages"]
    assert [m["sequence"] for m in messages] == [1, 2, 3, 4, 5]
    assert len({m["id"] for m in messages}) == 5
    assert messages[-1]["id"] == mine["messages"][0]["id"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"{SESSION}/messages", {"messages": [{"role": "user", "content": "other"}]}),
        (f"{SESSION}/messages?wait=stored", MESSAGES),
        ("/v1/sessions/s2/messages", MESSAGES),
        ("/v1/knowledge", {"description": "x"}),
    ],
    ids=["body", "query", "path", "endpoint"],
)
def test_a_key_is_for_one_request(api: Served, namespace: str, path: str, body: dict[str, Any]) -> None:
    """The same key with anything else in the request is a conflict that names the header, and nothing is done."""
    created(post(api, namespace, f"{SESSION}/messages", MESSAGES))
    there = bodies(api, namespace)
    refused = post(api, namespace, path, body)
    assert (refused.status_code, refused.json()["errors"]) == (
        409, [{"field": "Idempotency-Key", "problem": "was used for another request: take a new key for a new request"}],
    )  # fmt: skip
    assert bodies(api, namespace) == there


def test_a_key_belongs_to_its_caller_and_namespace(guarded_api: Served, namespace: str) -> None:
    """Two callers, or two namespaces of one caller, use the same key without ever seeing each other's answers."""
    scope = [namespace, f"{namespace}-2"]
    secrets = [guarded_api.make_key(Permission.READ, Permission.WRITE, namespaces=scope)[1] for _ in range(2)]
    calls = [(secret, name) for secret in secrets for name in scope]
    answers = [
        guarded_api.http.post(f"{SESSION}/messages", json={"namespace": name, **MESSAGES}, headers=named("k1", secret))
        for secret, name in calls * 2
    ]
    assert [(a.status_code, said_again(a)) for a in answers] == [(201, False)] * 4 + [(201, True)] * 4
    ids = [tuple(m["id"] for m in answer.json()["messages"]) for answer in answers]
    assert ids[:4] == ids[4:]
    assert len(set(chain(*ids))) == 8


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("x" * 256, "String should have at most 255 characters"),
        ("a b", "String should match pattern '^[!-~]+$'"),
        (b"caf\xc3\xa9", "String should match pattern '^[!-~]+$'"),
        ("", "String should have at least 1 character"),
    ],
)
def test_a_bad_key_is_refused(api: Served, namespace: str, key: str | bytes, problem: str) -> None:
    """A key is 1 to 255 visible ASCII characters; the refusal names the header and the limit."""
    raw = key if isinstance(key, bytes) else key.encode()
    body = {"namespace": namespace, **MESSAGES}
    refused = api.http.post(f"{SESSION}/messages", json=body, headers=[(b"Idempotency-Key", raw)])
    assert (refused.status_code, refused.json()["errors"]) == (422, [{"field": "Idempotency-Key", "problem": problem}])
    assert history(api, namespace)["messages"] == []


def test_two_keys_are_none(api: Served, namespace: str) -> None:
    """A call with two names is refused: whichever was taken, the other would promise something."""
    headers = [("Idempotency-Key", "k1"), ("Idempotency-Key", "k2")]
    refused = api.http.post(f"{SESSION}/messages", json={"namespace": namespace, **MESSAGES}, headers=headers)
    assert (refused.status_code, refused.json()["errors"]) == (
        422, [{"field": "Idempotency-Key", "problem": "must be given once"}],
    )  # fmt: skip


def test_a_refused_request_leaves_its_key_free(api: Served, namespace: str) -> None:
    """What broke a limit was not tried: mended, it may be sent under the same key."""
    assert post(api, namespace, f"{SESSION}/messages", {"messages": []}).status_code == 422
    assert post(api, namespace, f"{SESSION}/messages", {"messages": [{"role": "user"}]}).status_code == 422
    mended = post(api, namespace, f"{SESSION}/messages", MESSAGES)
    assert (mended.status_code, said_again(mended)) == (201, False)


def test_what_was_tried_and_failed_is_an_answer(api: Served, namespace: str) -> None:
    """A record that was not found is answered the same again, as the problem document it was."""
    path = f"/v1/knowledge/{new_id()}/applications"
    first, again = (post(api, namespace, path, {"outcome": "failure"}) for _ in range(2))
    assert (first.status_code, said_again(first), said_again(again)) == (404, False, True)
    assert (again.content, again.headers["content-type"]) == (first.content, "application/problem+json")


@pytest.mark.parametrize("operation", POSTS, ids=[operation.path for operation in POSTS])
def test_every_post_takes_a_key(api: Served, namespace: str, operation: Operation) -> None:
    """Each POST can be repeated under a key; all but questions, which change nothing, give the first answer again."""
    first, again = (operation.call(api.http, namespace, None, **named(namespace)) for _ in range(2))
    assert first.status_code < 500
    assert again.status_code == first.status_code
    assert said_again(again) is (operation.path not in DONE_AGAIN)


def test_forgotten_memories_are_not_quoted_by_old_answers(api: Served, namespace: str) -> None:
    """After forgetting, a repeated call neither shows the old answer nor brings the memory back."""
    created(post(api, namespace, "/v1/knowledge", {"description": "a secret"}))
    forgotten = post(api, namespace, "/v1/admin/forget", {}, key="k2")
    assert forgotten.json()["removed"] == {"knowledge": 1}
    again = post(api, namespace, "/v1/knowledge", {"description": "a secret"})
    assert (again.status_code, "secret" in again.text) == (409, False)
    assert api.http.get("/v1/knowledge", params={"namespace": namespace}).json()["knowledge"] == []
    assert post(api, namespace, "/v1/admin/forget", {}, key="k2").content == forgotten.content


# ── at once ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_of_calls_at_once_one_does_the_work(api: Served, namespace: str) -> None:
    """Twenty attempts at once: those that come too early are told when to come again, and all get one answer."""
    body = {"namespace": namespace, **MESSAGES}
    async with httpx.AsyncClient(base_url=api.url, trust_env=False, timeout=30) as client:
        answers = await asyncio.gather(*(until_answered(client, f"{SESSION}/messages", body) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert [said_again(answer) for answer in answers].count(False) == 1
    assert [m["sequence"] for m in history(api, namespace)["messages"]] == [1, 2]


async def until_answered(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> httpx.Response:
    while True:
        answer = await send(client, path, body)
        if answer.status_code != 409:
            return answer
        assert (answer.headers["retry-after"], answer.json()["errors"][0]["field"]) == ("1", "Idempotency-Key")


def test_a_call_under_way_is_named(api: Served, namespace: str) -> None:
    """While the first attempt is at work the second is refused with a time to come again, then gets its answer."""
    body = {"namespace": namespace, **MESSAGES}
    pause = Pause("remember")

    async def overlapping(door: httpx.AsyncClient) -> list[httpx.Response]:
        first = asyncio.create_task(send(door, f"{SESSION}/messages", body))
        await pause.is_reached.wait()
        second = await send(door, f"{SESSION}/messages", body)
        pause.go_on.set()
        return [await first, second, await send(door, f"{SESSION}/messages", body)]

    first, second, third = through(api, with_answers(api, troubled(api.installation.answers, pause)), overlapping)
    assert [answer.status_code for answer in (first, second, third)] == [201, 409, 201]
    assert second.headers["retry-after"] == "1"
    assert second.json()["errors"] == [
        {"field": "Idempotency-Key", "problem": "names a call that is still being carried out: repeat it in a moment"}
    ]
    assert (third.content, said_again(third)) == (first.content, True)


@pytest.mark.parametrize(("path", "body"), CHANGES[1:], ids=[path for path, _ in CHANGES[1:]])
def test_calls_at_once_without_redis_are_one(api: Served, namespace: str, path: str, body: dict[str, Any]) -> None:
    """Even where nothing keeps attempts apart beforehand, one transaction does the work and the others find it done."""
    known = given_records(api, namespace)
    path, body = path.format(**known), filled_in(body, known)

    async def at_once(door: httpx.AsyncClient) -> list[httpx.Response]:
        return await asyncio.gather(*(send(door, path, {"namespace": namespace, **body}) for _ in range(8)))

    answers = through(api, with_answers(api, away(api.installation.answers, Tier.WORKING)), at_once)
    assert {answer.status_code for answer in answers} <= {200, 201}
    assert len({answer.content for answer in answers}) == 1


# ── failing ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("trouble", "status"), [(TierUnavailable("episodic", "away"), 503), (KeyError("a bug"), 500)])
def test_a_server_error_is_not_remembered(api: Served, namespace: str, trouble: Exception, status: int) -> None:
    """A tier that was away, or a bug, is no answer: the same call is carried out when it is sent again."""
    body = {"namespace": namespace, "description": "Ana eats no nuts"}
    fault = Fault(trouble, "store_knowledge")
    troubled_service = replace(api.installation, service=troubled(api.installation.service, fault))

    async def failing_then_mended(door: httpx.AsyncClient) -> list[httpx.Response]:
        failed = await send(door, "/v1/knowledge", body)
        fault.is_on = False
        return [failed, await send(door, "/v1/knowledge", body)]

    with capture_logs():  # a traceback of so much takes seconds to draw
        failed, mended = through(api, troubled_service, failing_then_mended)
    assert (failed.status_code, mended.status_code, said_again(mended)) == (status, 201, False)


# ── helpers ───────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Pause:
    """Waits before the named call until it may go on; `is_reached` is set when it is made."""

    call: str
    is_reached: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, call: str) -> None:
        if call == self.call:
            self.is_reached.set()
            await self.go_on.wait()


async def send(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> httpx.Response:
    return await client.post(path, json=body, headers=named("k1"))


Answer = TypeVar("Answer")


def through(api: Served, installation: Installation, talk: Callable[[httpx.AsyncClient], Awaitable[Answer]]) -> Answer:
    """What comes of talking to another door of the same memory, opened around `installation`."""

    async def talking() -> Answer:
        app = create_app(lambda: nullcontext(installation))
        app.state.installation = installation  # what the lifespan would do
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as door:
            return await talk(door)

    return api.portal.call(talking)


def with_answers(api: Served, answers: AnswerStore) -> Installation:
    return replace(api.installation, answers=answers)
