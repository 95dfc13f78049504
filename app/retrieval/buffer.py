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

from app.ranking import Columns, Cues, Floats, Ranking, Traits, cue_terms, session_term
from app.records import Hit, Matrix, Message, RecordKind, Role, Tier, Vector


@dataclass(frozen=True, slots=True)
class BufferPolicy:
    """`messages`: newest unindexed messages looked at. `embedded`: how many of them get a dense score.

    Embedding is the slow part, so only the best by words and the newest get one; the rest count as unrelated.
    `short_words`: longer messages of an unnamed assistant count as long, as in the index.
    """

    messages: int = 200
    embedded: int = 32
    corpus_size: int = 200
    short_words: int = 40


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


def buffer_hits(
    messages: Sequence[Message], dense: Sequence[float], words: Sequence[float], ranking: Ranking, cues: Cues, short_words: int
) -> list[Hit]:
    """The messages that have anything of the question, scored as the index scores; `components` add up to the score."""
    columns = Columns.of([_traits(m, short_words) for m in messages])
    terms: dict[str, Floats] = {
        "dense": np.asarray(dense, dtype=np.float64),
        "bm25": ranking.bm25 * np.asarray(words, dtype=np.float64),
    }
    contents = terms["dense"] + terms["bm25"]
    terms |= cue_terms(ranking, cues, columns)
    if ranking.session:
        terms["session"] = session_term(ranking, contents, columns)
    has_any = (terms["bm25"] > 0.0) | (terms["dense"] > 0.0)  # not their sum: a vector that points away takes no word back
    return [
        _hit(message, {name: float(term[row]) for name, term in terms.items() if term[row] or name in {"dense", "bm25"}})
        for row, message in enumerate(messages)
        if has_any[row]
    ]


def _traits(message: Message, short_words: int) -> Traits:
    day = message.created_at
    return Traits(
        author=message.author,
        session=message.scope.session_id,
        day=day.year * 10_000 + day.month * 100 + day.day,
        created_at=day.timestamp(),
        is_long_assistant=message.author == Role.ASSISTANT.value and len(message.content.split()) > short_words,
    )


def _hit(message: Message, components: Mapping[str, float]) -> Hit:
    return Hit(
        id=message.id,
        kind=RecordKind.MESSAGE,
        text=message.content,
        score=sum(components.values()),
        components=components,
        tier=Tier.WORKING,
        scope=message.scope,
        created_at=message.created_at,
        metadata=message.metadata,
        role=message.role.value,
        author=message.author,
        sequence=message.sequence,
    )
