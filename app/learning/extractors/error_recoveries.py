"""What gets an agent going again after a failure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.learning.documents import error_of, input_of, normal, tool_of
from app.learning.signatures import pattern
from app.records import Episode, Json, Pattern, PatternKind

AGAIN: Final = "the same again"
AGAIN_DIFFERENTLY: Final = "the same with another input"
_WITHIN_STEPS: Final = 5


@dataclass(frozen=True, slots=True)
class _Step:
    tool: str
    error: str | None
    given: str


class ErrorRecoveries:
    """A failure and the steps to the first success: of the same tool within a few steps, else of whichever comes next.

    Its rivals are what helped elsewhere, and that nothing helped.
    """

    name: Final = "error_recoveries"

    def extract(self, episode: Episode, steps: Sequence[Json]) -> tuple[Pattern, ...]:
        taken = [_Step(tool, error_of(step), input_of(step)) for step in steps if (tool := tool_of(step))]
        failures = [(place, step.tool, step.error) for place, step in enumerate(taken) if step.error is not None]
        return tuple(_recovery(episode, tool, error, way_out(taken, place)) for place, tool, error in failures)


def way_out(taken: Sequence[_Step], place: int) -> tuple[str, ...]:
    """The steps that led out of the failure at `place`; none if nothing did."""
    failed, following = taken[place], taken[place + 1 : place + 1 + _WITHIN_STEPS]
    succeeded = [step for step in following if step.error is None]
    same = next((i for i, step in enumerate(succeeded) if normal(step.tool) == normal(failed.tool)), None)
    if same is None:
        return tuple(step.tool for step in succeeded[:1])
    if same == 0:
        return (AGAIN if succeeded[0].given == failed.given else AGAIN_DIFFERENTLY,)
    return tuple(step.tool for step in succeeded[: same + 1])


def _recovery(episode: Episode, tool: str, error: str, steps: tuple[str, ...]) -> Pattern:
    helped = f"{', then '.join(steps)} gets on" if steps else "nothing gets on"
    description = f"When {tool} fails with '{error}', {helped}."
    content = {"tool": tool, "error": error, "recovery": list(steps)}
    return pattern(PatternKind.ERROR_RECOVERY, episode, (tool, error), steps, description=description, content=content)
