"""Quality counted, episodes that lack something found and claimed, steps accounted for: the exam of tier 2."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from given import NOW, episode, queued, stored, upsert
from sqlalchemy.ext.asyncio import AsyncEngine

from app.episodic.features import PostgresFeatureStore
from app.ports import EpisodePlace, EpisodicMemory, FeatureStore, OutboxEntry, OutboxOp, StepsHeld
from app.records import BackfillPending, ControlMode, Episode, EpisodeKind, Feature, QualityCounts, RecordKind, Scope, new_id
from app.testing.features import InMemoryFeatureStore

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)


def decision(**fields: Any) -> Episode:
    return episode(**({"kind": EpisodeKind.DECISION, "ended_at": NOW} | fields))


def place(record: Episode) -> EpisodePlace:
    return EpisodePlace(record.ended_at, record.id)


async def unscored(
    memory: EpisodicMemory, after: Episode | None = None, limit: int = 9, namespace: str | None = "acme"
) -> list[Any]:
    async with memory.writing() as tx:
        found = await tx.lock_unscored(namespace, after=None if after is None else place(after), limit=limit)
    return [p.id for p in found]


async def claimed(memory: EpisodicMemory, limit: int = 9, namespace: str | None = None) -> list[OutboxEntry]:
    async with memory.writing() as tx:
        return list(await tx.claim_episodes(namespace, limit, lease=MINUTE, now=NOW, attempted_before=NOW))


async def test_an_episode_in_full_comes_back_as_it_was(episodic: EpisodicMemory) -> None:
    """Every field of an episode is kept."""
    full = decision(
        agent_version="2.1", control_mode=ControlMode.MEMORY_AUGMENTED, decision_source="strategy", sprint_id="s-7",
        chronicle_note_id="n-1", patterns=("anchoring", "scope creep"), quality=0.5, is_quality_given=True,
    )  # fmt: skip
    await stored(episodic, full)
    async with episodic.reading() as reader:
        assert await reader.episode("acme", full.id) == full


async def test_steps_are_accounted_for(episodic: EpisodicMemory) -> None:
    """How many there are and how many bytes of JSON, however they came; none for an episode that is not there."""
    record = decision()
    await stored(episodic, record)
    async with episodic.writing() as tx:
        await tx.append_steps(record.id, [{"n": 1}, {"ü": "é"}], NOW)
        await tx.append_steps(record.id, [{}], NOW)
    async with episodic.reading() as reader:
        assert await reader.steps_held(record.id) == StepsHeld(3, len('{"n":1}') + len('{"ü":"é"}'.encode()) + 2)
        assert await reader.steps_held(new_id()) == StepsHeld()
        assert await reader.episode("acme", record.id) == record
    await stored(episodic, record)
    async with episodic.reading() as reader:
        assert (await reader.steps_held(record.id)).count == 3


async def test_what_is_part_of_an_episode_changes_it(episodic: EpisodicMemory) -> None:
    """Touched, an episode is one version on, and otherwise as it was; one that is gone is no error."""
    record = decision()
    await stored(episodic, record)
    async with episodic.writing() as tx:
        await tx.touch_episode(record.id)
        await tx.touch_episode(new_id())
    async with episodic.reading() as reader:
        assert await reader.episode("acme", record.id) == replace(record, version=2)


async def test_quality_is_counted_project_by_project(episodic: EpisodicMemory) -> None:
    """By tenths, with the sum, those below the threshold and those not scored; no conversations, nobody else's."""
    at = {name: Scope("acme", project_id=name) for name in ("a", "b")}
    await stored(
        episodic,
        *(decision(scope=at["a"], quality=q) for q in (0.0, 0.69, 0.7, 1.0, None)),
        decision(scope=Scope("acme"), quality=0.25),
        decision(scope=Scope("other"), quality=0.9),
        episode(scope=at["b"], quality=0.9),
        decision(scope=at["b"], quality=0.9, is_open=True),
    )
    projects = (
        QualityCounts(None, (0, 0, 1, 0, 0, 0, 0, 0, 0, 0), 0.25, 1, 0),
        QualityCounts("a", (1, 0, 0, 0, 0, 0, 1, 1, 0, 1), 2.39, 2, 1),
    )
    async with episodic.reading() as reader:
        counted = await reader.count_quality("acme", threshold=0.7)
        assert tuple(replace(c, total=round(c.total, 6)) for c in counted) == projects
        assert sum(c.scored for c in await reader.count_quality(None, threshold=0.7)) == 6
        assert await reader.count_quality("nobody", threshold=0.7) == ()


