"""Conditions and searches in the words of `qdrant-client` (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, assert_never

from qdrant_client import models

from app.semantic.filters import VALID_FROM, VALID_TO, Bounded, Condition, Named, OneOf, ValidAt, Within, only_namespace
from app.semantic.payload import TRAITS, PointRow
from app.semantic.plan import Search
from app.semantic.shard import BM25, DENSE


def to_filter(conditions: Sequence[Condition]) -> models.Filter:
    """All of `conditions` must hold."""
    return models.Filter(must=[_field_condition(condition) for condition in conditions])


def of_ids(ids: Iterable[Any]) -> models.Filter:
    return models.Filter(must=[models.HasIdCondition(has_id=list(ids))])


def dense_request(search: Search, narrow: models.Filter, limit: int, *, is_exact: bool) -> models.QueryRequest:
    # The walk through the graph reads bytes; what it brings is scored again with the vectors themselves.
    rescored = models.SearchParams(exact=is_exact, quantization=models.QuantizationSearchParams(rescore=True))
    vector = [] if search.dense is None else search.dense.tolist()
    return models.QueryRequest(query=vector, using=DENSE, filter=narrow, limit=limit, params=rescored, with_payload=list(TRAITS))


def sparse_request(search: Search, narrow: models.Filter, limit: int) -> models.QueryRequest:
    own_corpus = models.SearchParams(idf=models.IdfCorpusParams(corpus=to_filter(only_namespace(search.namespace))))
    vector = sparse_vector(search.sparse or {})
    return models.QueryRequest(query=vector, using=BM25, filter=narrow, limit=limit, params=own_corpus, with_payload=list(TRAITS))


def point_of(row: PointRow) -> models.PointStruct:
    vectors: dict[str, Any] = {DENSE: row.dense.tolist(), BM25: sparse_vector(row.bm25)}
    return models.PointStruct(id=str(row.id), vector=vectors, payload=row.payload)


def sparse_vector(weights: Mapping[int, float]) -> models.SparseVector:
    return models.SparseVector(indices=list(weights), values=list(weights.values()))


def _range(field: str, *, gt: str | None = None, lte: str | None = None) -> models.FieldCondition:
    return models.FieldCondition(key=field, range=models.DatetimeRange(gt=_time(gt), lte=_time(lte)))


def _field_condition(condition: Condition) -> models.FieldCondition | models.HasIdCondition | models.Filter:
    match condition:
        case OneOf(field, (value,)):
            return models.FieldCondition(key=field, match=models.MatchValue(value=value))
        case OneOf(field, values):
            return models.FieldCondition(key=field, match=models.MatchAny(any=list(values)))
        case Within(field, since, until):
            return models.FieldCondition(key=field, range=models.DatetimeRange(gte=_time(since), lte=_time(until)))
        case Bounded(field, at_least, below):
            return models.FieldCondition(key=field, range=models.Range(gte=at_least, lt=below))
        case ValidAt(moment):
            return models.Filter(must_not=[_range(VALID_FROM, gt=moment), _range(VALID_TO, lte=moment)])
        case Named(ids):
            return models.HasIdCondition(has_id=[str(i) for i in ids])
        case _ as unreachable:
            assert_never(unreachable)


def _time(rfc3339: str | None) -> datetime | None:
    return datetime.fromisoformat(rfc3339) if rfc3339 is not None else None
