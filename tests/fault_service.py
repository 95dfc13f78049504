"""Real processes that are killed and stopped for real, while clients talk to them over HTTP."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from random import Random
from typing import Any, Final, Protocol, TypeAlias
from uuid import UUID

import asyncpg
import httpx
import psutil
from fault_talk import Append, Said, Talk, Unanswered, contents, expected_history
from service_process import Home, Serving, engine, is_ready, is_up, until
from sqlalchemy.engine import make_url

from app.embedded import postgres_url
from app.faultpoints import Action, FaultPoint, Planned
from app.records import SessionKey

VALKEY: Final = ("valkey-server",)
ENGINES: Final = (VALKEY, ("postgres", "-D"), ("app.semantic.worker",))
_STOPPED_SECONDS: Final = 0.3
_SERVER_ERROR: Final = 500


@dataclass(frozen=True, slots=True)
class AtPoint:
    """The service dies when it comes to a point for the so-manieth time."""

    planned: Planned


@dataclass(frozen=True, slots=True)
class AfterSteps:
    """The service is killed when its clients have taken so many steps."""

    steps: int


@dataclass(frozen=True, slots=True)
class EngineKilled:
    """An engine is killed when the clients have taken so many steps; the service goes on."""

    words: tuple[str, ...]
    steps: int


@dataclass(frozen=True, slots=True)
class EngineStopped:
    """An engine stops answering for a while when the clients have taken so many steps; then it goes on."""

    words: tuple[str, ...]
    steps: int


Fault: TypeAlias = AtPoint | AfterSteps | EngineKilled | EngineStopped


def fault(random: Random, points: Sequence[FaultPoint]) -> Fault:
    """A fault for one life of the service: at one of `points` more often than not."""
    words, steps = random.choice(ENGINES), random.randint(1, 8)
    at_point = AtPoint(Planned(random.choice(points), random.choice([1, 1, 2, 3]), Action.KILL))
    chances: list[Fault] = [at_point, at_point, AfterSteps(steps), EngineKilled(words, steps), EngineStopped(words, steps)]
    return random.choice(chances)


class Counted(Protocol):
    """Is told of each step that a client has taken."""

    async def __call__(self) -> None: ...


class HttpMemory:
    """Implements `Memory` on a running service."""

    def __init__(self, client: httpx.AsyncClient, *, keeps_order: bool = True) -> None:
        self._client = client
        self._keeps_order = keeps_order

    @property
    def keeps_order(self) -> bool:
        return self._keeps_order

    async def append(self, session: SessionKey, step: Append) -> bool:
        if not step.messages:
            return True
        body = {"namespace": session.namespace, "messages": [_message(said) for said in step.messages]}
        path = f"/v1/sessions/{session.session_id}/messages"
        with _answered():
            response = await self._client.post(path, json=body, params={"wait": step.wait.value})
        return "working" not in _accepted(response)["degraded"]

    async def end(self, session: SessionKey) -> None:
        with _answered():
            response = await self._client.delete(f"/v1/sessions/{session.session_id}", params={"namespace": session.namespace})
        if response.status_code != httpx.codes.NOT_FOUND:  # nothing was ever said in it: it was given up
            _accepted(response)

    async def forget(self, session: SessionKey) -> None:
        await self._operate("forget", session)

    async def consolidate(self, session: SessionKey) -> None:
        await self._operate("consolidate", session)

    async def _operate(self, operation: str, session: SessionKey) -> None:
        body = {"namespace": session.namespace, "session_id": session.session_id}
        with _answered():
            response = await self._client.post(f"/v1/admin/{operation}", json=body)
        _accepted(response)


def _message(said: Said) -> dict[str, str]:
    return {"id": str(said.id), "role": "user", "content": said.content, "created_at": said.created_at.isoformat()}


@contextmanager
def _answered() -> Iterator[None]:
    try:
        yield
    except httpx.TransportError as error:
        raise Unanswered(str(error)) from error


def _accepted(response: httpx.Response) -> dict[str, Any]:
    if response.status_code >= _SERVER_ERROR:
        raise Unanswered(response.text)
    assert response.is_success, response.text
    return dict(response.json()) if response.content else {}


async def live(home: Home, talks: Sequence[Talk], fault: Fault) -> None:
    """One life of the service: it talks with its clients until all is said or it dies, and is killed in the end."""
    planned = {"MEMORY_FAULTPOINT": str(fault.planned)} if isinstance(fault, AtPoint) else {}
    serving = await home.with_(**planned).starting("serve")
    try:
        async with home.client() as client:
            await until(lambda: _has_come_up_or_ended(client, serving))
            keeps_order = not (isinstance(fault, EngineKilled | EngineStopped) and fault.words == VALKEY)
            await _converse(client, serving, talks, _Striker(home, client, serving, fault), keeps_order=keeps_order)
            if isinstance(fault, AtPoint):  # the jobs may come to it yet
                await until(lambda: _has_settled_or_ended(client, serving))
    finally:
        await serving.kill()


async def _has_come_up_or_ended(client: httpx.AsyncClient, serving: Serving) -> bool:
    return serving.ending.done() or await is_up(client)


async def _has_settled_or_ended(client: httpx.AsyncClient, serving: Serving) -> bool:
    with suppress(httpx.TransportError):
        return serving.ending.done() or await _is_settled(client)
    return False


async def die(home: Home, planned: Planned, talks: Sequence[Talk]) -> None:
    """One life of a service that comes to its end at `planned` for certain."""
    serving = await home.with_(MEMORY_FAULTPOINT=str(planned)).starting("serve")
    try:
        async with home.client() as client:
            await until(lambda: _has_come_up_or_ended(client, serving))
            await _converse(client, serving, talks, _nothing)
            await serving.ending
    finally:
        await serving.kill()


async def _converse(
    client: httpx.AsyncClient, serving: Serving, talks: Sequence[Talk], count: Counted, *, keeps_order: bool = True
) -> None:
    memory = HttpMemory(client, keeps_order=keeps_order)

    async def talk_on(talk: Talk) -> None:
        while not talk.is_over and not serving.ending.done():
            try:
                await talk.next(memory)
            except Unanswered:
                await until(lambda: _may_go_on(client, serving))
            await count()

    await asyncio.gather(*(talk_on(talk) for talk in talks))


async def _may_go_on(client: httpx.AsyncClient, serving: Serving) -> bool:
    with suppress(httpx.TransportError):
        return serving.ending.done() or await is_ready(client)
    return False


class _Striker:
    """Counts the steps of all clients, and carries the fault out when its time has come."""

    def __init__(self, home: Home, client: httpx.AsyncClient, serving: Serving, fault: Fault) -> None:
        self._home = home
        self._client = client
        self._serving = serving
        self._fault = fault
        self._left = -1 if isinstance(fault, AtPoint) else fault.steps

    async def __call__(self) -> None:
        self._left -= 1
        if self._left != 0:
            return
        match self._fault:
            case AfterSteps():
                await self._serving.kill()
            case EngineKilled(words):
                for victim in self._engine(words):
                    victim.kill()
            case EngineStopped(words):
                await self._stop(self._engine(words))

    def _engine(self, words: Sequence[str]) -> Sequence[psutil.Process]:
        """The engine's processes; none while it is not there: the index has none before its first point."""
        with suppress(ValueError):
            head = engine(self._home.path, *words)
            return [head, *head.children(recursive=True)]
        return []

    async def _stop(self, victims: Sequence[psutil.Process]) -> None:
        for victim in victims:
            victim.send_signal(signal.SIGSTOP)
        with suppress(httpx.TransportError):
            await self._client.get("/health/ready", timeout=_STOPPED_SECONDS)
        for victim in victims:
            victim.send_signal(signal.SIGCONT)


