"""Items: read by name, or searched by filter and meaning, exactly: every page of an answer continues the one before.

The filter is Postgres', the order is the index'. Texts that the index does not have yet are compared here, so that what
was just written is found; points of texts that are no longer so are passed over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

import structlog

from app.errors import EmbedderUnavailable, TierUnavailable
from app.observability import RECALL_DEGRADED
from app.ports import Clock, Embedder, EpisodicMemory, IndexQuery, ItemSelection, SemanticMemory
from app.ranking import Ranking
from app.records import (
    Candidate,
    Embedded,
    FoundItem,
    Item,
    ItemName,
    ItemQuery,
    ItemTerm,
    ItemText,
    LabelQuery,
    Mode,
    RecordKind,
    Scope,
    sha256_hex,
    under_labels,
)

log = structlog.get_logger(__name__)

BY_MEANING: Final = Ranking(bm25=0.0, author=0.0, date=0.0, session=0.0, assistant=0.0, recency=0.0, quality=0.0)
_DIGITS: Final = 6
"""Of a score that count: a vector compared here and in the index differs in the seventh."""


@dataclass(frozen=True, slots=True)
class ItemPolicy:
    """`patience`: for how long the embedder is waited for. `compared`: texts that the index lacks are brought into it
    first, where there are more. `least`: points asked for at first; four times as many whenever they were not enough, up
    to a `page`. What takes more is worked out page by page."""

    patience: timedelta = timedelta(seconds=10)
    compared: int = 64
    least: int = 64
    page: int = 1000


@dataclass(frozen=True, slots=True)
class Scored:
    """A text and how near it is to the question."""

    text: ItemText
    score: float


@dataclass(frozen=True, slots=True)
class _Asked:
    selection: ItemSelection
    embedded: Embedded
    wanted: int


class ItemSearch:
    """Reads and searches. `catch_up` brings these texts into the index, as far as it can be done now.

    `uncached` embeds the texts of items, which may be overwritten (see `Indexer`), and `embedder` the questions.
    """

    def __init__(
        self, episodic: EpisodicMemory, semantic: SemanticMemory, embedder: Embedder, *,
        catch_up: Callable[[Sequence[UUID]], Awaitable[object]], policy: ItemPolicy, clock: Clock,
        uncached: Embedder | None = None,
    ) -> None:  # fmt: skip
        self._episodic = episodic
        self._semantic = semantic
        self._embedder = embedder
        self._uncached = uncached or embedder
        self._catch_up = catch_up
        self._policy = policy
        self._clock = clock

    async def get(
        self, namespace: str, names: Collection[ItemName], *, refreshed: Collection[ItemName] = ()
    ) -> Mapping[ItemName, Item]:
        """Those of these items that are there; the `refreshed` among them live on for their TTL."""
        async with self._episodic.reading() as reader:
            found = await reader.items(namespace, names, now=self._clock())
        await self._refresh([item for name, item in found.items() if name in refreshed])
        return found

    async def search(self, query: ItemQuery, terms: Sequence[ItemTerm]) -> tuple[FoundItem, ...]:
        """A page of the items that match, in the order that `ItemQuery` states.

        While the embedder or the index is away, those that share words with the text come first, without scores.
        """
        selection = ItemSelection(query.namespace, query.labels, self._clock(), tuple(terms))
        found = await self._found(query, selection) if query.limit else ()
        if query.is_refreshing:
            await self._refresh([each.item for each in found])
        return found

    async def labels(self, query: LabelQuery) -> tuple[tuple[str, ...], ...]:
        async with self._episodic.reading() as reader:
            return await reader.labels(query, now=self._clock())

    async def _found(self, query: ItemQuery, selection: ItemSelection) -> tuple[FoundItem, ...]:
        if query.text is None:
            return await self._listed(query, selection)
        try:
            async with asyncio.timeout(self._policy.patience.total_seconds()):
                embedded = await self._embedder.embed([query.text])
            return await self._nearest(query, _Asked(selection, embedded, query.offset + query.limit))
        except (EmbedderUnavailable, TierUnavailable, TimeoutError) as error:
            RECALL_DEGRADED.labels("items").inc()
            log.warning("item_search_degraded", problem=str(error) or "the embedder did not answer", answered_by="words")
            return await self._listed(query, selection)

    async def _listed(self, query: ItemQuery, selection: ItemSelection) -> tuple[FoundItem, ...]:
        async with self._episodic.reading() as reader:
            items = await reader.select_items(selection, limit=query.limit, offset=query.offset, text=query.text)
        return tuple(map(FoundItem, items))

    async def _nearest(self, query: ItemQuery, asked: _Asked) -> tuple[FoundItem, ...]:
        """The page out of those with a score, best first, and then those without."""
        best = await self._best(asked)
        order = ranked(best)
        page = order[query.offset : asked.wanted]
        async with self._episodic.reading() as reader:
            items = await reader.items(query.namespace, [s.text.name for s in page], now=asked.selection.now)
            found = [FoundItem(items[s.text.name], s.score) for s in page if s.text.name in items]
            lacking, skipped = query.limit - len(page), max(0, query.offset - len(order))
            further = await reader.select_items(asked.selection, limit=lacking, offset=skipped, but=list(best)) if lacking else ()
        return (*found, *map(FoundItem, further))

    async def _best(self, asked: _Asked) -> Mapping[UUID, Scored]:
        """The best text of each item (by uid): of as many as are wanted, or of all that have one."""
        unindexed = await self._compared(asked)
        limit = max(self._policy.least, 2 * asked.wanted)
        if await self._is_narrow(asked.selection):
            return await self._all(asked, unindexed)
        while limit <= self._policy.page:
            candidates = await self._semantic.search(asked.embedded.space, _index_query(asked, limit))
            best = best_of(await self._current(asked.selection, candidates, unindexed), unindexed)
            if len(candidates) < limit or is_settled(best, asked.wanted, candidates[-1].dense):
                return best
            limit *= 4
        return await self._all(asked, unindexed)

    async def _is_narrow(self, selection: ItemSelection) -> bool:
        """Whether a filter leaves so few texts that they are better asked for by name."""
        if not selection.terms:
            return False
        async with self._episodic.reading() as reader:
            return len(await reader.selected_texts(selection, after=None, limit=self._policy.page)) < self._policy.page

    async def _all(self, asked: _Asked, unindexed: Sequence[Scored]) -> Mapping[UUID, Scored]:
        """Every selected text asked for by name, a page at a time: no answer of the index may take long."""
        best = best_of(unindexed)
        compared = {scored.text.uid for scored in unindexed}
        after: UUID | None = None
        while page := await self._page_of_texts(asked.selection, after):
            after = page[-1].uid
            texts = {text.uid: text for text in page if text.uid not in compared}
            named = _index_query(asked, max(1, len(texts)), tuple(texts))
            candidates = await self._semantic.search(asked.embedded.space, named) if texts else ()
            best = best_of(best.values(), _as_they_are(candidates, texts))
        return best

    async def _page_of_texts(self, selection: ItemSelection, after: UUID | None) -> tuple[ItemText, ...]:
        async with self._episodic.reading() as reader:
            return await reader.selected_texts(selection, after=after, limit=self._policy.page)

    async def _compared(self, asked: _Asked) -> Sequence[Scored]:
        """The texts that the index does not have as they are, compared here."""
        texts = await self._unindexed(asked.selection)
        if len(texts) > self._policy.compared:
            await self._catch_up([text.uid for text in texts])
            texts = await self._unindexed(asked.selection)
        if not texts:
            return ()
        embedded = await self._uncached.embed([text.text for text in texts])
        if embedded.space != asked.embedded.space:  # the provider changed between two calls
            raise EmbedderUnavailable(embedded.provider, "another provider answers by now")
        scores = (embedded.vectors @ asked.embedded.vectors[0]).tolist()
        return [Scored(text, score) for text, score in zip(texts, scores, strict=True)]

    async def _unindexed(self, selection: ItemSelection) -> tuple[ItemText, ...]:
        async with self._episodic.reading() as reader:
            return await reader.unindexed_texts(selection)

    async def _current(
        self, selection: ItemSelection, candidates: Sequence[Candidate], unindexed: Iterable[Scored]
    ) -> list[Scored]:
        """The candidates that are selected, and made of their texts as they are."""
        compared = {scored.text.uid for scored in unindexed}
        asked = [c.point_id for c in candidates if c.point_id not in compared]
        async with self._episodic.reading() as reader:
            texts = await reader.selected_among(selection, asked) if asked else {}
        return _as_they_are(candidates, texts)

    async def _refresh(self, items: Iterable[Item]) -> None:
        lasting = [item.uid for item in items if item.ttl is not None]
        if lasting:
            async with self._episodic.writing() as tx:
                await tx.refresh_items(lasting, now=self._clock())


def _as_they_are(candidates: Iterable[Candidate], texts: Mapping[UUID, ItemText]) -> list[Scored]:
    """The candidates that are among `texts` and made of them as they are."""
    found = ((texts[c.point_id], c) for c in candidates if c.point_id in texts)
    return [Scored(text, c.dense) for text, c in found if text.content_sha256 == sha256_hex(c.hit.text)]


def best_of(*found: Iterable[Scored]) -> dict[UUID, Scored]:
    """The best text of each item, by the item's uid."""
    best: dict[UUID, Scored] = {}
    for scored in (each for part in found for each in part):
        known = best.get(scored.text.item_uid)
        if known is None or scored.score > known.score:
            best[scored.text.item_uid] = scored
    return best


def ranked(best: Mapping[UUID, Scored]) -> list[Scored]:
    """Best first, of equals the newest, and then in an order that stays."""
    return [s for _, s in sorted(best.items(), key=lambda i: (-_counted(i[1].score), -i[1].text.updated_at.timestamp(), i[0]))]


def is_settled(best: Mapping[UUID, Scored], wanted: int, least: float) -> bool:
    """Whether no text that scores `least` or below could still be among the first `wanted` items."""
    above = sum(_counted(scored.score) > _counted(least) for scored in best.values())
    return above >= wanted


def _counted(score: float) -> float:
    return round(score, _DIGITS)


def _index_query(asked: _Asked, limit: int, named: tuple[UUID, ...] | None = None) -> IndexQuery:
    return IndexQuery(
        scope=Scope(asked.selection.namespace),
        dense=asked.embedded.vectors[0],
        sparse_text=None,
        limit=limit,
        kinds=(RecordKind.ITEM,),
        filter=under_labels(asked.selection.labels),
        mode=Mode.EXACT,
        ranking=BY_MEANING,
        ids=named,
    )
