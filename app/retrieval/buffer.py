"""Ranking what is not indexed yet, in the index's own terms (pure).

A buffer is small and young, so its document frequencies say nothing; terms are weighed as if the buffer stood in a
corpus of `corpus_size` documents, so that a rare word counts about as much here as in the index.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from app.records import Matrix, Vector


@dataclass(frozen=True, slots=True)
class BufferPolicy:
    """`messages`: newest unindexed messages looked at. `embedded`: how many of them get a dense score.

    Embedding is the slow part, so only the best by words and the newest get one; the rest count as unrelated.
    """

    messages: int = 200
    embedded: int = 32
    corpus_size: int = 200


def bm25_scores(query: Mapping[int, float], documents: Sequence[Mapping[int, float]], corpus_size: int) -> list[float]:
    """BM25 of each encoded document; term weights as the index computes them, shape (len(documents),)."""
    frequency = Counter(term for document in documents for term in document if term in query)
    corpus = max(corpus_size, len(documents))
    weights = {t: query[t] * math.log((corpus - n + 0.5) / (n + 0.5) + 1.0) for t, n in frequency.items()}
    return [sum(weight * document.get(term, 0.0) for term, weight in weights.items()) for document in documents]


def worth_embedding(scores: Sequence[float], limit: int) -> list[int]:
    """Positions to embed: the best by words, then the newest (lowest position), at most `limit`."""
    by_score = sorted((p for p, s in enumerate(scores) if s > 0.0), key=lambda p: -scores[p])
    newest = (p for p, s in enumerate(scores) if s <= 0.0)
    return [*by_score, *newest][:limit]


def dense_scores(query: Vector, rows: Matrix, positions: Sequence[int], count: int) -> Vector:
    """Dot products put in their positions, 0 elsewhere; shape (count,).

    Doubled, because an indexed message's vector is the sum of two unit vectors and this is only one.
    """
    scores = np.zeros(count, dtype=np.float32)
    if positions:
        scores[list(positions)] = 2.0 * (rows @ query)
    return scores
