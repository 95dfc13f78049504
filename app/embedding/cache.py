"""Cached vectors: what was embedded once is not embedded again, in this process or, by Redis, in any."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final

import numpy as np
import structlog
from redis.asyncio import Redis, RedisCluster
from redis.exceptions import RedisError

from app.breakers import Guard
from app.embedding.spaces import nothing_embedded
from app.errors import EmbedderUnavailable, TierUnavailable
from app.observability import CACHE_REQUESTS, timed
from app.ports import Cache, Embedder
from app.records import Embedded, Space, Vector, sha256_hex

log = structlog.get_logger(__name__)

PROVIDER: Final = "cache"

_STORED: Final = np.dtype("<f4")
"""float32, little-endian whatever the machine: the cache is shared between machines."""
_REMEMBERED_VECTORS: Final = 4096
"""Six megabytes at 384 dimensions."""
_PATIENCE: Final = timedelta(milliseconds=250)
"""A cache slower than this is no help: a short text is embedded in a tenth of it."""


class CachedEmbedder:
    """Asks this process' memory, then `cache`, then `inner` for what is left.

    Vectors are stored under the space they are in and looked up in the space that is wanted, so one answer is always of
    one space, and a fallback's vectors are never taken for the primary's. A cache that fails or is slow is logged,
    counted and done without.
    """

    def __init__(self, inner: Embedder, cache: Cache, *, ttl: timedelta, patience: timedelta = _PATIENCE) -> None:
        self._inner = inner
        self._cache = cache
        self._ttl = ttl
        self._patience = patience
        self._remembered = _Recent(_REMEMBERED_VECTORS)

    @property
    def inner(self) -> Embedder:
        """What embeds when the cache does not know."""
        return self._inner

    @property
    def space(self) -> Space:
        return self._inner.space

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """See `Embedder.embed`. `provider` is `cache` when nothing had to be embedded."""
        distinct = list(dict.fromkeys(texts))
        space, found = await self._look_up(distinct)
        missing = [text for text in distinct if text not in found]
        _count(hits=len(found), misses=len(missing))
        if space is not None and not missing:
            return _arranged(nothing_embedded(space, PROVIDER), found, texts)
        answer = await self._embed_and_store(missing)
        if found and answer.space != space:  # a fallback answered: the rest has to come from it as well
            answer, found, missing = await self._embed_and_store(distinct), {}, distinct
        return _arranged(answer, {**found, **dict(zip(missing, answer.vectors, strict=True))}, texts)

    async def ping(self) -> str:
        return await self._inner.ping()

    async def evict(self, texts: Sequence[str], spaces: Sequence[Space]) -> int:
        """See `EmbeddingCache.evict`. What other processes hold in their own memory is pushed out in time."""
        keys = [_key(space, text) for space in {*spaces, *self._own_space()} for text in dict.fromkeys(texts)]
        self._remembered.drop(keys)
        return await self._cache.delete_many(keys)

    def _own_space(self) -> Sequence[Space]:
        try:
            return (self._inner.space,)
        except EmbedderUnavailable:  # then nothing was ever stored in it by this process
            return ()

    async def _look_up(self, texts: Sequence[str]) -> tuple[Space | None, dict[str, Vector]]:
        """What is known of `texts` in the space that is wanted, and that space if it is known itself."""
        try:
            space = self._inner.space
        except EmbedderUnavailable:  # its dimension is learned from the first answer
            return None, {}
        keys = {text: _key(space, text) for text in texts}
        found = {text: vector for text, key in keys.items() if (vector := self._remembered.get(key)) is not None}
        fetched = await self._fetch({text: key for text, key in keys.items() if text not in found}, space)
        self._remembered.put({keys[text]: vector for text, vector in fetched.items()})
        return space, {**found, **fetched}

    async def _fetch(self, keys: Mapping[str, str], space: Space) -> dict[str, Vector]:
        """The vectors the cache has, by text; a value of another size than the space's counts as absent."""
        size = space.dimension * _STORED.itemsize
        values: Sequence[bytes | None] = ()
        if keys:
            async with self._without_fail():
                values = await self._cache.get_many(list(keys.values()))
        found = zip(keys, values, strict=False)
        return {text: np.frombuffer(v, _STORED).astype(np.float32) for text, v in found if v is not None and len(v) == size}

    async def _embed_and_store(self, texts: Sequence[str]) -> Embedded:
        answer = await self._inner.embed(texts)
        # Copies: a view of one row would keep the whole answer in memory.
        vectors = {_key(answer.space, text): row.copy() for text, row in zip(texts, answer.vectors, strict=True)}
        self._remembered.put(vectors)
        if vectors:
            async with self._without_fail():
                await self._cache.put_many({key: row.astype(_STORED).tobytes() for key, row in vectors.items()}, self._ttl)
        return answer

    @asynccontextmanager
    async def _without_fail(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._patience.total_seconds()):
                yield
        except (TierUnavailable, TimeoutError) as error:
            CACHE_REQUESTS.labels("embedding", "error").inc()
            log.warning("embedding_cache_failed", problem=str(error) or "too slow")


