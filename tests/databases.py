"""PostgreSQL with this version's tables: migrated once a test session, emptied for each test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor

import asyncpg
import pytest
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from app.episodic.engine import create_engine
from app.episodic.experiments import PostgresExperiments
from app.episodic.migrations.running import upgrade
from app.episodic.repository import PostgresRepository
from app.episodic.tables import metadata
from app.episodic.trends import PostgresTrends
from app.ports import EpisodicMemory, ExperimentStore, TrendStore
from app.testing.episodic import InMemoryEpisodicMemory
from app.testing.experiments import InMemoryExperiments, InMemoryTrends

_DROP_CONNECTIONS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
# On nearly empty tables a DELETE takes 2 ms; a TRUNCATE 50 ms and a database from a template 280 ms.
_EMPTY = ";".join([_DROP_CONNECTIONS, *(f"DELETE FROM {table.name}" for table in reversed(metadata.sorted_tables))])  # noqa: S608


@pytest.fixture(scope="session")
def migrated_database_url(postgres_url: str) -> str:
    """A migrated database; its content is anybody's: see `database_url`."""
    return migrated(postgres_url, "migrated")


@pytest.fixture
async def database_url(migrated_database_url: str) -> str:
    """A migrated database with nothing in it."""
    await administrate(migrated_database_url, _EMPTY)
    return migrated_database_url


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """Connections to a migrated database with nothing in it."""
    engine = create_engine(database_url)
    yield engine
    await engine.dispose()


@pytest.fixture(params=["twin", "postgres"])
def episodic(request: pytest.FixtureRequest) -> EpisodicMemory:
    """Tier 2 as its in-memory twin and as PostgreSQL: whoever takes it is run with both."""
    if request.param == "twin":
        return InMemoryEpisodicMemory()
    return PostgresRepository(request.getfixturevalue("engine"))


@pytest.fixture
def experiments(request: pytest.FixtureRequest, episodic: EpisodicMemory) -> ExperimentStore:
    """Experiments on the same engine as `episodic`, whose outcomes they join."""
    if isinstance(episodic, InMemoryEpisodicMemory):
        return InMemoryExperiments(episodic)
    return PostgresExperiments(request.getfixturevalue("engine"))


@pytest.fixture
def trends(request: pytest.FixtureRequest, episodic: EpisodicMemory) -> TrendStore:
    """Daily figures on the same engine as `episodic`, whose quality they average; the twin knows two namespaces."""
    if isinstance(episodic, InMemoryEpisodicMemory):
        return InMemoryTrends(episodic, ["acme", "rival"])
    return PostgresTrends(request.getfixturevalue("engine"))


def migrated(postgres_url: str, name: str) -> str:
    """Make a migrated database of this name; its URL."""
    url = make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
    run(administrate(postgres_url, f"CREATE DATABASE {name}"))
    run(_upgrade(url))
    return url


async def administrate(url: str, script: str) -> None:
    """Run SQL outside SQLAlchemy."""
    connection = await asyncpg.connect(make_url(url).set(drivername="postgresql").render_as_string(hide_password=False))
    try:
        await connection.execute(script)
    finally:
        await connection.close()


async def _upgrade(url: str) -> None:
    engine = create_engine(url)
    await upgrade(engine)
    await engine.dispose()


def run(work: Coroutine[object, object, None]) -> None:
    """Run `work` in a thread of its own: this thread's event loop belongs to the test runner."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        pool.submit(asyncio.run, work).result()
