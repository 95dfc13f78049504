"""What every operation does while engines are away: the tables in docs/operations.md, engine by engine and two by two."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Final

import httpx
import pytest
from outages import TIERS, Engines
from service_process import Home, engine, until

from app.errors import TierUnavailable
from app.ports import Backlog
from app.records import (
    Draft,
    Episode,
    EpisodeKind,
    Knowledge,
    KnowledgeKind,
    Query,
    Role,
    Scope,
    SessionState,
    Wait,
    new_id,
    utc_now,
)
from app.service import HybridMemoryService

INITIALS: Final = {"working": "W", "episodic": "E", "semantic": "S", "embedder": "M"}
MANUAL: Final = Path(__file__).parents[2] / "docs/operations.md"
SAID: Final = "My cat Miso sees the vet on Thursday."

Outcome = tuple[str, Sequence[str]]
Operation = Callable[[HybridMemoryService, Scope], Awaitable[Outcome]]


def new_session(scope: Scope) -> Scope:
    return Scope(scope.namespace, session_id=f"s-{new_id()}")


def new_episode(scope: Scope) -> Episode:
    return Episode(new_id(), EpisodeKind.TASK, scope, utc_now(), utc_now(), perception={"seen": "a cat"})


def new_knowledge(scope: Scope) -> Knowledge:
    return Knowledge(new_id(), KnowledgeKind.FACT, scope, "Cats see vets.", utc_now())


def new_question(scope: Scope) -> Query:
    """One whose vector nobody has kept; its words are in what was said long ago, and in what was said during the outage."""
    return Query(f"Miso vet Friday {new_id().hex}", scope)


async def append(service: HybridMemoryService, scope: Scope) -> Outcome:
    receipt = await service.append_messages(scope, [Draft(Role.USER, "And the dog on Friday.")])
    return str(receipt.stored_in), receipt.degraded


async def append_to_a_new_session(service: HybridMemoryService, scope: Scope) -> Outcome:
    return await append(service, new_session(scope))


async def history(service: HybridMemoryService, scope: Scope) -> Outcome:
    messages, degraded = await service.fetch_history(scope)
    assert messages
    return "ok", degraded


async def recent_context(service: HybridMemoryService, scope: Scope) -> Outcome:
    context = await service.fetch_recent_context(scope)
    assert context.messages
    return "ok", context.degraded


async def save_state(service: HybridMemoryService, scope: Scope) -> Outcome:
    await service.save_session_state(new_session(scope), SessionState(goal="sell the house"))
    return "ok", ()


async def load_state(service: HybridMemoryService, scope: Scope) -> Outcome:
    record = await service.load_session(scope)
    assert replace(record.state, version=0) == SessionState(goal="move house")
    return "ok", record.degraded


async def scratchpad(service: HybridMemoryService, scope: Scope) -> Outcome:
    await service.write_scratchpad(scope, "boxes", 12)
    assert (await service.read_scratchpad(scope))["boxes"] == 12
    return "ok", ()


async def store_episode(service: HybridMemoryService, scope: Scope, wait: Wait = Wait.STORED) -> Outcome:
    receipt = await service.store_episode(new_episode(scope), [{"did": "look"}], wait=wait)
    assert await service.get_episode(scope.namespace, receipt.episode.id) == receipt.episode
    return str(receipt.stored_in), receipt.degraded


async def log_episode(service: HybridMemoryService, scope: Scope) -> Outcome:
    return await store_episode(service, scope, Wait.NONE)


async def list_episodes(service: HybridMemoryService, scope: Scope) -> Outcome:
    assert await service.list_episodes(Scope(scope.namespace))
    return "ok", ()


async def record_outcome(service: HybridMemoryService, scope: Scope) -> Outcome:
    receipt = await service.store_episode(new_episode(scope), wait=Wait.NONE)
    await service.record_outcome(scope.namespace, receipt.episode.id, {"cat": "well"})
    return "ok", ()


async def store_knowledge(service: HybridMemoryService, scope: Scope) -> Outcome:
    stored = await service.store_knowledge(new_knowledge(scope))
    assert await service.get_knowledge(scope.namespace, stored.id) == stored
    return "ok", ()


async def search(service: HybridMemoryService, scope: Scope) -> Outcome:
    found = await service.search(new_question(Scope(scope.namespace)))
    return "ok" if SAID in [hit.text for hit in found.hits] else "buffers alone", found.degraded


async def assemble_context(service: HybridMemoryService, scope: Scope) -> Outcome:
    context = await service.assemble_context(new_question(scope), budget_tokens=1000)
    return "ok" if SAID in context.text else "empty", context.degraded


async def consolidate(service: HybridMemoryService, scope: Scope) -> Outcome:
    report = await service.consolidate(Scope(scope.namespace))
    return "goes on later" if report.errors else "ok", ()


async def forget(service: HybridMemoryService, scope: Scope) -> Outcome:
    receipt = await service.forget(new_session(scope))
    return "ok", receipt.pending


async def down(service: HybridMemoryService) -> list[str]:
    """The tiers that readiness names."""
    return [tier.name for tier in await service.health() if not tier.is_up]


OPERATIONS: Final[Mapping[str, Operation]] = {
    "append": append,
    "append, new session": append_to_a_new_session,
    "history": history,
    "recent context": recent_context,
    "save state": save_state,
    "load session": load_state,
    "scratchpad": scratchpad,
    "store episode": store_episode,
    "store episode, `wait=none`": log_episode,
    "list episodes": list_episodes,
    "record outcome": record_outcome,
    "knowledge": store_knowledge,
    "search": search,
    "assemble context": assemble_context,
    "consolidate": consolidate,
    "forget": forget,
}


async def outcome_of(operation: Operation, service: HybridMemoryService, scope: Scope) -> str:
    """As the manual says it: where something landed, and in brackets the initials of what the answer calls degraded."""
    try:
        result, degraded = await operation(service, scope)
    except TierUnavailable:
        return "503"
    return f"{result} ({' '.join(sorted(INITIALS[name] for name in degraded))})" if degraded else result


async def outcomes(service: HybridMemoryService, scope: Scope) -> dict[str, str]:
    return {name: await outcome_of(operation, service, scope) for name, operation in OPERATIONS.items()}


async def remembered(service: HybridMemoryService) -> Scope:
    """A session of a namespace of its own, in every tier, with nothing left to do."""
    scope = Scope(f"acme-{new_id()}", session_id="s1")
    await service.append_messages(scope, [Draft(Role.USER, SAID)])
    await service.save_session_state(scope, SessionState(goal="move house"))
    await service.store_episode(new_episode(scope))
    assert (await service.consolidate()).errors == ()
    return scope


def documented(heading: str) -> dict[str, dict[str, str]]:
    """The manual's table below a heading: for each column the cell of each operation."""
    section = MANUAL.read_text(encoding="utf-8").partition(f"### {heading}\n")[2].partition("\n#")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("|")]
    (_, *columns), _, *body = rows
    return {column: {row[0]: row[place] for row in body} for place, column in enumerate(columns, 1)}


