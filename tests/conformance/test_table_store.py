"""The exam of `TableStore`: tier 2 as a whole, out and in again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from given import NOW, episode, filed, knowledge, message, stored
from sqlalchemy.ext.asyncio import AsyncEngine

from app.episodic.engine import create_engine
from app.episodic.migrations.running import upgrade
from app.episodic.repository import PostgresRepository
from app.episodic.whole import PostgresTables
from app.errors import Conflict, InvalidInput
from app.ports import TableStore
from app.testing.tables import InMemoryTables

Content = dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Stores:
    """One that holds a little of everything, and an empty one."""

    full: TableStore
    empty: TableStore


@pytest.fixture(params=["twin", "postgres"])
def stores(request: pytest.FixtureRequest) -> Stores:
    if request.param == "postgres":
        found: Stores = request.getfixturevalue("postgres_stores")
        return found
    rows = {"episodes": ['{"id":1}', '{"id":2}'], "messages": ['{"uid":1}', '{"uid":2}'], "knowledge": ['{"id":3}'], "runs": []}
    return Stores(InMemoryTables("1", rows), InMemoryTables("1", dict.fromkeys(rows, ())))


@pytest.fixture
async def postgres_stores(engine: AsyncEngine, empty_database_url: str) -> AsyncIterator[Stores]:
    await fill(PostgresRepository(engine))
    other = create_engine(empty_database_url)
    await upgrade(other)
    yield Stores(PostgresTables(engine), PostgresTables(other))
    await other.dispose()


async def fill(memory: PostgresRepository) -> None:
    await filed(memory, [message(1, "naïve 🙂\nsecond \\ line"), message(2)], episode(is_open=True))
    await stored(memory, knowledge(content={"n": 2**53, "f": 0.1, "deep": [{"a": None}]}), episode(outcome={"ok": True}))
    async with memory.writing() as tx:
        await tx.append_steps((await tx.list_episodes(message().scope, kind=None, before=None, limit=1))[0].id, [{"a": 1}], NOW)


async def content(store: TableStore) -> Content:
    """Every row there is, in an order of its own."""
    async with store.snapshot() as snapshot:
        return {table: sorted([row async for page in snapshot.rows(table) for row in page]) for table in snapshot.tables}


async def revision_of(store: TableStore) -> str:
    async with store.snapshot() as snapshot:
        return snapshot.revision


async def test_what_is_filled_in_is_what_was_read(stores: Stores) -> None:
    """Every row of every table comes back as it was, and there are some."""
    async with stores.full.snapshot() as snapshot, stores.empty.filling(snapshot.revision) as filling:
        for table in snapshot.tables:
            async for rows in snapshot.rows(table):
                await filling.insert(table, rows)
    assert await content(stores.empty) == await content(stores.full)
    assert {len(rows) for rows in (await content(stores.full)).values()} >= {0, 1, 2}


async def test_a_filling_that_fails_leaves_nothing(stores: Stores) -> None:
    """Whatever was filled in before an error is gone after it."""
    empty = await content(stores.empty)
    with pytest.raises(ZeroDivisionError):
        await fill_and_fail(stores)
    assert await content(stores.empty) == empty


async def fill_and_fail(stores: Stores) -> None:
    async with stores.full.snapshot() as snapshot, stores.empty.filling(snapshot.revision) as filling:
        async for rows in snapshot.rows("knowledge"):
            await filling.insert("knowledge", rows)
        raise ZeroDivisionError


async def test_only_what_is_empty_is_filled(stores: Stores) -> None:
    """A store with one row in it is refused, and keeps it."""
    before = await content(stores.full)
    with pytest.raises(Conflict, match="installation: is not empty"):
        async with stores.full.filling(await revision_of(stores.full)):
            pytest.fail("it was opened")
    assert await content(stores.full) == before


async def test_an_unknown_revision_is_refused(stores: Stores) -> None:
    """Tables that a newer program made are not filled by this one."""
    with pytest.raises(InvalidInput, match="file: was made by a newer version"):
        async with stores.empty.filling("9999"):
            pytest.fail("it was opened")


async def test_an_unknown_table_is_refused(stores: Stores) -> None:
    """Rows for a table that the revision does not have are refused, and with them all others."""
    with pytest.raises(InvalidInput, match="file: holds a table 'loot'"):
        async with stores.empty.filling(await revision_of(stores.empty)) as filling:
            await filling.insert("loot", ["{}"])
    assert not any((await content(stores.empty)).values())
