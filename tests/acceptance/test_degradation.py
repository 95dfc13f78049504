"""What every operation does while engines are away: the tables in docs/operations.md, engine by engine and two by two."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Final

import pytest
from outages import TIERS, Engines

from app.errors import TierUnavailable
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

MANUAL: Final = Path(__file__).parents[2] / "docs/operations.md"
NAMESPACE: Final = "acme"
SCOPE: Final = Scope(NAMESPACE, session_id="s1")
SAID: Final = "My cat Miso sees the vet on Thursday."

Operation = Callable[[HybridMemoryService], Awaitable[tuple[str, Sequence[str]]]]


def new_session() -> Scope:
    return Scope(NAMESPACE, session_id=f"s-{new_id()}")


def new_episode() -> Episode:
    return Episode(new_id(), EpisodeKind.TASK, Scope(NAMESPACE), utc_now(), utc_now(), perception={"seen": "a cat"})


def new_knowledge() -> Knowledge:
    return Knowledge(new_id(), KnowledgeKind.FACT, Scope(NAMESPACE), "Cats see vets.", utc_now())


def new_question(scope: Scope) -> Query:
    """One whose vector nobody has kept."""
    return Query(f"Miso vet {new_id().hex}", scope)


async def append(service: HybridMemoryService, scope: Scope = SCOPE) -> tuple[str, Sequence[str]]:
    receipt = await service.append_messages(scope, [Draft(Role.USER, "And the dog on Friday.")])
    return receipt.stored_in, receipt.degraded


async def append_to_a_new_session(service: HybridMemoryService) -> tuple[str, Sequence[str]]:
    return await append(service, new_session())


async def history(service: HybridMemoryService) -> tuple[str, Sequence[str]]:
    messages, degraded = await service.fetch_history(SCOPE)
    assert messages
    return "ok", degraded


async def recent_context(service: HybridMemoryService) -> tuple[str, Sequence[str]]:
    context = await service.fetch_recent_context(SCOPE)
    assert context.messages
    return "ok", context.degraded


async def save_state(service: HybridMemoryService) -> tuple[str, Sequence[str]]:
    await service.save_session_state(new_session(), SessionState(goal="sell the house"))
    return "ok", ()


async def load_state(service: HybridMemoryService) -> tuple[str, Sequence[str]]:
    record = await service.load_session(SCOPE)
    assert record.state == SessionState(goal="move house")
    return "ok", record.degraded


async def scratchpad(service: HybridMemoryService) -> tuple[str, Sequence[str]]:
    await service.write_scratchpad(SCOPE, "boxes", 12)
    assert (await service.read_scratchpad(SCOPE))["boxes"] == 12
    return "ok", ()


async def store_episode(service: HybridMemoryService, wait: Wait = Wait.STORED) -> tuple[str, Sequence[str]]:
    receipt = await service.store_episode(new_episode(), [{"did": "look"}], wait=wait)
    assert await service.get_episode(NAMESPACE, receipt.episode.id) == receipt.episode
    return receipt.stored_in, receipt.degraded


async def log_episode(service: HybridMemoryService) -> tuple[str, Sequence[str]]:
    return await store_episode(service, Wait.NONE)


async def list_episodes(service: HybridMemoryService) -> tuple[str, Sequence[str]]:
    assert await service.list_episodes(Scope(NAMESPACE))
    return "ok", ()


async def record_outcome(service: HybridMemoryService) -> tuple[str, Sequence[str]]:
    receipt = await service.store_episode(new_episode(), wait=Wait.NONE)
    await service.record_outcome(NAMESPACE, receipt.episode.id, {"cat": "well"})
    return "ok", ()


async def store_knowledge(service: HybridMemoryService) -> tuple[str, Sequence[str]]:
    stored = await service.store_knowledge(new_knowledge())
    assert await service.get_knowledge(NAMESPACE, stored.id) == stored
    return "ok", ()


async def search(service: HybridMemoryService) -> tuple[str, Sequence[str]]:
    found = await service.search(new_question(Scope(NAMESPACE)))
    assert SAID in [hit.text for hit in found.hits]
    return "ok", found.degraded


async def assemble_context(service: HybridMemoryService) -> tuple[str, Sequence[str]]:
    context = await service.assemble_context(new_question(SCOPE), budget_tokens=1000)
    return "ok" if SAID in context.text else "empty", context.degraded


async def consolidate(service: HybridMemoryService) -> tuple[str, Sequence[str]]:
    report = await service.consolidate(Scope(NAMESPACE))
    return "goes on later" if report.errors else "ok", ()


async def forget(service: HybridMemoryService) -> tuple[str, Sequence[str]]:
    receipt = await service.forget(new_session())
    return "ok", receipt.degraded


async def readiness(service: HybridMemoryService) -> tuple[str, Sequence[str]]:
    down = [tier.name for tier in await service.health() if not tier.is_up]
    return "503" if down else "ok", down


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
    "readiness": readiness,
}


async def outcome_of(operation: Operation, service: HybridMemoryService) -> str:
    """As the manual says it: where something landed, and in brackets what the answer calls degraded."""
    try:
        result, degraded = await operation(service)
    except TierUnavailable:
        return "503"
    return f"{result} ({', '.join(sorted(degraded))})" if degraded else result


async def outcomes(service: HybridMemoryService) -> dict[str, str]:
    return {name: await outcome_of(operation, service) for name, operation in OPERATIONS.items()}


async def remembered(service: HybridMemoryService) -> None:
    """Something to ask for, in every tier."""
    await service.append_messages(SCOPE, [Draft(Role.USER, SAID)])
    await service.save_session_state(SCOPE, SessionState(goal="move house"))
    await service.store_episode(new_episode())
    report = await service.consolidate()
    assert report.errors == ()


def documented(heading: str) -> dict[str, dict[str, str]]:
    """The manual's table below a heading: for each column the cell of each operation."""
    section = MANUAL.read_text(encoding="utf-8").partition(f"### {heading}\n")[2].partition("\n#")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("|")]
    (_, *columns), _, *body = rows
    return {column: {row[0]: row[place] for row in body} for place, column in enumerate(columns, 1)}


