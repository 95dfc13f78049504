"""The twin of the vector index: every comparison made, nothing approximate."""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import numpy as np

from app.errors import DimensionMismatch, InvalidInput
from app.ports import IndexedPoint, IndexQuery, SparseEncoder
from app.ranking import Columns, Floats, Fusion, Ranking, Traits, content, cue_terms, session_term
from app.records import (
    FILTER_FIELDS,
    METADATA_PREFIX,
    Candidate,
    FilterTerm,
    Hit,
    Mode,
    Point,
    Scope,
    Space,
    Standing,
    Tier,
    Vector,
)
from app.testing.episodic_search import lies_within

_WORD: Final = re.compile(r"\w+")
_SATURATION: Final = 1.2
_LENGTH_SHARE: Final = 0.75
_AVERAGE_WORDS: Final = 80


class WordEncoder:
    """Implements `SparseEncoder` for lower-cased words as they stand: no stemming, no stop words."""

    def encode_query(self, text: str) -> Mapping[int, float]:
        return dict.fromkeys(_words(text), 1.0)

    def encode_document(self, text: str) -> Mapping[int, float]:
        counts = Counter(_words(text))
        length = _SATURATION * (1 - _LENGTH_SHARE + _LENGTH_SHARE * counts.total() / _AVERAGE_WORDS)
        return {word: n * (_SATURATION + 1) / (n + length) for word, n in counts.items()}


@dataclass(frozen=True, slots=True)
class _Entry:
    point: Point
    words: Mapping[int, float]


class InMemorySemanticMemory:
    """A tier 3 that lives as long as the object does; sits the same exam as the engines."""

    def __init__(self, encoder: SparseEncoder | None = None) -> None:
        self._encoder = encoder or WordEncoder()
        self._spaces: dict[Space, dict[UUID, _Entry]] = {}

    async def ping(self) -> str:
        return "in-memory semantic tier"

    async def upsert(self, space: Space, points: Sequence[Point]) -> None:
        for point in points:
            _check_dimension(space, point.dense)
        if points:
            entries = self._spaces.setdefault(space, {})
            entries.update((p.id, _Entry(p, self._words_of(p))) for p in points)

    def _words_of(self, point: Point) -> Mapping[int, float]:
        words = dict(self._encoder.encode_document(point.sparse_text))
        text, weight = point.sparse_context or ("", 0.0)
        for word, value in self._encoder.encode_document(text).items():
            words[word] = words.get(word, 0.0) + weight * value
        return words

    async def delete(self, point_ids: Sequence[UUID], *, keep: Space | None = None) -> None:
        for space, entries in self._spaces.items():
            for point_id in point_ids if space != keep else ():
                entries.pop(point_id, None)

    async def judge(self, point_id: UUID, standing: Standing) -> None:
        for entries in self._spaces.values():
            if (entry := entries.get(point_id)) is not None:
                entries[point_id] = replace(entry, point=replace(entry.point, standing=standing))

    async def drop(self, space: Space) -> None:
        self._spaces.pop(space, None)

    async def forget(self, scope: Scope) -> None:
        await self.delete([i for entries in self._spaces.values() for i, e in entries.items() if scope.admits(e.point.scope)])

    async def search(self, space: Space, query: IndexQuery) -> tuple[Candidate, ...]:
        _check_query(space, query)
        of_namespace = [e for e in self._spaces.get(space, {}).values() if e.point.scope.namespace == query.scope.namespace]
        asked = _asked_words(self._encoder, query, of_namespace)
        wanted = [e for e in of_namespace if _is_wanted(e.point, query)]
        words = {e.point.id: _dot(asked, e.words) for e in wanted}
        if not _has_vector(query):
            wanted = [e for e in wanted if words[e.point.id] > 0.0]
        found = _ranked([e.point for e in wanted], query, [words[e.point.id] for e in wanted])
        found.sort(key=lambda c: (-c.fused, -c.hit.created_at.timestamp()))
        return tuple(found[: query.limit])

    async def spaces(self) -> tuple[Space, ...]:
        return tuple(sorted(self._spaces, key=lambda space: space.name))

    async def authors(self, space: Space, scope: Scope, limit: int) -> tuple[str, ...]:
        points = (e.point for e in self._spaces.get(space, {}).values())
        counts = Counter(p.author for p in points if p.author is not None and scope.admits(p.scope))
        return tuple(author for author, _ in counts.most_common(limit))

    async def count(self, space: Space | None = None, scope: Scope | None = None) -> int:
        asked = self._spaces.values() if space is None else [self._spaces.get(space, {})]
        return sum(scope is None or scope.admits(e.point.scope) for entries in asked for e in entries.values())

    async def present(self, point_ids: Sequence[UUID]) -> int:
        return sum(point_id in entries for entries in self._spaces.values() for point_id in set(point_ids))

    async def scroll(
        self, space: Space, *, after: UUID | None = None, limit: int = 1000, scope: Scope | None = None
    ) -> tuple[IndexedPoint, ...]:
        points = (entry.point for _, entry in sorted(self._spaces.get(space, {}).items()))
        wanted = (p for p in points if (after is None or p.id > after) and (scope is None or scope.admits(p.scope)))
        return tuple(_indexed(point) for point in wanted)[:limit]

    async def lookup(self, space: Space, point_ids: Sequence[UUID]) -> tuple[IndexedPoint, ...]:
        entries = self._spaces.get(space, {})
        return tuple(_indexed(entries[i].point) for i in set(point_ids) if i in entries)