def away_in(column: str) -> list[str]:
    return re.findall("|".join(TIERS), column)


async def is_settled(service: HybridMemoryService) -> bool:
    """Whether all that was acknowledged has arrived everywhere, without a new write."""
    await service.consolidate()
    status = await service.status()
    return status.backlog == Backlog(0, 0, None, 0) and status.drift == 0


NOTHING: Final = documented("No engine away")
SINGLE: Final = documented("One engine away")
PAIRS: Final = documented("Two engines away")


def test_the_manual_has_every_outage() -> None:
    """Each engine alone and each pair has a column."""
    assert [away_in(column) for column in SINGLE] == [[name] for name in TIERS]
    assert [away_in(column) for column in PAIRS] == [list(pair) for pair in combinations(TIERS, 2)]


@pytest.mark.timeout(300)
async def test_engines_that_hang(tmp_path: Path) -> None:
    """Stopped with SIGSTOP, alone and in pairs, they change no answer more than the manual says, and nothing afterwards."""
    engines = Engines(tmp_path)
    async with engines.opened() as service:
        for column, expected in (SINGLE | PAIRS).items():
            scope = await remembered(service)
            async with engines.hanging(*away_in(column)):
                assert (column, await outcomes(service, scope)) == (column, expected)
                assert await down(service) == [TIERS[name] for name in away_in(column)]
            await engines.until_back(service)
        assert {"nothing": await outcomes(service, await remembered(service))} == NOTHING
        await until(lambda: is_settled(service))


