"""Finds the dates that a text mentions on their own (pure).

The rules are tried in order, the more telling first: a rule reads only what none before it has read. What is said around
a mention (`since`, `between … and`, `early`) is read in `modifiers`.
"""

from __future__ import annotations

from typing import Final

from app.retrieval.dates.bare import BARE
from app.retrieval.dates.dated import DATED
from app.retrieval.dates.reading import Manner, Mention, stated_year
from app.retrieval.dates.relative import RELATIVE

MOST_MENTIONS: Final = 32
_RULES: Final = (*DATED, *RELATIVE, *BARE)


def mentions(text: str, manner: Manner) -> list[Mention]:
    """The mentions in the order of the text, at most `MOST_MENTIONS`; none overlaps another."""
    taken: list[Mention] = []
    for pattern, read in _RULES:
        for match in pattern.finditer(text):
            if any(m.start < match.end() and match.start() < m.end for m in taken):
                continue
            if len(taken) == MOST_MENTIONS:
                return sorted(taken, key=_place)
            if readings := read(match, manner):
                taken.append(Mention(match.start(), match.end(), readings, stated_year(match)))
    return sorted(taken, key=_place)


def _place(mention: Mention) -> int:
    return mention.start
