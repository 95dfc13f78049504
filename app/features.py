"""What is switched on: kept where every process sees it, known in each without asking.

A process asks for the switches when what it knows is a few seconds old, and waits for the answer no longer than a moment:
whoever calls meanwhile, and everybody while the store is away, gets what was known last. What was never switched is as the
settings say.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

import structlog

from app.errors import TierUnavailable
from app.observability import BACKGROUND_ERRORS
from app.ports import Clock, FeatureStore
from app.records import Feature, utc_now

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FeaturePolicy:
    """`known_for`: how long an answer of the store holds. `patience`: how long a caller waits for a new one."""

    known_for: timedelta = timedelta(seconds=2)
    patience: timedelta = timedelta(milliseconds=5)


@dataclass(frozen=True, slots=True)
class Switches:
    """How every feature stands; `is_current` unless the store could not be asked."""

    features: Mapping[Feature, bool]
    is_current: bool


class Features:
    """Tells whether a feature is on, and switches it."""

    def __init__(
        self, store: FeatureStore, initial: Mapping[Feature, bool], *, policy: FeaturePolicy | None = None,
        clock: Clock = utc_now, monotonic: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._store = store
        self._initial = {feature: initial.get(feature, True) for feature in Feature}
        self._known = self._initial
        self._policy = policy or FeaturePolicy()
        self._clock = clock
        self._monotonic = monotonic
        self._stale_at = monotonic()
        self._is_current = False
        self._asking: asyncio.Task[None] | None = None

    async def is_on(self, feature: Feature) -> bool:
        """As every process sees it, give or take `known_for`; never waits longer than `patience`."""
        if self._monotonic() >= self._stale_at:
            await self._ask(self._policy.patience)
        return self._known[feature]

    async def show(self) -> Switches:
        """How every feature stands now, asked of the store."""
        if self._asking is not None:
            await asyncio.wait({self._asking})  # asked before now: its answer may be older
        await self._ask(None)
        return Switches(dict(self._known), self._is_current)

    async def switch(self, features: Mapping[Feature, bool]) -> Switches:
        """Switch these, for every process; the others within `known_for`.

        Raises:
            TierUnavailable: the store is away; nothing was switched.
        """
        await self._store.save(features, self._clock())
        log.warning("features_switched", **{feature.value: is_on for feature, is_on in features.items()})
        return await self.show()

    async def close(self) -> None:
        """End what goes on in the background."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    async def _ask(self, patience: timedelta | None) -> None:
        """Ask the store, once for all who want to know; one who came while it is being asked does not wait again."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._load())
        elif patience is not None:
            return
        await asyncio.wait({self._asking}, timeout=None if patience is None else patience.total_seconds())

    async def _load(self) -> None:
        try:
            self._known = {**self._initial, **await self._store.load()}
            self._is_current = True
        except TierUnavailable as error:
            self._is_current = False
            log.warning("features_as_last_known", problem=error.problem)
        except Exception:  # whoever asks goes on with what was known; there is nobody to raise to
            self._is_current = False
            BACKGROUND_ERRORS.labels("features").inc()
            log.exception("features_not_read")
        self._stale_at = self._monotonic() + self._policy.known_for.total_seconds()
