"""What happens around every request: an id, a limit on its body, an answer even to a bug."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from uuid import UUID

import httpx
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from app.api.middleware import BodyLimit, BugBarrier, RequestContext

LIMIT = 100


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the body to its end and answer with it."""
    body, is_more = b"", True
    while is_more:
        message = await receive()
        body += message["body"]
        is_more = message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def broken(scope: Scope, receive: Receive, send: Send) -> None:
    raise KeyError("inside")


async def broken_midway(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    raise KeyError("inside")


def client(app: ASGIApp) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


def arriving(chunks: Sequence[bytes]) -> tuple[Receive, Callable[[], int]]:
    """A body that arrives in chunks, and how many of them were taken so far; asking for more never ends."""
    left = [{"type": "http.request", "body": c, "more_body": n < len(chunks)} for n, c in enumerate(chunks, start=1)]

    async def receive() -> Message:
        assert left, "nothing more will come: this would wait for ever"
        return left.pop(0)

    return receive, lambda: len(chunks) - len(left)


async def status_of(app: ASGIApp, receive: Receive, headers: Sequence[tuple[bytes, bytes]] = ()) -> int:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers, "query_string": b"", "server": ("test", 80)}
    await app(scope, receive, send)
    return int(sent[0]["status"])


# ── bugs ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_bug_is_answered_and_logged_under_the_request_id() -> None:
    """The caller gets a problem document with an id and nothing of the inside; the log has the error under that id."""
    with capture_logs(processors=[merge_contextvars]) as logged:
        async with client(RequestContext(BugBarrier(broken))) as http:
            response = await http.get("/v1/search", headers={"x-request-id": "mine"})
    assert (response.status_code, response.headers["content-type"], response.headers["x-request-id"]) == (
        500, "application/problem+json", "mine",
    )  # fmt: skip
    assert response.json() == {
        "type": "about:blank", "title": "Internal Server Error", "status": 500, "instance": "/v1/search",
        "detail": "an internal error; the log has it under this request id", "errors": [],
    }  # fmt: skip
    assert [(entry["event"], entry["request_id"]) for entry in logged] == [("unhandled_error", "mine"), ("request", "mine")]


async def test_half_an_answer_is_not_followed_by_another() -> None:
    """Once an answer has begun, a bug ends the connection: a second answer would be read as part of the first."""
    with pytest.raises(KeyError):
        async with client(BugBarrier(broken_midway)) as http:
            await http.get("/")


# ── ids ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("given", ["mine", "a.b:c-d_1", "x" * 128])
async def test_a_sane_request_id_is_kept(given: str) -> None:
    """What the caller calls the request is what the answer calls it."""
    async with client(RequestContext(echo)) as http:
        assert (await http.post("/", headers={"x-request-id": given})).headers["x-request-id"] == given


@pytest.mark.parametrize("given", [b"", b"x" * 129, b"a b", b"a\tb", b'"', "é".encode("latin-1"), "é".encode()])
async def test_any_other_request_id_is_replaced(given: bytes) -> None:
    """What could confuse a log is not taken over."""
    async with client(RequestContext(echo)) as http:
        answered = (await http.post("/", headers={b"x-request-id": given})).headers["x-request-id"]
    assert UUID(answered).version == 7


# ── bodies ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def chunked(body: bytes) -> AsyncIterator[bytes]:
    for byte in body:
        yield bytes([byte])


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_body_may_have_the_size_of_the_limit(is_chunked: bool) -> None:
    """The limit itself is within the limit."""
    body = b"x" * LIMIT
    async with client(BodyLimit(echo, LIMIT)) as http:
        assert (await http.post("/", content=chunked(body) if is_chunked else body)).content == body


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_one_byte_more_is_refused(is_chunked: bool) -> None:
    """The refusal names the limit, and the connection ends with it."""
    body = b"x" * (LIMIT + 1)
    async with client(BodyLimit(echo, LIMIT)) as http:
        response = await http.post("/", content=chunked(body) if is_chunked else body)
    assert (response.status_code, response.headers["connection"]) == (413, "close")
    assert response.json()["errors"] == [{"field": "body", "problem": "must have at most 100 bytes"}]


@pytest.mark.parametrize("declared", [b"101", b"9" * 5000])
async def test_a_declared_body_is_refused_before_it_is_read(declared: bytes) -> None:
    """What says that it is too large never reaches the application, however large the number is."""
    receive, taken = arriving([b""])
    assert await status_of(BodyLimit(broken, LIMIT), receive, [(b"content-length", declared)]) == 413
    assert taken() == 1


@pytest.mark.parametrize("declared", [b"", b"-1", b"abc", b"\xb2", b"1e3", b"0"])
async def test_a_senseless_declaration_counts_for_nothing(declared: bytes) -> None:
    """What arrives is counted, whatever was declared."""
    for chunks, status in (([b"x" * LIMIT], 200), ([b"x" * LIMIT, b"x"], 413)):
        receive, _ = arriving(chunks)
        assert await status_of(BodyLimit(echo, LIMIT), receive, [(b"content-length", declared)]) == status


async def test_the_rest_of_a_refused_body_is_read_for_a_while() -> None:
    """A client that is still sending gets to read its answer, but not to send for ever."""
    for chunks, read in ((10 * [b"x" * 15], 10), (1000 * [b"x" * 15], 14)):
        receive, taken = arriving(chunks)
        assert await status_of(BodyLimit(echo, LIMIT), receive) == 413
        assert taken() == read
