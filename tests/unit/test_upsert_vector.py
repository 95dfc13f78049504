"""A text remembered by its meaning is found by it as soon as the call returns, and stands for itself once."""

from __future__ import annotations

from uuid import UUID

import pytest
from factories import tiers
from stores import service_of

from app.records import Query, RecordKind, Scope
from app.service import HybridMemoryService

ANA = Scope("acme", user_id="ana")
AISLE = "Ana prefers an aisle seat"
WINDOW = "Ana prefers a window seat"


@pytest.fixture
def memory() -> HybridMemoryService:
    return service_of(tiers())


async def found(memory: HybridMemoryService, scope: Scope = ANA) -> list[tuple[UUID, str]]:
    recollection = await memory.search(Query("Which seat does Ana prefer?", scope, kinds=(RecordKind.KNOWLEDGE,)))
    assert recollection.degraded == ()
    return [(hit.id, hit.text) for hit in recollection.hits]


async def test_it_is_found_when_the_call_returns(memory: HybridMemoryService) -> None:
    """No job has to come by first, and nobody else sees it."""
    stored = await memory.upsert_vector(ANA, AISLE, content={"row": 12})
    assert (stored.description, stored.content) == (AISLE, {"row": 12})
    assert await found(memory) == [(stored.id, f"{AISLE}\nrow 12")]
    assert await found(memory, Scope("acme", user_id="ben")) == []


async def test_the_same_text_is_one(memory: HybridMemoryService) -> None:
    """Said twice in one scope it is remembered once; in another scope it is another."""
    first, again = [await memory.upsert_vector(ANA, AISLE) for _ in range(2)]
    ben = await memory.upsert_vector(Scope("acme", user_id="ben"), AISLE)
    assert (again.id, await found(memory)) == (first.id, [(first.id, AISLE)])
    assert ben.id != first.id


async def test_under_its_id_a_text_is_replaced(memory: HybridMemoryService) -> None:
    """The older text is not found any more."""
    stored = await memory.upsert_vector(ANA, AISLE)
    await memory.upsert_vector(ANA, WINDOW, record_id=stored.id)
    assert await found(memory) == [(stored.id, WINDOW)]
