"""The index: Qdrant Edge in the data directory, or a server."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING

from app.bootstrap.policies import breaker_policy
from app.bootstrap.servers import home_of
from app.semantic.bm25 import Bm25Encoder
from app.semantic.edge import EdgeRepository
from app.settings import Settings

if TYPE_CHECKING:
    from app.semantic.qdrant import QdrantRepository


async def open_semantic(settings: Settings, encoder: Bm25Encoder, stack: AsyncExitStack) -> EdgeRepository | QdrantRepository:
    if settings.qdrant_url is not None:
        return _connect_qdrant(settings, settings.qdrant_url, encoder, stack)
    repository = await EdgeRepository.open(
        home_of(settings, "qdrant"),
        encoder=encoder,
        patience=timedelta(seconds=settings.qdrant_deadline_seconds),
        breaker=breaker_policy(settings),
    )
    stack.push_async_callback(repository.close)
    return repository


def _connect_qdrant(settings: Settings, url: str, encoder: Bm25Encoder, stack: AsyncExitStack) -> QdrantRepository:
    # Imported on demand: the client takes most of a second to import, which an embedded installation need not pay.
    from app.semantic.qdrant import QdrantRepository

    api_key = settings.qdrant_api_key.get_secret_value() if settings.qdrant_api_key else None
    repository = QdrantRepository.connect(
        url,
        api_key=api_key,
        encoder=encoder,
        shards=settings.qdrant_shards,
        replicas=settings.qdrant_replicas,
        patience=timedelta(seconds=settings.qdrant_deadline_seconds),
        breaker=breaker_policy(settings),
    )
    stack.push_async_callback(repository.close)
    return repository
