"""Micro-batching: who is merged with whom, and who gets what."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
from embedders import StandIn

from app.embedding.batching import BatchingEmbedder
from app.errors import EmbedderUnavailable
from app.records import Embedded


async def started(*calls: asyncio.Task[Embedded]) -> None:
    """Let these tasks run until they wait."""
    for _ in range(3):
        await asyncio.sleep(0)


def ask(embedder: BatchingEmbedder, *texts: str) -> asyncio.Task[Embedded]:
    return asyncio.create_task(embedder.embed(texts))


async def busy(inner: StandIn, embedder: BatchingEmbedder, text: str = "first") -> asyncio.Task[Embedded]:
    """A call that `inner` is at, and stays at until its gate is opened."""
    inner.gate.clear()
    first = ask(embedder, text)
    await inner.called.wait()
    return first


async def test_a_call_that_comes_alone_goes_at_once() -> None:
    """Nothing waits for company."""
    inner = StandIn()
    await BatchingEmbedder(inner).embed(["a"])
    await BatchingEmbedder(inner).embed(["b"])
    assert inner.calls == [["a"], ["b"]]


async def test_what_arrives_during_a_call_is_the_next_call() -> None:
    """However many callers wait, `inner` is asked once for all of them, and once for a text several of them want."""
    inner = StandIn()
    embedder = BatchingEmbedder(inner)
    first = await busy(inner, embedder)
    others = [ask(embedder, "a", "b"), ask(embedder, "b", "c"), ask(embedder, "a")]
    await started(*others)
    inner.gate.set()
    answers = await asyncio.gather(first, *others)
    assert inner.calls == [["first"], ["a", "b", "c"]]
    for answer, texts in zip(answers, (["first"], ["a", "b"], ["b", "c"], ["a"]), strict=True):
        np.testing.assert_array_equal(answer.vectors, (await inner.embed(texts)).vectors)


async def test_a_batch_is_bounded_and_no_call_is_split() -> None:
    """Calls are taken whole, the longest-waiting first; one larger than the bound goes alone."""
    inner = StandIn()
    embedder = BatchingEmbedder(inner, max_batch=3)
    first = await busy(inner, embedder)
    others = [ask(embedder, *texts) for texts in ("ab", "c", "d", "efgh", "i")]
    await started(*others)
    inner.gate.set()
    await asyncio.gather(first, *others)
    assert inner.calls == [["first"], ["a", "b", "c"], ["d"], ["e", "f", "g", "h"], ["i"]]


async def test_a_query_does_not_wait_for_bulk_work() -> None:
    """While a hundred texts are being embedded, a single one is sent on at once."""
    inner = StandIn()
    embedder = BatchingEmbedder(inner)
    inner.gate.clear()
    bulk = ask(embedder, *(f"text {i}" for i in range(100)))
    await inner.called.wait()
    query = ask(embedder, "query")
    await started(query)
    assert inner.calls[1:] == [["query"]]
    inner.gate.set()
    await asyncio.gather(bulk, query)


async def test_an_error_reaches_those_it_concerns() -> None:
    """Everybody in the call that failed gets its error; the calls before and after it are answered."""
    inner = StandIn()
    inner.refused = {"b"}
    embedder = BatchingEmbedder(inner, max_batch=2)
    calls = [await busy(inner, embedder), *(ask(embedder, text) for text in "abcd")]
    await started(*calls)
    inner.gate.set()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(a) for a in answers] == [Embedded, EmbedderUnavailable, EmbedderUnavailable, Embedded, Embedded]


class Broken(StandIn):
    """Fails as no provider should."""

    async def embed(self, texts: Sequence[str]) -> Embedded:  # noqa: ARG002 -- the port's signature
        raise RuntimeError("a bug")


async def test_an_unexpected_error_is_handed_on_too() -> None:
    """A bug in a provider reaches the caller and does not leave the next one waiting for ever."""
    embedder = BatchingEmbedder(Broken())
    for _ in range(2):
        with pytest.raises(RuntimeError, match="a bug"):
            await asyncio.wait_for(embedder.embed(["a"]), timeout=5)


async def test_a_cancelled_caller_takes_nobody_along() -> None:
    """Whether its call is running or waiting, the others get their answers."""
    inner = StandIn()
    embedder = BatchingEmbedder(inner)
    running = await busy(inner, embedder)
    waiting, other = ask(embedder, "gone"), ask(embedder, "kept")
    await started(waiting, other)
    running.cancel()
    waiting.cancel()
    await started(running, waiting)
    inner.gate.set()
    assert (await other).vectors.shape == (1, 384)
    assert (running.cancelled(), waiting.cancelled(), inner.calls) == (True, True, [["first"], ["kept"]])
