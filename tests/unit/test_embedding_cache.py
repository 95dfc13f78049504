"""The cache: what is asked for again, what is not, and what happens without it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta

import numpy as np
import pytest
from embedders import MINILM_SPACE, StandIn
from redis.asyncio import Redis

from app.embedding.cache import CachedEmbedder, RedisCache
from app.embedding.chain import EmbedderChain
from app.errors import TierUnavailable
from app.observability import CACHE_REQUESTS
from app.records import Space, sha256_hex
from app.working import connect

OTHER_SPACE = Space("mpnet", 384)
TTL = timedelta(minutes=1)


class DictCache:
    """A cache in a dict, which can be down or hang; `asked` counts look-ups."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.ttl: timedelta | None = None
        self.is_up = True
        self.hangs = False
        self.asked = 0

    async def get_many(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        self.asked += 1
        await self._respond()
        return [self.values.get(key) for key in keys]

    async def put_many(self, values: Mapping[str, bytes], ttl: timedelta) -> None:
        await self._respond()
        self.values.update(values)
        self.ttl = ttl

    async def delete_many(self, keys: Sequence[str]) -> int:
        await self._respond()
        return sum(self.values.pop(key, None) is not None for key in keys)

    async def _respond(self) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if not self.is_up:
            raise TierUnavailable("working", "down")


def cached(inner: StandIn | EmbedderChain, cache: DictCache) -> CachedEmbedder:
    """A process of its own: nothing remembered but what `cache` holds."""
    return CachedEmbedder(inner, cache, ttl=TTL, patience=timedelta(milliseconds=20))


async def test_a_text_is_embedded_once() -> None:
    """Another process that shares the cache gets the very vector, and only asks for what is new, each text once."""
    inner, cache = StandIn(), DictCache()
    first = await cached(inner, cache).embed(["a", "b"])
    second = await cached(inner, cache).embed(["c", "b", "c", "a"])
    assert inner.calls == [["a", "b"], ["c"]]
    np.testing.assert_array_equal(second.vectors[[3, 1]], first.vectors)
    np.testing.assert_array_equal(second.vectors, (await inner.embed(["c", "b", "c", "a"])).vectors)


async def test_a_repeated_text_costs_no_look_up() -> None:
    """What this process used lately it still has."""
    inner, cache = StandIn(), DictCache()
    embedder = cached(inner, cache)
    await embedder.embed(["a"])
    again = await embedder.embed(["a", "a"])
    assert (cache.asked, inner.calls, again.provider, again.space) == (1, [["a"]], "cache", MINILM_SPACE)


async def test_values_are_little_endian_floats_under_space_and_hash() -> None:
    """The format is a contract between processes and versions."""
    inner, cache = StandIn(), DictCache()
    answer = await cached(inner, cache).embed(["a"])
    key = f"hm:emb:all-minilm-l6-v2__384:{sha256_hex('a')}"
    assert (cache.values, cache.ttl) == ({key: answer.vectors[0].astype("<f4").tobytes()}, TTL)


async def test_a_value_of_another_size_is_no_vector() -> None:
    """What somebody else wrote under the key is embedded anew and overwritten."""
    inner, cache = StandIn(), DictCache()
    key = f"hm:emb:all-minilm-l6-v2__384:{sha256_hex('a')}"
    cache.values[key] = b"rubbish"
    await cached(inner, cache).embed(["a"])
    assert (inner.calls, len(cache.values[key])) == ([["a"]], 4 * 384)


async def test_evicted_texts_are_embedded_anew() -> None:
    """In this process and for others; in the spaces named as well as in its own; what was not evicted stays."""
    inner, cache = StandIn(), DictCache()
    embedder = cached(inner, cache)
    await embedder.embed(["a", "b"])
    cache.values[f"hm:emb:{OTHER_SPACE.name}:{sha256_hex('a')}"] = b"x"
    assert await embedder.evict(["a", "a", "never"], [OTHER_SPACE]) == 2
    await embedder.embed(["a", "b"])
    assert inner.calls == [["a", "b"], ["a"]]
    assert len(cache.values) == 2


async def test_evicting_without_the_cache_says_so() -> None:
    """Down, it is an error; what this process remembered is gone all the same."""
    inner, cache = StandIn(), DictCache()
    embedder = cached(inner, cache)
    await embedder.embed(["a"])
    cache.is_up = False
    with pytest.raises(TierUnavailable):
        await embedder.evict(["a"], [])
    await embedder.embed(["a"])
    assert inner.calls == [["a"], ["a"]]


@pytest.mark.parametrize("defect", ["down", "hanging"])
async def test_a_broken_cache_never_breaks_embedding(defect: str) -> None:
    """Down or hanging, it is counted and done without."""
    inner, cache = StandIn(), DictCache()
    cache.is_up, cache.hangs = defect != "down", defect == "hanging"
    failures = CACHE_REQUESTS.labels("embedding", "error")._value.get()
    answer = await cached(inner, cache).embed(["a"])
    assert (answer.provider, answer.vectors.shape) == ("stand-in", (1, 384))
    assert CACHE_REQUESTS.labels("embedding", "error")._value.get() == failures + 2


async def test_one_answer_is_of_one_space() -> None:
    """When a fallback of another space answers for the missing, what was cached is embedded again by it too."""
    primary, fallback, cache = StandIn("ollama"), StandIn("local", OTHER_SPACE), DictCache()
    embedder = cached(EmbedderChain([primary, fallback]), cache)
    await embedder.embed(["a"])
    primary.is_up = False
    answer = await embedder.embed(["b", "a"])
    assert (answer.space, answer.vectors.shape) == (OTHER_SPACE, (2, 384))
    assert fallback.calls[-1] == ["b", "a"]


async def test_a_fallbacks_vectors_are_not_taken_for_the_primarys() -> None:
    """They are kept under the space they are in, and not found once the primary is asked again."""
    primary, fallback, cache = StandIn("ollama"), StandIn("local", OTHER_SPACE), DictCache()
    embedder = cached(EmbedderChain([primary, fallback]), cache)
    primary.is_up = False
    during = await embedder.embed(["a"])
    primary.is_up = True
    after = await embedder.embed(["a"])
    assert [during.space, after.space] == [OTHER_SPACE, MINILM_SPACE]
    assert [key.split(":")[2] for key in cache.values] == [OTHER_SPACE.name, MINILM_SPACE.name]


async def test_a_cached_text_needs_no_provider() -> None:
    """During an outage what is cached in the wanted space is still answered, in that space."""
    inner, cache = StandIn(), DictCache()
    await cached(inner, cache).embed(["a"])
    inner.is_up = False
    answer = await cached(inner, cache).embed(["a"])
    assert (answer.provider, answer.space) == ("cache", MINILM_SPACE)


async def test_an_unknown_space_is_not_looked_up() -> None:
    """Until the first answer has told the dimension there is no key to look under."""
    inner, cache = StandIn(space=None), DictCache()
    embedder = cached(inner, cache)
    await embedder.embed(["a"])
    await embedder.embed(["a"])
    assert (cache.asked, inner.calls) == (0, [["a"]])


async def test_hits_and_misses_are_counted() -> None:
    """By distinct text, wherever it was found."""
    hits, misses = (CACHE_REQUESTS.labels("embedding", result) for result in ("hit", "miss"))
    before = hits._value.get(), misses._value.get()
    embedder = cached(StandIn(), DictCache())
    await embedder.embed(["a"])
    await embedder.embed(["a", "b", "b"])
    assert (hits._value.get() - before[0], misses._value.get() - before[1]) == (1, 2)


async def test_changing_an_answer_does_not_change_the_cache() -> None:
    """Callers own the rows they get."""
    embedder = cached(StandIn(), DictCache())
    expected = (await embedder.embed(["a"])).vectors.copy()
    (await embedder.embed(["a"])).vectors[:] = 0
    np.testing.assert_array_equal((await embedder.embed(["a"])).vectors, expected)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with connect(redis_url) as client:
        assert isinstance(client, Redis)
        yield client


async def test_redis_keeps_bytes_for_a_while(redis: Redis) -> None:
    """Values come back in the order asked, absent ones as None, and expire."""
    cache = RedisCache(redis)
    await cache.put_many({"a": b"\x00\xff", "b": b"2"}, TTL)
    assert await cache.get_many(["b", "c", "a"]) == [b"2", None, b"\x00\xff"]
    assert 0 < await redis.pttl("a") <= TTL / timedelta(milliseconds=1)


async def test_redis_forgets_what_it_is_told_to(redis: Redis) -> None:
    """Says how many there were, and leaves the rest."""
    cache = RedisCache(redis)
    await cache.put_many({"a": b"1", "b": b"2"}, TTL)
    assert (await cache.delete_many(["a", "c"]), await cache.delete_many([])) == (1, 0)
    assert await cache.get_many(["a", "b"]) == [None, b"2"]


async def test_redis_is_not_asked_for_nothing(redis: Redis) -> None:
    """No keys, no round trip."""
    cache = RedisCache(redis)
    before = (await redis.info("stats"))["total_commands_processed"]
    assert list(await cache.get_many([])) == []
    await cache.put_many({}, TTL)
    assert (await redis.info("stats"))["total_commands_processed"] == before + 1


async def test_redis_away_is_a_tier_unavailable() -> None:
    """The driver's error does not escape."""
    async with connect("redis://127.0.0.1:1") as client:
        for attempt in (RedisCache(client).get_many(["a"]), RedisCache(client).put_many({"a": b"1"}, TTL)):
            with pytest.raises(TierUnavailable) as raised:
                await attempt
            assert raised.value.tier == "working"
