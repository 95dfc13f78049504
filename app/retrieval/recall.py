"""Recall: ask the index and the buffers at once, under a deadline, and say who did not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final, TypeAlias

import structlog

from app.errors import TierUnavailable
from app.observability import RECALL_LATENCY
from app.ports import (
    Clock,
    Embedder,
    EpisodicMemory,
    IndexQuery,
    SemanticMemory,
    SparseEncoder,
    WorkingMemory,
)
from app.ranking import Cues
from app.records import Embedded, Hit, Message, Mode, Query, Recollection, RecordKind, Space, Tier, Vector, utc_now
from app.retrieval.attempt import Attempt
from app.retrieval.buffer import BufferPolicy, bm25_scores, buffer_hits, dense_scores, worth_embedding
from app.retrieval.cues import read_cues
from app.retrieval.fusion import is_enough, select
from app.retrieval.matching import admits
from app.retrieval.participants import Participants
from app.retrieval.people import People
from app.retrieval.spaces import KnownSpaces, on_one_scale
from app.retrieval.stages import Found, Stages

log = structlog.get_logger(__name__)

EMBEDDER: Final = "embedder"
"""How a missing query vector is named in `degraded`: the index then answered by words alone."""
DISABLED: Final = "retrieval-disabled"
"""Stands in `degraded` while retrieval is switched off: nothing was looked for."""
IsOn: TypeAlias = Callable[[], Awaitable[bool]]
_SPARE: Final = 3
"""Hits asked for beyond the limit, in case some repeat others or their kind is full."""
_MOST_SPARE: Final = 8
_USES_VECTOR: Final = frozenset({Mode.HYBRID, Mode.DENSE, Mode.EXACT})
_USES_WORDS: Final = frozenset({Mode.HYBRID, Mode.SPARSE, Mode.EXACT})


@dataclass(frozen=True, slots=True)
class RecallPolicy:
    """`deadline` bounds a recall. Embedder and index have its first `patience`; full text backs up a late index, for at
    most `fallbacks` recalls at a time."""

    deadline: timedelta = timedelta(milliseconds=300)
    patience: float = 0.5
    fallbacks: int = 4
    buffer: BufferPolicy = field(default_factory=BufferPolicy)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A query, what it says about its answer, what was embedded of it, and its vector (None without one)."""

    query: Query
    cues: Cues
    meaning: str
    embedded: Embedded | None


