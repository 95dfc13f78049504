"""Several workers learn from the same PostgreSQL at once, and die at every step: no evidence is lost or counted twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from given import NOW, episode
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.consolidation.logged_episodes import EpisodeDrain
from app.episodic.engine import create_engine
from app.episodic.repository import PostgresRepository
from app.faultpoints import FaultPoint, armed
from app.learning.extraction import ExtractionPolicy, ExtractionWorker
from app.learning.heuristic_learning import CasePolicy, HeuristicLearning
from app.learning.heuristics import HeuristicPolicy
from app.learning.phrasing import PlainPhraser
from app.learning.run import Learning, Teachers
from app.learning.weighing import Weighing, WeighingPolicy
from app.ports import EpisodicMemory, PatternQuery
from app.records import Episode, EpisodeKind, KnowledgeCriteria, KnowledgeKind, Pattern, Scope
from app.testing.clock import FixedClock
from app.testing.working import InMemoryWorkingMemory

ACME = Scope("acme")
LEARNING = tuple(point for point in FaultPoint if point.startswith("learn."))


@pytest.fixture
async def memory(engine: AsyncEngine) -> PostgresRepository:
    return PostgresRepository(engine)


@pytest.fixture
async def others(database_url: str) -> AsyncIterator[PostgresRepository]:
    """The same database, over another process's connections."""
    engine = create_engine(database_url)
    yield PostgresRepository(engine)
    await engine.dispose()


def learning_on(memory: EpisodicMemory, clock: FixedClock, *, batch: int = 7) -> Learning:
    """Small batches, so that workers meet."""
    extraction = ExtractionPolicy(batch=batch)
    phrased = HeuristicLearning(
        memory, PlainPhraser(), policy=HeuristicPolicy(), cases=CasePolicy(learnable=extraction), clock=clock
    )
    teachers = Teachers(
        ExtractionWorker(memory, policy=extraction, clock=clock),
        Weighing(memory, policy=WeighingPolicy(batch=3), clock=clock),
        phrased,
    )
    return Learning(memory, teachers, drain=EpisodeDrain(InMemoryWorkingMemory(clock), memory).drain, clock=clock)


def decision(number: int, *, is_good: bool | None = None) -> Episode:
    """Every other one cuts scope, which goes well unless said otherwise."""
    choice = "cut scope" if number % 2 else "ship"
    quality = float(number % 2 if is_good is None else is_good)
    return episode(
        kind=EpisodeKind.DECISION, scope=ACME, summary="", perception={"risk": "high", "week": f"w{number % 5}"},
        action={"choice": choice}, outcome={}, outcome_quality=quality,
    )  # fmt: skip


async def stored(memory: EpisodicMemory, *episodes: Episode) -> None:
    for one in episodes:
        async with memory.writing() as tx:
            await tx.save_episode(one)


async def patterns_of(memory: EpisodicMemory) -> dict[str, tuple[frozenset[Any], frozenset[Any], str]]:
    async with memory.reading() as reader:
        found: tuple[Pattern, ...] = await reader.list_patterns(PatternQuery(ACME, limit=1000))
        assert all((p.supporters, p.contradictors) == (len(p.supporting_episodes), len(p.contradicting_episodes)) for p in found)
    return {p.description: (frozenset(p.supporting_episodes), frozenset(p.contradicting_episodes), p.state) for p in found}


async def knowledge_of(memory: EpisodicMemory, kind: KnowledgeKind) -> set[tuple[str, float, int]]:
    async with memory.reading() as reader:
        found = await reader.list_knowledge(ACME, kind=kind, before=None, limit=1000, criteria=KnowledgeCriteria(is_active=True))
    return {(k.description, round(k.confidence, 6), len(k.supporting_episodes)) for k in found}


async def learned_alone(memory: EpisodicMemory) -> tuple[Any, ...]:
    """What one undisturbed run leaves."""
    report = await learning_on(memory, FixedClock(NOW)).run()
    assert report.errors == ()
    return await state_of(memory)


async def state_of(memory: EpisodicMemory) -> tuple[Any, ...]:
    patterns = await patterns_of(memory)
    return patterns, *[await knowledge_of(memory, kind) for kind in (KnowledgeKind.PATTERN, KnowledgeKind.HEURISTIC)]


