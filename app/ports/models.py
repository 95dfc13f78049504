"""Models: embedders, summarizers, rerankers, and their caches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from app.ports.engines import Pingable
from app.records import Embedded, Message, Space, Vector


class Embedder(Pingable, Protocol):
    """Turns texts into unit vectors."""

    @property
    def space(self) -> Space:
        """The space new vectors are meant for: the primary provider's."""
        ...

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """One unit row a text, in order, all in one space (which may be a fallback's: see `Embedded.space`).

        Raises:
            EmbedderUnavailable: no provider answered.
        """
        ...


@dataclass(frozen=True, slots=True)
class Summary:
    """A summary and who wrote it: `extractive`, or a model's name."""

    text: str
    provider: str


class Summarizer(Protocol):
    async def summarize(self, messages: Sequence[Message]) -> Summary:
        """A few sentences that say what a stretch of conversation was about; never longer than the conversation."""
        ...


class Reranker(Protocol):
    async def scores(self, question: str, texts: Sequence[str]) -> Vector:
        """How well each text answers the question, from 0 to 1 and finite; shape (len(texts),), in order.

        Raises:
            TierUnavailable, EmbedderUnavailable: the model could not be loaded, or makes no sense of this.
        """
        ...


class Rephraser(Protocol):
    async def rephrase(self, question: str) -> tuple[str, ...]:
        """A few other wordings or parts of the question, none equal to it; possibly none at all.

        Raises:
            TierUnavailable: ("expand") the model did not answer, or not with anything that makes sense.
        """
        ...


class SparseEncoder(Protocol):
    """Tokenizes as the index does, so that a buffer can be ranked in the index's terms."""

    def encode_query(self, text: str) -> Mapping[int, float]: ...

    def encode_document(self, text: str) -> Mapping[int, float]: ...


class Cache(Protocol):
    """A byte cache that may forget anything at any time."""

    async def get_many(self, keys: Sequence[str]) -> Sequence[bytes | None]: ...

    async def put_many(self, values: Mapping[str, bytes], ttl: timedelta) -> None: ...

    async def delete_many(self, keys: Sequence[str]) -> int:
        """How many there were."""
        ...


class EmbeddingCache(Protocol):
    """Where vectors of texts are kept for a while."""

    async def evict(self, texts: Sequence[str], spaces: Sequence[Space]) -> int:
        """Forget the vectors of these texts in these spaces and in the embedder's own; returns how many there were.

        Raises:
            TierUnavailable: the cache could not be reached; this process' own memory has forgotten them.
        """
        ...
