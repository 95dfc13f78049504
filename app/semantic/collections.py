"""How a space lies in a Qdrant server: one collection, with its vectors, payload indexes, shards and replicas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from qdrant_client import AsyncQdrantClient, models

from app.records import Space
from app.semantic.filters import CREATED_AT, NAMESPACE, VALID_FROM, VALID_TO
from app.semantic.shard import BM25, DENSE, KEYWORDS

_PREFIX: Final = "memory__"


def collection_of(space: Space) -> str:
    """`memory__<model>__<dimension>`."""
    return f"{_PREFIX}{space.name}"


def is_ours(collection: str) -> bool:
    return collection.startswith(_PREFIX)


def space_of(collection: str, info: models.CollectionInfo) -> Space:
    """The space as it was named: the collection remembers, since its own name may spell the model otherwise."""
    if info.config.metadata:
        return Space(info.config.metadata["model"], info.config.metadata["dimension"])
    model, _, dimension = collection.removeprefix(_PREFIX).rpartition("__")
    return Space(model, int(dimension))


async def create_collection(client: AsyncQdrantClient, space: Space, *, shards: int, replicas: int) -> None:
    """As `app.semantic.shard` configures the embedded engine; a graph a tenant, none for all."""
    codes = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99, always_ram=True)
    await client.create_collection(
        collection_of(space),
        vectors_config={DENSE: models.VectorParams(size=space.dimension, distance=models.Distance.DOT)},
        sparse_vectors_config={BM25: models.SparseVectorParams(modifier=models.Modifier.IDF)},
        shard_number=shards,
        replication_factor=replicas,
        hnsw_config=models.HnswConfigDiff(m=0, payload_m=16, ef_construct=100),
        quantization_config=models.ScalarQuantization(scalar=codes),
        metadata=asdict(space),
    )


async def create_missing_indexes(client: AsyncQdrantClient, space: Space) -> None:
    """Complete the payload indexes: whoever made the collection may not have come to the end of them."""
    there = (await client.get_collection(collection_of(space))).payload_schema
    for name, schema in PAYLOAD_INDEXES.items():
        if name not in there:
            await client.create_payload_index(collection_of(space), name, schema)


def _index(kind: type[Any], tag: Any) -> Any:
    """Only the tenant has graphs of its own: a filter on any other field leaves few enough points to compare them all."""
    return kind(type=tag, enable_hnsw=False)


PAYLOAD_INDEXES: Final[Mapping[str, Any]] = {
    NAMESPACE: models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True),
    **{name: _index(models.KeywordIndexParams, models.KeywordIndexType.KEYWORD) for name in KEYWORDS},
    **{
        name: _index(models.DatetimeIndexParams, models.DatetimeIndexType.DATETIME) for name in (CREATED_AT, VALID_FROM, VALID_TO)
    },
    "day": _index(models.IntegerIndexParams, models.IntegerIndexType.INTEGER),
    "quality": _index(models.FloatIndexParams, models.FloatIndexType.FLOAT),
    "outcome_quality": _index(models.FloatIndexParams, models.FloatIndexType.FLOAT),
}