async def test_workers_side_by_side_lose_nothing(memory: PostgresRepository, others: PostgresRepository) -> None:
    """Episodes are completed while three workers learn: in the end the evidence is what every single episode says."""
    episodes = [decision(number) for number in range(60)]
    clock = FixedClock(NOW)
    workers = [learning_on(memory, clock), learning_on(others, clock), learning_on(memory, clock)]

    async def complete() -> None:
        for one in episodes:
            await stored(memory, replace(one, outcome=None, outcome_quality=None))
            await stored(memory, one)

    async def learn(worker: Learning) -> None:
        while not completing.done():
            assert (await worker.run()).errors == ()

    completing = asyncio.create_task(complete())
    await asyncio.gather(completing, *(learn(worker) for worker in workers))
    assert (await learning_on(memory, clock).run()).errors == ()
    cut = frozenset(e.id for e in episodes if e.action["choice"] == "cut scope")
    shipped = frozenset(e.id for e in episodes) - cut
    patterns = await patterns_of(memory)
    assert patterns["When risk is 'high', 'cut scope' is chosen."] == (cut, shipped, "candidate")
    assert patterns["When risk is 'high', 'cut scope' ends well."] == (cut, frozenset(), "kept")
    assert patterns["When risk is 'high', 'ship' ends badly."] == (shipped, frozenset(), "kept")
    async with memory.reading() as reader:
        status = await reader.learning_status()
    assert (status.pending, status.dead_letters, status.stale) == (0, 0, 0)
    ((said, _, supporters),) = await knowledge_of(memory, KnowledgeKind.HEURISTIC)
    assert (said.partition(":")[0], supporters) == ("When risk is 'high', choose 'cut scope'", 30)


@pytest.mark.parametrize("deadly", LEARNING)
async def test_whoever_dies_leaves_it_to_the_next(memory: PostgresRepository, deadly: FaultPoint) -> None:
    """Interrupted at any step and run again after the lease, it ends where an undisturbed run does."""
    episodes = [decision(number) for number in range(20)]
    await stored(memory, *episodes)

    async def die(point: FaultPoint) -> None:
        if point is deadly:
            raise asyncio.CancelledError  # what no handler of errors may outlive, as nothing outlives a SIGKILL

    clock = FixedClock(NOW)
    with armed(die), pytest.raises(asyncio.CancelledError):
        await learning_on(memory, clock).run()
    later = FixedClock(NOW + ExtractionPolicy().lease)
    assert (await learning_on(memory, later).run()).errors == ()
    interrupted = await state_of(memory)
    await stored(memory, *episodes)  # all of it is due once more
    assert await learned_alone(memory) == interrupted
    cut = frozenset(e.id for e in episodes if e.action["choice"] == "cut scope")
    assert interrupted[0]["When risk is 'high', 'cut scope' ends well."] == (cut, frozenset(), "kept")


async def test_a_damaged_episode_stops_no_other(memory: PostgresRepository, engine: AsyncEngine) -> None:
    """An episode that cannot be read is tried apart and given up on in the end; the rest is learned from at once."""
    episodes = [decision(number) for number in range(9)]
    await stored(memory, *episodes)
    bad = episodes[4]
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE episodes SET perception = '[]' WHERE id = :id"), {"id": bad.id})
    clock = FixedClock(NOW)
    report = await learning_on(memory, clock).run()
    assert (report.counts["episodes"], report.counts["episodes_failed"]) == (8, 1)
    policy = ExtractionPolicy()
    for _ in range(policy.max_failures - 1):
        clock.advance(2 * policy.retry_ceiling)
        assert (await learning_on(memory, clock).run()).counts["episodes_failed"] == 1
    async with memory.reading() as reader:
        status = await reader.learning_status()
    assert (status.pending, status.dead_letters) == (0, 1)
    assert bad.id not in (await patterns_of(memory))["When risk is 'high', 'ship' is chosen."][0]
    async with engine.begin() as connection:
        await connection.execute(text('UPDATE episodes SET perception = \'{"risk": "high"}\' WHERE id = :id'), {"id": bad.id})
    assert (await learning_on(memory, clock).run(retry=True)).counts["episodes"] == 1
    assert bad.id in (await patterns_of(memory))["When risk is 'high', 'ship' is chosen."][0]
