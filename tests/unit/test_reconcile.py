"""Reconcile on the twins: what is wrong is found, told apart from what is under way, repaired, and gone on with."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from factories import Tiers, append, consolidation_of, outbox_of, reconcile_of, tiers
from given import NOW, SCOPE, episode, knowledge, queued, stored, upsert

from app.consolidation.reconcile import ReconcilePolicy, is_due
from app.embedding.hashing import HashingEmbedder
from app.errors import Conflict, EmbedderUnavailable
from app.records import (
    EpisodeKind,
    FindingKind,
    Knowledge,
    Point,
    ReconcileState,
    Reconciliation,
    RecordKind,
    Scope,
    Space,
    Tier,
    new_id,
    sha256_hex,
)
from app.testing.faults import away, troubled

FORMER = Space("former", 384)
SMALL = ReconcilePolicy(window=3, examples=2)
HOUR = timedelta(hours=1)


async def indexed(given: Tiers, *facts: Knowledge) -> None:
    """Store and index these, and leave nothing queued."""
    await stored(given.episodic, *facts)
    await queued(given.episodic, *map(upsert, facts))
    await consolidation_of(given).run()
    assert await outbox_of(given) == ()


async def facts(given: Tiers, count: int) -> list[Knowledge]:
    made = [knowledge(f"fact {n}") for n in range(count)]
    await indexed(given, *made)
    return made


async def point_of(given: Tiers, fact: Knowledge, **fields: Any) -> Point:
    embedded = await given.embedder.embed([fact.description])
    whole = Point(
        id=fact.id, record_id=fact.id, kind=RecordKind.KNOWLEDGE, scope=fact.scope, text=fact.description,
        sparse_text=fact.description, dense=embedded.vectors[0], created_at=fact.created_at, content_sha256="0" * 64,
    )  # fmt: skip
    return replace(whole, **fields)


async def damage(given: Tiers) -> Mapping[FindingKind, UUID]:
    """One record wrong in each way, by hand, among five that are right; what was done to which."""
    missing, stale, astray, *_ = await facts(given, 8)
    orphan = knowledge("nobody's")
    await given.semantic.delete([missing.id])
    await given.semantic.upsert(given.embedder.space, [await point_of(given, stale), await point_of(given, orphan)])
    await given.semantic.delete([astray.id])
    await given.semantic.upsert(FORMER, [await point_of(given, astray)])
    return {
        FindingKind.MISSING: missing.id, FindingKind.ORPHANED: orphan.id,
        FindingKind.STALE: stale.id, FindingKind.WRONG_SPACE: astray.id,
    }  # fmt: skip


async def drift_of(given: Tiers) -> int | None:
    return (await consolidation_of(given).status()).drift


def done(run: Reconciliation, **fields: Any) -> Reconciliation:
    """`run` as it should be: finished now, with nothing found unless said otherwise."""
    expected = Reconciliation(
        id=run.id, namespace=None, is_repair=False, space=HashingEmbedder().space.name, started_at=NOW,
        cursor=run.cursor, state=ReconcileState.DONE, finished_at=NOW,
    )  # fmt: skip
    return replace(expected, **fields)


# ── finding ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_index_that_is_right_has_no_findings() -> None:
    """Messages, episodes with made-up texts, and knowledge are recognised by the text they were indexed with."""
    given = tiers()
    await append(given, "hello", "bye")
    deal = episode(kind=EpisodeKind.DECISION, summary="we move", outcome={"signed": True})
    old, new = knowledge("lives in Rome", is_active=False), knowledge("lives in Porto", content={"since": "May"}, valid_from=NOW)
    await stored(given.episodic, deal, episode(is_open=True, scope=replace(SCOPE, session_id="other")))
    await queued(given.episodic, upsert(deal))
    await indexed(given, old, new)
    run = await reconcile_of(given).run(is_repair=True)
    assert run == done(run, is_repair=True, total=4, checked=4)
    assert await outbox_of(given) == ()


async def test_a_dry_run_reports_and_changes_nothing() -> None:
    """Each kind of damage is counted and named, the drift follows, and neither index nor outbox is touched."""
    given = tiers()
    damaged = await damage(given)
    before = [await given.semantic.scroll(space) for space in await given.semantic.spaces()]
    run = await reconcile_of(given, SMALL).run(is_repair=False)
    assert run == done(
        run, total=8, checked=8, findings=dict.fromkeys(damaged, 1), examples={kind: (uid,) for kind, uid in damaged.items()}
    )
    assert [await given.semantic.scroll(space) for space in await given.semantic.spaces()] == before
    assert await outbox_of(given) == ()


async def test_a_repair_brings_the_index_back() -> None:
    """What was found is queued and worked off; the next look finds nothing, and the emptied space is gone."""
    given = tiers()
    damaged = await damage(given)
    run = await reconcile_of(given, SMALL).run(is_repair=True)
    assert run.findings == dict.fromkeys(damaged, 1)
    assert {entry.record_uid for entry in await outbox_of(given)} == set(damaged.values())
    await consolidation_of(given).run()
    again = await reconcile_of(given, SMALL).run(is_repair=False)
    assert again == done(again, total=8, checked=8)
    assert (await drift_of(given), await given.semantic.spaces()) == (0, (given.embedder.space,))


async def test_an_import_of_an_older_release_gets_its_text_of_today() -> None:
    """Indexed with the id that it had elsewhere, it is stale; a repair indexes it without."""
    given = tiers()
    fact = knowledge("Ana likes jazz", content={"imported_from": "mem0", "source_id": "a1"})
    before = "Ana likes jazz\nimported from mem0; source id a1"
    await indexed(given, fact)
    older = await point_of(given, fact, text=before, content_sha256=sha256_hex(before))
    await given.semantic.upsert(given.embedder.space, [older])
    run = await reconcile_of(given).run(is_repair=True)
    assert run.findings == {FindingKind.STALE: 1}
    await consolidation_of(given).run()
    again = await reconcile_of(given).run(is_repair=False)
    (point,) = await given.semantic.lookup(given.embedder.space, [fact.id])
    assert (again.findings, point.content_sha256) == ({}, sha256_hex("Ana likes jazz"))


async def test_drift_tells_of_damage_that_counts_do_not_show() -> None:
    """One missing and one left over make no difference in number; after a dry run the drift says two, after a repair none."""
    given = tiers()
    gone, *_ = await facts(given, 3)
    await given.semantic.delete([gone.id])
    await given.semantic.upsert(given.embedder.space, [await point_of(given, knowledge("nobody's"))])
    assert await drift_of(given) == 0
    await reconcile_of(given).run(is_repair=False)
    assert await drift_of(given) == 2
    await reconcile_of(given).run(is_repair=True)
    await consolidation_of(given).run()
    assert await drift_of(given) == 0


async def test_only_so_many_examples_are_named() -> None:
    """The count is whole, the list is short, lowest uids first."""
    given = tiers()
    made = await facts(given, 7)
    await given.semantic.delete([fact.id for fact in made])
    run = await reconcile_of(given, SMALL).run(is_repair=False)
    assert (run.findings, run.examples) == (
        {FindingKind.MISSING: 7}, {FindingKind.MISSING: tuple(sorted(fact.id for fact in made)[:2])},
    )  # fmt: skip


async def test_a_namespace_is_compared_on_its_own() -> None:
    """Neither records nor points of others are counted, named or repaired."""
    given = tiers()
    mine, theirs = knowledge("mine"), knowledge("theirs", scope=Scope("globex"))
    await indexed(given, mine, theirs)
    await given.semantic.delete([mine.id, theirs.id])
    orphans = [knowledge("x", scope=Scope("globex")), knowledge("y")]
    await given.semantic.upsert(given.embedder.space, [await point_of(given, orphan) for orphan in orphans])
    run = await reconcile_of(given).run(is_repair=True, namespace="globex")
    found = {FindingKind.MISSING: (theirs.id,), FindingKind.ORPHANED: (orphans[0].id,)}
    assert run == done(
        run, namespace="globex", is_repair=True, total=1, checked=1, findings=dict.fromkeys(found, 1), examples=found
    )
    assert {entry.record_uid for entry in await outbox_of(given)} == {theirs.id, orphans[0].id}


# ── what is under way ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_is_queued_is_pending() -> None:
    """Records that wait for the indexer, to be written or to be removed, are not missing and not orphaned."""
    given = tiers()
    (gone,) = await facts(given, 1)
    fresh = knowledge("just learned")
    await stored(given.episodic, fresh)
    await queued(given.episodic, upsert(fresh))
    async with given.episodic.writing() as tx:
        await tx.delete_records(RecordKind.KNOWLEDGE, "acme", [gone.id])
    run = await reconcile_of(given).run(is_repair=False)
    assert run == done(run, total=1, checked=1, pending=2)


async def test_a_dead_letter_stays_one() -> None:
    """What was given up on is counted apart: a repair that revived it every day would hide it for ever."""
    given = tiers()
    fact = knowledge("poison")
    await stored(given.episodic, fact)
    await queued(given.episodic, upsert(fact))
    async with given.episodic.writing() as tx:
        (entry,) = await tx.claim_outbox(1, lease=HOUR, now=NOW)
        await tx.release_outbox([entry], error="broken", next_attempt_at=NOW, is_dead=True)
    run = await reconcile_of(given).run(is_repair=True)
    assert run == done(run, is_repair=True, total=1, checked=1, dead_letters=1)
    assert [entry.is_dead for entry in await outbox_of(given)] == [True]


@dataclass
class Meanwhile:
    """Does something once, before the named call."""

    call: str
    work: Callable[[], Awaitable[None]]
    calls: Counter[str] = field(default_factory=Counter)

    async def __call__(self, call: str) -> None:
        self.calls[call] += 1
        if call == self.call and self.calls[call] == 1:
            await self.work()


@pytest.mark.parametrize("call", ["scroll", "lookup"])
async def test_what_is_written_meanwhile_is_not_reported(call: str) -> None:
    """A record stored and indexed between the reading of the two sides is neither missing nor orphaned."""
    given = tiers()
    (old, *_) = await facts(given, 3)
    await given.semantic.delete([old.id])

    async def write() -> None:
        await indexed(given, knowledge("written meanwhile"))
        async with given.episodic.writing() as tx:
            await tx.delete_records(RecordKind.KNOWLEDGE, "acme", [old.id])
        await consolidation_of(given).run()

    watched = replace(given, semantic=troubled(given.semantic, Meanwhile(call, write)))
    run = await reconcile_of(watched).run(is_repair=False)
    assert (run.found, run.pending) == (0, 0)


async def test_a_repair_does_not_undo_what_comes_back() -> None:
    """A record that returns between its point being found orphaned and the repair keeps its point."""
    given = tiers()
    back = knowledge("comes back")
    await given.semantic.upsert(given.embedder.space, [await point_of(given, back)])

    async def restore() -> None:
        await indexed(given, back)

    watched = replace(given, episodic=troubled(given.episodic, Meanwhile("enqueue", restore)))
    run = await reconcile_of(watched).run(is_repair=True)
    await consolidation_of(given).run()
    assert (run.findings, await given.semantic.count()) == ({FindingKind.ORPHANED: 1}, 1)


# ── interrupted, and together ─────────────────────────────────────────────────────────────────────────────────────


class Killed(Exception):
    """The process died here: nobody handles this."""


@dataclass
class KillAt:
    """Dies at the n-th of the named calls and at every call from then on: a dead process does nothing more."""

    call: str
    nth: int
    calls: int = 0

    async def __call__(self, call: str) -> None:
        self.calls += call == self.call
        if self.calls >= self.nth:
            raise Killed


@pytest.mark.parametrize("call", ["scroll_indexable", "scroll", "lookup", "enqueue", "save_reconciliation", "commit"])
@pytest.mark.parametrize("nth", [1, 2, 3])
async def test_a_run_killed_anywhere_is_gone_on_with(call: str, nth: int) -> None:
    """After its lease the next run goes on where the killed one was, and each finding is counted and queued once."""
    given = tiers()
    made = await facts(given, 10)
    await given.semantic.delete([fact.id for fact in made])
    kill = KillAt(call, nth)
    dying = replace(given, episodic=troubled(given.episodic, kill), semantic=troubled(given.semantic, kill))
    with pytest.raises(Killed):
        await reconcile_of(dying, SMALL).run(is_repair=True)
    given.clock.advance(SMALL.lease)
    run = await reconcile_of(given, SMALL).run(is_repair=True)
    assert (run.total, run.checked, run.findings) == (10, 10, {FindingKind.MISSING: 10})
    assert [entry.generation for entry in await outbox_of(given)] == [1] * 10
    await consolidation_of(given).run()
    assert await given.semantic.count() == 10


async def test_two_do_not_run_at_once() -> None:
    """While one is at work another is refused, here or in any other process."""
    given, reached, go_on = tiers(), asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        reached.set()
        await go_on.wait()

    watched = replace(given, semantic=troubled(given.semantic, Meanwhile("scroll", wait)))
    first = asyncio.create_task(reconcile_of(watched).run(is_repair=True))
    await reached.wait()
    with pytest.raises(Conflict, match="is running"):
        await reconcile_of(given).run(is_repair=False)
    go_on.set()
    assert (await first).state is ReconcileState.DONE


async def test_a_run_that_was_taken_over_stops() -> None:
    """Whoever was asleep for longer than the lease, and is replaced, changes nothing any more."""
    given = tiers()
    made = await facts(given, 4)
    await given.semantic.delete([fact.id for fact in made])

    async def oversleep() -> None:
        given.clock.advance(SMALL.lease)
        await reconcile_of(given, SMALL).run(is_repair=True)

    asleep = replace(given, episodic=troubled(given.episodic, Meanwhile("enqueue", oversleep)))
    with pytest.raises(Conflict, match="taken up by another"):
        await reconcile_of(asleep, SMALL).run(is_repair=True)
    (run,) = await reconcile_of(given).runs(10)
    assert (run.state, run.generation, run.findings) == (ReconcileState.DONE, 2, {FindingKind.MISSING: 4})


async def test_an_outage_leaves_a_run_that_can_be_gone_on_with_at_once() -> None:
    """A tier that is away is said, and no lease has to run out before the next attempt."""
    given = tiers()
    await facts(given, 5)
    dark = replace(given, semantic=troubled(given.semantic, KillAt("scroll", 2)))
    with pytest.raises(Killed):
        await reconcile_of(dark, SMALL).run(is_repair=True)
    run = await reconcile_of(given, SMALL).run(is_repair=True)
    assert (run.generation, run.checked, len(await reconcile_of(given).runs(10))) == (2, 5, 1)


async def test_another_question_gives_up_the_interrupted_run() -> None:
    """What a dry run has seen says nothing for a repair: that begins anew, and the old run is marked as abandoned."""
    given = tiers()
    await facts(given, 5)
    dark = replace(given, semantic=troubled(given.semantic, KillAt("scroll", 2)))
    with pytest.raises(Killed):
        await reconcile_of(dark, SMALL).run(is_repair=False)
    run = await reconcile_of(given, SMALL).run(is_repair=True)
    states = {r.is_repair: r.state for r in await reconcile_of(given).runs(10)}
    assert (run.generation, states) == (1, {False: ReconcileState.ABANDONED, True: ReconcileState.DONE})


# ── when ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def repaired(**fields: Any) -> Reconciliation:
    whole = Reconciliation(
        new_id(), None, is_repair=True, space="new", started_at=NOW, state=ReconcileState.DONE, finished_at=NOW
    )
    return replace(whole, **fields)


RUNNING = repaired(state=ReconcileState.RUNNING, finished_at=None, leased_until=NOW + HOUR)


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ((), True),
        ((repaired(),), False),
        ((repaired(finished_at=NOW - HOUR),), True),
        ((repaired(space="old"),), True),
        ((repaired(namespace="acme"), repaired(finished_at=NOW - HOUR)), True),
        ((repaired(is_repair=False), repaired()), False),
        ((repaired(is_repair=False),), True),
        ((repaired(state=ReconcileState.ABANDONED), repaired()), False),
        ((RUNNING,), False),
        ((replace(RUNNING, leased_until=None), repaired()), True),
        ((replace(RUNNING, leased_until=NOW + HOUR / 2), repaired()), True),
        ((replace(RUNNING, is_repair=False), repaired(finished_at=NOW - HOUR)), False),
        ((replace(RUNNING, is_repair=False, leased_until=None), repaired()), False),
        ((replace(RUNNING, is_repair=False, leased_until=None), repaired(finished_at=NOW - HOUR)), True),
    ],
)
def test_when_a_repair_is_due(runs: tuple[Reconciliation, ...], expected: bool) -> None:
    """When the last of everything is too old or was for another model, or one was interrupted; never beside another."""
    assert is_due(runs, "new", NOW + HOUR / 2, HOUR, is_answered=False) is expected


def test_an_older_version_does_not_move_points_back() -> None:
    """Once this process has answered for its model, another model's repair is not undone before its time."""
    assert not is_due((repaired(space="other"),), "mine", NOW, HOUR, is_answered=True)


