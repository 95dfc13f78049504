"""Callers who change the same knowledge at once, on a real PostgreSQL: nobody waits for ever, and the links stay a line."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from uuid import UUID

import pytest
from given import NOW, SCOPE, knowledge, stored
from sqlalchemy.ext.asyncio import AsyncEngine

from app.episodic.repository import PostgresRepository
from app.errors import InvalidInput
from app.ingestion.limits import Limits
from app.learning.knowledge import KnowledgeKeeping
from app.records import Knowledge
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
