"""The migrations against a real server: up, down, up again, at the same time, and equal to the tables in code."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from databases import administrate
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.episodic.engine import create_engine
from app.episodic.migrations import is_current, revisions
from app.episodic.migrations.running import configuration, downgrade, upgrade
from app.episodic.tables import metadata
from app.errors import ConfigurationError, TierUnavailable

REPOSITORY = Path(__file__).parents[2]

# Everything PostgreSQL itself says about the tables: columns with their generation expressions, constraints, indexes.
_CATALOGUE = """
    SELECT concat_ws(' ', table_name, column_name, data_type, udt_name, is_nullable, column_default,
                     is_identity, generation_expression)
    FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> ALL (:ignored)
    UNION ALL
    SELECT concat_ws(' ', conrelid::regclass, conname, pg_get_constraintdef(oid))
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> ALL (:ignored)
    UNION ALL
    SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> ALL (:ignored)
"""
_VIEWS = ["episode_quality_by_project", "strategy_effectiveness", "system_health"]


@pytest.fixture
async def empty(empty_database_url: str) -> AsyncIterator[AsyncEngine]:
    """Connections to a database with no tables."""
    engine = create_engine(empty_database_url)
    yield engine
    await engine.dispose()


async def catalogue(engine: AsyncEngine) -> Sequence[str]:
    async with engine.connect() as connection:
        rows = await connection.execute(text(_CATALOGUE), {"ignored": ["alembic_version", *_VIEWS]})
        return sorted(row[0] for row in rows)


def test_the_revisions_are_those_of_the_scripts() -> None:
    """Oldest first, as Alembic follows them; the last is its head."""
    scripts = ScriptDirectory.from_config(configuration())
    assert revisions() == tuple(script.revision for script in scripts.walk_revisions())[::-1]
    assert scripts.get_heads() == [revisions()[-1]]


async def test_up_down_and_up_again(empty: AsyncEngine) -> None:
    """Every migration can be undone, to the last table, and done again with the same result."""
    assert not await is_current(empty)
    await upgrade(empty)
    assert await is_current(empty)
    first = await catalogue(empty)
    await downgrade(empty, "base")
    assert await catalogue(empty) == []
    assert not await is_current(empty)
    await upgrade(empty)
    assert await catalogue(empty) == first


_BEFORE_VERSIONS = (
    "INSERT INTO episodes (id, kind, namespace, started_at, ended_at) VALUES (gen_random_uuid(), 'task', 'acme', now(), now())",
    """INSERT INTO knowledge (id, kind, namespace, description, created_at)
       VALUES (gen_random_uuid(), 'fact', 'acme', 'a fact', now())""",
    """INSERT INTO sessions (namespace, session_id, state, created_at, updated_at)
       VALUES ('acme', 'with', '{"goal": "move"}', now(), now()), ('acme', 'without', '{}', now(), now())""",
    "INSERT INTO episode_steps SELECT id, 0, '{}', now() FROM episodes",
)


async def test_what_was_there_before_versions_gets_one(empty: AsyncEngine) -> None:
    """Records begin at version 1, states that were saved too, others at 0; going back leaves the rows as they were."""
    await upgrade(empty, "0001")
    async with empty.begin() as connection:
        for statement in _BEFORE_VERSIONS:
            await connection.execute(text(statement))
    await upgrade(empty)
    versions = """SELECT 'episode', version FROM episodes UNION ALL SELECT 'knowledge', version FROM knowledge
                  UNION ALL SELECT session_id, version FROM sessions ORDER BY 1"""
    async with empty.connect() as connection:
        found = [tuple(row) for row in await connection.execute(text(versions))]
    assert found == [("episode", 1), ("knowledge", 1), ("with", 1), ("without", 0)]
    await downgrade(empty, "0001")
    async with empty.connect() as connection:
        counts = [(await connection.execute(text(f"SELECT count(*) FROM {t}"))).scalar() for t in _VERSIONED]  # noqa: S608 - names of ours
    assert counts == [1, 1, 2, 1]


_VERSIONED = ("episodes", "knowledge", "sessions", "episode_steps")


async def test_migrating_a_current_database_changes_nothing(empty: AsyncEngine) -> None:
    """Upgrading again is harmless: every start does it."""
    await upgrade(empty)
    before = await catalogue(empty)
    await upgrade(empty)
    assert await catalogue(empty) == before


_BEFORE_RETENTION = """
    INSERT INTO episodes (id, kind, namespace, started_at, ended_at, summary)
    VALUES ('00000000-0000-0000-0000-000000000001', 'task', 'acme', now(), now(), 'kept');
    INSERT INTO messages (uid, namespace, session_id, sequence, id, role, content, created_at, episode_id, content_sha256)
    VALUES (gen_random_uuid(), 'acme', 's1', 1, gen_random_uuid(), 'user', 'kept', now(),
            '00000000-0000-0000-0000-000000000001', repeat('0', 64));
    INSERT INTO knowledge (id, kind, namespace, description, created_at)
    VALUES (gen_random_uuid(), 'fact', 'acme', 'kept', now());
    INSERT INTO sessions (namespace, session_id, created_at, updated_at) VALUES ('acme', 's1', now(), now());
    INSERT INTO outbox (op, kind, namespace, record_uid, attempts, is_dead)
    VALUES ('upsert', 'message', 'acme', gen_random_uuid(), 12, true), ('upsert', 'message', 'acme', gen_random_uuid(), 12, false)