# ── what must hold afterwards ─────────────────────────────────────────────────────────────────────────────────────


async def check(home: Home, talks: Sequence[Talk]) -> None:
    """A service that nothing happens to says the rest of the talks, settles without being asked, and has kept every promise."""
    async with home.served() as serving, home.client() as client:
        await _converse(client, serving, talks, _nothing)
        await until(lambda: _is_settled(client))
        for talk in talks:
            await _check_talk(client, talk)
        assert await _contradictions(home) == []
        await serving.stop()


async def _nothing() -> None:
    pass


async def _is_settled(client: httpx.AsyncClient) -> bool:
    books = (await client.get("/v1/admin/status")).raise_for_status().json()
    outbox = books["outbox"] or {"depth": None, "dead_letters": None}
    backlog = books["backlog"] or {"messages": None, "sessions": None}
    return (*backlog.values(),)[:2] == (0, 0) and (outbox["depth"], outbox["dead_letters"], books["drift"]) == (0, 0, 0)


async def _check_talk(client: httpx.AsyncClient, talk: Talk) -> None:
    parameters: dict[str, str | int] = {"namespace": talk.session.namespace, "limit": 1000}
    path = f"/v1/sessions/{talk.session.session_id}/messages"
    kept = (await client.get(path, params=parameters)).raise_for_status().json()["messages"]
    expected = [str(i) for i in expected_history(talk, [UUID(m["id"]) for m in kept])]
    said = {str(i): content for i, content in contents(talk).items()}
    assert [m["id"] for m in kept] == expected
    assert {m["id"]: m["content"] for m in kept} == {i: said[i] for i in expected}
    await _check_episodes(client, talk, [m["sequence"] for m in kept])
    for word, ids in _words(talk):
        assert await _found(client, talk, word) == ids


