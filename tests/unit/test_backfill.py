"""Backfill: everything that lacks a quality or a vector gets one, once, whoever else is at work."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from factories import Tiers, indexer_of, outbox_of, tiers
from given import NOW, episode, queued, stored, upsert

from app.consolidation.backfill import EMBEDDED, FAILED, POSTPONED, RESULTS, SCORED, Backfilling, result_of
from app.consolidation.indexing import IndexingPolicy
from app.embedding.hashing import HashingEmbedder
from app.errors import EmbedderUnavailable, TierUnavailable
from app.records import (
    Backfill,
    BackfillPending,
    Embedded,
    Episode,
    EpisodeKind,
    Scope,
    Space,
    Tier,
)
from app.testing.faults import away


@dataclass
class Pauses:
    """Notes how long somebody would have waited."""

    taken: list[float] = field(default_factory=list)

    async def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)


@dataclass
class Picky:
    """An embedder that is away, or cannot stand a word."""

    is_away: bool = False
    hated: str = "\0"
    inner: HashingEmbedder = field(default_factory=HashingEmbedder)

    @property
    def space(self) -> Space:
        return self.inner.space

    async def embed(self, texts: Sequence[str]) -> Embedded:
        if self.is_away:
            raise EmbedderUnavailable("picky", "away")
        if any(self.hated in text for text in texts):
            raise ValueError("not that word")
        return await self.inner.embed(texts)

    async def ping(self) -> str:
        return "picky"


def decision(n: int, **fields: Any) -> Episode:
    at = NOW + timedelta(days=n)
    return episode(**({"kind": EpisodeKind.DECISION, "summary": f"decision {n}", "started_at": at, "ended_at": at} | fields))


def backfilling(given: Tiers, pauses: Pauses | None = None, max_attempts: int = 12) -> Backfilling:
    indexer = indexer_of(given, IndexingPolicy(max_attempts=max_attempts))
    return Backfilling(
        given.episodic, indexer, lambda _: 0.25, clock=given.clock, pause=pauses or Pauses(), monotonic=lambda: 0.0
    )


def counts(**results: int) -> dict[str, int]:
    return dict.fromkeys(RESULTS, 0) | results


async def found(given: Tiers) -> set[Any]:
    points = await given.semantic.lookup(given.embedder.space, [e.id for e in await all_of(given)])
    return {point.uid for point in points}


async def all_of(given: Tiers) -> tuple[Episode, ...]:
    async with given.episodic.reading() as reader:
        return (await reader.list_episodes(Scope("acme"), kind=None, before=None, limit=1000))[::-1]


async def test_what_lacks_something_gets_it() -> None:
    """Unscored episodes are scored and embedded; what is queued is embedded; a second run finds nothing."""
    given, unscored, waiting, whole = tiers(), [decision(n) for n in range(5)], decision(9, quality=0.5), decision(8, quality=1.0)
    await stored(given.episodic, *unscored, waiting, whole)
    await queued(given.episodic, upsert(waiting))
    seen: list[Counter[str]] = []
    report = await backfilling(given).run(Backfill(batch_size=2), progress=lambda c: seen.append(Counter(c)))
    assert (report.run.counts, report.pending, report.run.errors) == (counts(scored=5, embedded=6), BackfillPending(0, 0), ())
    assert {e.quality for e in await all_of(given)} == {0.25, 0.5, 1.0}
    assert await found(given) == {*(e.id for e in unscored), waiting.id}
    assert seen[-1] == Counter(scored=5, embedded=6)
    async with given.episodic.reading() as reader:
        (run,) = await reader.runs(9)
    assert dict(run.counts) == {"backfill_scored": 5, "backfill_embedded": 6}
    assert (await backfilling(given).run(Backfill())).run.counts == counts()


async def test_a_run_is_bounded_and_the_next_goes_on() -> None:
    """At most so many are scored, and as many embedded: the oldest; what is left is told."""
    given, records = tiers(), [decision(n) for n in range(5)]
    await stored(given.episodic, *records)
    report = await backfilling(given).run(Backfill(batch_size=2, max_episodes=3))
    assert (report.run.counts, report.pending) == (counts(scored=3, embedded=3), BackfillPending(2, 0))
    assert await found(given) == {e.id for e in records[:3]}
    assert (await backfilling(given).run(Backfill())).pending == BackfillPending(0, 0)


async def test_its_pace_is_kept() -> None:
    """After each batch it waits for as long as so many episodes should have taken."""
    given, pauses = tiers(), Pauses()
    await stored(given.episodic, *(decision(n, quality=0.5) for n in range(4)))
    await queued(given.episodic, *(upsert(e) for e in await all_of(given)))
    await backfilling(given, pauses).run(Backfill(batch_size=2, per_second=10.0))
    assert pauses.taken == [0.2, 0.2]


async def test_one_that_cannot_be_embedded_keeps_no_other_waiting() -> None:
    """It is tried once a run and stays a dead letter; a run whose every batch fails still ends."""
    given = replace(tiers(), embedder=Picky(hated="poison"))
    poison, good = decision(0, summary="poison", quality=0.5), [decision(n, quality=0.5) for n in (1, 2)]
    await stored(given.episodic, poison, *good)
    await queued(given.episodic, *(upsert(e) for e in (poison, *good)))
    report = await backfilling(given, max_attempts=1).run(Backfill(batch_size=1))
    assert (report.run.counts, report.pending) == (counts(failed=1, embedded=2), BackfillPending(0, 1))
    assert [(e.record_uid, e.is_dead) for e in await outbox_of(given)] == [(poison.id, True)]
    given.clock.advance(timedelta(hours=1))
    mended = replace(given, embedder=Picky())
    assert (await backfilling(mended).run(Backfill())).run.counts == counts(embedded=1)


async def test_an_outage_ends_the_run() -> None:
    """Without an embedder the rest is left to the outbox, and the report says so."""
    given, records = replace(tiers(), embedder=Picky(is_away=True)), [decision(n) for n in range(3)]
    await stored(given.episodic, *records)
    report = await backfilling(given).run(Backfill(batch_size=1))
    assert report.run.counts == counts(scored=3, postponed=1)
    assert report.run.errors == ("1 postponed: embedder or index away; the outbox tries them again",)
    assert report.pending == BackfillPending(unscored=0, unembedded=3)


async def test_without_postgres_it_says_so() -> None:
    """Nothing is known of what is left: an error, not an empty report."""
    given = tiers()
    with pytest.raises(TierUnavailable):
        await backfilling(replace(given, episodic=away(given.episodic, Tier.EPISODIC))).run(Backfill())


async def test_two_processes_share_the_work() -> None:
    """Two runs at once score and embed everything once."""
    given, records = tiers(), [decision(n) for n in range(40)]
    await stored(given.episodic, *records)
    reports = await asyncio.gather(*(backfilling(given).run(Backfill(batch_size=3)) for _ in range(2)))
    again = await backfilling(given).run(Backfill())
    assert sum(r.run.counts[SCORED] for r in (*reports, again)) == 40
    assert (sum(r.run.counts[EMBEDDED] for r in (*reports, again)), again.pending) == (40, BackfillPending(0, 0))
    assert {e.version for e in await all_of(given)} == {2}


def test_what_is_left_of_an_entry_says_what_came_of_it() -> None:
    """Gone, or about a later change: done with. Given back with a failure of its own, or without one."""
    entry = replace(upsert(decision(1)), generation=3, failures=1)
    later, failed = replace(entry, generation=4), replace(entry, failures=2)
    assert [result_of(entry, left) for left in (None, later, failed, entry)] == [EMBEDDED, EMBEDDED, FAILED, POSTPONED]
