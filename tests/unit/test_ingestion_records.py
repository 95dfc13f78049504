"""Storing episodes: row, steps and outbox entry together or not at all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from factories import Tiers, outbox_of, tiers
from given import NOW, SCOPE, episode, knowledge, stored

from app.errors import InvalidInput, NotFound, TierUnavailable, VersionMismatch
from app.ingestion.episodes import RecordIngestion
from app.ingestion.limits import Limits
from app.ports import OutboxOp
from app.records import Episode, EpisodeKind, EpisodeStep, Knowledge, RecordKind, Scope, Tier, new_id
from app.testing.faults import COMMIT, Fault, away, troubled

LIMITS = Limits(message_bytes=50, document_bytes=100, document_depth=2, steps_per_call=2, label_length=10)
HOUR = timedelta(hours=1)
NOBODY = UUID(int=1)


def decision(**fields: object) -> Episode:
    return episode(**({"kind": EpisodeKind.DECISION, "started_at": NOW - HOUR, "ended_at": NOW} | fields))


def records_of(tiers: Tiers) -> RecordIngestion:
    return RecordIngestion(tiers.episodic, limits=LIMITS, clock=tiers.clock)


async def kept(tiers: Tiers, record: Episode | Knowledge) -> Episode | Knowledge | None:
    """What Postgres has under the record's id."""
    async with tiers.episodic.reading() as reader:
        if isinstance(record, Episode):
            return await reader.episode(record.scope.namespace, record.id)
        return await reader.knowledge(record.scope.namespace, record.id)


async def steps_of(tiers: Tiers, record: Episode) -> tuple[EpisodeStep, ...]:
    async with tiers.episodic.reading() as reader:
        return await reader.steps(record.id, after=-1, limit=100)


async def waiting(tiers: Tiers) -> list[tuple[OutboxOp, RecordKind, str, UUID]]:
    return [(e.op, e.kind, e.namespace, e.record_uid) for e in await outbox_of(tiers)]


async def test_an_episode_is_stored_with_its_steps_and_queued() -> None:
    """The row, its numbered steps and one outbox entry are there together."""
    given, record = tiers(), decision()
    assert await records_of(given).store_episode(record, [{"say": "yes"}, {"say": "no"}]) == record
    assert await kept(given, record) == record
    assert await steps_of(given, record) == (EpisodeStep(0, {"say": "yes"}, NOW), EpisodeStep(1, {"say": "no"}, NOW))
    assert await waiting(given) == [(OutboxOp.UPSERT, RecordKind.EPISODE, "acme", record.id)]


async def test_times_are_stored_in_utc() -> None:
    """Whatever offset a time came with, it is the same moment in UTC."""
    elsewhere = datetime(2026, 5, 4, 8, 0, tzinfo=timezone(timedelta(hours=2)))
    answer = await records_of(tiers()).store_episode(decision(started_at=elsewhere))
    assert (answer.started_at, answer.started_at.tzinfo) == (datetime(2026, 5, 4, 6, 0, tzinfo=UTC), UTC)


@pytest.mark.parametrize(
    ("record", "refusal"),
    [
        (decision(kind=EpisodeKind.CONVERSATION), "kind: conversation episodes are cut from messages"),
        (decision(scope=Scope("n" * 11)), "namespace: must have at most 10 characters"),
        (decision(perception={"a": {"b": {}}}), "perception: must be nested at most 2 levels deep"),
        (decision(outcome={"a": "x" * 100}), "outcome: must have at most 100 bytes as JSON"),
        (decision(metadata={"a": "\x00"}), "metadata: must not contain NUL"),
        (decision(summary="x" * 51), "summary: must have at most 50 bytes"),
        (decision(outcome_quality=1.5), "outcome_quality: must be between 0 and 1, is 1.5"),
        (decision(ended_at=NOW + HOUR), "ended_at: must not be more than 60 s in the future"),
        (decision(ended_at=NOW - 2 * HOUR), "ended_at: must not be before started_at"),
    ],
)
async def test_a_bad_episode_is_refused_by_field(record: Episode, refusal: str) -> None:
    """The refusal names the field and its limit, and nothing was written."""
    given = tiers()
    with pytest.raises(InvalidInput, match=refusal):
        await records_of(given).store_episode(record)
    assert (await kept(given, record), await waiting(given)) == (None, [])


