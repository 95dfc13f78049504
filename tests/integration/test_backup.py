"""Backup and restore on a real Valkey and a real PostgreSQL: nothing acknowledged is missing, nothing is half there."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from uuid import UUID

import pytest
from alembic.script import ScriptDirectory
from factories import EVERYWHERE, Tiers, append, check_books, consolidation_of, contents_of, drain_of, history_of
from given import NOW, SESSION, episode, knowledge, stored
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.episodic import migrations
from app.episodic.engine import create_engine
from app.episodic.keys import PostgresKeyStore
from app.episodic.migrations import is_current, is_known
from app.episodic.migrations.running import upgrade
from app.episodic.repository import PostgresRepository
from app.episodic.trends import PostgresTrends
from app.episodic.whole import DERIVED, NOTED, PostgresTables
from app.errors import Conflict, InvalidInput, TierUnavailable
from app.ports import Erasure, OutboxOp, OutboxQuery
from app.records import (
    ApiKey,
    EpisodeKind,
    Feedback,
    LoggedEpisode,
    Permission,
    RecordKind,
    RunReport,
    Scope,
    SearchUsage,
    SessionKey,
    SessionState,
    Tier,
    Verdict,
    new_id,
)
from app.testing.clock import FixedClock
from app.testing.faults import away
from app.testing.working import InMemoryWorkingMemory
from app.transfer.backups import Backups
from app.working import RedisRepository, connect

MANY: Final = 400


@dataclass(frozen=True, slots=True)
class Site:
    """An installation, as far as backups go."""

    tiers: Tiers
    engine: AsyncEngine

    @property
    def backups(self) -> Backups:
        tiers = self.tiers
        return Backups(
            tiers.working, PostgresTables(self.engine), tiers.semantic, drain_of(tiers),
            clock=tiers.clock, program="1.2.3", space=lambda: None,
        )  # fmt: skip

    async def backup(self, path: Path) -> Path:
        with path.open("wb") as file:
            async for portion in self.backups.stream():
                file.write(portion)
        return path

    async def content(self) -> dict[str, list[str]]:
        """Every row that a backup carries, as PostgreSQL writes it."""
        async with PostgresTables(self.engine).snapshot() as snapshot:
            return {name: sorted([row async for page in snapshot.rows(name) for row in page]) for name in snapshot.tables}

    async def outbox(self) -> set[tuple[OutboxOp, RecordKind, object]]:
        async with self.tiers.episodic.reading() as reader:
            queued = await reader.list_outbox(OutboxQuery(limit=100_000), now=NOW)
        return {(q.entry.op, q.entry.kind, q.entry.record_uid) for q in queued if not q.entry.is_dead}


@pytest.fixture
async def old(redis_url: str, engine: AsyncEngine) -> AsyncIterator[Site]:
    """An installation in use."""
    async with connect(redis_url) as client:
        working = RedisRepository(client)
        yield Site(Tiers(clock=FixedClock(NOW), working=working, episodic=PostgresRepository(engine)), engine)


@pytest.fixture
async def new(empty_database_url: str, old: Site) -> AsyncIterator[Site]:
    """An installation with nothing in it."""
    engine = create_engine(empty_database_url)
    await upgrade(engine)
    working = InMemoryWorkingMemory(old.tiers.clock)  # there is one Redis a test, and it is the old one's
    yield Site(Tiers(clock=old.tiers.clock, working=working, episodic=PostgresRepository(engine)), engine)
    await engine.dispose()


async def live(site: Site) -> None:
    """A little of everything: drained and not, indexed and not, with a state, steps, knowledge and a key."""
    await append(site.tiers, "drained", "naïve 🙂\nand indexed")
    await site.tiers.working.save_state(SESSION, SessionState(goal="move", thoughts=("pack",), related_episodes=(new_id(),)))
    await consolidation_of(site.tiers).run()
    decision = episode(outcome={"done": 8, "share": 0.1}, is_open=False)
    await stored(site.tiers.episodic, decision, knowledge(content={"n": 2**53}), knowledge("gone", is_active=False))
    async with site.tiers.episodic.writing() as tx:
        await tx.append_steps(decision.id, [{"did": "vote"}, {"did": None}], NOW)
        await tx.revise_outcome(decision, replace(decision, outcome={"done": 9}), NOW)
        said = Feedback(new_id(), decision.scope, RecordKind.EPISODE, decision.id, decision.id, Verdict.USEFUL, NOW)
        await tx.insert_feedback([said])
    key = ApiKey(new_id(), "agent", b"k" * 32, frozenset({Permission.READ}), frozenset({"acme"}), NOW)
    await PostgresKeyStore(site.engine).save(key)
    await append(site.tiers, "still in Redis", session=SessionKey("rival", "s2"))


async def test_everything_comes_back_as_it_was(old: Site, new: Site, tmp_path: Path) -> None:
    """Every row of every table is the same in the new installation, what Redis held included; keys too."""
    await live(old)
    rows = await new.backups.restore(await old.backup(tmp_path / "file"))
    content = await old.content()
    assert await new.content() == content
    assert rows == {table: len(rows) for table, rows in content.items() if rows}
    assert {"api_keys", "consolidation_runs", "episode_steps", "episodes", "knowledge", "messages", "sessions"} <= set(rows)
    assert {"episode_outcomes", "feedback"} <= set(rows)
    assert await contents_of(new.tiers) == ["drained", "naïve 🙂\nand indexed"]
    assert [m.content for m in await history_of(new.tiers, SessionKey("rival", "s2"))] == ["still in Redis"]


async def test_every_table_is_carried_or_known_as_derived(old: Site) -> None:
    """A table that a migration adds is in backups from then on, unless it is said here that it can be derived."""
    async with old.engine.connect() as connection:
        found = await connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        tables = {row[0] for row in found}
    assert set(await old.content()) == tables - DERIVED - {"alembic_version"}
    assert {"outbox", "reconciliations", "erasures", "episode_generations"} == DERIVED


async def test_the_new_installation_fills_its_index_by_itself(old: Site, new: Site, tmp_path: Path) -> None:
    """Every record that belongs into the index is queued, whatever the old outbox held, and one run indexes it."""
    await live(old)
    await new.backups.restore(await old.backup(tmp_path / "file"))
    queued = await new.outbox()
    assert {op for op, _, _ in queued} == {OutboxOp.UPSERT}
    status = await consolidation_of(new.tiers).status()
    assert status.store is not None
    assert len(queued) == sum(status.store.indexable.values()) == 5
    await consolidation_of(new.tiers).run()
    assert (await consolidation_of(new.tiers).status()).drift == 0


async def test_numbering_goes_on_after_a_restore(old: Site, new: Site, tmp_path: Path) -> None:
    """The first message after a restore comes after those restored, in the episode that was open."""
    await append(old.tiers, "one", "two")
    await new.backups.restore(await old.backup(tmp_path / "file"))
    await append(new.tiers, "three")
    await drain_of(new.tiers).drain(SESSION)
    assert [(m.sequence, m.content) for m in await history_of(new.tiers)] == [(1, "one"), (2, "two"), (3, "three")]
    await check_books(new.tiers)


async def test_a_backup_under_load_lacks_nothing_acknowledged(old: Site, new: Site, tmp_path: Path) -> None:
    """While others append and drain, a backup has all that was acknowledged before it began, and whole prefixes only."""
    acknowledged: list[str] = []
    is_over = asyncio.Event()
    is_warm = asyncio.Event()

    async def write() -> None:
        for number in itertools.count():
            await append(old.tiers, f"message {number}")
            acknowledged.append(f"message {number}")
            if number == 5:
                is_warm.set()
            if is_over.is_set():
                return

    async def drain() -> None:
        while not is_over.is_set():
            await consolidation_of(old.tiers).run()

    work = [asyncio.create_task(write()), asyncio.create_task(drain())]
    await is_warm.wait()
    before = list(acknowledged)
    path = await old.backup(tmp_path / "file")
    is_over.set()
    await asyncio.gather(*work)
    await new.backups.restore(path)
    restored = await contents_of(new.tiers)
    assert restored[: len(before)] == before
    assert restored == acknowledged[: len(restored)]
    assert [m.sequence for m in await history_of(new.tiers)] == list(range(1, len(restored) + 1))
    await check_books(new.tiers)


async def test_a_backup_is_one_moment(old: Site, new: Site, tmp_path: Path) -> None:
    """What is written or deleted while the backup is read changes nothing of it."""
    await append(old.tiers, *(f"message {n}" for n in range(MANY)))
    parts: list[bytes] = []
    async with aclosing(old.backups.stream()) as stream:
        parts.append(await anext(stream))
        expected = await old.content()
        async with old.tiers.episodic.writing() as tx:
            await tx.delete_records(RecordKind.MESSAGE, "acme", [m.uid for m in (await history_of(old.tiers))[:100]])
        await append(old.tiers, "later")
        await drain_of(old.tiers).drain(SESSION)
        parts += [part async for part in stream]
    (tmp_path / "file").write_bytes(b"".join(parts))
    await new.backups.restore(tmp_path / "file")
    assert await new.content() == expected


async def test_without_redis_there_is_no_backup(old: Site, tmp_path: Path) -> None:
    """Who cannot ask Redis cannot know what it holds: better no backup than one that lacks something."""
    dark = replace(old, tiers=replace(old.tiers, working=away(old.tiers.working, Tier.WORKING)))
    with pytest.raises(TierUnavailable, match="working tier unavailable"):
        await dark.backup(tmp_path / "file")


@pytest.mark.parametrize("where", ["postgres", "redis", "log", "index"])
async def test_only_an_empty_installation_is_restored_into(old: Site, new: Site, tmp_path: Path, where: str) -> None:
    """A row in Postgres, a session or an episode in Redis or a point in the index is enough to be refused, and is kept."""
    await live(old)
    path = await old.backup(tmp_path / "file")
    if where == "index":
        new = replace(new, tiers=replace(new.tiers, semantic=old.tiers.semantic))
    elif where == "log":
        await new.tiers.working.log_episode(LoggedEpisode(episode(kind=EpisodeKind.TASK), (), NOW))
    else:
        await append(new.tiers, "mine")
    if where == "postgres":
        await drain_of(new.tiers).drain(SESSION)
        await new.tiers.working.erase(Erasure(Scope("acme", session_id=SESSION.session_id)))
    content = await new.content()
    with pytest.raises(Conflict, match="installation: is not empty"):
        await new.backups.restore(path)
    assert await new.content() == content


async def test_an_installation_that_only_ran_is_empty(old: Site, new: Site, tmp_path: Path) -> None:
    """Its searches, runs of jobs and comparisons are noted in tables; they give way to those of the backup."""
    await live(old)
    await note(old, new_id())
    path = await old.backup(tmp_path / "file")
    for process in (new_id(), new_id()):
        await note(new, process)
    assert await noted(new) == NOTED
    await new.backups.restore(path)
    assert await new.content() == await old.content()
    assert await noted(new) == {"consolidation_runs", "learning_marks", "memory_metrics"}
    await note(new, new_id())  # numbers that the database gives go on


@pytest.mark.parametrize(
    "row",
    [
        "INSERT INTO outbox (op, kind, namespace, record_uid) VALUES ('delete', 'message', 'acme', gen_random_uuid())",
        "INSERT INTO erasures (namespace, requested_at) VALUES ('acme', now())",
        "INSERT INTO features (name, is_on, changed_at) VALUES ('retrieval', false, now())",
        "INSERT INTO api_keys (id, key_sha256, name, scopes, namespaces) "
        "VALUES (gen_random_uuid(), sha256('k'), 'a', '{memory:read}', '{acme}')",
        "INSERT INTO idempotency_keys VALUES (gen_random_uuid(), gen_random_uuid(), now())",
    ],
    ids=["outbox", "erasures", "features", "api_keys", "idempotency_keys"],
)
async def test_what_is_owed_or_decided_is_not_dropped(old: Site, new: Site, tmp_path: Path, row: str) -> None:
    """A deletion that the index still waits for, a key, a switch: none of them is a memory, and none of them may be lost."""
    path = await old.backup(tmp_path / "file")
    async with new.engine.begin() as connection:
        await connection.execute(text(row))
    await note(new, new_id())
    table = row.split()[2]
    with pytest.raises(Conflict, match=rf"^installation: is not empty \(rows: {table} 1\); a backup is restored"):
        await new.backups.restore(path)
    assert await noted(new) == NOTED


async def note(site: Site, process: UUID) -> None:
    """What running leaves behind: a search, jobs, a comparison, a recall that could be cached, an episode to learn from."""
    await PostgresTrends(site.engine).save_usage(process, [SearchUsage("acme", NOW.date(), searches=1)])
    async with site.tiers.episodic.writing() as tx:
        await tx.record_run(RunReport(process, NOW, NOW, {"drained": 0}))
        await tx.renew_episode_generation("acme")
    async with site.engine.begin() as connection:
        await connection.execute(text("INSERT INTO learning_marks (namespace) VALUES ('acme')"))
        await connection.execute(text(_RECONCILIATION), {"id": process})


_RECONCILIATION: Final = """
    INSERT INTO reconciliations
        (id, is_repair, space, started_at, total, checked, findings, examples, pending, dead_letters, state, generation)
    VALUES (:id, false, 'hashing', now(), 0, 0, '{}', '{}', 0, 0, 'done', 1)
