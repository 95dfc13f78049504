"""What only a real PostgreSQL can show: errors in our words, connections that come and go, full text in English."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import psutil
import pytest
from databases import administrate
from given import NOW, SCOPE, SESSION, claimed, episode, filed, knowledge, message, queued, stored, upsert
from prometheus_client import REGISTRY
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.breakers import BreakerPolicy
from app.embedded import start_postgres
from app.episodic.engine import _Connection, connected, create_engine, guarded
from app.episodic.repository import PostgresRepository
from app.errors import EngineRefused, HybridMemoryError, InvalidInput, TierUnavailable
from app.records import Query, RecordKind, Scope


@pytest.fixture
def repository(engine: AsyncEngine) -> PostgresRepository:
    return PostgresRepository(engine)


async def _read(memory: PostgresRepository) -> None:
    async with memory.reading() as reader:
        await reader.recent(SESSION, 1)


async def _write(memory: PostgresRepository) -> None:
    async with memory.writing() as tx:
        await tx.end_session(SESSION, NOW)


async def _ping(memory: PostgresRepository) -> None:
    await memory.ping()


@pytest.mark.parametrize("use", [_read, _write, _ping])
async def test_a_server_that_is_away(tmp_path: Path, use: Callable[[PostgresRepository], Awaitable[None]]) -> None:
    """Where no server answers, every use of the store fails as the episodic tier being unavailable."""
    memory = PostgresRepository(create_engine(f"postgresql+asyncpg://postgres@/postgres?host={tmp_path}"))
    with pytest.raises(TierUnavailable) as caught:
        await use(memory)
    assert caught.value.tier == "episodic"


async def test_a_restarted_server_is_not_noticed(repository: PostgresRepository, database_url: str) -> None:
    """Connections that the server closed while they lay in the pool are replaced: no caller gets an error."""
    await asyncio.gather(*(_read(repository) for _ in range(5)))
    await administrate(
        database_url,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    for _ in range(5):
        await _read(repository)
        await _write(repository)


async def test_a_connection_lost_in_the_middle(repository: PostgresRepository, engine: AsyncEngine) -> None:
    """A transaction whose connection dies is reported as the tier being unavailable; the next one works."""
    with pytest.raises(TierUnavailable):
        await _lose_connection(repository, engine)
    await _write(repository)


async def _lose_connection(repository: PostgresRepository, engine: AsyncEngine) -> None:
    async with repository.writing() as tx:
        await tx.end_session(SESSION, NOW)
        async with connected(engine) as other:
            sacrifice = text("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE state = 'idle in transaction'")
            await other.run("terminate", sacrifice)
        await tx.end_session(SESSION, NOW)


async def test_a_slow_statement_is_given_up(database_url: str) -> None:
    """A statement that takes longer than the timeout is refused by a server that is there."""
    engine = create_engine(database_url, statement_timeout=timedelta(milliseconds=50))
    with pytest.raises(EngineRefused, match="statement timeout"):
        async with connected(engine) as session:
            await session.run("sleep", text("SELECT pg_sleep(5)"))
    await engine.dispose()


async def test_an_exhausted_pool_is_unavailability(database_url: str) -> None:
    """When all connections are in use for too long, a caller is told so instead of waiting for ever."""
    engine = create_engine(database_url, pool_size=1, connect_timeout=timedelta(milliseconds=50))
    memory = PostgresRepository(engine)
    async with memory.reading():
        with pytest.raises(EngineRefused, match="all connections are in use"):
            await _read(memory)
    await _read(memory)
    await engine.dispose()


async def test_a_cancelled_call_gives_its_connection_back(database_url: str) -> None:
    """A recall that was cancelled at its deadline does not cost the pool a connection."""
    engine = create_engine(database_url, pool_size=1)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02), connected(engine) as session:
                await session.run("sleep", text("SELECT pg_sleep(5)"))
    await _read(PostgresRepository(engine))
    await engine.dispose()


async def test_a_slow_statement_opens_no_breaker(database_url: str) -> None:
    """A server that answers a ping is there, however long one of its statements takes, and however full the pool is."""
    unguarded = create_engine(database_url, pool_size=1)
    engine, guard = guarded(unguarded, BreakerPolicy(late_after=timedelta(0)))
    async with connected(engine) as session:
        await session.run("sleep", text("SELECT pg_sleep(0.05)"))
        assert guard._looking is not None
        await guard._looking
    assert guard.is_closed
    await unguarded.dispose()


async def test_a_connection_that_is_given_up_keeps_nobody_waiting(tmp_path: Path) -> None:
    """A cancelled caller's connection is closed without waiting for the goodbye of a server that hangs."""
    async with stoppable_server(tmp_path) as (url, stop, resume):
        sockets = str(make_url(url).query["host"])
        connection = await asyncpg.connect(host=sockets, user="postgres", connection_class=_Connection)
        stop()
        asked = asyncio.create_task(connection.execute("SELECT 1"))
        await asyncio.sleep(0)
        asked.cancel()
        await connection.close(timeout=600)
        is_waiting = not connection._goodbye.done()
        resume()
        await connection._goodbye
    assert (is_waiting, connection.is_closed()) == (True, True)


