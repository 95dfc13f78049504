"""What a specification is, what it is given, and what a store under test is made with."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import math
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, TypeVar

from langchain_core.embeddings import Embeddings
from langgraph.store.base import BaseStore, Item, Op, Result, SearchItem, TTLConfig

T = TypeVar("T")

DIMENSIONS: Final = 256


class Unsupported(Exception):
    """Raised by a factory for options that its store does not have; the message says why."""


class Need(StrEnum):
    """What a specification needs a store to be made with."""

    INDEX = "index"
    TTL = "ttl"


class Basis(StrEnum):
    """Where a specification comes from: LangGraph's own documentation, or what anybody would expect."""

    DOCUMENTED = "documented"
    EXPECTED = "expected"


class WordEmbeddings(Embeddings):
    """Texts are near when they share words; no model, the same everywhere."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        row = [0.0] * DIMENSIONS
        for word in re.findall(r"\w+", text.lower()):
            digest = hashlib.sha256(word.encode()).digest()
            row[int.from_bytes(digest[:4], "big") % DIMENSIONS] += 1.0 if digest[4] & 1 else -1.0
        length = math.hypot(*row)
        return [value / length for value in row] if length else [1.0, *row[1:]]


@dataclass(frozen=True)
class StoreOptions:
    """What to make a store with. A store that embeds by itself may leave `embeddings` alone."""

    fields: tuple[str, ...] | None = None
    ttl: TTLConfig | None = None
    embeddings: Embeddings = field(default_factory=WordEmbeddings)
    dimensions: int = DIMENSIONS


class Disagreement(AssertionError):
    """A store did otherwise than a specification says."""


class Face:
    """A store's methods, blocking or not, awaited in either case; and labels of the specification's own."""

    def __init__(self, store: BaseStore, root: str, *, is_blocking: bool) -> None:
        self.store: Final = store
        self.root: Final = root
        self._is_blocking = is_blocking

    def at(self, *labels: str) -> tuple[str, ...]:
        """A namespace that no other specification uses."""
        return (self.root, *labels)

    async def put(self, namespace: tuple[str, ...], key: str, value: Any, index: Any = None, **ttl: Any) -> None:
        await self._call("put", namespace, key, value, index, **ttl)

    async def get(self, namespace: tuple[str, ...], key: str, **options: Any) -> Item | None:
        item: Item | None = await self._call("get", namespace, key, **options)
        return item

    async def delete(self, namespace: tuple[str, ...], key: str) -> None:
        await self._call("delete", namespace, key)

    async def search(self, namespace: tuple[str, ...], **options: Any) -> list[SearchItem]:
        found: list[SearchItem] = await self._call("search", namespace, **options)
        return found

    async def list_namespaces(self, **options: Any) -> list[tuple[str, ...]]:
        """Below this specification's root, which is left out."""
        prefix = (self.root, *options.pop("prefix", ()))
        depth = options.pop("max_depth", None)
        found = await self._call("list_namespaces", prefix=prefix, max_depth=None if depth is None else depth + 1, **options)
        return [tuple(namespace)[1:] for namespace in found]

    async def batch(self, ops: Iterable[Op]) -> list[Result]:
        results: list[Result] = await self._call("batch", list(ops))
        return results

    async def sweep(self) -> None:
        """Have the store delete what has expired, if it can be told to."""
        sweep = getattr(self.store, "sweep_ttl", None)
        if sweep is not None and inspect.isawaitable(swept := sweep()):
            await swept

    async def keys(self, namespace: tuple[str, ...], **options: Any) -> list[str]:
        return [item.key for item in await self.search(namespace, **options)]

    async def _call(self, name: str, *args: Any, **options: Any) -> Any:
        if self._is_blocking:
            return await asyncio.to_thread(getattr(self.store, name), *args, **options)
        return await getattr(self.store, f"a{name}")(*args, **options)


@dataclass(frozen=True, slots=True)
class Spec:
    """One behaviour: an id, a sentence that says it, and a check that raises when a store does otherwise."""

    id: str
    sentence: str
    basis: Basis
    needs: frozenset[Need]
    check: Callable[[Face], Awaitable[None]]


def spec(
    identity: str, sentence: str, *needs: Need, basis: Basis = Basis.EXPECTED
) -> Callable[[Callable[[Face], Awaitable[None]]], Spec]:
    return lambda check: Spec(identity, sentence, basis, frozenset(needs), check)


def equal(actual: object, wanted: object, what: str) -> None:
    """
    Raises:
        Disagreement: says what differs.
    """
    if actual != wanted:
        raise Disagreement(f"{what}: {actual!r}, not {wanted!r}")


def holds(claim: object, what: str) -> None:
    """
    Raises:
        Disagreement: the claim does not hold.
    """
    if not claim:
        raise Disagreement(what)


async def refused(work: Awaitable[object], what: str) -> None:
    """
    Raises:
        Disagreement: `work` did not fail.
    """
    try:
        await work
    except Exception:  # noqa: BLE001 - any error is a refusal
        return
    raise Disagreement(f"{what} was taken")


async def everything(pages: Callable[[int], Awaitable[Sequence[T]]], size: int, most: int = 200) -> list[T]:
    """What all pages hold together, up to the first empty one."""
    found: list[T] = []
    for offset in range(0, most, size):
        page = await pages(offset)
        if not page:
            break
        found += page
    return found
