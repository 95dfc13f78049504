"""Which embedding spaces a question is put to, and how an answer by words alone is put beside one by meaning.

Usually there is one space. While a model is being replaced, or a fallback embeds, records lie in several.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Final

from app.ports import SemanticMemory
from app.records import Hit, Space

_REMEMBERED_SECONDS: Final = 5.0
"""A search may miss a space that is younger; what was just written there is still buffered, and found by that."""


class KnownSpaces:
    """The spaces that have a collection, at most some seconds old: asked by every search, changed once in a year."""

    def __init__(self, semantic: SemanticMemory, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._semantic = semantic
        self._monotonic = monotonic
        self._spaces: tuple[Space, ...] = ()
        self._until = -1.0

    async def beside(self, space: Space) -> tuple[Space, ...]:
        """All but `space`."""
        if self._monotonic() > self._until:
            self._spaces = await self._semantic.spaces()
            self._until = self._monotonic() + _REMEMBERED_SECONDS
        return tuple(other for other in self._spaces if other.name != space.name)


def on_scale_of(measure: Sequence[Hit], hits: Sequence[Hit]) -> list[Hit]:
    """Hits found by words alone, put onto the scale of those in `measure`, which were found by meaning as well (pure).

    Words mean the same in every space: a hit gets what meaning adds to the best of those that match no more words than it
    does, or else to the least of all, as `components["space"]`. The order of `hits` is kept; without a measure all is.
    """
    known = sorted((_words(hit), hit.score - _words(hit)) for hit in measure)
    if not known:
        return list(hits)
    least = min(meaning for _, meaning in known)
    best_so_far = [least, *accumulate((meaning for _, meaning in known), max)]
    return [_raised(hit, best_so_far[bisect_right(known, _words(hit), key=lambda pair: pair[0])]) for hit in hits]


def _words(hit: Hit) -> float:
    return hit.components.get("bm25", 0.0)


def _raised(hit: Hit, meaning: float) -> Hit:
    return replace(hit, score=hit.score + meaning, components={**hit.components, "space": meaning})
