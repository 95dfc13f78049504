"""From evidence to knowledge, on the twin and on PostgreSQL: merging, keeping, withdrawing, and what others made of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from given import NOW, episode
from hypothesis import given
from hypothesis import strategies as st

from app.learning.extraction import ExtractionPolicy, ExtractionWorker
from app.learning.extractors.decision_points import DecisionPoints
from app.learning.signatures import similarity
from app.learning.weighing import Weighing, WeighingPolicy
from app.ports import EpisodicMemory, PatternQuery
from app.records import (
    Episode,
    EpisodeKind,
    Knowledge,
    KnowledgeKind,
    Pattern,
    PatternState,
    RecordKind,
    Scope,
)
from app.testing.clock import FixedClock
from app.testing.episodic import InMemoryEpisodicMemory

ACME = Scope("acme")


@pytest.fixture
def memory() -> EpisodicMemory:
    return InMemoryEpisodicMemory()


def decision(choice: str, risk: str = "high", **fields: Any) -> Episode:
    return episode(kind=EpisodeKind.DECISION, scope=ACME, perception={"risk": risk}, action={"choice": choice}, **fields)


async def learned_from(memory: EpisodicMemory, *episodes: Episode, policy: WeighingPolicy | None = None) -> Counter[str]:
    """Store these, extract and weigh until nothing is stale; the counts."""
    async with memory.writing() as tx:
        for one in episodes:
            await tx.save_episode(one)
    clock = FixedClock(NOW + timedelta(days=1))
    await ExtractionWorker(memory, policy=ExtractionPolicy(), clock=clock).extract_batch()
    weighing, counts = Weighing(memory, policy=policy or WeighingPolicy(), clock=clock), Counter[str]()
    while (batch := await weighing.weigh_batch()) is not None:
        counts.update(batch)
    return +counts


async def patterns_of(memory: EpisodicMemory) -> tuple[Pattern, ...]:
    async with memory.reading() as reader:
        return await reader.list_patterns(PatternQuery(ACME, limit=100))


async def knowledge_of(memory: EpisodicMemory) -> tuple[Knowledge, ...]:
    async with memory.reading() as reader:
        return await reader.list_knowledge(ACME, kind=KnowledgeKind.PATTERN, before=None, limit=100)


async def change(memory: EpisodicMemory, knowledge: Knowledge, **fields: Any) -> None:
    async with memory.writing() as tx:
        await tx.save_knowledge(replace(knowledge, **fields))


async def test_three_that_agree_are_kept(episodic: EpisodicMemory) -> None:
    """Kept once: weighed again with nothing new, nothing is saved again."""
    episodes = [decision("cut scope") for _ in range(3)]
    assert await learned_from(episodic, *episodes) == {"patterns_kept": 1}
    (first,) = await knowledge_of(episodic)
    assert (first.confidence, first.supporting_episodes, first.version) == (0.8, tuple(sorted(e.id for e in episodes)), 1)
    async with episodic.reading() as reader:
        assert len(await reader.outbox_entries([first.id])) == 1
    assert await learned_from(episodic, *episodes) == {}
    assert await knowledge_of(episodic) == (first,)


async def test_other_words_join_their_evidence(episodic: EpisodicMemory) -> None:
    """Three episodes that say it in three ways are three supporters of one pattern; who says the opposite is not among them."""
    said = ["Ship the release to customers", "shipping releases to the customers", "ship to customers: release"]
    counts = await learned_from(episodic, *(decision(choice) for choice in said), decision("do not ship release to customers"))
    assert counts["patterns_merged"] == 2
    assert sorted((p.supporters, p.contradictors) for p in await patterns_of(episodic)) == [(1, 3), (3, 1)]
    await learned_from(episodic, decision(said[1]))
    assert sorted((p.supporters, p.contradictors) for p in await patterns_of(episodic)) == [(1, 4), (4, 1)]


async def test_what_nobody_supports_is_gone(episodic: EpisodicMemory) -> None:
    """When its episodes say something else by now, a pattern goes, and what it was as knowledge goes too."""
    episodes = [decision("cut scope") for _ in range(3)]
    await learned_from(episodic, *episodes)
    counts = await learned_from(episodic, *(replace(e, action={"choice": "ship"}) for e in episodes))
    assert counts == {"patterns_kept": 1, "patterns_dropped": 1}
    assert [k.content["action"] for k in await knowledge_of(episodic)] == ["ship"]


async def test_applications_stay_counted(memory: EpisodicMemory) -> None:
    """Learning more does not undo what applying it brought: counts, pins and the episodes of applications."""
    await learned_from(memory, *(decision("cut scope") for _ in range(3)))
    (known,) = await knowledge_of(memory)
    elsewhere = decision("ship", risk="low")
    applied = (elsewhere.id, *known.supporting_episodes)
    await change(memory, known, times_applied=1, success_count=1, pinned=True, supporting_episodes=applied)
    await learned_from(memory, decision("cut scope"))
    (after,) = await knowledge_of(memory)
    assert (after.times_applied, after.success_count, after.pinned) == (1, 1, True)
    assert (after.supporting_episodes[0], len(after.supporting_episodes)) == (elsewhere.id, 5)


async def test_what_somebody_else_retired_stays_retired(memory: EpisodicMemory) -> None:
    """Learning takes back only its own withdrawal."""
    await learned_from(memory, *(decision("cut scope") for _ in range(3)))
    (known,) = await knowledge_of(memory)
    await change(memory, known, is_active=False, inactive_reason="retired by hand")
    await learned_from(memory, *(decision("ship") for _ in range(3)))
    await learned_from(memory, *(decision("cut scope") for _ in range(20)))
    (after,) = [k for k in await knowledge_of(memory) if k.id == known.id]
    assert (after.is_active, after.inactive_reason, len(after.supporting_episodes)) == (False, "retired by hand", 23)


async def test_what_was_superseded_is_left_alone(memory: EpisodicMemory) -> None:
    """Newer knowledge has taken its place: more evidence changes nothing about it."""
    await learned_from(memory, *(decision("cut scope") for _ in range(3)))
    (known,) = await knowledge_of(memory)
    await change(memory, known, superseded_by=decision("x").id)
    await learned_from(memory, decision("cut scope"))
    (after,) = await knowledge_of(memory)
    assert after.version == 2


@pytest.mark.parametrize(
    ("supporters", "contradictors", "state"),
    [(3, 0, "kept"), (2, 0, "candidate"), (3, 1, "candidate"), (7, 2, "kept"), (7, 3, "candidate")],
)
def test_kept_takes_three_and_more_than_seven_tenths(supporters: int, contradictors: int, state: str) -> None:
    """Both bounds, from each side."""
    some = replace(_any_pattern(), supporters=supporters, contradictors=contradictors)
    assert WeighingPolicy().weighed(some, NOW).state is PatternState(state)


@given(st.integers(0, 500), st.integers(0, 500))
def test_more_support_never_makes_less_sure(supporters: int, contradictors: int) -> None:
    """Confidence rises with each supporter, falls with each contradictor, and stays within its bounds."""

    def sure(mine: int, theirs: int) -> float:
        return WeighingPolicy().weighed(replace(_any_pattern(), supporters=mine, contradictors=theirs), NOW).confidence

    here = sure(supporters, contradictors)
    assert 0 < sure(supporters, contradictors + 1) < here < sure(supporters + 1, contradictors) < 1


@given(st.lists(st.sampled_from(["ship", "wait", "cut", "scope", "the", "20", "50", "not", "release"]), min_size=1, max_size=5))
def test_similarity_is_symmetric(words: list[str]) -> None:
    """Two patterns are as near to each other, whichever is asked."""
    one, other = replace(_any_pattern(), conclusion=(" ".join(words),)), replace(_any_pattern(), conclusion=("ship scope 20",))
    assert similarity(one, other) == similarity(other, one)
    assert similarity(one, one) == 1.0


def _any_pattern() -> Pattern:

    return DecisionPoints().extract(decision("ship"), ())[0]


async def test_the_record_kinds_are_untouched(memory: EpisodicMemory) -> None:
    """Learning stores knowledge and nothing else that is recalled."""
    await learned_from(memory, *(decision("cut scope") for _ in range(3)))
    async with memory.reading() as reader:
        assert await reader.count(ACME) == {
            RecordKind.MESSAGE: 0,
            RecordKind.EPISODE: 3,
            RecordKind.KNOWLEDGE: 1,
            RecordKind.ITEM: 0,
        }
