"""One space's points in Qdrant Edge: a directory, opened by one process at a time.

Synchronous, and each call holds the interpreter's lock until the engine is done (measured with qdrant-edge 0.9: during
a call of 7 s no other thread ran): a shard therefore lives in a process of its own, see `app.semantic.worker`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias, assert_never
from uuid import UUID

import qdrant_edge as edge

from app.ports import IndexedPoint
from app.ranking import Traits
from app.semantic.filters import (
    CREATED_AT,
    METADATA_TERMS,
    NAMESPACE,
    VALID_FROM,
    VALID_TO,
    Bounded,
    Condition,
    Named,
    OneOf,
    ValidAt,
    Within,
    only_namespace,
)
from app.semantic.fusion import Gaps, Pool, Score, best, gaps
from app.semantic.payload import IDENTITY, TRAITS, PointRow, following, indexed_point, traits_of
from app.semantic.plan import Search

DENSE: Final = "dense"
BM25: Final = "bm25"
KEYWORDS: Final = (
    "kind", "user_id", "agent_id", "session_id", "project_id", "author", "role", "content_sha256", METADATA_TERMS,
)  # fmt: skip

Found: TypeAlias = tuple[Score[UUID], dict[str, Any]]
"""A point's score, and its payload."""
Judgement: TypeAlias = tuple[UUID, dict[str, Any]]
"""A point, and the part of its payload that says what callers make of it."""
_Leg: TypeAlias = dict[int, float]
"""By the number that a point's UUID is: an int is hashed ten times as fast, and a search looks up hundreds."""


@dataclass(frozen=True, slots=True)
class ShardState:
    """`indexed` points have their dense vector in an optimised segment; the others are searched by a plain scan."""

    points: int
    indexed: int
    segments: int
    tenant_fields: tuple[str, ...]

    @property
    def unindexed(self) -> int:
        return self.points - self.indexed


