"""An episode told in keyword fields, and logged through the façade's part for it."""

from __future__ import annotations

from typing import Any

import pytest
from factories import tiers
from given import NOW, episode

from app.errors import InvalidInput
from app.features import Features
from app.ingestion.episode_fields import episode_of
from app.ingestion.episode_log import EpisodeLog
from app.ingestion.episodes import RecordIngestion
from app.ingestion.limits import Limits
from app.records import ControlMode, Episode, EpisodeKind, EpisodeReceipt, Feature, Scope, Tier, Wait, new_id
from app.testing.features import InMemoryFeatureStore


def test_fields_make_an_episode() -> None:
    """What is not said has a default: a decision, now, in the default namespace, with an id of its own."""
    told = episode_of({"perception": {"a": 1}, "project_id": "p", "control_mode": "memory_augmented", "patterns": ["x"]}, NOW)
    assert told == Episode(
        told.id, EpisodeKind.DECISION, Scope(project_id="p"), NOW, NOW,
        perception={"a": 1}, control_mode=ControlMode.MEMORY_AUGMENTED, patterns=("x",),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "field"),
    [({"preception": {}}, "preception"), ({"kind": "whim"}, "kind"), ({"control_mode": "by_hand"}, "control_mode")],
)
def test_what_there_is_not_is_refused_by_name(fields: Any, field: str) -> None:
    """A misspelt field would be lost in silence."""
    with pytest.raises(InvalidInput) as refused:
        episode_of(fields, NOW)
    assert refused.value.field == field


async def test_switched_off_an_episode_is_kept_nowhere() -> None:
    """The receipt says so; what is wrong with the episode is still said."""
    given = tiers()
    features = Features(InMemoryFeatureStore(), {Feature.EPISODE_LOGGING: False})
    records = RecordIngestion(given.episodic, limits=Limits(), clock=given.clock)
    log, record = EpisodeLog(given.working, records, features), episode(kind=EpisodeKind.TASK, started_at=NOW, ended_at=NOW)
    for wait in Wait:
        assert await log.store(record, (), wait) == EpisodeReceipt(record, None, skipped="episode-logging-disabled")
    assert [batch async for batch in given.working.logged_episodes()] == []
    async with given.episodic.reading() as reader:
        assert await reader.episode("acme", record.id) is None
    with pytest.raises(InvalidInput, match="quality"):
        await log.store(episode(kind=EpisodeKind.TASK, started_at=NOW, ended_at=NOW, quality=2.0), (), Wait.NONE)


@pytest.mark.parametrize(
    ("stored_in", "requires"), [(Tier.WORKING, True), (Tier.EPISODIC, True), (Tier.SEMANTIC, False), (None, False)]
)
def test_a_receipt_says_whether_embedding_is_owed(stored_in: Tier | None, requires: bool) -> None:
    """In the index nothing is owed any more; nor for what was not kept."""
    assert EpisodeReceipt(episode(id=new_id()), stored_in).requires_embedding is requires
