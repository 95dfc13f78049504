"""Several spaces at once: which are asked, and how their answers stand beside each other."""

from __future__ import annotations

from itertools import pairwise
from uuid import UUID

import numpy as np
import pytest
from given import NOW, SCOPE
from hypothesis import given
from hypothesis import strategies as st

from app.records import Hit, Point, RecordKind, Space, Tier
from app.retrieval.spaces import KnownSpaces, on_scale_of
from app.testing.semantic import InMemorySemanticMemory

OLD, NEW = Space("old", 2), Space("new", 2)
WORDS = st.lists(st.floats(0, 2), max_size=6).map(lambda words: sorted(words, reverse=True))
BOTH = st.lists(st.tuples(st.floats(0, 2), st.floats(-2, 2)), min_size=1, max_size=6)


def hit(bm25: float, dense: float = 0.0) -> Hit:
    components = {"dense": dense, "bm25": bm25}
    return Hit(UUID(int=1), RecordKind.MESSAGE, "", dense + bm25, components, Tier.SEMANTIC, SCOPE, NOW)


@given(BOTH, WORDS)
def test_an_answer_by_words_is_put_beside_one_by_meaning(measure: list[tuple[float, float]], words: list[float]) -> None:
    """A hit keeps its order and its components, and is given what meaning gave to those that match no more words."""
    moved = on_scale_of([hit(*pair) for pair in measure], [hit(bm25) for bm25 in words])
    least = min(dense for _, dense in measure)
    expected = [max((dense for bm25, dense in measure if bm25 <= mine), default=least) for mine in words]
    assert np.allclose([m.components["space"] for m in moved], expected, atol=1e-6)
    assert np.allclose([sum(m.components.values()) for m in moved], [m.score for m in moved])
    assert all(before.score >= after.score - 1e-9 for before, after in pairwise(moved))


def test_who_matches_more_words_than_all_comes_first() -> None:
    """The one right answer in the old space is not hidden behind what the new one has to offer."""
    (best,) = on_scale_of([hit(0.1, 0.9), hit(0.2, 0.4)], [hit(0.6)])
    assert best.score == pytest.approx(1.5)
    assert best.components == {"dense": 0.0, "bm25": 0.6, "space": pytest.approx(0.9)}


def test_without_a_measure_nothing_is_moved() -> None:
    """While nothing was found by meaning, words alone decide."""
    assert on_scale_of([], [hit(0.5), hit(0.1)]) == [hit(0.5), hit(0.1)]


async def test_spaces_are_remembered_for_a_moment() -> None:
    """A space that appears is noticed within seconds, and the index is not asked by each search."""
    memory, now = InMemorySemanticMemory(), [0.0]
    known = KnownSpaces(memory, monotonic=lambda: now[0])
    point = Point(
        UUID(int=1), UUID(int=1), RecordKind.MESSAGE, SCOPE, "", "", np.ones(2, dtype=np.float32), NOW, content_sha256=""
    )
    await memory.upsert(NEW, [point])
    assert await known.beside(NEW) == ()
    await memory.upsert(OLD, [point])
    assert await known.beside(NEW) == ()
    now[0] = 6.0
    assert await known.beside(NEW) == (OLD,)