async def test_the_unscored_are_walked_oldest_first(episodic: EpisodicMemory) -> None:
    """Place by place; conversations, open ones and those with a quality are none of them."""
    old, middle, young = (decision(ended_at=NOW + n * DAY) for n in (0, 1, 2))
    theirs = decision(scope=Scope("other"))
    await stored(episodic, young, old, middle, theirs, decision(quality=0.0), decision(is_open=True), episode())
    assert await unscored(episodic, limit=2) == [old.id, middle.id]
    assert await unscored(episodic, after=middle) == [young.id]
    assert await unscored(episodic, after=young) == []
    assert set(await unscored(episodic, namespace=None)) == {old.id, middle.id, young.id, theirs.id}


async def test_who_scores_holds_what_is_scored(episodic: EpisodicMemory) -> None:
    """Two at once share the work, and neither waits for the other."""
    first, second = decision(), decision(ended_at=NOW + DAY)
    await stored(episodic, first, second)
    async with episodic.writing() as one, episodic.writing() as other:
        mine = await one.lock_unscored("acme", after=None, limit=1)
        theirs = await other.lock_unscored("acme", after=None, limit=9)
    assert (mine, theirs) == ((place(first),), (place(second),))


async def test_episodes_are_claimed_oldest_and_best_first(episodic: EpisodicMemory) -> None:
    """By the day they ended, and within a day the best; those without a quality are the last of theirs."""
    good, bad, unknown = (decision(quality=q, ended_at=NOW + n * MINUTE) for n, q in ((2, 0.9), (1, 0.2), (0, None)))
    older = decision(quality=0.1, ended_at=NOW - DAY)
    await stored(episodic, good, bad, unknown, older)
    await queued(episodic, *(upsert(record) for record in (unknown, bad, good, older)))
    order = [(await claimed(episodic, 1))[0].record_uid for _ in range(4)]
    assert order == [older.id, good.id, bad.id, unknown.id]
    assert await claimed(episodic) == []


async def test_only_upserts_of_episodes_are_claimed(episodic: EpisodicMemory) -> None:
    """Other records, deletions, other namespaces, what was tried meanwhile and what is leased are left alone."""
    mine, theirs, tried = decision(), decision(scope=Scope("other")), decision()
    await stored(episodic, mine, theirs, tried)
    await queued(
        episodic, upsert(mine), upsert(theirs), replace(upsert(tried), next_attempt_at=NOW + MINUTE),
        OutboxEntry(OutboxOp.DELETE, RecordKind.EPISODE, "acme", new_id()),
        OutboxEntry(OutboxOp.UPSERT, RecordKind.KNOWLEDGE, "acme", new_id()),
    )  # fmt: skip
    async with episodic.reading() as reader:
        assert await reader.backfill_pending("acme") == BackfillPending(unscored=2, unembedded=2)
        assert await reader.backfill_pending(None) == BackfillPending(unscored=3, unembedded=3)
    entries = await claimed(episodic, namespace="acme")
    assert [(e.record_uid, e.attempts) for e in entries] == [(mine.id, 1)]
    assert [e.record_uid for e in await claimed(episodic)] == [theirs.id]


async def test_a_dead_letter_is_claimed_like_any_other(episodic: EpisodicMemory) -> None:
    """It comes back to life, with its failures: one more and it is dead again."""
    record = decision()
    await stored(episodic, record)
    await queued(episodic, upsert(record))
    async with episodic.writing() as tx:
        (entry,) = await tx.claim_outbox(9, lease=MINUTE, now=NOW)
        await tx.release_outbox([entry], error="bad", next_attempt_at=NOW, is_dead=True)
    (again,) = await claimed(episodic)
    assert (again.is_dead, again.failures, again.attempts) == (False, 1, 2)


@pytest.fixture(params=["twin", "postgres"])
def switches(request: pytest.FixtureRequest) -> FeatureStore:
    """The store of switches as its twin and as PostgreSQL."""
    if request.param == "twin":
        return InMemoryFeatureStore()
    engine: AsyncEngine = request.getfixturevalue("engine")
    return PostgresFeatureStore(engine)


async def test_what_was_switched_stays_so(switches: FeatureStore) -> None:
    """The last word about each feature counts; what was never switched is not there."""
    assert await switches.load() == {}
    await switches.save({}, NOW)
    await switches.save({Feature.RETRIEVAL: False}, NOW)
    await switches.save({Feature.RETRIEVAL: True, Feature.EPISODE_LOGGING: False}, NOW + MINUTE)
    assert await switches.load() == {Feature.RETRIEVAL: True, Feature.EPISODE_LOGGING: False}
