"""The exam of tier 2, last part: what belongs into the index, and the runs that compare."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from given import NOW, SCOPE, claimed, episode, filed, kind_of, knowledge, message, queued, stored, upsert

from app.errors import Conflict
from app.ports import EpisodicMemory, Indexable
from app.records import (
    Episode,
    EpisodeKind,
    FindingKind,
    Knowledge,
    Message,
    ReconcileState,
    Reconciliation,
    Scope,
    new_id,
)

MINUTE = timedelta(minutes=1)
GLOBEX = Scope("globex")


def row(record: Message | Episode | Knowledge) -> Indexable:
    sha256 = record.content_sha256 if isinstance(record, Message) else None
    return Indexable(record.uid, kind_of(record), record.scope.namespace, sha256)


async def test_what_belongs_into_the_index_is_paged_by_uid(episodic: EpisodicMemory) -> None:
    """Messages, closed episodes and active knowledge of all namespaces, in the order of their bytes, each once."""
    said = [message(n) for n in range(1, 8)]
    home = episode(is_open=True)
    await filed(episodic, said, home)
    ids = [UUID(int=n << shift) for shift in (0, 60, 121) for n in range(1, 5)]
    facts = [knowledge(id=uid, scope=GLOBEX if n % 2 else SCOPE) for n, uid in enumerate(ids)]
    closed, retired = episode(kind=EpisodeKind.TASK), knowledge(is_active=False)
    await stored(episodic, *facts, closed, retired)
    expected = sorted([*map(row, said), row(closed), *map(row, facts)], key=lambda r: r.uid.bytes)
    assert await pages(episodic, 6) == [expected[start : start + 6] for start in range(0, 20, 6)]
    theirs = [r for r in expected if r.namespace == "globex"]
    assert await pages(episodic, 4, "globex") == [theirs[:4], theirs[4:]]


async def pages(episodic: EpisodicMemory, limit: int, namespace: str | None = None) -> list[list[Indexable]]:
    found: list[list[Indexable]] = []
    async with episodic.reading() as reader:
        while not found or len(found[-1]) == limit:
            after = found[-1][-1].uid if found else None
            found.append(list(await reader.scroll_indexable(after=after, limit=limit, namespace=namespace)))
    return found


async def test_records_are_looked_up_by_uid(episodic: EpisodicMemory) -> None:
    """Of those asked for, the ones that exist and belong into the index."""
    said, fact, gone = message(), knowledge(), knowledge()
    opened, old = episode(is_open=True), knowledge(is_active=False)
    await filed(episodic, [said], opened)
    await stored(episodic, fact, old, knowledge())
    async with episodic.reading() as reader:
        found = await reader.indexable([said.uid, fact.id, gone.id, opened.id, old.id])
        assert await reader.indexable([]) == ()
    assert set(found) == {row(said), row(fact)}


async def test_entries_are_looked_up_by_record(episodic: EpisodicMemory) -> None:
    """Waiting, leased and dead ones alike, and nobody else's."""
    waiting, leased, dead, other = (knowledge() for _ in range(4))
    await queued(episodic, upsert(dead))
    entries = await claimed(episodic)
    async with episodic.writing() as tx:
        await tx.release_outbox(entries, error="broken", next_attempt_at=NOW, is_dead=True)
    await queued(episodic, upsert(leased))
    await claimed(episodic)
    await queued(episodic, upsert(waiting), upsert(other))
    async with episodic.reading() as reader:
        found = await reader.outbox_entries([waiting.id, leased.id, dead.id, new_id()])
    assert {(e.record_uid, e.attempts, e.is_dead) for e in found} == {
        (waiting.id, 0, False), (leased.id, 1, False), (dead.id, 1, True),
    }  # fmt: skip


def reconciliation(**fields: Any) -> Reconciliation:
    return replace(Reconciliation(new_id(), None, is_repair=True, space="model__384", started_at=NOW), **fields)


async def saved(episodic: EpisodicMemory, run: Reconciliation) -> bool:
    async with episodic.writing() as tx:
        return await tx.save_reconciliation(run)


async def running(episodic: EpisodicMemory) -> Reconciliation | None:
    async with episodic.writing() as tx:
        return await tx.lock_reconciliation()


async def test_a_run_is_kept_to_the_last_field(episodic: EpisodicMemory) -> None:
    """What is saved comes back, again and again as it goes on."""
    run = reconciliation(namespace="acme", leased_until=NOW + MINUTE, total=7)
    assert (await running(episodic), await saved(episodic, run), await running(episodic)) == (None, True, run)
    uids = (new_id(), new_id())
    further = replace(
        run, checked=5, findings={FindingKind.MISSING: 2}, examples={FindingKind.MISSING: uids}, pending=1, dead_letters=3,
        cursor=uids[1], state=ReconcileState.DONE, finished_at=NOW + MINUTE, leased_until=None, generation=2,
    )  # fmt: skip
    assert (await saved(episodic, further), await running(episodic)) == (True, None)
    async with episodic.reading() as reader:
        assert await reader.reconciliations(10) == (further,)


async def test_whoever_was_replaced_changes_nothing(episodic: EpisodicMemory) -> None:
    """A run that was taken up again is closed to its former owner, who is told so."""
    run = reconciliation()
    await saved(episodic, run)
    taken = replace(run, generation=2, checked=4)
    assert await saved(episodic, taken)
    assert not await saved(episodic, replace(run, checked=9))
    assert await running(episodic) == taken


async def test_only_one_runs(episodic: EpisodicMemory) -> None:
    """A second run is refused until the first is over, however it ended."""
    first, second = reconciliation(), reconciliation()
    await saved(episodic, first)
    with pytest.raises(Conflict):
        await saved(episodic, second)
    async with episodic.writing() as tx:
        await tx.save_reconciliation(replace(first, state=ReconcileState.ABANDONED))
        await tx.save_reconciliation(second)
    assert await running(episodic) == second


async def test_runs_are_listed_newest_first(episodic: EpisodicMemory) -> None:
    """As many as asked for."""
    done = [reconciliation(started_at=NOW + n * MINUTE, state=ReconcileState.DONE) for n in range(3)]
    for run in done:
        await saved(episodic, run)
    async with episodic.reading() as reader:
        assert await reader.reconciliations(2) == (done[2], done[1])
