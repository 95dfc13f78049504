"""The queries that must stay fast use their indexes: PostgreSQL's own plans, on tables of some size."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from databases import administrate, migrated, run
from given import NOW, SESSION
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.episodic.engine import connected, create_engine
from app.episodic.repository import PostgresRepository, Writer
from app.records import EpisodeKind, Query, RecordKind, Scope, new_id

# 200 tenants, of whom acme has 10,000 messages in 20 sessions; 2,000 wait for the index, 1,000 more are backing off.
_POPULATION = """
    INSERT INTO episodes (id, kind, namespace, session_id, started_at, ended_at, summary, is_open)
    SELECT gen_random_uuid(), 'conversation', CASE WHEN n <= 1000 THEN 'acme' ELSE 'tenant' || n % 199 END, 's' || n,
           '2026-05-04', '2026-05-04'::timestamptz + n * interval '1 minute', md5(n::text) || ' talk', n % 50 = 0
    FROM generate_series(1, 5000) AS n;

    INSERT INTO messages (uid, namespace, session_id, sequence, id, role, content, created_at, episode_id, content_sha256)
    SELECT gen_random_uuid(), CASE WHEN n <= 10000 THEN 'acme' ELSE 'tenant' || n % 199 END, 's' || n % 20, n,
           gen_random_uuid(), 'user', md5(n::text) || ' word' || n % 1000 || ' rest' || n % 7,
           '2026-05-04'::timestamptz + n * interval '1 second', home.id, repeat('0', 64)
    FROM generate_series(1, 30000) AS n, (SELECT id FROM episodes LIMIT 1) AS home;

    INSERT INTO outbox (op, kind, namespace, record_uid, next_attempt_at)
    SELECT 'upsert', 'message', namespace, uid, CASE WHEN row_number() OVER () <= 1000 THEN timestamptz '2030-01-01' END
    FROM messages LIMIT 3000;
    INSERT INTO outbox (op, kind, namespace, record_uid, is_dead)
    SELECT 'upsert', 'episode', namespace, id, true FROM episodes;
