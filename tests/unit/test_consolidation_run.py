"""One consolidation run: until nothing is left, honest about what was away, and never two at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from factories import EVERYWHERE, Tiers, append, consolidation_of, drain_of, episodes_of, history_of, outbox_of, recall_of, tiers
from given import NOW, SESSION, knowledge, queued, stored, upsert

from app.consolidation.run import ConsolidationStatus, RunPolicy
from app.errors import EmbedderUnavailable, TierUnavailable
from app.ports import Backlog, Clock, SessionRecord, StoreStatus
from app.records import (
    Appended,
    AppendReceipt,
    Message,
    Query,
    RecordKind,
    RunReport,
    SessionKey,
    SessionState,
    Tier,
    message_uid,
)
from app.testing.faults import Fault, Hang, away, troubled
from app.testing.working import InMemoryWorkingMemory

OTHER = SessionKey(SESSION.namespace, "s2")
ELSEWHERE = SessionKey("elsewhere", "s1")
ALWAYS = timedelta(seconds=30)
DOWN = EmbedderUnavailable("test", "switched off by a test")
AWAY = "unavailable: switched off by a test"


async def runs_of(tiers: Tiers) -> tuple[RunReport, ...]:
    async with tiers.episodic.reading() as reader:
        return await reader.runs(100)


async def waiting_in_buffers(tiers: Tiers) -> list[str]:
    return [m.content for m in await tiers.working.unindexed(EVERYWHERE, 100)]


def counted(report: RunReport) -> dict[str, int]:
    """What the report counts, without zeros."""
    return {what: count for what, count in report.counts.items() if count}


async def test_a_run_brings_everything_to_the_index_and_is_recorded() -> None:
    """Messages are drained and indexed and their buffers released; the report counts it and is kept."""
    given = tiers()
    await append(given, "a", "b")
    await append(given, "c", session=OTHER)
    report = await consolidation_of(given).run()
    assert counted(report) == {"messages_drained": 3, "records_indexed": 3, "sessions_released": 2}
    assert (report.started_at, report.finished_at, report.errors) == (NOW, NOW, ())
    assert (await waiting_in_buffers(given), await outbox_of(given), await given.semantic.count()) == ([], (), 3)
    assert await runs_of(given) == (report,)


async def test_a_run_with_nothing_to_do_is_not_recorded() -> None:
    """A second run finds nothing, says so, and leaves no row."""
    given = tiers()
    await append(given, "a")
    consolidation = consolidation_of(given)
    first = await consolidation.run()
    assert counted(await consolidation.run()) == {}
    assert await runs_of(given) == (first,)


async def test_a_run_works_until_nothing_is_left() -> None:
    """More sessions than are looked at in a round are all done in one run."""
    given = tiers()
    sessions = [SessionKey("acme", f"s{n}") for n in range(5)]
    for session in sessions:
        await append(given, "hello", session=session)
    report = await consolidation_of(given, RunPolicy(sessions=2, drains=1, indexers=1)).run()
    assert counted(report) == {"messages_drained": 5, "records_indexed": 5, "sessions_released": 5}


async def test_quiet_episodes_are_closed_summarised_and_indexed() -> None:
    """After the idle gap a run closes the episode, and the index has it with its summary."""
    given = tiers()
    await append(given, "the keys are with Rui", "the rent is due in March")
    consolidation = consolidation_of(given)
    await consolidation.run()
    given.clock.advance(timedelta(hours=1))
    assert counted(await consolidation.run()) == {"episodes_closed": 1, "records_indexed": 1}
    (episode,) = await episodes_of(given)
    recollection = await recall_of(given).recall(Query("keys", EVERYWHERE, kinds=(RecordKind.EPISODE,)))
    assert [(h.id, h.text) for h in recollection.hits] == [(episode.id, episode.summary)]


@pytest.mark.parametrize(
    ("narrowed", "drained"),
    [({"namespace": "elsewhere"}, {ELSEWHERE}), ({"session": OTHER}, {OTHER}), ({}, {SESSION, OTHER, ELSEWHERE})],
)
async def test_a_run_may_be_for_a_namespace_or_a_session(narrowed: dict[str, str | SessionKey], drained: set[SessionKey]) -> None:
    """Only the buffers asked for are drained and released."""
    given = tiers()
    for session in (SESSION, OTHER, ELSEWHERE):
        await append(given, "hello", session=session)
    report = await consolidation_of(given).run(**narrowed)  # type: ignore[arg-type]  # one argument or none
    assert counted(report) == {what: len(drained) for what in ("messages_drained", "records_indexed", "sessions_released")}
    assert {s for s in (SESSION, OTHER, ELSEWHERE) if await history_of(given, s)} == drained


async def test_progress_is_told() -> None:
    """The caller sees the counts rise to what the report says."""
    given = tiers()
    await append(given, "a", "b")
    seen: list[Counter[str]] = []
    report = await consolidation_of(given).run(progress=lambda counts: seen.append(counts.copy()))
    assert seen[0] == {"messages_drained": 2}
    assert seen[-1] == report.counts


async def test_a_session_that_fails_does_not_stop_the_others() -> None:
    """An error nobody foresaw keeps its own session waiting, not the rest."""
    given = tiers()
    given = replace(given, working=Sick(given.clock, lambda: RuntimeError("nobody foresaw this")))
    for session in (SESSION, OTHER, ELSEWHERE):
        await append(given, "hello", session=session)
    report = await consolidation_of(given, RunPolicy(drains=1)).run()
    assert counted(report) == {"messages_drained": 2, "records_indexed": 2, "sessions_released": 2}
    assert await given.working.dirty_sessions(9) == (SESSION,)


async def test_nothing_goes_on_after_an_interrupted_run() -> None:
    """When a tier is lost in one session, the run ends only after those at work beside it have ended, too."""
    given = tiers()
    sick = Sick(given.clock, lambda: TierUnavailable(Tier.WORKING, "lost"))
    given = replace(given, working=sick)
    await append(given, "hello")
    await append(given, "hello", session=OTHER)
    report = await consolidation_of(given).run()
    assert (report.errors, sick.is_slow_one_done) == (("working tier unavailable: lost",), True)
    assert counted(report)["messages_drained"] == 1


async def test_without_redis_the_outbox_is_still_worked_off() -> None:
    """What went straight to Postgres is indexed while Redis is away, so that it is found; the report names Redis."""
    given = tiers()
    dark = replace(given, working=away(given.working, Tier.WORKING))
    await append(dark, "the keys are with Rui")
    report = await consolidation_of(dark).run()
    assert (counted(report), report.errors) == ({"records_indexed": 1}, (f"working tier {AWAY}",))
    assert [h.text for h in (await recall_of(dark).recall(Query("keys", EVERYWHERE))).hits] == ["the keys are with Rui"]
    assert await runs_of(given) == (report,)


async def test_without_postgres_nothing_is_lost() -> None:
    """With Postgres away a run says so and changes nothing; the next one does its work."""
    given = tiers()
    await append(given, "a")
    report = await consolidation_of(replace(given, episodic=away(given.episodic, Tier.EPISODIC))).run()
    assert (counted(report), report.errors) == ({}, (f"episodic tier {AWAY}",))
    assert await waiting_in_buffers(given) == ["a"]
    assert counted(await consolidation_of(given).run())["messages_drained"] == 1


async def test_what_the_index_missed_is_released_later() -> None:
    """While the index is away messages are drained but stay findable in their buffer, until a later run indexes them."""
    given = tiers()
    await append(given, "a", "b")
    report = await consolidation_of(replace(given, semantic=away(given.semantic, Tier.SEMANTIC))).run()
    assert counted(report) == {"messages_drained": 2}
    assert await waiting_in_buffers(given) == ["b", "a"]
    given.clock.advance(timedelta(minutes=1))
    assert counted(await consolidation_of(given).run()) == {"records_indexed": 2, "sessions_released": 1}
    assert await waiting_in_buffers(given) == []


async def test_what_could_not_be_embedded_is_not_counted_as_indexed() -> None:
    """An embedder that is away indexes nothing, and the report does not claim otherwise."""
    given = tiers()
    await append(given, "a")
    report = await consolidation_of(replace(given, embedder=troubled(given.embedder, Fault(DOWN)))).run()
    assert counted(report) == {"messages_drained": 1}
    assert len(await outbox_of(given)) == 1


async def test_runs_do_not_overlap() -> None:
    """A run that is asked for while one is going on waits for its end."""
    given, gate = tiers(), Gate("dirty_sessions")
    await append(given, "a")
    consolidation = consolidation_of(replace(given, working=troubled(given.working, gate)))
    first = asyncio.create_task(consolidation.run())
    await gate.is_reached.wait()
    second = asyncio.create_task(consolidation.run())
    gate.opened.set()
    assert counted(await first)["messages_drained"] == 1
    assert counted(await second) == {}


async def test_records_are_indexed_while_the_caller_waits() -> None:
    """Waiting for some records works the outbox off until they are done."""
    given, fact = tiers(), knowledge()
    await stored(given.episodic, fact)
    await queued(given.episodic, upsert(fact))
    assert await consolidation_of(given).index([fact.uid], ALWAYS)
    assert (await given.semantic.count(), await outbox_of(given)) == (1, ())


async def test_waiting_for_the_index_has_an_end() -> None:
    """When the index does not answer in time the caller is told, and the record stays owed."""
    given, fact, hang = tiers(), knowledge(), Hang("upsert")
    await stored(given.episodic, fact)
    await queued(given.episodic, upsert(fact))
    stuck = consolidation_of(replace(given, semantic=troubled(given.semantic, hang)))
    assert not await stuck.index([fact.uid], timedelta(milliseconds=50))
    assert (hang.is_reached.is_set(), len(await outbox_of(given))) == (True, 1)


async def test_messages_that_are_indexed_for_a_caller_are_released() -> None:
    """After waiting for the index the buffer no longer answers for these messages."""
    given = tiers()
    ids = await append(given, "a", "b")
    receipt = AppendReceipt(tuple(Appended(i, n) for n, i in enumerate(ids, start=1)), Tier.WORKING)
    consolidation = consolidation_of(given)
    assert await consolidation.drain_session(SESSION) == 2
    assert await consolidation.index_messages(SESSION, receipt, ALWAYS)
    assert (await waiting_in_buffers(given), await outbox_of(given)) == ([], ())


async def test_waiting_for_the_index_is_honest_about_dead_letters() -> None:
    """A message that was given up on is not said to be indexed."""
    given = tiers()
    (message_id,) = await append(given, "a")
    await drain_of(given).drain(SESSION)
    async with given.episodic.writing() as tx:
        claimed = await tx.claim_outbox(9, lease=ALWAYS, now=given.clock())
        await tx.release_outbox(claimed, error="too long", next_attempt_at=given.clock(), is_dead=True)
    assert not await consolidation_of(given).index([message_uid(SESSION, message_id)], ALWAYS)


async def test_waiting_for_storage_waits_for_another_worker() -> None:
    """A caller who waits until a message is stored is not answered because somebody else is draining the session."""
    given = tiers()
    (message_id,) = await append(given, "a")
    tried = asyncio.Event()

    async def try_lock(call: str) -> None:
        if call == "lock_checkpoint":
            tried.set()

    async with given.episodic.writing() as other:
        await other.lock_checkpoint(SESSION)
        watched = replace(given, episodic=troubled(given.episodic, try_lock))
        draining = asyncio.create_task(consolidation_of(watched).drain_session(SESSION))
        await tried.wait()
    await draining
    async with given.episodic.reading() as reader:
        assert await reader.open_entries([message_uid(SESSION, message_id)]) == 1


async def test_the_status_says_what_waits_where() -> None:
    """Undrained messages, owed and dead entries, and the drift between truth and index, which a run brings to zero."""
    given = tiers()
    await append(given, "a", "b")
    await drain_of(given).drain(SESSION)
    await append(given, "c", session=OTHER)
    consolidation = consolidation_of(given)
    status = await consolidation.status()
    assert status.backlog == Backlog(1, 1, NOW)
    assert status.store is not None
    indexable = {RecordKind.MESSAGE: 2, RecordKind.EPISODE: 0, RecordKind.KNOWLEDGE: 0, RecordKind.ITEM: 0}
    assert status.store == StoreStatus(2, 0, indexable, status.store.oldest_outbox_at)
    assert (status.indexed_points, status.drift) == (0, 2)
    await consolidation.run()
    status = await consolidation.status()
    assert (status.backlog, status.indexed_points, status.drift) == (Backlog(0, 0, None), 3, 0)


async def test_a_tier_that_is_away_is_unknown_not_empty() -> None:
    """Where nobody answers the status says None, and there is no drift to be told."""
    given = tiers()
    dark = Tiers(
        clock=given.clock,
        working=away(given.working, Tier.WORKING),
        episodic=away(given.episodic, Tier.EPISODIC),
        semantic=away(given.semantic, Tier.SEMANTIC),
    )
    status = await consolidation_of(dark).status()
    assert (status, status.drift) == (ConsolidationStatus(None, None, None), None)


async def test_ending_a_session_drains_closes_and_notes_it() -> None:
    """An ended session has nothing undrained, and its episode is ready to be summarised."""
    given = tiers()
    await append(given, "a")
    consolidation = consolidation_of(given)
    await consolidation.end_session(SESSION)
    async with given.episodic.reading() as reader:
        assert await reader.session(SESSION) == SessionRecord(SESSION, SessionState(), NOW, NOW, NOW)
    assert counted(await consolidation.run()) == {"records_indexed": 2, "sessions_released": 1}


@dataclass
class Gate:
    """The named call waits until the gate is opened."""

    call: str
    is_reached: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, call: str) -> None:
        if call == self.call:
            self.is_reached.set()
            await self.opened.wait()


class Sick(InMemoryWorkingMemory):
    """Cannot read one session, and is slow with the next."""

    def __init__(self, clock: Clock, error: Callable[[], Exception]) -> None:
        super().__init__(clock)
        self._error = error
        self.is_slow_one_done = False

    async def unsettled(self, session: SessionKey, limit: int) -> tuple[Message, ...]:
        if session == SESSION:
            raise self._error()
        for _ in range(100):
            await asyncio.sleep(0)
        self.is_slow_one_done = True
        return await super().unsettled(session, limit)
