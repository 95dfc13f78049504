"""Who plans. All use one policy; they differ in what they remember when they apply it."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from app.records import Episode, EpisodeKind, Knowledge, KnowledgeKind, Scope, Success, derived_uuid, new_id
from app.service import HybridMemoryService
from examples.planning.world import NOMINAL_POINTS_A_DAY, PRACTICES, WORK, Plan, Result, Situation

RECALLED: Final = 5
_NOMINAL_WEIGHT: Final = 1.0
"""The nominal speed counts as much as one sprint remembered."""
_FIRST_DAY: Final = datetime(2025, 1, 6, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Tried:
    """A practice, how often it went better than planned, and how often it did not."""

    practice: str
    successes: int = 0
    failures: int = 0


class Agent(Protocol):
    async def plan(self, situation: Situation) -> Plan: ...

    async def learn(self, planned: Sequence[tuple[Situation, Plan, Result]]) -> None:
        """Take in how a sprint went, for all teams."""
        ...


def decide(situation: Situation, practice: str, speeds: Sequence[float]) -> Plan:
    """THE POLICY: promise the middle of what speeds like these would finish; with none remembered, the nominal."""
    logs = [math.log(speed / NOMINAL_POINTS_A_DAY) for speed in speeds]
    speed = NOMINAL_POINTS_A_DAY * math.exp(sum(logs) / (len(logs) + _NOMINAL_WEIGHT))
    return Plan(round(speed * situation.person_days, 1), practice)


def choose(tried: Sequence[Tried]) -> str:
    """THE POLICY: the practice that may be the best one: its share of successes, and something for what is untried."""

    def promise(practice: Tried) -> float:
        times = practice.successes + practice.failures
        return (practice.successes + 1) / (times + 2) + 0.5 / math.sqrt(times + 1)

    return max(tried, key=promise).practice if tried else PRACTICES[0]


@dataclass(slots=True)
class Forgetful:
    """Remembers nothing: every sprint is the first one."""

    async def plan(self, situation: Situation) -> Plan:
        return decide(situation, PRACTICES[0], ())

    async def learn(self, planned: Sequence[tuple[Situation, Plan, Result]]) -> None:
        """It does not."""


@dataclass(slots=True)
class YesterdaysWeather:
    """What many teams do without any memory service: promise what the team's last three sprints were like."""

    speeds: dict[str, list[float]] = field(default_factory=dict)

    async def plan(self, situation: Situation) -> Plan:
        return decide(situation, PRACTICES[0], self.speeds.get(situation.team, [])[-3:])

    async def learn(self, planned: Sequence[tuple[Situation, Plan, Result]]) -> None:
        for situation, _, result in planned:
            self.speeds.setdefault(situation.team, []).append(result.points_a_day)


class Remembering:
    """Keeps each sprint as an episode, and what each practice is good for as strategies."""

    def __init__(self, memory: HybridMemoryService, namespace: str) -> None:
        self._memory = memory
        self._scope = Scope(namespace, agent_id="sprint-planner")

    async def open(self) -> None:
        """Write down what might be tried: every practice, for every kind of work."""
        for work in WORK:
            for practice in PRACTICES:
                await self._memory.store_knowledge(_strategy(self._scope, work, practice))

    async def plan(self, situation: Situation) -> Plan:
        practice = choose(await self.learned_strategies(situation))
        found = await self._memory.recall_similar_situations(_described(situation, practice), self._scope, limit=RECALLED)
        episodes = [await self._memory.get_episode(self._scope.namespace, hit.id) for hit in found.hits]
        return decide(situation, practice, [e.outcome["points_a_day"] for e in episodes if e.outcome])

    async def learned_strategies(self, situation: Situation) -> list[Tried]:
        """How each practice went with such work so far; one that failed too often was retired by the memory."""
        found = await self._memory.get_learned_strategies(
            {"work": situation.work}, self._scope, min_confidence=0.0, kinds=(KnowledgeKind.STRATEGY,), limit=len(PRACTICES)
        )
        known = {learned.knowledge.content["practice"]: learned.knowledge for learned in found.strategies}
        return [Tried(p, known[p].success_count, known[p].failure_count) for p in PRACTICES if p in known]

    async def learn(self, planned: Sequence[tuple[Situation, Plan, Result]]) -> None:
        for situation, plan, result in planned:
            episode = _episode(self._scope, situation, plan)
            await self._memory.store_episode(episode)
            outcome = {"points_a_day": result.points_a_day, "done": min(result.promised, result.possible)}
            await self._memory.record_outcome(self._scope.namespace, episode.id, outcome, result.quality)
            success = Success.SUCCESS if result.possible >= result.promised else Success.FAILURE
            strategy = _strategy(self._scope, situation.work, plan.practice)
            await self._memory.apply_knowledge(self._scope.namespace, strategy.id, success, episode_id=episode.id)
        await self._memory.consolidate(Scope(self._scope.namespace))


class WithoutStrategies(Remembering):
    """Recalls similar sprints, and asks no strategy how to go about the next one."""

    async def learned_strategies(self, situation: Situation) -> list[Tried]:  # noqa: ARG002 - for no situation
        return [Tried(PRACTICES[0])]


class Confused(Remembering):
    """Remembers as much, but of everything that happened it believes that it happened in some other situation."""

    def __init__(self, memory: HybridMemoryService, namespace: str, seed: int) -> None:
        super().__init__(memory, namespace)
        self._drawn = random.Random(f"confusion {seed}")
        self._seen: list[tuple[Situation, Plan]] = []

    async def learn(self, planned: Sequence[tuple[Situation, Plan, Result]]) -> None:
        self._seen += [(situation, plan) for situation, plan, _ in planned]
        await super().learn([self._mistaken(*what) for what in planned])

    def _mistaken(self, situation: Situation, plan: Plan, result: Result) -> tuple[Situation, Plan, Result]:
        other, its_plan = self._drawn.choice(self._seen)
        return replace(other, sprint=situation.sprint), replace(plan, practice=its_plan.practice), result


def _described(situation: Situation, practice: str) -> str:
    return f"team {situation.team}, work {situation.work}, practice {practice}"


def _episode(scope: Scope, situation: Situation, plan: Plan) -> Episode:
    began = _FIRST_DAY + timedelta(weeks=2 * situation.sprint)
    return Episode(
        id=new_id(),
        kind=EpisodeKind.DECISION,
        scope=scope,
        started_at=began,
        ended_at=began + timedelta(days=11),
        perception=asdict(situation),
        reasoning={"policy": "promise the middle of what similar sprints finished"},
        action=asdict(plan),
        summary=_described(situation, plan.practice),
    )


def _strategy(scope: Scope, work: str, practice: str) -> Knowledge:
    return Knowledge(
        id=derived_uuid("strategy", scope.namespace, work, practice),
        kind=KnowledgeKind.STRATEGY,
        scope=scope,
        description=f"{practice} goes well with {work}",
        created_at=_FIRST_DAY,
        content={"conditions": [{"field": "work", "op": "eq", "value": work}], "practice": practice},
        confidence=0.5,
    )
