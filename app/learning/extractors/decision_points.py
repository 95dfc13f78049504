"""Which action is taken in which situation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from app.learning.conditions import Condition
from app.learning.documents import action_of
from app.learning.perceived import as_json, circumstances, in_words, texts_of
from app.learning.signatures import pattern
from app.records import Episode, Json, Pattern, PatternKind


class DecisionPoints:
    """When a perceived value is so, this is done: its rivals are the other actions taken there."""

    name: Final = "decision_points"

    def extract(self, episode: Episode, steps: Sequence[Json]) -> tuple[Pattern, ...]:  # noqa: ARG002 - of the protocol
        action = action_of(episode.action)
        if action is None:
            return ()
        return tuple(_decision(episode, conditions, action) for conditions in circumstances(episode.perception))


def _decision(episode: Episode, conditions: Sequence[Condition], action: str) -> Pattern:
    content = {"conditions": as_json(conditions), "action": action}
    description = f"When {in_words(conditions)}, '{action}' is chosen."
    given = texts_of(conditions)
    return pattern(PatternKind.DECISION_POINT, episode, given, (action,), description=description, content=content)
