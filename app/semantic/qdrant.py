"""Tier 3 on a Qdrant server or cluster."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import httpx
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from app.breakers import BreakerPolicy, Guard
from app.errors import EngineRefused, InvalidInput, TierUnavailable
from app.observability import timed
from app.ports import IndexedPoint, IndexQuery, SparseEncoder
from app.records import Candidate, Point, Scope, Space, Standing, Tier
from app.semantic.collections import collection_of, create_collection, create_missing_indexes, is_ours, space_of
from app.semantic.filters import Named, within_scope
from app.semantic.fusion import Pool, best, gaps, newest_first
from app.semantic.payload import IDENTITY, candidate_of, following, indexed_point, row_of, standing_payload, traits_of
from app.semantic.plan import Search, check_dimension, plan
from app.semantic.requests import dense_request, of_ids, point_of, sparse_request, to_filter

_POINTS_A_REQUEST: Final = 500
"""About 4 MB of JSON at 384 dimensions; a server accepts 32."""
_REFUSED: Final = frozenset({400, 413, 422})
_CONFLICT: Final = 409
_AWAY: Final = frozenset({502, 503, 504})
"""What a proxy answers in place of a server that is not there, and a server that is not up yet."""


class QdrantRepository:
    """Implements `SemanticMemory`. `shards` and `replicas` are for the collections it makes; older ones keep theirs."""

    def __init__(
        self, client: AsyncQdrantClient, *,
        encoder: SparseEncoder, shards: int = 1, replicas: int = 1, breaker: BreakerPolicy | None = None,
    ) -> None:  # fmt: skip
        self._client = client
        self.guard: Final = Guard(Tier.SEMANTIC.value, self._ask_for_version, policy=breaker)
        self._encoder = encoder
        self._shards = shards
        self._replicas = replicas
        self._prepared: set[str] = set()
        self._seen: set[str] = set()

    @classmethod
    def connect(
        cls,
        url: str,
        *,
        api_key: str | None = None,
        encoder: SparseEncoder,
        shards: int = 1,
        replicas: int = 1,
        patience: timedelta = timedelta(seconds=10),
        breaker: BreakerPolicy | None = None,
    ) -> QdrantRepository:
        """Prepare to speak to the server at `url`; the first call connects. `patience` bounds each request."""
        # The compatibility check would ask the server now, and block the event loop until it answers.
        client = AsyncQdrantClient(
            url=url, api_key=api_key, timeout=math.ceil(patience.total_seconds()), check_compatibility=False
        )
        return cls(client, encoder=encoder, shards=shards, replicas=replicas, breaker=breaker)

    async def close(self) -> None:
        await self.guard.close()
        await self._client.close()

    async def ping(self) -> str:
        async with self._calling("ping"):
            return f"qdrant {(await self._client.info()).version}"

    async def upsert(self, space: Space, points: Sequence[Point]) -> None:
        for point in points:
            check_dimension(space, point.dense)
        distinct = list({point.id: point for point in points}.values())
        if distinct:
            await self._prepare(space)
        for start in range(0, len(distinct), _POINTS_A_REQUEST):
            batch = distinct[start : start + _POINTS_A_REQUEST]
            structs = [point_of(row_of(point, space, self._encoder)) for point in batch]
            async with self._calling("upsert"):
                await self._client.upsert(collection_of(space), structs, wait=True)

    async def delete(self, point_ids: Sequence[UUID], *, keep: Space | None = None) -> None:
        if point_ids:
            await self._delete_everywhere("delete", models.PointIdsList(points=[str(i) for i in point_ids]), keep=keep)

    async def judge(self, point_id: UUID, standing: Standing) -> None:
        # By filter: naming a point that is not there would be an error.
        named = to_filter((Named((point_id,)),))
        async with self._calling("judge"):
            for name in await self._collections():
                await self._client.set_payload(name, standing_payload(standing), named, wait=True)

    async def drop(self, space: Space) -> None:
        name = collection_of(space)
        self._prepared.discard(name)
        self._seen.discard(name)
        async with self._calling("drop"):
            if await self._client.collection_exists(name):
                await self._client.delete_collection(name)

    async def forget(self, scope: Scope) -> None:
        await self._delete_everywhere("forget", models.FilterSelector(filter=to_filter(within_scope(scope))))

    async def search(self, space: Space, query: IndexQuery) -> tuple[Candidate, ...]:
        search = plan(space, query, self._encoder)
        if not await self._exists(space):
            return ()
        pool = await self._pool(space, search)
        await self._close_gaps(space, search, pool)
        scores = best(search, pool)
        payloads = await self._payloads(space, [score.id for score in scores])
        return newest_first(search, [candidate_of(s, payloads[s.id]) for s in scores if s.id in payloads])

    async def spaces(self) -> tuple[Space, ...]:
        async with self._calling("spaces"):
            return tuple([space_of(name, await self._client.get_collection(name)) for name in await self._collections()])

    async def authors(self, space: Space, scope: Scope, limit: int) -> tuple[str, ...]:
        if not await self._exists(space):
            return ()
        async with self._calling("authors"):
            facet = await self._client.facet(collection_of(space), "author", to_filter(within_scope(scope)), limit=limit)
        return tuple(str(hit.value) for hit in facet.hits)

    async def count(self, space: Space | None = None, scope: Scope | None = None) -> int:
        return await self._count(space, to_filter(within_scope(scope)) if scope is not None else None)

    async def present(self, point_ids: Sequence[UUID]) -> int:
        return await self._count(None, to_filter((Named(tuple(point_ids)),))) if point_ids else 0

    async def _count(self, space: Space | None, narrow: models.Filter | None) -> int:
        async with self._calling("count"):
            names = [name for name in await self._collections() if space is None or name == collection_of(space)]
            return sum([(await self._client.count(name, narrow, exact=True)).count for name in names])

    async def scroll(
        self, space: Space, *, after: UUID | None = None, limit: int = 1000, scope: Scope | None = None
    ) -> tuple[IndexedPoint, ...]:
        if not await self._exists(space):
            return ()
        begin = following(after)
        narrow = to_filter(within_scope(scope)) if scope is not None else None
        async with self._calling("scroll"):
            records, _ = await self._client.scroll(
                collection_of(space), narrow, limit, offset=None if begin is None else str(begin), with_payload=list(IDENTITY)
            )
        return tuple(indexed_point(UUID(str(record.id)), record.payload or {}) for record in records)

    async def lookup(self, space: Space, point_ids: Sequence[UUID]) -> tuple[IndexedPoint, ...]:
        if not point_ids or not await self._exists(space):
            return ()
        ids = [str(point_id) for point_id in point_ids]
        async with self._calling("lookup"):
            records = await self._client.retrieve(collection_of(space), ids, with_payload=list(IDENTITY))
        return tuple(indexed_point(UUID(str(record.id)), record.payload or {}) for record in records)

    async def _pool(self, space: Space, search: Search) -> Pool[str]:
        narrow = to_filter(search.conditions)
        has_dense, has_words = search.dense is not None, search.sparse is not None
        legs = await self._ask(
            space,
            dense_request(search, narrow, search.prefetch, is_exact=search.is_exact) if has_dense else None,
            sparse_request(search, narrow, search.prefetch) if has_words else None,
        )
        traits = {str(point.id): traits_of(point.payload or {}) for leg in legs for point in leg}
        return Pool.of(search, _scores(legs[0]), _scores(legs[1]), lambda ids: [traits[i] for i in ids])

    async def _close_gaps(self, space: Space, search: Search, pool: Pool[str]) -> None:
        lacking = gaps(search, pool)
        dense, bm25 = await self._ask(
            space,
            dense_request(search, of_ids(lacking.dense), len(lacking.dense), is_exact=True) if lacking.dense else None,
            sparse_request(search, of_ids(lacking.bm25), len(lacking.bm25)) if lacking.bm25 else None,
        )
        pool.fill(_scores(dense), _scores(bm25), lacking)

    async def _ask(self, space: Space, *legs: models.QueryRequest | None) -> list[list[models.ScoredPoint]]:
        """Each leg's points, in one round trip; an absent leg has none."""
        asked = [leg for leg in legs if leg is not None]
        if not asked:
            return [[] for _ in legs]
        async with self._calling("search"):
            answers = iter(await self._client.query_batch_points(collection_of(space), asked))
        return [[] if leg is None else next(answers).points for leg in legs]

    async def _payloads(self, space: Space, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        if not ids:
            return {}
        async with self._calling("retrieve"):
            records = await self._client.retrieve(collection_of(space), list(ids), with_payload=True)
        return {str(record.id): record.payload or {} for record in records}

    async def _delete_everywhere(
        self, operation: str, selector: models.PointIdsList | models.FilterSelector, *, keep: Space | None = None
    ) -> None:
        kept = None if keep is None else collection_of(keep)
        async with self._calling(operation):
            for name in await self._collections():
                if name != kept:
                    await self._client.delete(name, selector, wait=True)

    async def _collections(self) -> list[str]:
        listed = await self._client.get_collections()
        return sorted(c.name for c in listed.collections if is_ours(c.name))

    async def _exists(self, space: Space) -> bool:
        name = collection_of(space)
        if name not in self._seen:
            async with self._calling("exists"):
                if await self._client.collection_exists(name):
                    self._seen.add(name)
        return name in self._seen

    async def _prepare(self, space: Space) -> None:
        """Make the space's collection with its indexes, once in this object's life."""
        name = collection_of(space)
        if name in self._prepared:
            return
        async with self._calling("prepare"):
            if not await self._client.collection_exists(name):
                await self._create(space)
            await create_missing_indexes(self._client, space)
        self._prepared.add(name)
        self._seen.add(name)

    async def _create(self, space: Space) -> None:
        try:
            await create_collection(self._client, space, shards=self._shards, replicas=self._replicas)
        except UnexpectedResponse as error:
            if error.status_code != _CONFLICT:  # else another process was faster
                raise

    async def _ask_for_version(self) -> None:
        with _translated():
            await self._client.info()

    @asynccontextmanager
    async def _calling(self, operation: str) -> AsyncIterator[None]:
        try:
            async with self.guard.calling():
                with timed("semantic", operation), _translated():
                    yield
        except TierUnavailable:
            # A collection may have been dropped behind our back: the next call looks again.
            self._prepared.clear()
            self._seen.clear()
            raise


def _scores(leg: Sequence[models.ScoredPoint]) -> dict[str, float]:
    return {str(point.id): point.score for point in leg}


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except UnexpectedResponse as error:
        if error.status_code in _REFUSED:
            raise InvalidInput("point or query", f"refused by Qdrant: {error.reason_phrase}") from error
        kind = TierUnavailable if error.status_code in _AWAY else EngineRefused
        raise kind("semantic", f"Qdrant answered {error.status_code} {error.reason_phrase}") from error
    except ResponseHandlingException as error:
        raise TierUnavailable("semantic", f"no answer from Qdrant: {type(error.source).__name__}") from error
    except QdrantException as error:
        raise EngineRefused("semantic", f"Qdrant is overloaded: {error}") from error
    except json.JSONDecodeError as error:
        raise TierUnavailable("semantic", "what answered is no Qdrant") from error
    except (httpx.HTTPError, OSError) as error:
        raise TierUnavailable("semantic", f"no answer from Qdrant: {type(error).__name__}") from error
