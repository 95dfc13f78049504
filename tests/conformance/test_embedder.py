"""The exam of the `Embedder` port, sat by every provider and by every layer around them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta

import httpx
import numpy as np
import pytest
from embedders import StandIn
from ollama_server import OllamaServer, ollama_server

from app.embedding.batching import BatchingEmbedder
from app.embedding.cache import CachedEmbedder, RedisCache
from app.embedding.chain import EmbedderChain
from app.embedding.hashing import HashingEmbedder
from app.embedding.ollama import OllamaEmbedder
from app.embedding.sentence_transformer import SentenceTransformerEmbedder
from app.ports import Embedder
from app.records import Matrix
from app.working import connect

TEXTS = ["The cat sat on the mat.", "A cat was sitting on a mat.", "Quarterly revenue fell by nine percent."]
KINDS = ["hashing", "minilm", "ollama", "chain", "batching", "cached", "whole"]


@pytest.fixture(scope="module")
def minilm() -> SentenceTransformerEmbedder:
    """The packaged model, loaded once."""
    return SentenceTransformerEmbedder()


@pytest.fixture(scope="module")
def server() -> Iterator[OllamaServer]:
    with ollama_server() as running:
        yield running


@asynccontextmanager
async def whole_stack(server: OllamaServer, redis_url: str) -> AsyncIterator[Embedder]:
    """The layers as the service stacks them."""
    async with httpx.AsyncClient() as client, connect(redis_url) as redis:
        chain = EmbedderChain([OllamaEmbedder(client, server.url, "all-minilm"), StandIn()])
        yield CachedEmbedder(BatchingEmbedder(chain), RedisCache(redis), ttl=timedelta(minutes=1))
        await chain.close()


@pytest.fixture(params=KINDS)
async def embedder(
    request: pytest.FixtureRequest, minilm: SentenceTransformerEmbedder, server: OllamaServer, redis_url: str
) -> AsyncIterator[Embedder]:
    async with httpx.AsyncClient() as client, connect(redis_url) as redis, whole_stack(server, redis_url) as whole:
        embedders: dict[str, Embedder] = {
            "hashing": HashingEmbedder(),
            "minilm": minilm,
            "ollama": OllamaEmbedder(client, server.url, "all-minilm"),
            "chain": EmbedderChain([HashingEmbedder()]),
            "batching": BatchingEmbedder(HashingEmbedder()),
            "cached": CachedEmbedder(HashingEmbedder(), RedisCache(redis), ttl=timedelta(minutes=1)),
            "whole": whole,
        }
        yield embedders[request.param]


async def rows(embedder: Embedder, texts: list[str]) -> Matrix:
    return (await embedder.embed(texts)).vectors


async def test_rows_are_unit_vectors_of_the_space(embedder: Embedder) -> None:
    """One float32 row of length one a text, as wide as the space says, and in the space that was announced."""
    answer = await embedder.embed(TEXTS)
    assert answer.space == embedder.space
    assert answer.vectors.shape == (3, answer.space.dimension)
    assert answer.vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(answer.vectors, axis=1), 1, atol=1e-5)


async def test_rows_come_in_the_order_of_the_texts(embedder: Embedder) -> None:
    """Whatever batches a call was cut into, row i belongs to text i, repeated texts included."""
    texts = [f"{TEXTS[i % 3]} {'and so on ' * (i % 7)}{i % 11}" for i in range(90)]
    together = await rows(embedder, texts)
    for i in (0, 1, 45, 78, 89):
        np.testing.assert_allclose(together[i], (await rows(embedder, [texts[i]]))[0], atol=1e-4)


async def test_like_texts_are_near(embedder: Embedder) -> None:
    """A text is nearer to its paraphrase than to another subject."""
    cat, same_cat, revenue = await rows(embedder, TEXTS)
    assert cat @ same_cat > cat @ revenue + 0.2


@pytest.mark.parametrize("text", ["", "   ", "\n", "🦩", "word " * 3000])
async def test_any_text_has_a_vector(embedder: Embedder, text: str) -> None:
    """Empty, blank, wordless and overlong texts get a unit row like any other, the same each time."""
    first, second = await rows(embedder, [text, text])
    np.testing.assert_allclose([np.linalg.norm(first), first @ second], [1, 1], atol=1e-5)


async def test_no_texts_give_no_rows(embedder: Embedder) -> None:
    """An empty call is answered with an empty matrix of the right width."""
    answer = await embedder.embed([])
    assert (answer.space, answer.vectors.shape) == (embedder.space, (0, 384))


async def test_concurrent_calls_do_not_mix(embedder: Embedder) -> None:
    """Each of many concurrent callers gets the rows it would get alone."""
    together = await asyncio.gather(*(rows(embedder, [text]) for text in TEXTS * 3))
    alone = [await rows(embedder, [text]) for text in TEXTS] * 3
    np.testing.assert_allclose(together, alone, atol=1e-4)


async def test_ping_names_the_engine(embedder: Embedder) -> None:
    """A provider that is up says what it is."""
    assert (await embedder.ping()).split()[0] in {"hashing", "local", "ollama"}
