"""A company whose teams plan a sprint every two weeks. What makes them fast or slow is hidden from whoever plans."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Final

TEAMS: Final = ("payments", "mobile", "platform")
WORK: Final = ("integration with a vendor", "data migration", "user interface", "research", "maintenance")
PRACTICES: Final = ("plain planning", "spike first", "pairing")
NOMINAL_POINTS_A_DAY: Final = 0.8
"""What a person is said to finish a day: the middle of all that these companies are made from, and known to everybody."""

_WORK_SPREAD, _TEAM_SPREAD, _NOISE = 0.35, 0.2, 0.1
_HELPS, _HINDERS = math.log(1.25), math.log(0.85)


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known when a sprint is planned."""

    sprint: int
    team: str
    work: str
    person_days: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What is decided: how many points are promised, and how they are gone about."""

    points: float
    practice: str


@dataclass(frozen=True, slots=True)
class Result:
    """What everybody sees afterwards, also how much would have been possible: a team that is done early goes home early."""

    promised: float
    possible: float
    person_days: int

    @property
    def points_a_day(self) -> float:
        return self.possible / self.person_days

    @property
    def quality(self) -> float:
        """In [0, 1]: how near the promise was to what was possible."""
        return min(self.promised, self.possible) / max(self.promised, self.possible)

    @property
    def value(self) -> float:
        """Points delivered less points promised in vain, in parts of what the sprint was nominally worth."""
        done = min(self.promised, self.possible)
        return (done - (self.promised - done)) / (self.person_days * NOMINAL_POINTS_A_DAY)


class Company:
    """The same seed is the same company with the same year, whoever plans it and whatever is decided."""

    def __init__(self, seed: int) -> None:
        drawn = random.Random(f"company {seed}")
        self._seed = seed
        self._work = {work: drawn.gauss(0, _WORK_SPREAD) for work in WORK}
        self._team = {team: drawn.gauss(0, _TEAM_SPREAD) for team in TEAMS}
        self._practice = {(work, p): effect for work in WORK for p, effect in _effects(drawn)}

    def situations(self, sprint: int) -> tuple[Situation, ...]:
        """One for each team."""
        drawn = random.Random(f"situations {self._seed} {sprint}")
        return tuple(Situation(sprint, team, drawn.choice(WORK), drawn.randint(28, 60)) for team in TEAMS)

    def carry_out(self, situation: Situation, plan: Plan) -> Result:
        luck = random.Random(f"luck {self._seed} {situation}").gauss(0, _NOISE)
        hidden = self._work[situation.work] + self._team[situation.team] + self._practice[situation.work, plan.practice]
        points_a_day = NOMINAL_POINTS_A_DAY * math.exp(hidden + luck)
        return Result(plan.points, points_a_day * situation.person_days, situation.person_days)


def _effects(drawn: random.Random) -> list[tuple[str, float]]:
    """For a kind of work one practice helps, one hinders and one does neither; which, nobody is told."""
    effects = [_HELPS, _HINDERS, 0.0]
    drawn.shuffle(effects)
    return list(zip(PRACTICES, effects, strict=True))
