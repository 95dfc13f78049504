"""One seeded run: clients talk to a memory whose processes die, lose answers and keep wrong clocks, until all is said."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random
from typing import Final

from factories import Tiers
from fault_checks import check_talk, indexable, indexed
from fault_process import Kind, Mishap, Outage, Worker, live, until_settled, with_outage, workers_are_told
from fault_talk import BEGIN, Talk, talks

from app.faultpoints import FaultPoint
from app.records import Tier
from app.testing.clock import WrongClock

NOW: Final = BEGIN + timedelta(days=14)
"""When the engines' clocks begin: after all that is said."""
ELSEWHERE: Final = ("start.", "edge.", "learn.")
"""Points that only real processes reach, and those of learning, which has a test of its own."""
POINTS: Final = tuple(point for point in FaultPoint if not point.startswith(ELSEWHERE))
_SKEWS: Final = (timedelta(0), timedelta(seconds=-50), timedelta(seconds=50))
"""Clocks that differ by less than a lease lasts, as those of machines do."""
_WILD_SKEWS: Final = (timedelta(0), timedelta(minutes=-10), timedelta(minutes=10))
"""Clocks by which a worker takes another's lease for run out: both do the work, and whoever is last has it done again.

Who is overtaken and dies in just that moment cannot: what it wrote last stays until `reconcile` looks. So in runs with such
clocks nobody dies, or is cancelled.
"""
_RIGHT: Final = timedelta(0)
"""By whose clock something is forgotten while Redis is away decides what was appended later (decision 16)."""


@dataclass(frozen=True, slots=True)
class Life:
    """What one process goes through: perhaps a mishap, perhaps an engine that is away; and how wrong its clock is."""

    mishap: Mishap | None = None
    outage: Outage | None = None
    skew: timedelta = timedelta(0)
    is_patient: bool = False

    def worker(self, tiers: Tiers, stirred: asyncio.Event) -> Worker:
        skewed = replace(tiers, clock=WrongClock(tiers.clock, self.skew))
        troubled, away = (skewed, None) if self.outage is None else (with_outage(skewed, self.outage), self.outage.tier)
        return Worker(troubled, self.mishap, stirred, self.is_patient, away)


@dataclass(frozen=True, slots=True)
class Plan:
    """`serving`: the lives of the process clients talk to; `working`: those of a second one that only runs jobs."""

    talks: Sequence[Talk]
    serving: Sequence[Life]
    working: Sequence[Life] = ()
    is_wild: bool = False

    @property
    def afterlife(self) -> Life:
        """Who answers what the others left unanswered, with nothing in the way."""
        return Life(is_patient=self.is_wild)


def planned(seed: int) -> Plan:
    """The plan of this seed: always the same."""
    random = Random(seed)
    conversation = talks(random, f"seed{seed}")
    is_wild = random.random() < 0.2
    serving = [_life(random, is_wild=is_wild) for _ in range(random.randint(1, 4))]
    working = [_life(random, is_wild=is_wild) for _ in range(random.choice([0, 0, 1, 3]))]
    return Plan(conversation, serving, working, is_wild)


def _life(random: Random, *, is_wild: bool) -> Life:
    kinds = [Kind.LOSE, Kind.FAIL] if is_wild else [Kind.DIE, Kind.DIE, *Kind]
    mishap = Mishap(random.choice(POINTS), random.choice([1, 1, 1, 2, 3]), random.choice(kinds))
    tier = random.choice([Tier.WORKING, Tier.EPISODIC, Tier.SEMANTIC])
    outage = Outage(tier, random.randint(0, 30), random.choice([1, 3, 20])) if random.random() < 0.3 else None
    skew = random.choice(_WILD_SKEWS if is_wild else _SKEWS)
    return Life(mishap, outage, skew if outage is None or tier is not Tier.WORKING else _RIGHT, is_wild)


@dataclass(slots=True)
class Run:
    """Carries a plan out on `tiers`, which may hold other things already and are settled."""

    tiers: Tiers
    plan: Plan
    happened: list[Mishap] = field(default_factory=list)
    stirred: asyncio.Event = field(default_factory=asyncio.Event)

    async def carry_out(self) -> None:
        """All talks to their end, whatever dies; then settle, and check everything from outside.

        Raises:
            AssertionError: a promise was broken.
        """
        before = await indexed(self.tiers)
        with workers_are_told():
            over = asyncio.Event()
            working = asyncio.create_task(self._work(over))
            try:
                await self._serve()
            finally:
                over.set()
                await working
        self.tiers.clock.advance(timedelta(hours=1))
        await until_settled(self.tiers)
        for talk in self.plan.talks:
            await check_talk(self.tiers, talk)
        assert await indexed(self.tiers) - before == await indexable(self.tiers, [t.session for t in self.plan.talks])

    async def _serve(self) -> None:
        for life in (*self.plan.serving, self.plan.afterlife):
            worker = life.worker(self.tiers, self.stirred)
            clients = [worker.converse(talk) for talk in self.plan.talks if not talk.is_over]
            await live(worker, clients, jobs=[worker.run_jobs()])
            self._note(worker)

    async def _work(self, over: asyncio.Event) -> None:
        for life in self.plan.working:
            worker = life.worker(self.tiers, self.stirred)
            await live(worker, [_until(over)], jobs=[worker.run_jobs()])
            self._note(worker)

    def _note(self, worker: Worker) -> None:
        if worker.has_happened and worker.mishap is not None:
            self.happened.append(worker.mishap)


async def _until(over: asyncio.Event) -> None:
    await over.wait()