def away_in(column: str) -> list[str]:
    return re.findall("|".join(TIERS), column)


SINGLE: Final = documented("One engine away")
PAIRS: Final = documented("Two engines away")


def test_the_manual_has_every_outage() -> None:
    """Each engine alone and each pair has a column."""
    assert [away_in(column) for column in SINGLE] == [[name] for name in TIERS]
    assert [away_in(column) for column in PAIRS] == [list(pair) for pair in combinations(TIERS, 2)]


@pytest.mark.timeout(300)
async def test_engines_that_hang(tmp_path: Path) -> None:
    """Stopped with SIGSTOP, alone and in pairs, they change no answer more than the manual says, and come back by themselves."""
    engines = Engines(tmp_path)
    observed = {}
    async with engines.opened() as service:
        await remembered(service)
        for column in (*SINGLE, *PAIRS):
            async with engines.hanging(*away_in(column)):
                observed[column] = await outcomes(service)
            await engines.until_back(service)
            assert await outcomes(service) == documented("Nothing away")["all up"]
    assert observed == SINGLE | PAIRS


@pytest.mark.timeout(300)
async def test_engines_that_are_gone(tmp_path: Path) -> None:
    """Killed, they do what they do when they hang. (The embedded Qdrant is started again when it is asked.)"""
    engines = Engines(tmp_path)
    observed = {}
    columns = [column for column in (*SINGLE, *PAIRS) if "Qdrant" not in column]
    async with engines.opened() as service:
        await remembered(service)
        for column in columns:
            async with engines.killed(*away_in(column)):
                observed[column] = await outcomes(service)
            await engines.until_back(service)
            assert await outcomes(service) == documented("Nothing away")["all up"]
    assert observed == {column: (SINGLE | PAIRS)[column] for column in columns}
