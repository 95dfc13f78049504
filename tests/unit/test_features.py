"""Switches: what every process sees, and that nobody waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest
from given import NOW

from app.errors import TierUnavailable
from app.features import FeaturePolicy, Features, Switches
from app.records import Feature, Tier
from app.testing.clock import FixedClock
from app.testing.features import InMemoryFeatureStore

LOGGING, RETRIEVAL = Feature.EPISODE_LOGGING, Feature.RETRIEVAL
POLICY = FeaturePolicy(known_for=timedelta(seconds=2))


@dataclass
class Ticks:
    """A monotonic clock that stands still."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Store:
    """A store that can be away, or hang until it is let go."""

    kept: InMemoryFeatureStore = field(default_factory=InMemoryFeatureStore)
    is_away: bool = False
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    loads: int = 0

    def __post_init__(self) -> None:
        self.gate.set()

    async def load(self) -> Mapping[Feature, bool]:
        self.loads += 1
        await self.gate.wait()
        if self.is_away:
            raise TierUnavailable(Tier.EPISODIC, "away")
        return await self.kept.load()

    async def save(self, features: Mapping[Feature, bool], at: datetime) -> None:
        if self.is_away:
            raise TierUnavailable(Tier.EPISODIC, "away")
        await self.kept.save(features, at)


def process(store: Store, ticks: Ticks, **initial: bool) -> Features:
    named = {Feature(name): is_on for name, is_on in initial.items()}
    return Features(store, named, policy=POLICY, clock=FixedClock(NOW), monotonic=ticks)


async def test_what_was_never_switched_is_as_the_settings_say() -> None:
    """A feature that nobody says anything about is on."""
    features = process(Store(), Ticks(), retrieval=False)
    assert (await features.is_on(LOGGING), await features.is_on(RETRIEVAL)) == (True, False)


async def test_a_switch_is_seen_here_at_once_and_elsewhere_soon() -> None:
    """Another process sees it when what it knows is two seconds old, and asks the store no more often than that."""
    store, ticks = Store(), Ticks()
    here, there = process(store, ticks), process(store, ticks)
    assert await there.is_on(RETRIEVAL)
    assert await here.switch({RETRIEVAL: False}) == Switches({LOGGING: True, RETRIEVAL: False}, is_current=True)
    asked = store.loads
    assert (await here.is_on(RETRIEVAL), await there.is_on(RETRIEVAL), store.loads) == (False, True, asked)
    ticks.now += 2.0
    assert (await there.is_on(RETRIEVAL), store.loads) == (False, asked + 1)


async def test_while_the_store_is_away_the_last_word_holds() -> None:
    """What was known goes on, and is shown as not current; switching says that it cannot be done."""
    store, ticks = Store(), Ticks()
    features = process(store, ticks)
    await features.switch({LOGGING: False})
    store.is_away, ticks.now = True, 60.0
    assert not await features.is_on(LOGGING)
    assert await features.show() == Switches({LOGGING: False, RETRIEVAL: True}, is_current=False)
    with pytest.raises(TierUnavailable):
        await features.switch({LOGGING: True})
    store.is_away = False
    assert (await features.show()).is_current


async def test_nobody_waits_for_a_store_that_hangs() -> None:
    """A thousand callers get what was known while one question hangs; its answer counts when it comes."""
    store, ticks = Store(), Ticks()
    features = process(store, ticks)
    assert await features.is_on(RETRIEVAL)
    await store.kept.save({RETRIEVAL: False}, NOW)
    store.gate.clear()
    ticks.now += 2.0
    assert all(await asyncio.gather(*(features.is_on(RETRIEVAL) for _ in range(1000))))
    assert store.loads == 2
    store.gate.set()
    await features.show()
    assert not await features.is_on(RETRIEVAL)
    await features.close()