class Recall:
    """Answers queries from all three tiers."""

    def __init__(  # noqa: PLR0913 -- what a recall is made of, put together in one place
        self, working: WorkingMemory, episodic: EpisodicMemory, semantic: SemanticMemory, embedder: Embedder, *,
        encoder: SparseEncoder, policy: RecallPolicy, stages: Stages | None = None, clock: Clock = utc_now,
        is_on: IsOn | None = None,
    ) -> None:  # fmt: skip
        self._working = working
        self._episodic = episodic
        self._semantic = semantic
        self._embedder = embedder
        self._encoder = encoder
        self._policy = policy
        self._stages = stages or Stages()
        self._clock = clock
        self._switch = is_on
        self._participants = Participants(semantic, embedder, patience=policy.deadline * (policy.patience / 2))
        self._known_spaces = KnownSpaces(semantic)
        self._fallbacks = asyncio.Semaphore(policy.fallbacks)

    async def recall(self, query: Query, *, deadline: timedelta | None = None) -> Recollection:
        """The best hits within the deadline (the policy's, if none is given); who could not answer in time is in `degraded`.

        While retrieval is switched off nothing is looked up, and that stands in `degraded`.

        Raises:
            TierUnavailable: no tier answered, so that "nothing found" would be a lie.
        """
        if not await self.is_on():
            return Recollection((), (DISABLED,))
        attempt = Attempt(self._policy.deadline if deadline is None else deadline)
        query = replace(query, as_of=query.as_of or self._clock())
        hits = select(await self._stages.apply(attempt, query, self._find), query)
        RECALL_LATENCY.labels("total_with_stages" if query.stages else "total").observe(attempt.elapsed_ms / 1e3)
        log.debug("recalled", hits=len(hits), degraded=attempt.degraded, latency_ms=round(attempt.elapsed_ms, 2))
        return Recollection(hits, attempt.degraded, attempt.elapsed_ms)

    async def is_on(self) -> bool:
        """Whether retrieval is switched on."""
        return self._switch is None or await self._switch()

    async def _find(self, attempt: Attempt, query: Query) -> Found:
        """What index and buffers have, in no order.

        Raises:
            TierUnavailable: see `recall`.
        """
        buffered = asyncio.create_task(attempt.stage(Tier.WORKING, self._unindexed(query)))
        asked = await self._asked(attempt, query)
        indexed, ranked = await asyncio.gather(self._search(attempt, asked), self._rank(attempt, asked, buffered))
        if indexed is None and not ranked:
            raise TierUnavailable(Tier.SEMANTIC, "neither the index nor full text answered in time")
        return Found((*(indexed or ()), *ranked), asked.meaning)

    def forget(self, namespace: str) -> None:
        """Drop what is remembered of the namespace between recalls."""
        self._participants.forget(namespace)

    async def _unindexed(self, query: Query) -> Sequence[Message]:
        if RecordKind.MESSAGE not in query.kinds:
            return ()
        messages = await self._working.unindexed(query.scope, self._policy.buffer.messages)
        return [m for m in messages if admits(query, m)]

    async def _asked(self, attempt: Attempt, query: Query) -> _Asked:
        """The question with its cues and its vector; the names of those who take part are taken out of it (see `people`)."""
        patience = self._policy.patience
        people = await attempt.stage(Tier.SEMANTIC, self._participants.of(query.scope.namespace), share=patience) or People()
        cues = read_cues(query, people, self._clock())
        meaning = people.without_names(query.text) if query.ranking.names_out else query.text
        if query.mode not in _USES_VECTOR:
            return _Asked(query, cues, meaning, None)
        embedded = await attempt.stage(EMBEDDER, self._embedder.embed([meaning]), share=patience)
        return _Asked(query, cues, meaning, embedded)

    async def _search(self, attempt: Attempt, asked: _Asked) -> Sequence[Hit] | None:
        """The index's hits, or full text's when the index is away or late; None when neither answered."""
        index = asyncio.ensure_future(self._ask_index(asked))
        await asyncio.wait({index}, timeout=attempt.remaining_seconds(self._policy.patience))
        if index.done():
            hits = await attempt.stage(Tier.SEMANTIC, index)
            return hits if hits is not None else await attempt.stage(Tier.EPISODIC, self._ask_text(asked.query))
        if self._fallbacks.locked():  # when everything is late, asking Postgres as well makes it later still
            return await attempt.stage(Tier.SEMANTIC, index)
        text = asyncio.create_task(attempt.stage(Tier.EPISODIC, self._ask_text(asked.query)))
        hits = await attempt.stage(Tier.SEMANTIC, index)
        if hits is None:
            return await text
        text.cancel()
        return hits

    async def _ask_index(self, asked: _Asked) -> Sequence[Hit]:
        """Enough hits to choose from: asked for again, more of them, where repetitions or a full kind leave places open."""
        spaces = await self._spaces(asked.embedded)
        wanted = asked.query.limit + _SPARE
        while True:
            answers = [await self._semantic.search(space, _index_query(asked, dense, wanted)) for space, dense in spaces]
            hits = on_one_scale([(dense, [c.hit for c in found]) for (_, dense), found in zip(spaces, answers, strict=True)])
            is_all = all(len(candidates) < wanted for candidates in answers)
            if is_all or wanted > _MOST_SPARE * asked.query.limit or is_enough(hits, asked.query):
                return hits
            wanted *= 2

    async def _spaces(self, embedded: Embedded | None) -> list[tuple[Space, Vector | None]]:
        """The spaces to ask, each with the query's vector in it; without one a space is asked by words.

        Usually one. While a fallback embeds, or nobody does, or another model takes over, records may lie in several.
        """
        if embedded is None:
            return [(space, None) for space in await self._semantic.spaces()]
        others = await self._known_spaces.beside(embedded.space)
        return [(embedded.space, embedded.vectors[0]), *((space, None) for space in others)]

    async def _ask_text(self, query: Query) -> Sequence[Hit]:
        async with self._fallbacks, self._episodic.reading() as reader:
            return await reader.search_text(query)

    async def _rank(self, attempt: Attempt, asked: _Asked, buffered: Awaitable[Sequence[Message] | None]) -> Sequence[Hit]:
        """Score buffered messages like indexed ones (their own text, no context vector)."""
        messages = await buffered
        if not messages:
            return ()
        query, embedded = asked.query, asked.embedded
        words = self._words(query, messages) if query.mode in _USES_WORDS or embedded is None else [0.0] * len(messages)
        dense = [0.0] * len(messages)
        if embedded is not None:
            positions = worth_embedding(words, self._policy.buffer.embedded)
            work = self._embedder.embed([messages[p].content for p in positions])
            rows = await attempt.stage(EMBEDDER, work)
            if rows is not None and rows.space == embedded.space:
                dense = dense_scores(embedded.vectors[0], rows.vectors, positions, len(messages)).tolist()
        return buffer_hits(messages, dense, words, query.ranking, asked.cues, self._policy.buffer.short_words)

    def _words(self, query: Query, messages: Sequence[Message]) -> list[float]:
        documents = [self._encoder.encode_document(f"{m.author}: {m.content}") for m in messages]
        return bm25_scores(self._encoder.encode_query(query.text), documents, self._policy.buffer.corpus_size)


def _index_query(asked: _Asked, dense: Vector | None, limit: int) -> IndexQuery:
    query = asked.query
    return IndexQuery(
        scope=query.scope,
        dense=dense,
        sparse_text=query.text if query.mode in _USES_WORDS or dense is None else None,
        limit=limit,
        kinds=query.kinds,
        filter=query.filter,
        ranges=query.ranges,
        since=query.since,
        until=query.until,
        mode=query.mode,
        ranking=query.ranking,
        cues=asked.cues,
        valid_at=None if query.include_superseded else query.as_of,
    )