async def test_a_job_repairs_when_it_is_due_and_not_before() -> None:
    """The first look repairs, the next waits its time, a new model is answered at once."""
    given = tiers()
    reconcile = reconcile_of(given)
    assert [await reconcile.run_when_due(HOUR) is not None for _ in range(2)] == [True, False]
    given.clock.advance(HOUR)
    assert await reconcile.run_when_due(HOUR) is not None
    changed = reconcile_of(replace(given, embedder=HashingEmbedder(64)))
    assert [await changed.run_when_due(HOUR) is not None for _ in range(2)] == [True, False]
    assert await reconcile.run_when_due(HOUR) is None


async def test_a_job_puts_off_what_cannot_be_done() -> None:
    """With a tier away, or the model's space not known, nothing is raised and it is tried again next time."""
    given = tiers()
    assert await reconcile_of(replace(given, semantic=away(given.semantic, Tier.SEMANTIC))).run_when_due(HOUR) is None
    unknown = replace(given, embedder=NotYet())
    assert await reconcile_of(unknown).run_when_due(HOUR) is None
    assert await reconcile_of(given).run_when_due(HOUR) is not None


async def test_without_a_known_space_nothing_is_moved() -> None:
    """Before the model has told its space every point could look misplaced: that is an error, and no run."""
    given = tiers()
    with pytest.raises(EmbedderUnavailable):
        await reconcile_of(replace(given, embedder=NotYet())).run(is_repair=True)
    assert await reconcile_of(given).runs(10) == ()


class NotYet(HashingEmbedder):
    """A provider that has not answered yet."""

    @property
    def space(self) -> Space:
        raise EmbedderUnavailable("test", "has not answered yet")