"""


async def test_retention_finds_what_was_there_before(empty: AsyncEngine, empty_database_url: str) -> None:
    """Rows of the release before are in sight, not pinned and of version 1; a dead letter had failed; and back again."""
    await upgrade(empty, "0001")
    await administrate(empty_database_url, _BEFORE_RETENTION)
    await upgrade(empty)
    async with empty.connect() as connection:
        rows = await connection.execute(text("SELECT pinned, archived_at FROM episodes"))
        assert rows.all() == [(False, None)]
        rows = await connection.execute(
            text("SELECT m.is_archived, k.pinned, k.schema_version, s.schema_version FROM messages m, knowledge k, sessions s")
        )
        assert rows.all() == [(False, False, 1, 1)]
        rows = await connection.execute(text("SELECT is_dead, attempts, failures FROM outbox ORDER BY id"))
        assert rows.all() == [(True, 12, 12), (False, 12, 0)]
    await downgrade(empty, "0001")
    async with empty.connect() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM messages"))).scalar_one() == 1


async def test_processes_that_start_together_do_not_race(empty_database_url: str) -> None:
    """Of several that migrate an empty database at once, one does it and the others find it done."""
    engines = [create_engine(empty_database_url) for _ in range(4)]
    await asyncio.gather(*(upgrade(engine) for engine in engines))
    assert await is_current(engines[0])
    for engine in engines:
        await engine.dispose()


async def test_alembic_finds_no_difference(engine: AsyncEngine) -> None:
    """Alembic would generate no further migration from the tables in code."""

    def difference(connection: Connection) -> object:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return compare_metadata(context, metadata)

    async with engine.connect() as connection:
        assert await connection.run_sync(difference) == []


async def test_the_migrated_tables_are_those_in_code(engine: AsyncEngine, empty: AsyncEngine) -> None:
    """Columns, defaults, generated expressions, checks and indexes are the same, migrated or made from the code."""
    async with empty.begin() as connection:
        await connection.run_sync(metadata.create_all)
    assert await catalogue(engine) == await catalogue(empty)


async def test_views_answer(engine: AsyncEngine) -> None:
    """The views can be read; on an empty database the system is healthy and has nothing."""
    async with engine.connect() as connection:
        for view in _VIEWS[:2]:
            assert (await connection.execute(text(f"SELECT * FROM {view}"))).all() == []  # noqa: S608 - names of ours
        assert (await connection.execute(text("SELECT * FROM system_health"))).all() == [(0, 0, 0, 0, 0, 0, None, None)]


async def test_a_newer_database_is_refused(empty: AsyncEngine, empty_database_url: str) -> None:
    """A database that a newer version has migrated is left alone, with an error that says so."""
    await upgrade(empty)
    await administrate(empty_database_url, "UPDATE alembic_version SET version_num = '9999'")
    assert not await is_current(empty)
    with pytest.raises(ConfigurationError, match="9999"):
        await upgrade(empty)


async def test_a_server_that_is_away(tmp_path: Path) -> None:
    """Where no server answers, migrating fails as the tier being unavailable."""
    engine = create_engine(f"postgresql+asyncpg://postgres@/postgres?host={tmp_path}")
    with pytest.raises(TierUnavailable):
        await upgrade(engine)
    with pytest.raises(TierUnavailable):
        await is_current(engine)


async def test_the_command_line_migrates(empty_database_url: str) -> None:
    """Developers can run Alembic itself, from the top of the repository."""
    command = [sys.executable, "-m", "alembic", "-x", f"url={empty_database_url}", "upgrade", "head"]
    await asyncio.to_thread(subprocess.run, command, cwd=REPOSITORY, check=True, capture_output=True)
    engine = create_engine(empty_database_url)
    assert await is_current(engine)
    await engine.dispose()