"""


async def noted(site: Site) -> set[str]:
    """The tables of `NOTED` that have rows."""
    async with site.engine.connect() as connection:
        counts = {name: await connection.execute(text(f"SELECT count(*) FROM {name}")) for name in NOTED}  # noqa: S608
    return {name for name, count in counts.items() if count.scalar_one()}


async def test_a_damaged_file_changes_nothing(old: Site, new: Site, tmp_path: Path) -> None:
    """It is read to its end before anything is touched."""
    await live(old)
    path = await old.backup(tmp_path / "file")
    path.write_bytes(path.read_bytes()[:-1])
    content = await new.content()
    with pytest.raises(InvalidInput, match="file: is cut short"):
        await new.backups.restore(path)
    assert (await new.content(), await new.outbox()) == (content, set())


async def test_a_restore_that_fails_leaves_the_installation_empty(old: Site, new: Site, tmp_path: Path) -> None:
    """An error in the middle, with rows of several tables filled in, undoes all of it; a second try succeeds."""
    await append(old.tiers, *(f"message {n}" for n in range(MANY)))
    path = await old.backup(tmp_path / "file")

    def fail(position: int) -> None:
        raise ZeroDivisionError

    empty = await new.content()
    with pytest.raises(ZeroDivisionError):
        await new.backups.restore(path, fail)
    assert (await new.content(), await new.outbox(), await is_current(new.engine)) == (empty, set(), True)
    await new.backups.restore(path)
    assert await new.content() == await old.content()


async def test_numbers_given_by_the_database_go_on(old: Site, empty_database_url: str) -> None:
    """A table whose rows the database numbers goes on after the rows filled in; bytes and odd names survive."""
    other = create_engine(empty_database_url)
    await upgrade(other)
    table = 'CREATE TABLE "odd ""name" (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "a:b" bytea)'
    insert = 'INSERT INTO "odd ""name" ("a:b") VALUES (\'\\x00ff\') RETURNING id'
    for engine in (old.engine, other):
        async with engine.begin() as connection:
            await connection.execute(text(table.replace(":", "\\:")))
    try:
        async with old.engine.begin() as connection:
            await connection.execute(text(insert.replace(":", "\\:")))
        async with PostgresTables(old.engine).snapshot() as source, PostgresTables(other).filling(source.revision) as target:
            async for rows in source.rows('odd "name'):
                await target.insert('odd "name', rows)
        async with other.begin() as connection:
            assert (await connection.execute(text(insert.replace(":", "\\:")))).scalar() == 2
    finally:
        async with old.engine.begin() as connection:
            await connection.execute(text('DROP TABLE "odd ""name"'))
        await other.dispose()


REVISIONS: Final = [script.revision for script in ScriptDirectory(str(Path(migrations.__file__).parent)).walk_revisions()]


@pytest.mark.parametrize("revision", REVISIONS)
async def test_a_backup_of_every_older_version_can_be_restored(new: Site, tmp_path: Path, revision: str) -> None:
    """Rows of an older schema are filled in at their own revision and brought to this program's."""
    assert is_known(revision)
    row = '{"id":"01a1fcc4-ee24-7bfc-877e-6b539ee48d78","kind":"fact","namespace":"acme","description":"kept",'
    row += '"content":{},"confidence":1,"supporting_episodes":[],"contradicting_episodes":[],"times_applied":0,'
    row += '"success_count":0,"failure_count":0,"version":1,"schema_version":1,"pinned":false,'
    row += '"origin":"stated","is_active":true,"evidence_count":0,"applied_when_activated":0,'
    row += '"created_at":"2026-05-04T12:00:00Z","updated_at":"2026-05-04T12:00:00Z"}'
    async with PostgresTables(new.engine).filling(revision) as filling:
        await filling.insert("knowledge", [row])
    assert await is_current(new.engine)
    async with new.tiers.episodic.reading() as reader:
        assert [k.description for k in await reader.list_knowledge(EVERYWHERE, kind=None, before=None, limit=9)] == ["kept"]
