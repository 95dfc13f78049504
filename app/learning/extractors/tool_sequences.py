"""Which tool comes next: runs of two to four tools."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from app.learning.documents import error_of, tool_of
from app.learning.signatures import pattern
from app.records import Episode, Json, Pattern, PatternKind

_LENGTHS: Final = (2, 3, 4)
_MOST: Final = 32


class ToolSequences:
    """After some tools, another: its rivals are the tools that came next in other episodes.

    A tool used several times on end counts once, steps that failed do not count. Of an episode that has many sequences,
    the `most` that it repeats most often are taken, the shorter before the longer.
    """

    name: Final = "tool_sequences"

    def __init__(self, most: int = _MOST) -> None:
        self._most = most

    def extract(self, episode: Episode, steps: Sequence[Json]) -> tuple[Pattern, ...]:
        used = [tool for step in steps if (tool := tool_of(step)) and error_of(step) is None]
        counted = Counter(_runs([tool for tool, _ in groupby(used)]))
        frequent = sorted(counted, key=lambda run: (-counted[run], len(run), run))[: self._most]
        return tuple(_sequence(episode, run) for run in frequent)


def _runs(tools: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for length in _LENGTHS:
        yield from (tuple(tools[start : start + length]) for start in range(len(tools) - length + 1))


def _sequence(episode: Episode, run: tuple[str, ...]) -> Pattern:
    *before, after = run
    description = f"After {', then '.join(before)} comes {after}."
    content = {"tools": list(run)}
    return pattern(PatternKind.TOOL_SEQUENCE, episode, before, (after,), description=description, content=content)