"""


@pytest.fixture(scope="module")
def populated_url(postgres_url: str) -> str:
    """A database with enough rows for the planner to care."""
    url = migrated(postgres_url, "populated")
    run(administrate(url, _POPULATION))
    run(administrate(url, "VACUUM ANALYZE"))
    return url


@dataclass
class Plans:
    """Runs a repository's calls and shows how PostgreSQL goes about them."""

    engine: AsyncEngine
    statements: list[tuple[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        event.listen(self.engine.sync_engine, "after_cursor_execute", self._note)

    def _note(self, _connection: object, _cursor: object, statement: str, parameters: Any, *_rest: object) -> None:
        self.statements.append((statement, parameters))

    async def of(self, call: Callable[[Writer], Awaitable[object]]) -> str:
        """The plans of the statements that `call` runs, as text."""
        self.statements.clear()
        async with PostgresRepository(self.engine).writing() as tx:
            await call(tx)
        async with self.engine.connect() as connection:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            plans = [await driver.fetch(f"EXPLAIN {statement}", *parameters) for statement, parameters in self.statements]
        return "\n".join(line[0] for plan in plans for line in plan)


@pytest.fixture
async def plans(populated_url: str) -> Plans:
    return Plans(create_engine(populated_url))


async def test_history_walks_the_sequence(plans: Plans) -> None:
    """A page of history is read off the unique index, in its order, without sorting."""
    plan = await plans.of(lambda tx: tx.history(SESSION, after=5000, limit=50))
    assert "Index Scan using uq_messages_namespace_session_id_sequence" in plan
    assert "Sort" not in plan


async def test_recent_walks_the_sequence_backwards(plans: Plans) -> None:
    """The newest messages are read off the end of the unique index."""
    plan = await plans.of(lambda tx: tx.recent(SESSION, 20))
    assert "Index Scan Backward using uq_messages_namespace_session_id_sequence" in plan
    assert "Sort" not in plan


async def test_last_sequence_reads_one_entry(plans: Plans) -> None:
    """The last sequence is the end of the unique index."""
    plan = await plans.of(lambda tx: tx.last_sequence(SESSION))
    assert "Index Only Scan Backward using uq_messages_namespace_session_id_sequence" in plan


async def test_full_text_uses_its_indexes(plans: Plans) -> None:
    """A search of a large tenant goes through the full-text indexes, one for each kind it asks for."""
    query = Query("which word7 was the rest of it?", Scope("acme"), kinds=(RecordKind.MESSAGE, RecordKind.EPISODE))
    plan = await plans.of(lambda tx: tx.search_text(query))
    assert "Bitmap Index Scan on ix_messages_search" in plan
    assert "Bitmap Index Scan on ix_episodes_search" in plan
    assert "Seq Scan" not in plan


async def test_every_question_is_planned_for_itself(populated_url: str) -> None:
    """However often it is asked, a question is planned for its own words and tenant."""
    engine = create_engine(populated_url, pool_size=1)
    for _ in range(8):  # from the sixth on, PostgreSQL would like to keep one plan for all
        async with PostgresRepository(engine).reading() as reader:
            await reader.search_text(Query("word7", Scope("tenant7")))
    async with connected(engine) as session:
        plans = text("SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement LIKE 'SELECT anon%'")
        assert [tuple(row) for row in await session.run("plans", plans)] == [(0, 8)]
    await engine.dispose()


async def test_a_small_tenant_is_searched_by_its_own_rows(plans: Plans) -> None:
    """A search of a small tenant does not pay for the others, though most of them use its words."""
    plan = await plans.of(lambda tx: tx.search_text(Query("talk rest3", Scope("tenant7"), kinds=(RecordKind.MESSAGE,))))
    assert "Index Cond: (namespace = 'tenant7'::text)" in plan
    assert "Seq Scan" not in plan


async def test_a_claim_walks_the_due_entries(plans: Plans) -> None:
    """Claiming goes through the index of living entries in their order: dead letters cost nothing."""
    plan = await plans.of(lambda tx: tx.claim_outbox(100, lease=timedelta(minutes=1), now=NOW))
    assert "Index Scan using ix_outbox_due" in plan
    assert "Seq Scan on outbox" not in plan
    assert "Sort" not in plan


async def test_context_is_looked_up_message_by_message(plans: Plans) -> None:
    """The messages before another are read off the unique index, whatever the size of the session."""
    plan = await plans.of(lambda tx: tx.messages_in_context([new_id() for _ in range(256)]))
    assert "pk_messages" in plan
    assert "Index Scan Backward using uq_messages_namespace_session_id_sequence" in plan
    assert "Seq Scan" not in plan


async def test_pages_walk_the_ids(plans: Plans) -> None:
    """A page of episodes is read off the index of the tenant's ids, newest first."""
    plan = await plans.of(lambda tx: tx.list_episodes(Scope("acme"), kind=EpisodeKind.CONVERSATION, before=None, limit=20))
    assert "Index Scan Backward using ix_episodes_namespace_id" in plan
    assert "Sort" not in plan


async def test_idle_conversations_walk_the_open_ones(plans: Plans) -> None:
    """The search for idle conversations reads open episodes only."""
    plan = await plans.of(lambda tx: tx.open_episodes(idle_since=NOW, limit=10))
    assert "using ix_episodes_open_ended_at" in plan


async def test_the_open_conversation_is_one_entry(plans: Plans) -> None:
    """A session's open conversation is found through the index that keeps it unique."""
    plan = await plans.of(lambda tx: tx.open_episode(SESSION))
    assert "using uq_episodes_open_conversation" in plan


async def test_episode_messages_use_their_index(plans: Plans) -> None:
    """An episode's messages are found through its id."""
    plan = await plans.of(lambda tx: tx.episode_messages(new_id()))
    assert "ix_messages_episode_id" in plan


async def test_open_entries_are_looked_up(plans: Plans) -> None:
    """Whether records still wait is looked up by their uids."""
    plan = await plans.of(lambda tx: tx.open_entries([new_id() for _ in range(10)]))
    assert "uq_outbox_kind_record_uid" in plan
    assert "Seq Scan" not in plan