class Shard:
    """What can be done with one space's points. Ids that are not there are no error."""

    def __init__(self, shard: edge.EdgeShard) -> None:
        self._shard = shard
        self._traits: dict[int, Traits] = {}

    @classmethod
    def open(cls, directory: Path, dimension: int) -> Shard:
        """Open the shard in `directory`, making it, with its payload indexes, when there is none."""
        if (directory / "segments").is_dir():
            return cls(_indexed(edge.EdgeShard.load(str(directory))))
        directory.mkdir(parents=True, exist_ok=True)
        return cls(_indexed(edge.EdgeShard.create(str(directory), _configuration(dimension))))

    def upsert(self, rows: Sequence[PointRow]) -> None:
        """Write points over what was there. In the write-ahead log on return."""
        self._shard.update(edge.UpdateOperation.upsert_points([_point(row) for row in rows]))
        for row in rows:
            self._traits.pop(row.id.int, None)

    def judge(self, judgement: Judgement) -> None:
        """Replace one field of a point's payload."""
        point_id, payload = judgement
        # By filter: naming a point that is not there would be an error.
        self._shard.update(edge.UpdateOperation.set_payload_by_filter(to_filter((Named((point_id,)),)), payload))
        self._traits.pop(point_id.int, None)

    def delete(self, ids: Sequence[UUID]) -> None:
        self._shard.update(edge.UpdateOperation.delete_points(list(ids)))

    def forget(self, conditions: Sequence[Condition]) -> None:
        self._shard.update(edge.UpdateOperation.delete_points_by_filter(to_filter(conditions)))

    def search(self, searches: Sequence[Search]) -> list[list[Found]]:
        """Answer several questions as one batch: each its best points by falling score, and those that tie with the last."""
        legs = self._legs(searches)
        pools = [Pool.of(search, *leg, self._traits_of) for search, leg in zip(searches, legs, strict=True)]
        self._close_gaps(searches, pools)
        scores = [best(search, pool) for search, pool in zip(searches, pools, strict=True)]
        payloads = self._payloads(scores)
        return [[(_named(score), payloads[score.id]) for score in found if score.id in payloads] for found in scores]

    def count(self, conditions: Sequence[Condition]) -> int:
        return self._shard.count(edge.CountRequest(exact=True, filter=to_filter(conditions) if conditions else None))

    def authors(self, conditions: Sequence[Condition], limit: int) -> list[str]:
        """The values of `author`, the most frequent first."""
        request = edge.FacetRequest("author", limit=limit, filter=to_filter(conditions))
        return [str(hit.value) for hit in self._shard.facet(request)]

    def scroll(self, after: UUID | None, limit: int, conditions: Sequence[Condition]) -> list[IndexedPoint]:
        """The next points by rising id, from after `after` on."""
        narrow = to_filter(conditions) if conditions else None
        request = edge.ScrollRequest(following(after), limit, narrow, with_payload=list(IDENTITY), with_vector=False)
        records, _ = self._shard.scroll(request)
        return [indexed_point(_uuid(r.id), r.payload or {}) for r in records]

    def lookup(self, ids: Sequence[UUID]) -> list[IndexedPoint]:
        records = self._shard.retrieve(list(ids), with_payload=list(IDENTITY), with_vector=False)
        return [indexed_point(_uuid(r.id), r.payload or {}) for r in records]

    def state(self) -> ShardState:
        info = self._shard.info()
        # The engine counts vectors, and a sparse one is indexed as soon as it is written.
        indexed = max(0, info.indexed_vectors_count - info.points_count)
        tenants = [name for name, index in info.payload_schema.items() if getattr(index.params, "is_tenant", False)]
        return ShardState(info.points_count, indexed, info.segments_count, tuple(tenants))

    def optimize(self) -> None:
        """Index what is not yet, and write everything to disk. Takes about 0.3 ms a point."""
        self._shard.optimize()
        self._shard.flush()

    def close(self) -> None:
        self._shard.close()

    def _legs(self, searches: Sequence[Search]) -> list[tuple[_Leg, _Leg]]:
        requests = [leg for search in searches for leg in (_dense_leg(search), _sparse_leg(search)) if leg is not None]
        answers = iter(self._ask(requests))
        legs: list[tuple[_Leg, _Leg]] = []
        for search in searches:
            dense = next(answers) if search.dense is not None else {}
            bm25 = next(answers) if search.sparse is not None else {}
            legs.append((dense, bm25))
        return legs

    def _close_gaps(self, searches: Sequence[Search], pools: Sequence[Pool[int]]) -> None:
        lacking = [gaps(search, pool) for search, pool in zip(searches, pools, strict=True)]
        asked = [_gap_requests(search, gap) for search, gap in zip(searches, lacking, strict=True)]
        answers = iter(self._ask([request for pair in asked for request in pair if request is not None]))
        for pool, gap, (dense, bm25) in zip(pools, lacking, asked, strict=True):
            pool.fill(next(answers) if dense is not None else {}, next(answers) if bm25 is not None else {}, gap)

    def _ask(self, requests: list[edge.QueryRequest]) -> list[_Leg]:
        if not requests:
            return []
        return [{_number(p.id): p.score for p in leg} for leg in self._shard.query_batch(edge.QueryBatchRequest(requests))]

    def _traits_of(self, ids: Sequence[int]) -> list[Traits]:
        """Remembered, because reading a payload takes longer than finding the point."""
        unknown = [i for i in ids if i not in self._traits]
        if unknown:
            if len(self._traits) + len(unknown) > _REMEMBERED_TRAITS:
                self._traits.clear()
                unknown = list(ids)
            records = self._shard.retrieve([UUID(int=i) for i in unknown], with_payload=list(TRAITS), with_vector=False)
            self._traits.update(dict.fromkeys(unknown, Traits()))
            self._traits.update((_number(record.id), traits_of(record.payload or {})) for record in records)
        return [self._traits[i] for i in ids]

    def _payloads(self, scores: Iterable[Iterable[Score[int]]]) -> dict[int, dict[str, Any]]:
        ids = list({score.id for found in scores for score in found})
        records = self._shard.retrieve([UUID(int=i) for i in ids], with_payload=True, with_vector=False) if ids else []
        return {_number(record.id): record.payload or {} for record in records}


def _indexed(shard: edge.EdgeShard) -> edge.EdgeShard:
    """With the payload indexes that it lacks: all, if it is new; those that later releases added, if it is not."""
    there = shard.info().payload_schema
    lacking = [name for name in _PAYLOAD_INDEXES if name not in there]
    for name in lacking:
        shard.update(edge.UpdateOperation.create_field_index(name, _PAYLOAD_INDEXES[name]))
    if lacking:
        shard.flush()
    return shard


def to_filter(conditions: Sequence[Condition]) -> edge.Filter:
    """All of `conditions` must hold."""
    return edge.Filter(must=[_field_condition(condition) for condition in conditions])


def _range(field: str, *, gt: str | None = None, lte: str | None = None) -> edge.FieldCondition:
    return edge.FieldCondition(field, range=edge.RangeDateTime(gt=gt, lte=lte))


def _field_condition(condition: Condition) -> edge.FieldCondition | edge.HasIdCondition | edge.Filter:
    match condition:
        case OneOf(field, (value,)):
            return edge.FieldCondition(field, match=edge.MatchValue(value))
        case OneOf(field, values):
            return edge.FieldCondition(field, match=edge.MatchAny(list(values)))
        case Within(field, since, until):
            return edge.FieldCondition(field, range=edge.RangeDateTime(gte=since, lte=until))
        case Bounded(field, at_least, below):
            return edge.FieldCondition(field, range=edge.RangeFloat(gte=at_least, lt=below))
        case ValidAt(moment):
            return edge.Filter(must_not=[_range(VALID_FROM, gt=moment), _range(VALID_TO, lte=moment)])
        case Named(ids):
            return edge.HasIdCondition(set(ids))
        case _ as unreachable:
            assert_never(unreachable)


def _dense_leg(search: Search) -> edge.QueryRequest | None:
    if search.dense is None:
        return None
    return _dense_request(search, to_filter(search.conditions), search.prefetch, is_exact=search.is_exact)