@asynccontextmanager
async def stoppable_server(path: Path) -> AsyncIterator[tuple[str, Callable[[], None], Callable[[], None]]]:
    """A server of the test's own: its URL, how to stop it with all its processes, and how to let it go on."""
    server = await asyncio.to_thread(start_postgres, path / "cluster")
    head = psutil.Process(server.process.pid)

    def each(do: Callable[[psutil.Process], None]) -> None:
        for process in [head, *head.children(recursive=True)]:
            do(process)

    try:
        yield server.url, lambda: each(psutil.Process.suspend), lambda: each(psutil.Process.resume)
    finally:
        each(psutil.Process.resume)
        await asyncio.to_thread(server.stop)


@pytest.mark.parametrize(
    "fields",
    [
        {"content": "a\x00b"},
        {"metadata": {"a": "\x00"}},
        {"metadata": {"a": "\ud800"}},
        {"scope": Scope("a" * 256, session_id="s1")},
    ],
    ids=["NUL", "NUL in metadata", "half a character in metadata", "id too long"],
)
async def test_what_postgres_cannot_hold_is_invalid(repository: PostgresRepository, fields: dict[str, Any]) -> None:
    """A value that slipped past the doors is refused as invalid."""
    with pytest.raises(InvalidInput):
        await filed(repository, [replace(message(1), **fields)], episode())


@pytest.mark.parametrize("question", ["a\x00b", "\ud800"])
async def test_what_postgres_cannot_read_is_invalid(repository: PostgresRepository, question: str) -> None:
    """A question that is no text to PostgreSQL is refused as invalid."""
    async with repository.reading() as reader:
        with pytest.raises(InvalidInput):
            await reader.search_text(Query(question, Scope("acme")))


@pytest.mark.parametrize(
    "fields", [{}, {"name": "x" * 256}, {"name": "\ud800"}], ids=["sequence taken", "id too long", "half a character"]
)
async def test_errors_do_not_quote_memories(repository: PostgresRepository, fields: dict[str, Any]) -> None:
    """No traceback holds the text of a memory, which the driver quotes: tracebacks end up in logs."""
    secret = uuid4().hex  # a traceback quotes the source, too
    await filed(repository, [message(1)])
    with pytest.raises(HybridMemoryError) as caught:
        await filed(repository, [message(1, secret, **fields)])
    assert secret not in "".join(traceback.format_exception(caught.value))


async def test_a_deleted_episode_is_not_brought_back(repository: PostgresRepository) -> None:
    """Who reads an episode to change it holds it: a deletion waits for the change, and is the last word."""
    changing = episode()
    await stored(repository, changing)

    async def delete() -> None:
        async with repository.writing() as tx:
            await tx.delete_records(RecordKind.EPISODE, "acme", [changing.id])

    async with repository.writing() as tx:
        assert await tx.episode("acme", changing.id) == changing
        deleting = asyncio.create_task(delete())
        await asyncio.wait({deleting}, timeout=0.3)
        await tx.save_episode(replace(changing, outcome={"went": "well"}))
    await deleting
    async with repository.reading() as reader:
        assert await reader.episode("acme", changing.id) is None


