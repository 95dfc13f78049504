"""Rows in PostgreSQL that cannot be read, made so by raw SQL: one of them never keeps the others from being read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from functools import wraps
from typing import Any

import pytest
from databases import administrate
from factories import append, consolidation_of, indexer_of, tiers
from given import NOW, SESSION, episode, filed, knowledge, message, queued, stored, upsert
from prometheus_client import REGISTRY
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncEngine

from app.access import AccessControl
from app.consolidation.indexing import IndexingPolicy
from app.episodic import engine as driver
from app.episodic import rows
from app.episodic.engine import UnreadJson, connected, load_json
from app.episodic.episodes import EPISODES
from app.episodic.keys import PostgresKeyStore
from app.episodic.repository import PostgresRepository, Reader
from app.errors import NewerRelease, Unreadable
from app.lineage import Lineage
from app.ports import Erasure, OutboxQuery
from app.records import Episode, Permission, RunReport, Scope, SessionKey, SessionState, new_id, utc_now


@pytest.fixture
def memory(engine: AsyncEngine) -> PostgresRepository:
    return PostgresRepository(engine)


async def _history(reader: Reader) -> list[object]:
    return [m.sequence for m in await reader.history(SESSION, after=0, limit=9)]


async def _recent(reader: Reader) -> list[object]:
    return [m.sequence for m in await reader.recent(SESSION, 9)]


async def _episodes(reader: Reader) -> list[object]:
    return [e.summary for e in await reader.list_episodes(Scope("acme"), kind=None, before=None, limit=9)]


async def _knowledge(reader: Reader) -> list[object]:
    return [k.description for k in await reader.list_knowledge(Scope("acme"), kind=None, before=None, limit=9)]


async def _steps(reader: Reader) -> list[object]:
    (home, *_) = await reader.list_episodes(Scope("acme"), kind=None, before=None, limit=9)
    return [s.index for s in await reader.steps(home.id, after=-1, limit=9)]


async def _runs(reader: Reader) -> list[object]:
    return [dict(r.counts) for r in await reader.runs(9)]


OTHER_RUNS: list[object] = [{"n": 3}, {"n": 1}]
DAMAGES: list[tuple[str, str, Callable[[Reader], Awaitable[list[object]]], list[object]]] = [
    ("messages", "UPDATE messages SET metadata = '[]'::jsonb WHERE sequence = 2", _history, [1, 3]),
    ("messages", "UPDATE messages SET metadata = '7'::jsonb WHERE sequence = 2", _recent, [1, 3]),
    ("episodes", "UPDATE episodes SET perception = '[]'::jsonb WHERE summary = 'two'", _episodes, ["three", "one"]),
    ("episodes", "UPDATE episodes SET outcome = '[]'::jsonb WHERE summary = 'two'", _episodes, ["three", "one"]),
    ("episodes", "UPDATE episodes SET schema_version = 2 WHERE summary = 'two'", _episodes, ["three", "one"]),
    ("episodes", "UPDATE episodes SET schema_version = 0 WHERE summary = 'two'", _episodes, ["three", "one"]),
    ("knowledge", "UPDATE knowledge SET content = '[]'::jsonb WHERE description = 'two'", _knowledge, ["three", "one"]),
    ("knowledge", "UPDATE knowledge SET schema_version = 9 WHERE description = 'two'", _knowledge, ["three", "one"]),
    ("episode_steps", "UPDATE episode_steps SET content = '\"x\"'::jsonb WHERE index = 1", _steps, [0, 2]),
    ("consolidation_runs", "UPDATE consolidation_runs SET counts = '[]'::jsonb WHERE counts @> '{\"n\": 2}'", _runs, OTHER_RUNS),
    ("consolidation_runs", "UPDATE consolidation_runs SET errors = '[1]'::jsonb WHERE counts @> '{\"n\": 2}'", _runs, OTHER_RUNS),
]  # fmt: skip


@pytest.mark.parametrize(("table", "damage", "read", "left"), DAMAGES)
async def test_one_damaged_row_never_stops_a_batch(
    memory: PostgresRepository, database_url: str, table: str, damage: str,
    read: Callable[[Reader], Awaitable[list[object]]], left: list[object],
) -> None:  # fmt: skip
    """The rows around it are read, and it is counted."""
    await three_of_each(memory)
    await administrate(database_url, damage)
    before = skipped()
    async with memory.reading() as reader:
        assert await read(reader) == left, table
    assert skipped() == before + 1


async def three_of_each(memory: PostgresRepository) -> None:
    names = ("one", "two", "three")
    home, *others = [episode(summary=name) for name in names]
    await filed(memory, [message(n) for n in (1, 2, 3)], home)
    await stored(memory, *others, *(knowledge(name) for name in names))
    async with memory.writing() as tx:
        await tx.append_steps(others[-1].id, [{}, {}, {}], NOW)
        for n in (1, 2, 3):
            at = NOW + timedelta(minutes=n)
            await tx.record_run(RunReport(new_id(), at, at, {"n": n}))


def skipped() -> float:
    """How many rows were left out so far."""
    families = (family for family in REGISTRY.collect() if family.name == "memory_store_errors")
    samples = [s for family in families for s in family.samples if s.name.endswith("_total")]
    decoders = {"message", "episode", "knowledge", "step", "run_report", "session"}
    return sum(s.value for s in samples if s.labels["store"] == "episodic" and s.labels["operation"] in decoders)


DAMAGED_STATES = [
    '{"goal": 7}',
    '{"active_context": []}',
    '{"thoughts": "x"}',
    '{"related_episodes": ["x"]}',
    '{"related_episodes": [7]}',
    "[]",
]


@pytest.mark.parametrize("state", DAMAGED_STATES)
async def test_a_damaged_session_is_refused_by_name(memory: PostgresRepository, database_url: str, state: str) -> None:
    """Asked for by name it is an error that says so; the session next door is there; saving a state mends it."""
    next_door = SessionKey("acme", "s2")
    async with memory.writing() as tx:
        for key in (SESSION, next_door):
            await tx.save_session(key, state=SessionState(goal="x"), last_message_at=None, now=NOW)
    await administrate(database_url, f"UPDATE sessions SET state = '{state}'::jsonb WHERE session_id = 's1'")  # noqa: S608 - a constant
    async with memory.reading() as reader:
        with pytest.raises(Unreadable, match="session acme: "):
            await reader.session(SESSION)
        assert await reader.session(next_door) is not None
    async with memory.writing() as tx:
        await tx.save_session(SESSION, state=SessionState(goal="y"), last_message_at=None, now=NOW)
        mended = await tx.session(SESSION)
    assert mended is not None
    assert mended.state == SessionState(goal="y")


async def test_a_newer_row_is_refused_by_name(memory: PostgresRepository, database_url: str) -> None:
    """Asked for by id, a row of a newer release says whose it is and what this one reads."""
    event, fact = episode(), knowledge()
    await stored(memory, event, fact)
    async with memory.writing() as tx:
        await tx.save_session(SESSION, state=SessionState(), last_message_at=None, now=NOW)
    for table in ("episodes", "knowledge", "sessions"):
        await administrate(database_url, f"UPDATE {table} SET schema_version = 2")  # noqa: S608 - names of ours
    async with memory.reading() as reader:
        for read, name in (
            (reader.episode("acme", event.id), f"episode {event.id}"),
            (reader.knowledge("acme", fact.id), f"knowledge {fact.id}"),
            (reader.session(SESSION), "session acme"),
        ):
            with pytest.raises(NewerRelease, match=f"{name}: schema version 2, this release reads up to 1"):
                await read


async def test_a_document_over_the_limit_is_refused_unparsed(memory: PostgresRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its size is looked at before it is parsed; the error names the column; the other rows are read."""
    large, small = episode(perception={"x": "y" * 1000}), episode(summary="small")
    await stored(memory, large, small)
    monkeypatch.setattr(driver, "MAX_JSON_CHARACTERS", 500)
    async with memory.reading() as reader:
        with pytest.raises(Unreadable, match=r"perception: 10[0-9]+ characters of JSON, this release reads up to 500"):
            await reader.episode("acme", large.id)
        assert await reader.list_episodes(Scope("acme"), kind=None, before=None, limit=9) == (small,)