def _sparse_leg(search: Search) -> edge.QueryRequest | None:
    if search.sparse is None:
        return None
    return _sparse_request(search, to_filter(search.conditions), search.prefetch)


def _gap_requests(search: Search, lacking: Gaps[int]) -> tuple[edge.QueryRequest | None, edge.QueryRequest | None]:
    return (
        _dense_request(search, _of_ids(lacking.dense), len(lacking.dense), is_exact=True) if lacking.dense else None,
        _sparse_request(search, _of_ids(lacking.bm25), len(lacking.bm25)) if lacking.bm25 else None,
    )


def _dense_request(search: Search, narrow: edge.Filter, limit: int, *, is_exact: bool) -> edge.QueryRequest:
    vector = [] if search.dense is None else search.dense.tolist()
    # The walk through the graph reads bytes; what it brings is scored again with the vectors themselves.
    rescored = edge.SearchParams(exact=is_exact, quantization=edge.QuantizationSearchParams(rescore=True))
    query = edge.Query.Nearest(vector, using=DENSE)
    return edge.QueryRequest(limit, query=query, filter=narrow, params=rescored, with_payload=False, with_vector=False)


def _sparse_request(search: Search, narrow: edge.Filter, limit: int) -> edge.QueryRequest:
    query = edge.Query.Nearest(_sparse_vector(search.sparse or {}), using=BM25)
    own_corpus = edge.SearchParams(idf=edge.IdfParams(to_filter(only_namespace(search.namespace))))
    return edge.QueryRequest(limit, query=query, filter=narrow, params=own_corpus, with_payload=False, with_vector=False)


def _of_ids(ids: Sequence[int]) -> edge.Filter:
    return edge.Filter(must=[edge.HasIdCondition({UUID(int=i) for i in ids})])


def _point(row: PointRow) -> edge.Point:
    return edge.Point(row.id, {DENSE: row.dense.tolist(), BM25: _sparse_vector(row.bm25)}, row.payload)


def _sparse_vector(weights: Mapping[int, float]) -> edge.SparseVector:
    return edge.SparseVector(list(weights), list(weights.values()))


def _number(point_id: edge.PointId) -> int:
    return point_id.int if isinstance(point_id, UUID) else _uuid(point_id).int


def _named(score: Score[int]) -> Score[UUID]:
    return Score(UUID(int=score.id), score.dense, score.bm25, score.fused, score.terms)


def _uuid(point_id: edge.PointId) -> UUID:
    return point_id if isinstance(point_id, UUID) else UUID(str(point_id))


def _kilobytes(points: int, dimension: int) -> int:
    """What so many vectors take: the unit in which the engine measures segments."""
    return max(1, points * dimension * 4 // 1024)


def _configuration(dimension: int) -> edge.EdgeConfig:
    """Measured at 10,000 points of 384 dimensions, two tenants, a dense leg of 100 within one: int8 codes in memory
    0.24 ms, float32 0.68 ms; a graph a tenant as fast as one for all, and only the former keeps tenants apart; one
    search thread a shard, since a second only adds hand-overs (hybrid 1.59 ms against 1.75)."""
    codes = edge.ScalarQuantizationConfig(edge.ScalarType.Int8, quantile=0.99, memory=edge.Memory.Pinned)
    return edge.EdgeConfig(
        vectors={DENSE: edge.EdgeVectorParams(dimension, edge.Distance.Dot, quantization_config=codes)},
        sparse_vectors={BM25: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)},
        hnsw_config=edge.HnswIndexConfig(
            m=0,
            payload_m=16,
            ef_construct=100,
            full_scan_threshold=_kilobytes(_LEAST_IN_GRAPH, dimension),
            max_indexing_threads=1,
        ),
        optimizers=edge.EdgeOptimizersConfig(indexing_threshold=_kilobytes(_LEAST_INDEXED, dimension)),
        max_search_threads=1,
        payload_memory=edge.Memory.Cached,
        wal_enabled=True,
    )


_REMEMBERED_TRAITS: Final = 200_000
"""About 60 MB."""
_LEAST_INDEXED: Final = 1_000
"""Points; a smaller segment stays as it was written."""
_LEAST_IN_GRAPH: Final = 5_000
"""Points; fewer within one tenant are compared one by one, 0.05 ms per 1,000 with int8 codes."""
_PAYLOAD_INDEXES: Final[Mapping[str, Any]] = {
    NAMESPACE: edge.KeywordIndexParams(is_tenant=True),
    **{name: edge.KeywordIndexParams(enable_hnsw=False) for name in KEYWORDS},
    **{name: edge.DatetimeIndexParams(enable_hnsw=False) for name in (CREATED_AT, VALID_FROM, VALID_TO)},
    "day": edge.IntegerIndexParams(enable_hnsw=False),
    "quality": edge.FloatIndexParams(enable_hnsw=False),
    "outcome_quality": edge.FloatIndexParams(enable_hnsw=False),
}