def uncached(embedder: Embedder) -> Embedder:
    """The provider itself, for texts whose vectors are not to be kept."""
    return embedder.inner if isinstance(embedder, CachedEmbedder) else embedder


class RedisCache:
    """`Cache` on Redis. One pipeline of single-key commands, which a cluster can route; in one server that is one trip."""

    def __init__(self, client: Redis | RedisCluster, *, guard: Guard | None = None) -> None:
        self._client = client
        self._guard = guard or Guard("cache", client.ping)

    async def get_many(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """The values in the order of `keys`.

        Raises:
            TierUnavailable: Redis could not be reached.
        """
        if not keys:
            return ()
        pipeline = self._client.pipeline(transaction=False)
        for key in keys:
            pipeline.get(key)
        return await self._executed(pipeline.execute, "cache_get")

    async def put_many(self, values: Mapping[str, bytes], ttl: timedelta) -> None:
        """Each value under its key for `ttl`.

        Raises:
            TierUnavailable: Redis could not be reached; some values may have been written.
        """
        if not values:
            return
        pipeline = self._client.pipeline(transaction=False)
        for key, value in values.items():
            pipeline.set(key, value, px=ttl)
        await self._executed(pipeline.execute, "cache_put")

    async def delete_many(self, keys: Sequence[str]) -> int:
        """How many there were.

        Raises:
            TierUnavailable: Redis could not be reached; some values may be left.
        """
        if not keys:
            return 0
        pipeline = self._client.pipeline(transaction=False)
        for key in keys:
            pipeline.unlink(key)
        return sum(await self._executed(pipeline.execute, "cache_delete"))

    async def _executed(self, execute: Callable[[], Awaitable[list[Any]]], operation: str) -> list[Any]:
        """The one place where the driver is called."""
        async with self._guard.calling():
            try:
                with timed("cache", operation):
                    return await execute()
            except RedisError as error:
                raise TierUnavailable("working", f"embedding cache: {error}") from error


class _Recent:
    """The vectors used last, at most `limit` of them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._vectors: OrderedDict[str, Vector] = OrderedDict()

    def get(self, key: str) -> Vector | None:
        if key in self._vectors:
            self._vectors.move_to_end(key)
        return self._vectors.get(key)

    def put(self, vectors: Mapping[str, Vector]) -> None:
        for key, vector in vectors.items():
            self._vectors[key] = vector
            self._vectors.move_to_end(key)
        while len(self._vectors) > self._limit:
            self._vectors.popitem(last=False)

    def drop(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._vectors.pop(key, None)


def _key(space: Space, text: str) -> str:
    return f"hm:emb:{space.name}:{sha256_hex(text)}"


def _arranged(answer: Embedded, vectors: Mapping[str, Vector], texts: Sequence[str]) -> Embedded:
    """`answer` with one row a text, in order."""
    rows = [vectors[text] for text in texts]
    return Embedded(answer.space, np.stack(rows) if rows else answer.vectors, answer.provider)


def _count(*, hits: int, misses: int) -> None:
    CACHE_REQUESTS.labels("embedding", "hit").inc(hits)
    CACHE_REQUESTS.labels("embedding", "miss").inc(misses)
