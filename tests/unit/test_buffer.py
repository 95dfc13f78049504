"""Ranking what is not indexed yet."""

from __future__ import annotations

import math

import numpy as np
import pytest
from given import message
from hypothesis import given
from hypothesis import strategies as st

from app.ranking import NO_CUES, Ranking
from app.retrieval.buffer import bm25_scores, buffer_hits, dense_scores, worth_embedding

CAT, DOG, FISH = 1, 2, 3


def test_words_are_weighed_as_in_a_corpus() -> None:
    """A term's weight is its IDF in a corpus of the size assumed, times its weights in query and document."""
    scores = bm25_scores({CAT: 1.0, DOG: 2.0}, [{CAT: 1.5}, {CAT: 1.0, DOG: 0.5}, {FISH: 9.0}], corpus_size=10)
    cat, dog = math.log((10 - 2 + 0.5) / (2 + 0.5) + 1), 2 * math.log((10 - 1 + 0.5) / (1 + 0.5) + 1)
    assert scores == pytest.approx([1.5 * cat, cat + 0.5 * dog, 0.0])


def test_a_buffer_larger_than_the_corpus_is_its_own_corpus() -> None:
    """A word that every message of a large buffer holds weighs next to nothing, and never less than nothing."""
    scores = bm25_scores({CAT: 1.0}, [{CAT: 1.0}] * 100, corpus_size=10)
    assert scores == pytest.approx([math.log(0.5 / 100.5 + 1)] * 100)


def test_nothing_shared_scores_nothing() -> None:
    """Documents without a word of the query, and queries without words, score 0."""
    assert bm25_scores({CAT: 1.0}, [{DOG: 1.0}, {}], corpus_size=10) == [0.0, 0.0]
    assert bm25_scores({}, [{DOG: 1.0}], corpus_size=10) == [0.0]


@given(
    st.lists(st.dictionaries(st.integers(0, 5), st.floats(0.1, 3)), max_size=20), st.dictionaries(st.integers(0, 5), st.just(1.0))
)
def test_a_shared_word_scores_above_nothing(documents: list[dict[int, float]], query: dict[int, float]) -> None:
    """A score is above 0 exactly where a word is shared, however common the word."""
    scores = bm25_scores(query, documents, corpus_size=5)
    assert [score > 0 for score in scores] == [bool(query.keys() & document.keys()) for document in documents]


def test_the_best_by_words_are_embedded_before_the_newest() -> None:
    """Positions with a score come first, best first; then the others, newest (lowest) first; at most the limit."""
    assert worth_embedding([0.0, 1.0, 0.0, 3.0, 0.0], limit=4) == [3, 1, 0, 2]
    assert worth_embedding([0.0, 1.0, 0.0, 3.0], limit=1) == [3]
    assert worth_embedding([], limit=4) == []


def test_dense_scores_stand_in_their_positions() -> None:
    """Each row's dot product, doubled, is put where its message stands; messages that were not embedded score 0."""
    rows = np.array([[1.0, 0.0], [0.6, 0.8]], np.float32)
    scores = dense_scores(np.array([0.0, 1.0], np.float32), rows, [2, 0], 4)
    np.testing.assert_allclose(scores, [1.6, 0.0, 0.0, 0.0])


def test_nothing_embedded_scores_nothing() -> None:
    """Without rows all scores are 0."""
    scores = dense_scores(np.array([0.0, 1.0], np.float32), np.empty((0, 2), np.float32), [], 2)
    np.testing.assert_array_equal(scores, [0.0, 0.0])


def test_a_shared_word_is_found_whatever_the_vector_says() -> None:
    """A message is left out if it has neither a word nor a direction of the question, not if one outweighs the other."""
    messages = [message(1), message(2), message(3)]
    hits = buffer_hits(messages, [-1.0, 0.5, -0.1], [0.2, 0.0, 0.0], Ranking(bm25=1.0, session=0.0), NO_CUES, 40)
    assert [(hit.sequence, hit.components) for hit in hits] == [
        (1, {"dense": -1.0, "bm25": 0.2}),
        (2, {"dense": 0.5, "bm25": 0.0}),
    ]
