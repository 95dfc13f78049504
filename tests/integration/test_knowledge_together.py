"""Callers who change the same knowledge at once, on a real PostgreSQL: nobody waits for ever, and the links stay a line."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from uuid import UUID

import pytest
from given import NOW, SCOPE, knowledge, stored
from sqlalchemy.ext.asyncio import AsyncEngine

from app.episodic.engine import create_engine
from app.episodic.repository import PostgresRepository
from app.errors import InvalidInput
from app.ingestion.limits import Limits
from app.learning.knowledge import KnowledgeKeeping
from app.records import Knowledge, Success
from app.testing.clock import FixedClock

NAMESPACE = SCOPE.namespace


@pytest.fixture
def memory(engine: AsyncEngine) -> PostgresRepository:
    return PostgresRepository(engine)


def keeping(memory: PostgresRepository) -> KnowledgeKeeping:
    return KnowledgeKeeping(memory, limits=Limits(), clock=FixedClock(NOW))


async def link(keeper: KnowledgeKeeping, older: UUID, newer: UUID) -> Knowledge:
    return await keeper.change(NAMESPACE, older, lambda piece: replace(piece, superseded_by=newer))


async def line(memory: PostgresRepository, length: int) -> Sequence[UUID]:
    """Pieces of which each is superseded by the next."""
    pieces = [knowledge(f"number {n}") for n in range(length)]
    await stored(memory, *pieces)
    for older, newer in pairwise(pieces):
        await link(keeping(memory), older.id, newer.id)
    return [piece.id for piece in pieces]


@pytest.mark.parametrize(("lines", "length"), [(2, 1), (3, 1), (3, 3), (5, 2)])
async def test_links_that_would_close_a_ring_are_refused(memory: PostgresRepository, lines: int, length: int) -> None:
    """The end of each line is superseded by the beginning of the next, all at once: whichever comes last is told so by name."""
    keeper = keeping(memory)
    for _ in range(5):
        made = [await line(memory, length) for _ in range(lines)]
        ring = [(one[-1], made[(n + 1) % lines][0]) for n, one in enumerate(made)]
        outcomes = await asyncio.gather(*(link(keeper, *ends) for ends in ring), return_exceptions=True)
        refused = [str(outcome) for outcome in outcomes if isinstance(outcome, BaseException)]
        assert refused == [str(InvalidInput("superseded_by", "must not be a piece that it supersedes itself, directly or not"))]
        async with memory.reading() as reader:
            kept = {piece.id: piece for piece in await reader.knowledge_by_uid([one for ids in made for one in ids])}
        linked = {(piece.id, piece.superseded_by) for piece in kept.values() if piece.superseded_by is not None}
        assert linked == {(piece.supersedes, piece.id) for piece in kept.values() if piece.supersedes is not None}
        assert len(linked) == lines * length - 1


async def test_a_piece_that_all_apply_leaves_others_their_connections(memory: PostgresRepository, database_url: str) -> None:
    """While somebody holds it, those who apply it wait for it and not for each other's connections; no count is lost."""
    piece = knowledge("ask first")
    await stored(memory, piece)
    small = create_engine(database_url, pool_size=2, connect_timeout=timedelta(seconds=3))
    crowded = PostgresRepository(small)
    keeper = keeping(crowded)
    async with asyncio.TaskGroup() as applying, memory.writing() as tx:
        await tx.knowledge(NAMESPACE, piece.id)
        tasks = [applying.create_task(keeper.apply(NAMESPACE, piece.id, Success.SUCCESS)) for _ in range(20)]
        await asyncio.sleep(0)  # they have asked for their connections before the reader does
        async with crowded.reading() as reader:
            assert await reader.knowledge(NAMESPACE, piece.id) == piece
    assert sorted(task.result().times_applied for task in tasks) == list(range(1, 21))
    await small.dispose()
