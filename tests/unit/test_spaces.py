"""Several spaces at once: which are asked, and how their answers stand beside each other."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import numpy as np
import pytest
from given import NOW, SCOPE
from hypothesis import given
from hypothesis import strategies as st

from app.records import Hit, Point, RecordKind, Space, Tier
from app.retrieval.spaces import KnownSpaces, on_one_scale
from app.testing.semantic import InMemorySemanticMemory

VECTOR = np.ones(2, dtype=np.float32)
OLD, NEW = Space("old", 2), Space("new", 2)
WORDS = st.lists(st.floats(0, 2), max_size=6).map(lambda words: sorted(words, reverse=True))
BOTH = st.lists(st.tuples(st.floats(0, 2), st.floats(-2, 2)), min_size=1, max_size=6)


def hit(bm25: float, dense: float = 0.0) -> Hit:
    components = {"dense": dense, "bm25": bm25}
    return Hit(UUID(int=1), RecordKind.MESSAGE, "", dense + bm25, components, Tier.SEMANTIC, SCOPE, NOW)


@given(BOTH, WORDS)
def test_an_answer_by_words_is_put_beside_one_by_meaning(measure: list[tuple[float, float]], words: list[float]) -> None:
    """A hit by words is given what meaning gave to those that match no more words; the others stay as they are."""
    by_meaning, by_words = [hit(*pair) for pair in measure], [hit(bm25) for bm25 in words]
    together = on_one_scale([(None, by_words), (VECTOR, by_meaning)])
    least = min(dense for _, dense in measure)
    expected = [max((dense for bm25, dense in measure if bm25 <= mine), default=least) for mine in words]
    raised = together[len(by_meaning) :]
    assert together[: len(by_meaning)] == by_meaning
    assert np.allclose([h.components["space"] for h in raised], expected)
    assert np.allclose([sum(h.components.values()) for h in raised], [h.score for h in raised])


def test_who_matches_more_words_than_all_comes_first() -> None:
    """The one right answer in the old space is not hidden behind what the new one has to offer."""
    *_, best = on_one_scale([(VECTOR, [hit(0.1, 0.9), hit(0.2, 0.4)]), (None, [hit(0.6)])])
    assert best.score == pytest.approx(1.5)
    assert best.components == {"dense": 0.0, "bm25": 0.6, "space": pytest.approx(0.9)}


def test_what_a_session_adds_is_part_of_meaning() -> None:
    """A hit by words keeps nothing of its own session's worth beside that of the hits it is compared with."""
    near, far = hit(0.1, 0.9), hit(0.6)
    near = replace(near, score=1.4, components={**near.components, "session": 0.4})
    far = replace(far, score=0.8, components={**far.components, "session": 0.2})
    *_, best = on_one_scale([(VECTOR, [near]), (None, [far])])
    assert best.score == pytest.approx(0.6 + 1.3)
    assert best.components == {"dense": 0.0, "bm25": 0.6, "session": 0.2, "space": pytest.approx(1.1)}


def test_without_a_measure_nothing_is_moved() -> None:
    """While nothing is found by meaning, words alone decide."""
    assert on_one_scale([(VECTOR, []), (None, [hit(0.5), hit(0.1)])]) == [hit(0.5), hit(0.1)]


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
