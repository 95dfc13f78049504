"""Engines for tests: one Valkey and one PostgreSQL a session, an empty database a test."""

from __future__ import annotations

import asyncio
import signal
import uuid
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import asyncpg
import pytest
import redis
import structlog
from sqlalchemy.engine import make_url

from app.embedded import start_postgres, start_valkey

pytest.register_assert_rewrite("fault_checks", "fault_run", "factories")
pytest_plugins = ["databases", "served"]


# Processes under test inherit what is ignored here, as SIGINT is in the background of a script.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
# structlog's own default prints the variables of every frame of a traceback: gigabytes, of a twin's books.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fault-runs", type=int, default=200, help="how many seeded runs of the fault harness")
    parser.addoption("--fault-seed", type=int, help="the one seed to replay, or the first of --fault-runs")


@pytest.fixture(scope="session")
def fault_seeds(request: pytest.FixtureRequest) -> Sequence[int]:
    """The seeds of this session's fault runs: the same every time unless others are asked for."""
    first = request.config.getoption("--fault-seed")
    is_replay = first is not None and "--fault-runs" not in " ".join(request.config.invocation_params.args)
    return range(first or 0, (first or 0) + (1 if is_replay else request.config.getoption("--fault-runs")))


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Valkey of this test session; its content is anybody's: see `redis_url`."""
    server = start_valkey(tmp_path_factory.mktemp("valkey"), fsync="everysec")
    yield server.url
    server.stop()


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL of this test session, as its superuser, with the database `postgres`: see `empty_database_url`."""
    server = start_postgres(tmp_path_factory.mktemp("postgres") / "cluster")
    _run(_administrate(server.url, "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()"))  # tests survive no power cut
    yield server.url
    server.stop()


@pytest.fixture
def redis_url(valkey_url: str) -> str:
    """A Redis with nothing in it."""
    with redis.Redis.from_url(valkey_url) as client:
        client.flushall()
    return valkey_url


@pytest.fixture
async def empty_database_url(postgres_url: str) -> AsyncIterator[str]:
    """A database of the test's own with nothing in it, for SQLAlchemy with asyncpg."""
    name = f"test_{uuid.uuid4().hex}"
    await _administrate(postgres_url, f"CREATE DATABASE {name}")
    yield make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
    await _administrate(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


def _run(work: Coroutine[object, object, None]) -> None:
    """Run `work` in a thread of its own: this thread's event loop belongs to the test runner."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        pool.submit(asyncio.run, work).result()


async def _administrate(postgres_url: str, *statements: str) -> None:
    connection = await asyncpg.connect(make_url(postgres_url).set(drivername="postgresql").render_as_string(hide_password=False))
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