def _words(talk: Talk) -> list[tuple[str, list[str]]]:
    """What to search for, and what has to be found."""
    kept = [(said.word, [str(said.id)]) for said in _some(talk.acknowledged)]
    return kept + [(said.word, []) for said in _some(talk.forgotten)]


def _some(items: Sequence[Said]) -> Sequence[Said]:
    return items[:: max(1, len(items) // 3)]


async def _found(client: httpx.AsyncClient, talk: Talk, word: str) -> list[str]:
    body = {"text": word, "namespace": talk.session.namespace, "kinds": ["message"], "limit": 100}
    hits = (await client.post("/v1/search", json=body)).raise_for_status().json()["hits"]
    return [hit["id"] for hit in hits if word in hit["text"]]


async def _check_episodes(client: httpx.AsyncClient, talk: Talk, sequences: Sequence[int]) -> None:
    parameters: dict[str, Any] = {"namespace": talk.session.namespace, "session_id": talk.session.session_id, "limit": 1000}
    episodes = (await client.get("/v1/episodes", params=parameters)).raise_for_status().json()["episodes"]
    spans = [(e["first_sequence"], e["last_sequence"]) for e in episodes]
    covered = [sum(first <= sequence <= last for first, last in spans) for sequence in sequences]
    assert (covered, sum(e["message_count"] for e in episodes)) == ([1] * len(sequences), len(sequences))


_CONTRADICTIONS: Final = """
    SELECT 'outbox ' || op || ' ' || kind FROM outbox
    UNION ALL
    SELECT 'episode ' || e.id FROM episodes e LEFT JOIN messages m ON m.episode_id = e.id
    WHERE e.kind = 'conversation' GROUP BY e.id
    HAVING (e.message_count, e.first_sequence, e.last_sequence)
        IS DISTINCT FROM (count(m.uid), min(m.sequence), max(m.sequence))
    UNION ALL
    SELECT 'message ' || (array_agg(id))[1] FROM messages GROUP BY namespace, session_id, id HAVING count(*) > 1
"""


async def _contradictions(home: Home) -> list[str]:
    """What PostgreSQL itself says is amiss."""
    url = make_url(postgres_url(home.data / "postgres")).set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(url)
    try:
        return [row[0] for row in await connection.fetch(_CONTRADICTIONS)]
    finally:
        await connection.close()