async def test_too_many_steps_refuse_the_episode() -> None:
    """Steps are bounded in number and in themselves; a bad one refuses the whole episode."""
    given, record = tiers(), decision()
    with pytest.raises(InvalidInput, match="steps: must be between 1 and 2, is 3"):
        await records_of(given).store_episode(record, [{}, {}, {}])
    with pytest.raises(InvalidInput, match=r"steps\[1\]: must hold finite numbers"):
        await records_of(given).store_episode(record, [{}, {"a": float("inf")}])
    assert await kept(given, record) is None


async def test_steps_are_numbered_on() -> None:
    """Steps appended later follow the first ones."""
    given, record = tiers(), decision()
    await records_of(given).store_episode(record, [{"n": 0}])
    assert await records_of(given).append_steps("acme", record.id, [{"n": 1}, {"n": 2}]) == (
        EpisodeStep(1, {"n": 1}, NOW),
        EpisodeStep(2, {"n": 2}, NOW),
    )


async def test_an_outcome_replaces_the_one_before_and_is_indexed_again() -> None:
    """How an episode turned out may be said again; each time the index gets to know."""
    given, record = tiers(), decision()
    records = records_of(given)
    await records.store_episode(record)
    await records.record_outcome("acme", record.id, {"deal": False}, 0.2)
    told = await records.record_outcome("acme", record.id, {"deal": True}, None)
    assert told == replace(record, outcome={"deal": True}, outcome_quality=None, version=3)
    assert await kept(given, record) == told
    (entry,) = await outbox_of(given)
    assert (entry.op, entry.record_uid, entry.generation) == (OutboxOp.UPSERT, record.id, 3)


async def test_an_open_episodes_outcome_waits_for_its_end() -> None:
    """The outcome of a conversation still going on is stored, but indexed only with the closed episode."""
    given, record = tiers(), episode(is_open=True)
    await stored(given.episodic, record)
    await records_of(given).record_outcome("acme", record.id, {"deal": True}, 1.0)
    assert await kept(given, record) == replace(record, outcome={"deal": True}, outcome_quality=1.0, version=2)
    assert await waiting(given) == []


async def test_a_deleted_record_leaves_the_index_too() -> None:
    """Deleting takes the row and opens a delete entry, which replaces what the index was still owed."""
    given, record = tiers(), knowledge()
    records = records_of(given)
    await stored(given.episodic, record)
    await records.delete(RecordKind.KNOWLEDGE, "acme", record.id)
    assert await kept(given, record) is None
    assert await waiting(given) == [(OutboxOp.DELETE, RecordKind.KNOWLEDGE, "acme", record.id)]


@pytest.mark.parametrize(
    "use",
    [
        lambda records, episode_id: records.record_outcome("other", episode_id, {}, None),
        lambda records, episode_id: records.append_steps("other", episode_id, [{}]),
        lambda records, episode_id: records.delete(RecordKind.EPISODE, "other", episode_id),
        lambda records, _: records.record_outcome(SCOPE.namespace, NOBODY, {}, None),
    ],
)
async def test_another_namespaces_record_is_not_found(use: Callable[[RecordIngestion, UUID], Awaitable[object]]) -> None:
    """From another namespace a record is as absent as one that never was, and stays untouched."""
    given, record = tiers(), decision()
    await records_of(given).store_episode(record)
    with pytest.raises(NotFound):
        await use(records_of(given), record.id)
    assert (await kept(given, record), await steps_of(given, record)) == (record, ())


@pytest.mark.parametrize("call", ["insert_episode", "append_steps", "enqueue", "commit"])
async def test_postgres_lost_half_way_leaves_nothing(call: str) -> None:
    """When Postgres goes away in the middle, neither the row nor a step nor an outbox entry stays."""
    given, record = tiers(), decision()
    with pytest.raises(TierUnavailable):
        await records_of(replace(given, episodic=away(given.episodic, Tier.EPISODIC, call))).store_episode(record, [{}])
    assert (await kept(given, record), await steps_of(given, record), await waiting(given)) == (None, (), [])


