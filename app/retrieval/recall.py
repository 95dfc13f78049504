"""Recall: ask the index and the buffers at once, under a deadline, and say who did not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import structlog

from app.errors import TierUnavailable
from app.observability import RECALL_LATENCY
from app.ports import (
    Embedder,
    EpisodicMemory,
    FusionWeights,
    IndexQuery,
    SemanticMemory,
    SparseEncoder,
    WorkingMemory,
)
from app.records import Embedded, Hit, Message, Mode, Query, Recollection, RecordKind, Space, Tier, Vector
from app.retrieval.attempt import Attempt
from app.retrieval.buffer import BufferPolicy, bm25_scores, dense_scores, worth_embedding
from app.retrieval.fusion import merge
from app.retrieval.matching import admits
from app.retrieval.participants import Participants
from app.retrieval.people import named, without_names
from app.retrieval.spaces import KnownSpaces, on_scale_of

log = structlog.get_logger(__name__)

EMBEDDER: Final = "embedder"
"""How a missing query vector is named in `degraded`: the index then answered by words alone."""
_USES_VECTOR: Final = frozenset({Mode.HYBRID, Mode.DENSE, Mode.EXACT})
_USES_WORDS: Final = frozenset({Mode.HYBRID, Mode.SPARSE, Mode.EXACT})


@dataclass(frozen=True, slots=True)
class RecallPolicy:
    """`deadline` bounds a recall. Embedder and index have its first `patience`; full text backs up a late index, for at
    most `fallbacks` recalls at a time."""

    deadline: timedelta = timedelta(milliseconds=300)
    patience: float = 0.5
    fallbacks: int = 4
    weights: FusionWeights = field(default_factory=FusionWeights)
    buffer: BufferPolicy = field(default_factory=BufferPolicy)


class Recall:
    """Answers queries from all three tiers."""

    def __init__(
        self, working: WorkingMemory, episodic: EpisodicMemory, semantic: SemanticMemory, embedder: Embedder, *,
        encoder: SparseEncoder, policy: RecallPolicy,
    ) -> None:  # fmt: skip
        self._working = working
        self._episodic = episodic
        self._semantic = semantic
        self._embedder = embedder
        self._encoder = encoder
        self._policy = policy
        self._participants = Participants(semantic, embedder)
        self._known_spaces = KnownSpaces(semantic)
        self._fallbacks = asyncio.Semaphore(policy.fallbacks)

    async def recall(self, query: Query) -> Recollection:
        """The best hits within the deadline; what could not answer in time is named in `degraded`.

        Raises:
            TierUnavailable: no tier answered, so that "nothing found" would be a lie.
        """
        attempt = Attempt(self._policy.deadline)
        buffered = asyncio.create_task(attempt.stage(Tier.WORKING, self._unindexed(query)))
        embedded = await self._embed(attempt, query)
        indexed, ranked = await asyncio.gather(
            self._search(attempt, query, embedded), self._rank(attempt, query, buffered, embedded)
        )
        if indexed is None and not ranked:
            raise TierUnavailable(Tier.SEMANTIC, "neither the index nor full text answered in time")
        hits = merge((*(indexed or ()), *ranked), query.limit)
        RECALL_LATENCY.labels("total").observe(attempt.elapsed_ms / 1e3)
        log.debug("recalled", hits=len(hits), degraded=attempt.degraded, latency_ms=round(attempt.elapsed_ms, 2))
        return Recollection(hits, attempt.degraded, attempt.elapsed_ms)

    async def _unindexed(self, query: Query) -> Sequence[Message]:
        if RecordKind.MESSAGE not in query.kinds:
            return ()
        messages = await self._working.unindexed(query.scope, self._policy.buffer.messages)
        return [m for m in messages if admits(query, m)]

    async def _embed(self, attempt: Attempt, query: Query) -> Embedded | None:
        if query.mode not in _USES_VECTOR:
            return None
        return await attempt.stage(EMBEDDER, self._embed_question(query), share=self._policy.patience)

    async def _embed_question(self, query: Query) -> Embedded:
        """The question's vector, without the names of those who take part (see `people`)."""
        authors = await self._participants.of(query.scope.namespace)
        return await self._embedder.embed([without_names(query.text, named(query.text, authors))])

    async def _search(self, attempt: Attempt, query: Query, embedded: Embedded | None) -> Sequence[Hit] | None:
        """The index's hits, or full text's when the index is away or late; None when neither answered."""
        index = asyncio.ensure_future(self._ask_index(query, embedded))
        await asyncio.wait({index}, timeout=attempt.remaining_seconds(self._policy.patience))
        if index.done():
            hits = await attempt.stage(Tier.SEMANTIC, index)
            return hits if hits is not None else await attempt.stage(Tier.EPISODIC, self._ask_text(query))
        if self._fallbacks.locked():  # when everything is late, asking Postgres as well makes it later still
            return await attempt.stage(Tier.SEMANTIC, index)
        text = asyncio.create_task(attempt.stage(Tier.EPISODIC, self._ask_text(query)))
        hits = await attempt.stage(Tier.SEMANTIC, index)
        if hits is None:
            return await text
        text.cancel()
        return hits

    async def _ask_index(self, query: Query, embedded: Embedded | None) -> Sequence[Hit]:
        hits: list[Hit] = []
        for space, dense in await self._spaces(embedded):
            candidates = await self._semantic.search(space, self._index_query(query, dense))
            by_words = embedded is not None and dense is None
            found = [c.hit for c in candidates]
            hits.extend(on_scale_of(hits, found) if by_words else found)
        return hits

    async def _spaces(self, embedded: Embedded | None) -> list[tuple[Space, Vector | None]]:
        """The spaces to ask, each with the query's vector in it; without one a space is asked by words.

        Usually one. While a fallback embeds, or nobody does, or another model takes over, records may lie in several.
        """
        if embedded is None:
            return [(space, None) for space in await self._semantic.spaces()]
        others = await self._known_spaces.beside(embedded.space)
        return [(embedded.space, embedded.vectors[0]), *((space, None) for space in others)]

    def _index_query(self, query: Query, dense: Vector | None) -> IndexQuery:
        return IndexQuery(
            scope=query.scope,
            dense=dense,
            sparse_text=query.text if query.mode in _USES_WORDS or dense is None else None,
            limit=query.limit,
            kinds=query.kinds,
            filter=query.filter,
            since=query.since,
            until=query.until,
            mode=query.mode,
            weights=self._policy.weights,
        )

    async def _ask_text(self, query: Query) -> Sequence[Hit]:
        async with self._fallbacks, self._episodic.reading() as reader:
            return await reader.search_text(query)

    async def _rank(
        self, attempt: Attempt, query: Query, buffered: Awaitable[Sequence[Message] | None], embedded: Embedded | None
    ) -> Sequence[Hit]:
        """Score buffered messages like indexed ones: dense + weight · BM25 (their own text, no context vector)."""
        messages = await buffered
        if not messages:
            return ()
        policy = self._policy.buffer
        words = self._words(query, messages) if query.mode in _USES_WORDS or embedded is None else [0.0] * len(messages)
        dense = [0.0] * len(messages)
        if embedded is not None:
            positions = worth_embedding(words, policy.embedded)
            work = self._embedder.embed([messages[p].content for p in positions])
            rows = await attempt.stage(EMBEDDER, work)
            if rows is not None and rows.space == embedded.space:
                dense = dense_scores(embedded.vectors[0], rows.vectors, positions, len(messages)).tolist()
        return [
            _buffer_hit(message, d, self._policy.weights.bm25 * w)
            for message, d, w in zip(messages, dense, words, strict=True)
            if d + w > 0.0
        ]

    def _words(self, query: Query, messages: Sequence[Message]) -> list[float]:
        documents = [self._encoder.encode_document(f"{m.author}: {m.content}") for m in messages]
        return bm25_scores(self._encoder.encode_query(query.text), documents, self._policy.buffer.corpus_size)


def _buffer_hit(message: Message, dense: float, words: float) -> Hit:
    return Hit(
        id=message.id,
        kind=RecordKind.MESSAGE,
        text=message.content,
        score=dense + words,
        components={"dense": dense, "bm25": words},
        tier=Tier.WORKING,
        scope=message.scope,
        created_at=message.created_at,
        metadata=message.metadata,
        role=message.role.value,
        author=message.author,
        sequence=message.sequence,
    )
