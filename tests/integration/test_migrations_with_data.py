"""Every migration run against a database with data in it; a later revision is picked up by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final
from uuid import UUID

import pytest
from databases import administrate
from factories import Tiers, append, consolidation_of, contents_of, forgetting_of, outbox_of
from fault_checks import indexable, indexed
from given import NOW, SESSION, knowledge, queued, stored, upsert
from sqlalchemy import inspect, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.episodic.engine import create_engine
from app.episodic.migrations import is_current, revisions
from app.episodic.migrations.running import downgrade, upgrade
from app.episodic.repository import PostgresRepository
from app.ports import StepsHeld
from app.records import Scope, message_uid
from app.testing.clock import FixedClock
from app.testing.working import InMemoryWorkingMemory

REVISIONS: Final = revisions()
"""From the first to the newest."""
EPISODE: Final = "01890000-0000-7000-8000-0000000000e1"
MESSAGE: Final = "01890000-0000-7000-8000-0000000000a1"
UID: Final = message_uid(SESSION, UUID(MESSAGE))
# What the first version wrote, in its own words: later ones must read it, whatever has become of the tables since.
WRITTEN_BY_THE_FIRST: Final = f"""
    INSERT INTO episodes (id, kind, namespace, session_id, started_at, ended_at, is_open, message_count, token_count,
                          first_sequence, last_sequence)
    VALUES ('{EPISODE}', 'conversation', 'acme', 's1', now(), now(), true, 1, 3, 1, 1);
    INSERT INTO messages (uid, namespace, session_id, sequence, id, role, content, created_at, episode_id, content_sha256)
    VALUES ('{UID}', 'acme', 's1', 1, '{MESSAGE}', 'user', 'said long ago', now(), '{EPISODE}',
            repeat('a', 64));
    INSERT INTO sessions (namespace, session_id, created_at, updated_at, last_message_at)
    VALUES ('acme', 's1', now(), now(), now());
    INSERT INTO consolidation_checkpoints (namespace, session_id, sequence) VALUES ('acme', 's1', 1);
    INSERT INTO outbox (op, kind, namespace, record_uid, attempts, last_error)
    VALUES ('upsert', 'message', 'acme', '{UID}', 3, 'no model');
"""  # noqa: S608 - constants of this test


@pytest.fixture
async def old(empty_database_url: str) -> AsyncIterator[AsyncEngine]:
    """A database as the first version left it, in use."""
    engine = create_engine(empty_database_url)
    await upgrade(engine, REVISIONS[0])
    await administrate(empty_database_url, WRITTEN_BY_THE_FIRST)
    yield engine
    await engine.dispose()


async def content_of(engine: AsyncEngine, columns: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Every row of these tables, in these columns, as text."""
    async with engine.connect() as connection:
        return {table: await _rows(connection, table, names) for table, names in columns.items()}


async def _rows(connection: AsyncConnection, table: str, names: Sequence[str]) -> list[str]:
    quoted = ", ".join(f'"{name}"' for name in names)
    rows = await connection.execute(text(f"SELECT {quoted} FROM {table}"))  # noqa: S608 - names from the catalogue
    return sorted(str(tuple(row)) for row in rows)


async def columns_of(engine: AsyncEngine) -> dict[str, list[str]]:
    """Each table's columns."""
    async with engine.connect() as connection:
        return await connection.run_sync(
            lambda sync: {
                table: [str(column["name"]) for column in inspect(sync).get_columns(table)]
                for table in inspect(sync).get_table_names()
                if table != "alembic_version"
            }
        )


async def test_data_of_the_first_version_survives_every_migration(old: AsyncEngine) -> None:
    """Up step by step, down again and up again: no step fails on data, and no row of the first version changes."""
    columns = await columns_of(old)
    before = await content_of(old, columns)
    for revision in REVISIONS:
        await upgrade(old, revision)
    assert await is_current(old)
    for revision in REVISIONS[::-1]:
        await downgrade(old, revision)
    assert await content_of(old, columns) == before
    await upgrade(old)
    assert await is_current(old)


async def test_a_migrated_database_goes_on_being_used(old: AsyncEngine) -> None:
    """After the last migration what was there is read, gone on with, indexed and forgotten like anything else."""
    await upgrade(old)
    clock = FixedClock(NOW)
    given = Tiers(clock=clock, working=InMemoryWorkingMemory(clock), episodic=PostgresRepository(old))
    await append(given, "said today")
    await consolidation_of(given).run()
    assert await contents_of(given) == ["said long ago", "said today"]
    assert await outbox_of(given) == ()
    assert await indexed(given) == await indexable(given, [SESSION])
    receipt = await forgetting_of(given).forget(Scope("acme", session_id="s1"))
    assert receipt.remaining == 0


async def test_data_of_this_version_survives_going_back_and_forth(old: AsyncEngine) -> None:
    """What this version wrote outlives a downgrade to the first version and the way back, in the columns both have."""
    common = await columns_of(old)
    await upgrade(old)
    clock = FixedClock(NOW)
    given = Tiers(clock=clock, working=InMemoryWorkingMemory(clock), episodic=PostgresRepository(old))
    fact = knowledge()
    await stored(given.episodic, fact)
    await queued(given.episodic, upsert(fact))
    await append(given, "said today")
    await consolidation_of(given).run()
    await append(given, "and a moment ago")
    await consolidation_of(given).drain_session(SESSION)
    before = await content_of(old, common)
    for revision in REVISIONS[::-1]:
        await downgrade(old, revision)
    assert await content_of(old, common) == before
    for revision in REVISIONS:
        await upgrade(old, revision)
    assert await content_of(old, common) == before


async def test_steps_are_counted_and_qualities_are_the_callers(old: AsyncEngine) -> None:
    """What an episode of the first version has is accounted for, and the validator leaves its quality alone."""
    script = f"""
        INSERT INTO episode_steps (episode_id, index, content, created_at)
        VALUES ('{EPISODE}', 0, '{{"n": 1}}', now()), ('{EPISODE}', 1, '{{}}', now());
        UPDATE episodes SET quality = 0.5;
    """  # noqa: S608 - constants of this test
    await administrate(str(old.url.render_as_string(hide_password=False)), script)
    await upgrade(old)
    async with PostgresRepository(old).reading() as reader:
        episode = await reader.episode("acme", UUID(EPISODE))
        assert await reader.steps_held(UUID(EPISODE)) == StepsHeld(2, len('{"n": 1}') + 2)
    assert episode is not None
    assert (episode.quality, episode.is_quality_given, episode.patterns) == (0.5, True, ())