@pytest.mark.timeout(300)
async def test_engines_that_are_gone(tmp_path: Path) -> None:
    """Killed, they do what they do when they hang. (The embedded Qdrant is started again by whoever asks it.)"""
    engines = Engines(tmp_path)
    async with engines.opened() as service:
        for column, expected in (SINGLE | PAIRS).items():
            if "Qdrant" not in column:
                scope = await remembered(service)
                async with engines.killed(*away_in(column)):
                    assert (column, await outcomes(service, scope)) == (column, expected)
                    assert await down(service) == [TIERS[name] for name in away_in(column)]
                await engines.until_back(service)
        assert {"nothing": await outcomes(service, await remembered(service))} == NOTHING


async def test_a_search_keeps_its_deadline_while_the_index_hangs(tmp_path: Path) -> None:
    """From the first call on, with no breaker to help: full text answers, and the answer says who did not."""
    engines = Engines(tmp_path)
    async with engines.opened(ping_deadline_seconds=3600, recall_deadline_ms=4000) as service:
        scope = await remembered(service)
        async with engines.hanging("Qdrant"):
            found = await service.search(Query("Miso vet", Scope(scope.namespace)))
    assert ([hit.text for hit in found.hits], found.degraded) == ([SAID], ("semantic",))


async def test_logged_episodes_survive_kill_9(tmp_path: Path) -> None:
    """Acknowledged while PostgreSQL hangs, by a service that is then killed: the next start stores each once, with its steps."""
    home = Home.at(tmp_path)
    body = {"kind": "task", "perception": {"seen": "a cat"}, "steps": [{"did": "look"}]}
    async with home.served() as serving, home.client() as client:
        await stored_in(client)  # from now on the caller is known
        postgres = engine(tmp_path, "postgres", "-D")
        processes = [postgres, *postgres.children(recursive=True)]
        for process in processes:
            process.suspend()
        answers = [await client.post("/v1/episodes", json=body, params={"wait": wait}) for wait in ("stored", "none")]
        await serving.kill()
        for process in processes:
            process.resume()
    receipts = [(a.status_code, a.json()["stored_in"], a.json()["degraded"]) for a in answers]
    ids = {a.json()["id"] for a in answers}
    async with home.served() as serving, home.client() as client:
        await until(lambda: holds(client, ids))
        steps = [(await client.get(f"/v1/episodes/{i}/steps")).json()["steps"] for i in ids]
        again = await stored_in(client)
        await serving.stop()
    assert receipts == [(201, "working", ["episodic"]), (201, "working", [])]
    assert (sorted(again), [[step["content"] for step in of] for of in steps]) == (sorted(ids), [[{"did": "look"}]] * 2)


async def stored_in(client: httpx.AsyncClient) -> list[str]:
    """The ids of the episodes in PostgreSQL."""
    listed = (await client.get("/v1/episodes")).raise_for_status().json()["episodes"]
    return [episode["id"] for episode in listed]


async def holds(client: httpx.AsyncClient, ids: set[str]) -> bool:
    return ids <= set(await stored_in(client))
