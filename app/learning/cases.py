"""Episodes as cases (pure): what was the situation, what was chosen, and did it go well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self
from uuid import UUID

from app.learning.conditions import Condition, Op
from app.learning.documents import Fact, action_of, facts_of, normal
from app.learning.extractors.outcomes import GOOD_FROM
from app.learning.perceived import MOST_FACTS
from app.records import Episode


@dataclass(frozen=True, slots=True)
class Case:
    """One episode with a known outcome. `action` is normalised, `called` is how the agent wrote it."""

    episode_id: UUID
    facts: Mapping[str, Fact]
    action: str
    called: str
    went_well: bool

    @classmethod
    def of(cls, episode: Episode, good_from: float = GOOD_FROM) -> Self | None:
        """None for an episode that has no outcome yet, or in which no one thing was chosen."""
        called = action_of(episode.action)
        if called is None or episode.outcome_quality is None:
            return None
        facts = facts_of(episode.perception, MOST_FACTS)
        return cls(episode.id, facts, normal(called), called, episode.outcome_quality >= good_from)


def meets(case: Case, conditions: Sequence[Condition]) -> bool:
    return all(_meets(case.facts.get(c.field), c) for c in conditions)


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _meets(value: Fact | None, condition: Condition) -> bool:
    """As `conditions.met` has it, for the operators that heuristics are made of."""
    if condition.op is Op.EQ:
        return value == condition.value and isinstance(value, bool) == isinstance(condition.value, bool)
    if not isinstance(value, int | float) or not isinstance(condition.value, int | float) or isinstance(value, bool):
        return False
    return value >= condition.value if condition.op is Op.GTE else value <= condition.value