async def test_a_very_long_text_is_stored_and_found(repository: PostgresRepository) -> None:
    """A text beyond what a tsvector can hold is stored whole and found by its beginning."""
    words = " ".join(f"{n:x}z" for n in range(300_000))
    await filed(repository, [message(1, f"lighthouse {words}")], episode(perception={"all": words}))
    await stored(repository, knowledge(words))
    async with repository.reading() as reader:
        (hit,) = await reader.search_text(Query("lighthouse", Scope("acme")))
    assert len(hit.text) == len(f"lighthouse {words}")


async def test_words_are_found_in_their_other_forms(repository: PostgresRepository) -> None:
    """English words are found whatever their ending; little words do not count."""
    await filed(repository, [message(1, "We adopted two cats"), message(2, "What did they do with it?")])
    async with repository.reading() as reader:
        found = await reader.search_text(Query("What did they adopt, a cat?", Scope("acme")))
    assert [hit.sequence for hit in found] == [1]


async def test_rows_of_another_version_are_counted(repository: PostgresRepository, engine: AsyncEngine) -> None:
    """A row this version cannot read is left out of a page, and the metrics say so."""
    await filed(repository, [message(1), message(2)])
    async with engine.begin() as connection:
        await connection.execute(text("ALTER TABLE messages DROP CONSTRAINT ck_messages_role_is_known"))
        await connection.execute(text("UPDATE messages SET role = 'narrator' WHERE sequence = 1"))
    before = _skipped()
    try:
        async with repository.reading() as reader:
            assert [m.sequence for m in await reader.history(SESSION, after=0, limit=9)] == [2]
        assert _skipped() == before + 1
    finally:
        async with engine.begin() as connection:
            await connection.execute(text("DELETE FROM messages"))
            await connection.execute(
                text(
                    "ALTER TABLE messages ADD CONSTRAINT ck_messages_role_is_known"
                    " CHECK (role IN ('user', 'assistant', 'system', 'tool'))"
                )
            )


def _skipped() -> float:
    return REGISTRY.get_sample_value("memory_store_errors_total", {"store": "episodic", "operation": "message"}) or 0.0


async def test_a_generated_success_rate(repository: PostgresRepository, engine: AsyncEngine) -> None:
    """A strategy's success rate is worked out by the database; there is none before it was tried."""
    await stored(repository, knowledge("tried", success_count=3, failure_count=1), knowledge("untried"))
    async with engine.connect() as connection:
        rates = await connection.execute(text("SELECT description, success_rate FROM knowledge"))
    assert dict(rates.all()) == {"tried": 0.75, "untried": None}


async def test_the_store_works_behind_pgbouncer(database_url: str) -> None:
    """With `?pgbouncer=true` no statement is kept under a name that another connection could meet."""
    engine = create_engine(f"{database_url}&pgbouncer=true")
    memory = PostgresRepository(engine)
    await filed(memory, [message(1)])
    for _ in range(3):
        await _read(memory)
    async with connected(engine) as session:
        kept = await session.run(
            "kept", text("SELECT name FROM pg_prepared_statements WHERE name NOT LIKE '\\_\\_hybrid\\_memory%'")
        )
        timeout = await session.run("timeout", text("SHOW statement_timeout"))
    assert (kept, timeout[0][0]) == ([], "0")
    await engine.dispose()


async def test_eight_workers_finish_the_outbox_once(repository: PostgresRepository) -> None:
    """Workers that claim in parallel, on connections of their own, take every entry exactly once."""
    await queued(repository, *(upsert(knowledge(scope=SCOPE)) for _ in range(200)))

    async def work() -> list[int]:
        done: list[int] = []
        while entries := await claimed(repository, 7):
            done += [entry.id for entry in entries]
            async with repository.writing() as tx:
                await tx.complete_outbox(entries)
        return done

    taken = [entry for worker in await asyncio.gather(*(work() for _ in range(8))) for entry in worker]
    assert len(taken) == len(set(taken)) == 200
    async with repository.reading() as reader:
        assert await reader.list_outbox(is_dead=None, limit=1) == ()