def test_json_that_cannot_be_parsed_is_not_an_error() -> None:
    """It stands for itself in its row, so that the other rows of the answer can be read."""
    assert load_json('{"a": 1}') == {"a": 1}
    assert isinstance(load_json("["), UnreadJson)
    assert isinstance(load_json("[" * 100_000 + "]" * 100_000), UnreadJson)


async def test_an_older_document_is_upgraded_as_it_is_read(memory: PostgresRepository, engine: AsyncEngine) -> None:
    """A row of version 1 read by a release of version 2 has the new layout, and the new version."""
    event = episode(perception={"mood": "calm"})
    await stored(memory, event)
    lineage = Lineage({1: lambda document: {**document, "perception": {"moods": [document["perception"]["mood"]]}}})

    @wraps(rows.episode)
    def decode(row: Row[Any]) -> Episode:
        return rows.episode(row, lineage)

    async with connected(engine) as session:
        (upgraded,) = await replace(EPISODES, decode=decode).by_uid(session, [event.id])
    assert upgraded == replace(event, perception={"moods": ["calm"]}, schema_version=2)


async def test_an_unreadable_record_keeps_its_point(memory: PostgresRepository, database_url: str) -> None:
    """What this release cannot read is not taken for gone: its point stays, and its entry waits, then says why it is dead."""
    given, fact, other = replace(tiers(), episodic=memory), knowledge("one"), knowledge("two")
    await stored(memory, fact, other)
    await queued(memory, upsert(fact), upsert(other))
    indexer = indexer_of(given, IndexingPolicy(max_attempts=1))
    await indexer.index_batch()
    await administrate(database_url, "UPDATE knowledge SET schema_version = 2 WHERE description = 'one'")
    await queued(memory, upsert(fact), upsert(other))
    await indexer.index_batch()
    assert await given.semantic.present([fact.id, other.id]) == 2
    async with memory.reading() as reader:
        (dead,) = await reader.list_outbox(OutboxQuery(), now=NOW)
    assert (dead.entry.record_uid, dead.entry.is_dead) == (fact.id, True)
    assert str(dead.entry.last_error).startswith(f"Unreadable: knowledge {fact.id}: cannot be read by this release")


