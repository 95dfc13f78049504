"""A question of the port becomes one that every engine understands."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from given import NOW, SCOPE

from app.errors import DimensionMismatch
from app.ports import IndexQuery
from app.ranking import NO_CUES, Ranking
from app.records import FilterTerm, Mode, RecordKind, Space
from app.semantic.filters import OneOf, Within, within_scope
from app.semantic.plan import Search, plan, prefetch_of
from app.testing.semantic import WordEncoder

SPACE = Space("m", 2)
VECTOR = np.array([0.6, 0.8], dtype=np.float32)
QUERY = IndexQuery(SCOPE, VECTOR, "cat", 10, tuple(RecordKind))


def test_every_condition_is_part_of_the_question() -> None:
    """Scope, kinds, filter and times all reach the engine, and nothing is left to be sorted out afterwards."""
    ranking = Ranking(bm25=0.2, prefetch=60)
    asked = replace(
        QUERY, kinds=(RecordKind.EPISODE,), filter=(FilterTerm("role", ("user",)),), since=NOW, mode=Mode.EXACT, ranking=ranking
    )
    conditions = (OneOf("kind", ("episode",)), OneOf("role", ("user",)), Within("created_at", NOW.isoformat(), None))
    words = dict(WordEncoder().encode_query("cat"))
    expected = Search((*within_scope(SCOPE), *conditions), "acme", VECTOR, words, 10, 50, ranking, NO_CUES, is_exact=True)
    assert plan(SPACE, asked, WordEncoder()) == expected


@pytest.mark.parametrize(
    ("mode", "has_dense", "has_words", "legs"),
    [
        (Mode.HYBRID, True, True, {"dense", "sparse"}),
        (Mode.EXACT, True, True, {"dense", "sparse"}),
        (Mode.DENSE, True, True, {"dense"}),
        (Mode.SPARSE, True, True, {"sparse"}),
        (Mode.DENSE, False, True, {"sparse"}),
        (Mode.SPARSE, True, False, {"dense"}),
        (Mode.HYBRID, False, False, set()),
    ],
)
def test_the_legs_are_what_the_mode_wants_and_the_query_has(mode: Mode, has_dense: bool, has_words: bool, legs: set[str]) -> None:
    """A leg the mode leaves out still runs when there is nothing else to go by."""
    asked = replace(QUERY, mode=mode, dense=VECTOR if has_dense else None, sparse_text="cat" if has_words else None)
    planned = plan(SPACE, asked, WordEncoder())
    assert {name for name in ("dense", "sparse") if getattr(planned, name) is not None} == legs


@pytest.mark.parametrize(
    ("limit", "prefetch", "expected"),
    [(1, 200, 50), (10, 200, 50), (20, 200, 100), (100, 200, 200), (300, 200, 300), (5, 20, 20)],
)
def test_a_leg_brings_five_points_a_hit(limit: int, prefetch: int, expected: int) -> None:
    """At least 50, at most what the weights allow, and never fewer than are wanted."""
    assert prefetch_of(limit, Ranking(prefetch=prefetch)) == expected


@pytest.mark.parametrize("vector", [np.ones(3, dtype=np.float32), np.ones((1, 2), dtype=np.float32), np.float32(1.0)])
def test_a_vector_that_does_not_fit_is_refused(vector: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> None:
    """Another size or another shape."""
    with pytest.raises(DimensionMismatch):
        plan(SPACE, replace(QUERY, dense=np.asarray(vector)), WordEncoder())