def _indexed(point: Point) -> IndexedPoint:
    return IndexedPoint(point.id, point.kind, point.scope.namespace, point.content_sha256)


def _words(text: str) -> list[int]:
    return [zlib.crc32(word.encode()) for word in _WORD.findall(text.lower())]


def _check_dimension(space: Space, vector: Vector) -> None:
    if vector.shape != (space.dimension,):
        raise DimensionMismatch(space.dimension, vector.size)


def _check_query(space: Space, query: IndexQuery) -> None:
    if query.dense is not None:
        _check_dimension(space, query.dense)
    for term in query.filter:
        if term.field not in FILTER_FIELDS and not term.field.startswith(METADATA_PREFIX):
            raise InvalidInput("filter", f"{term.field!r} cannot be filtered by")


def _has_vector(query: IndexQuery) -> bool:
    return query.dense is not None and (query.mode is not Mode.SPARSE or query.sparse_text is None)


def _asked_words(encoder: SparseEncoder, query: IndexQuery, corpus: Sequence[_Entry]) -> Mapping[int, float]:
    """The query's words, weighed by how rare they are in the namespace."""
    if query.sparse_text is None or (query.mode is Mode.DENSE and query.dense is not None):
        return {}
    weights = encoder.encode_query(query.sparse_text)
    return {word: weight * _idf(sum(word in e.words for e in corpus), len(corpus)) for word, weight in weights.items()}


def _idf(holders: int, documents: int) -> float:
    return math.log1p((documents - holders + 0.5) / (holders + 0.5))


def _dot(one: Mapping[int, float], other: Mapping[int, float]) -> float:
    return sum(weight * other[word] for word, weight in one.items() if word in other)


def _ranked(points: Sequence[Point], query: IndexQuery, words: Sequence[float]) -> list[Candidate]:
    """Every point with its score by `app.ranking`."""
    vector = query.dense if _has_vector(query) else None
    bm25 = np.asarray(words, dtype=np.float64)
    dense = np.array([float(np.dot(p.dense, vector)) if vector is not None else 0.0 for p in points], dtype=np.float64)
    columns = Columns.of([_traits(point) for point in points])
    terms = _content_terms(query.ranking, dense if vector is not None else dense * np.nan, np.where(bm25 > 0.0, bm25, np.nan))
    contents = terms["dense"] + terms["bm25"]
    terms |= cue_terms(query.ranking, query.cues, columns) | {"session": session_term(query.ranking, contents, columns)}
    rows = [
        {name: float(term[row]) for name, term in terms.items() if term[row] or name in {"dense", "bm25"}}
        for row in range(len(points))
    ]
    return [_candidate(*row) for row in zip(points, dense.tolist(), bm25.tolist(), rows, strict=True)]


def _content_terms(ranking: Ranking, dense: Floats, bm25: Floats) -> dict[str, Floats]:
    if ranking.fusion is Fusion.LINEAR:
        return {"dense": np.nan_to_num(dense), "bm25": ranking.bm25 * np.nan_to_num(bm25)}
    nothing = np.full(dense.shape, np.nan)
    return {"dense": content(ranking, dense, nothing), "bm25": content(ranking, nothing, bm25)}


def _traits(point: Point) -> Traits:
    at = point.created_at.astimezone(UTC)
    return Traits(
        author=point.author,
        session=point.scope.session_id,
        day=at.year * 10_000 + at.month * 100 + at.day,
        created_at=at.timestamp(),
        quality=point.quality or 0.0,
        is_long_assistant=point.is_long and point.author == "assistant",
        outcome_quality=point.outcome_quality,
        standing=point.standing,
    )


def _candidate(point: Point, dense: float, bm25: float, components: Mapping[str, float]) -> Candidate:
    fused = sum(components.values())
    hit = Hit(
        point.record_id, point.kind, point.text, fused, components, Tier.SEMANTIC, point.scope, point.created_at,
        point.metadata, point.role, point.author, point.sequence,
        quality=point.quality, outcome_quality=point.outcome_quality,
    )  # fmt: skip
    return Candidate(hit, point.id, dense, bm25, fused)


def _is_wanted(point: Point, query: IndexQuery) -> bool:
    return (
        query.scope.admits(point.scope)
        and point.kind in query.kinds
        and (query.ids is None or point.id in query.ids)
        and _is_of_that_time(point, query)
        and all(_holds(term, point) for term in query.filter)
        and all(lies_within(bounds, point) for bounds in query.ranges)
    )


def _is_of_that_time(point: Point, query: IndexQuery) -> bool:
    return (
        (query.since is None or point.created_at >= query.since)
        and (query.until is None or point.created_at <= query.until)
        and (query.valid_at is None or _is_valid(point, query.valid_at))
    )


def _is_valid(point: Point, moment: datetime) -> bool:
    has_begun = point.valid_from is None or point.valid_from <= moment
    return has_begun and (point.valid_to is None or moment < point.valid_to)


def _holds(term: FilterTerm, point: Point) -> bool:
    if term.field.startswith(METADATA_PREFIX):
        value: object = point.metadata.get(term.field.removeprefix(METADATA_PREFIX))
    else:
        value = getattr(point.scope if term.field.endswith("_id") else point, term.field)
    return value is not None and _is_among(value, term.values)


def _is_among(value: object, wanted: Iterable[object]) -> bool:
    """Equality as JSON has it: true is not 1."""
    return any(isinstance(value, bool) == isinstance(w, bool) and value == w for w in wanted)