async def test_a_repeated_call_changes_nothing_more() -> None:
    """What a named call does is done once: repeated, it answers with what is there, and owes the index nothing more."""
    given, record = tiers(), decision()
    records, calls = records_of(given), [new_id() for _ in range(3)]

    async def all_of_them() -> list[object]:
        return [
            await records.store_episode(replace(record, id=new_id()), [{"say": "yes"}], call=calls[0]),
            await records.append_steps("acme", made.id, [{"say": "no"}], call=calls[1]),
            await records.record_outcome("acme", made.id, {"deal": True}, 0.5, call=calls[2]),
        ]

    made = await records.store_episode(record, [{"say": "yes"}], call=calls[0])
    first = await all_of_them()
    queued = await waiting(given)
    again = await all_of_them()
    judged = replace(record, outcome={"deal": True}, outcome_quality=0.5, version=3)
    steps = (EpisodeStep(0, {"say": "yes"}, NOW), EpisodeStep(1, {"say": "no"}, NOW))
    assert first == [made, steps[1:], judged]
    assert again == [judged, steps[1:], judged]
    assert (await kept(given, made), await steps_of(given, made)) == (judged, steps)
    assert await waiting(given) == queued


async def test_a_repeated_call_does_not_bring_back_what_was_deleted() -> None:
    """A record that is gone since the call made it is not found, and not made anew."""
    given, call = tiers(), new_id()
    made = await records_of(given).store_episode(decision(), call=call)
    await records_of(given).delete(RecordKind.EPISODE, "acme", made.id)
    with pytest.raises(NotFound):
        await records_of(given).store_episode(decision(), call=call)


async def test_a_call_that_failed_was_not_made() -> None:
    """When the transaction fails its note goes with it, and the call can be made again."""
    given, record, call = tiers(), decision(), new_id()
    troubled_tiers = replace(given, episodic=troubled(given.episodic, Fault(TierUnavailable(Tier.EPISODIC, "away"), COMMIT)))
    with pytest.raises(TierUnavailable):
        await records_of(troubled_tiers).store_episode(record, call=call)
    assert await records_of(given).store_episode(record, call=call) == record


async def test_notes_of_calls_are_retired() -> None:
    """Once its note is dropped, a call's name is as good as new."""
    given, call = tiers(), new_id()
    records = records_of(given)
    await records.store_episode(decision(), call=call)
    assert [await records.retire_calls(NOW), await records.retire_calls(NOW + HOUR)] == [0, 1]
    fresh = decision()
    assert await records.store_episode(fresh, call=call) == fresh


async def test_a_change_is_stored_and_indexed_again() -> None:
    """What a change makes of a record replaces it and is queued; a change that changes nothing is none."""
    given, record = tiers(), decision()
    await stored(given.episodic, record)
    records = records_of(given)
    assert await records.change_episode("acme", record.id, lambda e: replace(e, summary=e.summary)) == record
    assert await waiting(given) == []
    changed = await records.change_episode("acme", record.id, lambda e: replace(e, summary="shorter"), expected_version=1)
    assert changed == replace(record, summary="shorter", version=2)
    assert await kept(given, record) == changed
    assert await waiting(given) == [(OutboxOp.UPSERT, RecordKind.EPISODE, "acme", record.id)]


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (lambda e: replace(e, id=NOBODY), "id: cannot be changed"),
        (lambda e: replace(e, scope=Scope("other")), "scope: cannot be changed"),
        (lambda e: replace(e, kind=EpisodeKind.TASK), "kind: cannot be changed"),
        (lambda e: replace(e, last_sequence=9), "last_sequence: cannot be changed"),
        (lambda e: replace(e, quality=2.0), "quality: must be between 0 and 1, is 2.0"),
        (lambda e: replace(e, perception={"a": {"b": {}}}), "perception: must be nested at most 2 levels deep"),
    ],
)
async def test_a_bad_change_is_refused(change: Callable[[Episode], Episode], refusal: str) -> None:
    """A change may break no limit, and may not make another episode of it."""
    given, record = tiers(), decision()
    await stored(given.episodic, record)
    with pytest.raises(InvalidInput, match=refusal):
        await records_of(given).change_episode("acme", record.id, change)
    assert (await kept(given, record), await waiting(given)) == (record, [])


async def test_another_version_is_left_alone() -> None:
    """Whoever expects a version that the record does not have is told the one it has, and nothing happens."""
    given, record = tiers(), decision()
    await stored(given.episodic, record)
    records = records_of(given)
    for attempt in (
        records.change_episode("acme", record.id, lambda e: replace(e, summary="x"), expected_version=2),
        records.delete(RecordKind.EPISODE, "acme", record.id, expected_version=2),
    ):
        with pytest.raises(VersionMismatch, match="version: the episode is at version 1") as refused:
            await attempt
        assert refused.value.current == 1
    assert await kept(given, record) == record
    await records.delete(RecordKind.EPISODE, "acme", record.id, expected_version=1)
    assert await kept(given, record) is None