async def test_a_damaged_open_episode_stops_only_its_session(memory: PostgresRepository, database_url: str) -> None:
    """The session whose open episode cannot be read is not drained, and says so in the log; the others are."""
    given, next_door = replace(tiers(), episodic=memory), SessionKey("acme", "s2")
    await append(given, "a")
    await consolidation_of(given).run()
    await administrate(database_url, "UPDATE episodes SET metadata = '[]'::jsonb")
    await append(given, "b")
    await append(given, "c", session=next_door)
    await consolidation_of(given).run()
    async with memory.reading() as reader:
        assert [m.content for m in await reader.history(next_door, after=0, limit=9)] == ["c"]
    assert await given.working.dirty_sessions(9) == (SESSION,)


async def test_keys_that_cannot_be_read_open_nothing(engine: AsyncEngine, database_url: str) -> None:
    """A key with a permission that this release does not know is nobody's, but does not leave the door open."""
    access = AccessControl(PostgresKeyStore(engine), utc_now, may_be_open=False)
    (_, secret), (_, lost) = [await access.make(n, [Permission.READ], ["acme"], None) for n in ("kept", "lost")]
    await administrate(database_url, "UPDATE api_keys SET scopes = '{memory:fly}' WHERE name = 'lost'")
    with pytest.raises(Unreadable):
        await access.list()
    assert (await access.identify(secret)).permissions == {Permission.READ}
    with pytest.raises(Unreadable, match=r"key .*: 'memory:fly' is not a valid Permission"):
        await access.identify(lost)


async def test_an_erasure_that_is_owed_survives_a_restart(memory: PostgresRepository) -> None:
    """What is owed is read back as it was written, by whoever comes next."""
    owed = [
        Erasure(Scope("acme", "u", "a", "s", "p"), NOW),
        Erasure(Scope("acme", session_id="s1"), NOW, (new_id(), new_id())),
    ]
    async with memory.writing() as tx:
        for erasure in owed:
            await tx.owe_erasure(erasure)
    async with memory.reading() as reader:
        assert [o.erasure for o in await reader.owed_erasures(9)] == owed
