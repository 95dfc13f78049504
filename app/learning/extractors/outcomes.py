"""How it turns out to do something in a situation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from app.learning.conditions import Condition
from app.learning.documents import action_of
from app.learning.perceived import as_json, circumstances, in_words, texts_of
from app.learning.signatures import pattern
from app.records import Episode, Json, Pattern, PatternKind

GOOD_FROM: Final = 0.5
"""An outcome of this quality and above counts as good."""


class ContextOutcomes:
    """A perceived value and an action, and how that ended: well and badly are each other's rivals.

    An episode whose outcome has no quality yet says nothing; when it gets one, it is looked at again.
    """

    name: Final = "context_outcomes"

    def __init__(self, good_from: float = GOOD_FROM) -> None:
        self._good_from = good_from

    def extract(self, episode: Episode, steps: Sequence[Json]) -> tuple[Pattern, ...]:  # noqa: ARG002 - of the protocol
        action = action_of(episode.action)
        if action is None or episode.outcome_quality is None:
            return ()
        ending = "well" if episode.outcome_quality >= self._good_from else "badly"
        return tuple(_outcome(episode, conditions, action, ending) for conditions in circumstances(episode.perception))


def _outcome(episode: Episode, conditions: Sequence[Condition], action: str, ending: str) -> Pattern:
    content = {"conditions": as_json(conditions), "action": action, "outcome": ending}
    description = f"When {in_words(conditions)}, '{action}' ends {ending}."
    given = (*texts_of(conditions), action)
    return pattern(PatternKind.CONTEXT_OUTCOME, episode, given, (ending,), description=description, content=content)
