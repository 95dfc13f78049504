"""Named calls and real processes: killed between the write and the answer, a call is still carried out once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from service_process import Home, engine, is_up, kill_all, running_in, until
from sqlalchemy import make_url

from app.embedded import postgres_url

Request = tuple[str, dict[str, Any]]


@pytest.fixture(autouse=True)
def nothing_keeps_running(tmp_path: Path) -> Any:
    """After every test here, no process works in its directory any more."""
    yield
    kill_all(running_in(tmp_path))


async def post(client: httpx.AsyncClient, request: Request) -> httpx.Response:
    """The path is the key: each is called upon once here."""
    path, body = request
    return await client.post(path, json=body, headers={"Idempotency-Key": path})


@asynccontextmanager
async def connected(home: Home) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the PostgreSQL that a service runs."""
    url = make_url(postgres_url(home.data.resolve() / "postgres")).set(drivername="postgresql")
    connection = await asyncpg.connect(url.render_as_string(hide_password=False))
    try:
        yield connection
    finally:
        await connection.close()


async def test_a_call_cut_off_before_its_answer_is_carried_out_once(tmp_path: Path) -> None:
    """Every kind of change, committed and then killed before the answer was kept or sent, meets its own work again."""
    home = Home.at(tmp_path, MEMORY_CONSOLIDATION_INTERVAL_SECONDS="3600")
    async with home.served() as serving, home.client() as client:
        requests = await changes(client)
        async with connected(home) as holding, connected(home) as watching:
            attempts = await held_up(client, requests, holding, watching)
            valkey = engine(tmp_path, "valkey-server")
            valkey.suspend()  # what comes from here on is neither remembered nor answered
            await holding.execute("COMMIT")
            await until(lambda: is_count(watching, "SELECT count(*) FROM idempotency_keys", len(requests)))
        await serving.kill()
        valkey.kill()
        assert {type(e) for e in await asyncio.gather(*attempts, return_exceptions=True)} <= {
            httpx.ReadError, httpx.RemoteProtocolError,
        }  # fmt: skip
    async with home.served() as serving, home.client() as client:
        there = await everything(client)
        again, once_more = [[await post(client, request) for request in requests] for _ in range(2)]
        assert await everything(client) == there
        await serving.stop(signal.SIGTERM)
    assert [answer.is_success for answer in again] == [True] * len(requests)
    assert ["idempotency-replayed" in answer.headers for answer in (*again, *once_more)] == [False] * 5 + [True] * 5
    assert [answer.content for answer in again] == [answer.content for answer in once_more]
    counted = there["knowledge"][-1]
    assert (counted["times_applied"], counted["version"]) == (1, 2)
    assert sorted(len(steps) for steps in there["steps"]) == [0, 1, 2]


async def changes(client: httpx.AsyncClient) -> list[Request]:
    """One request of each kind, each about a record of its own."""
    judged, stepped = [(await client.post("/v1/episodes", json={})).json()["id"] for _ in range(2)]
    known = (await client.post("/v1/knowledge", json={"description": "ask first"})).json()["id"]
    return [
        ("/v1/episodes", {"steps": [{"did": "vote"}]}),
        (f"/v1/episodes/{judged}/outcome", {"outcome": {"done": 8}}),
        (f"/v1/episodes/{stepped}/steps", {"steps": [{"did": "vote"}, {"did": "count"}]}),
        ("/v1/knowledge", {"description": "ask twice"}),
        (f"/v1/knowledge/{known}/applications", {"outcome": "success"}),
    ]


async def held_up(
    client: httpx.AsyncClient, requests: Sequence[Request], holding: asyncpg.Connection, watching: asyncpg.Connection
) -> list[asyncio.Task[httpx.Response]]:
    """All requests on their way, each waiting for a lock that `holding` has until it commits."""
    await holding.execute("BEGIN; LOCK TABLE idempotency_keys IN EXCLUSIVE MODE")
    attempts = [asyncio.create_task(post(client, request)) for request in requests]
    await until(lambda: is_count(watching, "SELECT count(*) FROM pg_locks WHERE NOT granted", len(requests)))
    return attempts


async def is_count(connection: asyncpg.Connection, statement: str, count: int) -> bool:
    return bool(await connection.fetchval(statement) == count)


async def everything(client: httpx.AsyncClient) -> dict[str, Any]:
    """All records there are, newest first, and the steps of each episode."""
    listed = {what: (await client.get(f"/v1/{what}")).json()[what] for what in ("episodes", "knowledge")}
    steps = [(await client.get(f"/v1/episodes/{e['id']}/steps")).json()["steps"] for e in listed["episodes"]]
    return {**listed, "steps": steps}


@pytest.mark.slow
async def test_appends_repeated_through_kills_are_made_once(tmp_path: Path) -> None:
    """Writers who repeat what was cut off, under its key and with no ids of their own, find each message once."""
    home = Home.at(tmp_path, MEMORY_CONSOLIDATION_INTERVAL_SECONDS="0.01")
    contents = {f"s{n}": [f"session {n} message {m}" for m in range(40)] for n in range(4)}
    async with home.client() as client:
        progress = Progress()
        writers = [asyncio.create_task(write(client, s, c, progress)) for s, c in contents.items()]
        for count in (1, 30, 90):
            async with home.served() as serving:
                await progress.reached(count)
                await serving.kill()
        async with home.served() as serving:
            await asyncio.gather(*writers)
            found = {session: await said_in(client, session) for session in contents}
            await serving.stop(signal.SIGTERM)
    assert found == contents


class Progress:
    """Counts acknowledgements, for whoever waits for a number of them."""

    def __init__(self) -> None:
        self._count = 0
        self._changed = asyncio.Condition()

    async def note(self) -> None:
        async with self._changed:
            self._count += 1
            self._changed.notify_all()

    async def reached(self, count: int) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._count >= count)


async def write(client: httpx.AsyncClient, session: str, contents: Sequence[str], progress: Progress) -> None:
    """Append one message after the other, each again and again until it is acknowledged."""
    for number, content in enumerate(contents):
        while not await is_appended(client, session, f"{session}-{number}", content):
            await until(lambda: is_up(client))
        await progress.note()


async def is_appended(client: httpx.AsyncClient, session: str, key: str, content: str) -> bool:
    body = {"messages": [{"role": "user", "content": content}]}
    with suppress(httpx.TransportError):
        path = f"/v1/sessions/{session}/messages"
        return (await client.post(path, json=body, headers={"Idempotency-Key": key})).status_code == 201
    return False


async def said_in(client: httpx.AsyncClient, session: str) -> list[str]:
    response = await client.get(f"/v1/sessions/{session}/messages", params={"limit": 1000})
    return [message["content"] for message in response.raise_for_status().json()["messages"]]
