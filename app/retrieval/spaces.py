"""Which embedding spaces a question is put to, and how an answer by words alone is put beside one by meaning.

Usually there is one space. While a model is being replaced, or a fallback embeds, records lie in several.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Final

from app.ports import SemanticMemory
from app.records import Hit, Space, Vector

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


def on_one_scale(answers: Iterable[tuple[Vector | None, Sequence[Hit]]]) -> list[Hit]:
    """The hits of several spaces, each given with the vector it was asked with; without one it was asked by words (pure).

    Words mean the same in every space: a hit found by words alone gets what meaning adds to the best of the other hits that
    match no more words than it does, or else to the least of all, less what it has of that; as `components["space"]`.
    """
    asked = list(answers)
    measure = [hit for dense, hits in asked if dense is not None for hit in hits]
    return measure + _raised([hit for dense, hits in asked if dense is None for hit in hits], measure)


def _raised(hits: list[Hit], measure: Sequence[Hit]) -> list[Hit]:
    known = sorted((_words(hit), _meaning(hit)) for hit in measure)
    if not known:
        return hits
    words, meanings = zip(*known, strict=True)
    best_so_far = [min(meanings), *accumulate(meanings, max)]
    return [_with(hit, best_so_far[bisect_right(words, _words(hit))] - _meaning(hit)) for hit in hits]


def _words(hit: Hit) -> float:
    return hit.components.get("bm25", 0.0)


def _meaning(hit: Hit) -> float:
    """With what its session adds: that is a share of the best dense score in it."""
    return hit.components.get("dense", 0.0) + hit.components.get("session", 0.0)


def _with(hit: Hit, shift: float) -> Hit:
    return replace(hit, score=hit.score + shift, components={**hit.components, "space": shift})
