"""From the outbox into the vector index.

Claim a batch → summarise closed episodes → embed → upsert → tick off. Every step may be repeated: points are
upserted by id and entries are ticked off by generation. A tier that is away delays the batch and never kills it; an
entry that fails on its own account is tried apart from the others and becomes a dead letter after `max_attempts` such
failures.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeGuard, TypeVar
from uuid import UUID

import numpy as np
import structlog

from app.consolidation.representation import (
    DEFAULT_CONTEXT,
    ContextPolicy,
    PointDraft,
    draft_episode,
    draft_item,
    draft_knowledge,
    draft_message,
    judged,
    sum_rows,
)
from app.errors import EmbedderUnavailable, TierUnavailable, Unreadable
from app.faultpoints import FaultPoint, reached
from app.observability import BACKGROUND_ERRORS, CONSOLIDATED
from app.ports import (
    Clock,
    Embedder,
    EpisodicMemory,
    EpisodicReader,
    EpisodicWriter,
    MessageInContext,
    OutboxEntry,
    OutboxOp,
    SemanticMemory,
    Summarizer,
)
from app.records import Episode, EpisodeKind, ItemText, Knowledge, Message, Point, RecordKind, Space, utc_now

log = structlog.get_logger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class IndexingPolicy:
    """`retry_base` doubles with every attempt up to `retry_ceiling`, give or take half (jitter). `context`: what points say."""

    batch: int = 256
    lease: timedelta = timedelta(minutes=2)
    max_attempts: int = 12
    retry_base: timedelta = timedelta(milliseconds=500)
    retry_ceiling: timedelta = timedelta(seconds=30)
    context: ContextPolicy = DEFAULT_CONTEXT

    def retry_after(self, attempts: int, chance: float) -> timedelta:
        """How long to wait after the given attempt; `chance` in [0, 1] spreads workers apart."""
        delay = min(self.retry_base * 2.0 ** min(attempts, 20), self.retry_ceiling)
        return delay * (0.5 + chance)


@dataclass(frozen=True, slots=True)
class Batch:
    """`claimed`: entries that were due, 0 when nothing is. `indexed`: those of them that are done with."""

    claimed: int
    indexed: int


class Indexer:
    """Works off the outbox, any number of them at once."""

    def __init__(
        self, episodic: EpisodicMemory, semantic: SemanticMemory, embedder: Embedder, summarizer: Summarizer, *,
        policy: IndexingPolicy, clock: Clock = utc_now, uncached: Embedder | None = None,
    ) -> None:  # fmt: skip
        """`uncached` embeds what may be worded anew: nobody could say later which wordings a cache still knows."""
        self._episodic = episodic
        self._semantic = semantic
        self._embedder = embedder
        self._uncached = uncached or embedder
        self._summarizer = summarizer
        self._policy = policy
        self._clock = clock

    async def index_batch(self) -> Batch:
        """Work off one batch of what is due."""
        async with self._episodic.writing() as tx:
            entries = await tx.claim_outbox(self._policy.batch, lease=self._policy.lease, now=self._clock())
        await reached(FaultPoint.INDEX_CLAIMED)
        return Batch(len(entries), await self._attempt(entries) if entries else 0)

    async def index_claimed(self, entries: Sequence[OutboxEntry]) -> int:
        """Work off entries that the caller has claimed; returns how many are done with, the others are given back."""
        return await self._attempt(entries)

    async def index_records(self, kind: RecordKind, uids: Sequence[UUID]) -> int:
        """Work off what waits for these records and is not held by another worker; returns how many are done with."""
        done = 0
        for start in range(0, len(uids), self._policy.batch):
            part = uids[start : start + self._policy.batch]
            async with self._episodic.writing() as tx:
                entries = await tx.claim_records(kind, part, lease=self._policy.lease, now=self._clock())
            done += await self._attempt(entries) if entries else 0
        return done

    async def _attempt(self, entries: Sequence[OutboxEntry]) -> int:
        """Work these off and give back those that fail; returns how many are done with."""
        try:
            return await self._index(entries)
        except (TierUnavailable, EmbedderUnavailable) as error:
            log.warning("indexing_delayed", entries=len(entries), problem=str(error))
            await self._delay(entries, str(error))
            return 0
        except Exception as error:  # noqa: BLE001 - one record nobody foresaw must not stop the others
            return await self._isolate(entries, error)

    async def _isolate(self, entries: Sequence[OutboxEntry], error: Exception) -> int:
        """Halve a failed batch until the entry that fails on its own account stands alone."""
        if len(entries) > 1:
            middle = len(entries) // 2
            return await self._attempt(entries[:middle]) + await self._attempt(entries[middle:])
        BACKGROUND_ERRORS.labels("index").inc()
        log.error("indexing_failed", kind=entries[0].kind, record=str(entries[0].record_uid), exc_info=error)
        await self._give_back(entries[0], f"{type(error).__name__}: {error}")
        return 0

    async def _index(self, entries: Sequence[OutboxEntry]) -> int:
        by_op: dict[OutboxOp, list[OutboxEntry]] = defaultdict(list)
        for entry in entries:
            by_op[entry.op].append(entry)
        if deletes := by_op[OutboxOp.DELETE]:
            await self._semantic.delete([e.record_uid for e in deletes])
            await reached(FaultPoint.INDEX_DELETED)
        space = await self._upsert(by_op[OutboxOp.UPSERT])
        if space not in {None, self._embedder.space}:
            # Findable for now through the fallback's own collection; still owed to the primary's.
            await self._delay(by_op[OutboxOp.UPSERT], f"indexed in fallback space {space}")
            entries = by_op[OutboxOp.DELETE]
        async with self._episodic.writing() as tx:
            await tx.complete_outbox(entries)
            await reached(FaultPoint.INDEX_TICKED_OFF)
        await reached(FaultPoint.INDEX_COMPLETED)
        CONSOLIDATED.labels("indexed").inc(len(by_op[OutboxOp.UPSERT]))
        return len(entries)

    async def _upsert(self, entries: Sequence[OutboxEntry]) -> Space | None:
        """Bring the records' points up to date; returns the space they went to, None when there was nothing to embed."""
        drafts = await self._draft(entries)
        await reached(FaultPoint.INDEX_DRAFTED)
        gone = {e.record_uid for e in entries} - {d.point.id for d in drafts}
        if gone:
            await self._semantic.delete(list(gone))
            await reached(FaultPoint.INDEX_GONE_DELETED)
        if not drafts:
            return None
        space, points = await self._embedded(drafts)
        await reached(FaultPoint.INDEX_EMBEDDED)
        await self._semantic.upsert(space, points)
        # Written first, so that there is no moment without a point. A record with one in each of two spaces is found once.
        await self._semantic.delete([point.id for point in points], keep=space)
        await reached(FaultPoint.INDEX_UPSERTED)
        return space

    async def _embedded(self, drafts: Sequence[PointDraft]) -> tuple[Space, list[Point]]:
        """Points with their vectors, all of one space."""
        said = [draft for draft in drafts if draft.point.kind is RecordKind.MESSAGE]
        worded = [draft for draft in drafts if draft.point.kind is not RecordKind.MESSAGE]
        parts = ((self._embedder, said), (self._uncached, worded))
        answers = [await embedder.embed(_texts_of(part)) for embedder, part in parts if part]
        ordered = [*said, *worded]
        if len({answer.space for answer in answers}) > 1:  # cached by a provider that is away now, or it came between the calls
            answers = [await self._uncached.embed(_texts_of(ordered))]
        rows = sum_rows(np.concatenate([answer.vectors for answer in answers]), ordered)
        return answers[0].space, [replace(draft.point, dense=row) for draft, row in zip(ordered, rows, strict=True)]

    async def _draft(self, entries: Sequence[OutboxEntry]) -> list[PointDraft]:
        async with self._episodic.reading() as reader:
            read = await _read(reader, entries)
            uids = read.uids
            await _refuse_unread(reader, [entry for entry in entries if entry.record_uid not in uids])
            standings = await reader.standings(list(uids), self._clock())
        summarised = await self._summarised(read.episodes)
        drafts = [
            *(draft_message(m, self._policy.context) for m in read.messages if not m.is_archived),
            *(draft_episode(e, self._policy.context.rendering) for e in summarised),
            *(draft_knowledge(k) for k in read.knowledge if k.is_active),
            *(draft_item(i) for i in read.items),
        ]
        return [judged(draft, standings.get(draft.point.id)) for draft in drafts]

    async def _summarised(self, episodes: Sequence[Episode]) -> list[Episode]:
        """The episodes that belong into the index, with summaries, as they are once these are made."""
        wanted = [e for e in episodes if _is_searched(e)]
        unsummarised = [e for e in wanted if not e.summary and e.kind is EpisodeKind.CONVERSATION]
        if not unsummarised:
            return wanted
        made = await self._summaries(unsummarised)
        await reached(FaultPoint.INDEX_SUMMARISED)
        changed = await self._save_summaries([e for e in unsummarised if e.id in made], made)
        await reached(FaultPoint.INDEX_SUMMARIES_SAVED)
        return [made.get(e.id, e) for e in wanted if e.id not in changed] + [e for e in changed.values() if _is_ready(e)]

    async def _summaries(self, episodes: Sequence[Episode]) -> dict[UUID, Episode]:
        """Each with its summary, by id, without those in which nothing was said."""
        async with self._episodic.reading() as reader:
            said = {e.id: await reader.episode_messages(e.id) for e in episodes}
        return {e.id: await self._summarize(e, said[e.id]) for e in episodes if said[e.id]}

    async def _summarize(self, episode: Episode, messages: Sequence[Message]) -> Episode:
        summary = await self._summarizer.summarize(messages)
        return replace(episode, summary=summary.text, metadata={**episode.metadata, "summarised_by": summary.provider})

    async def _save_summaries(self, read: Sequence[Episode], made: Mapping[UUID, Episode]) -> dict[UUID, Episode | None]:
        """Returns those that are no longer as they were read, as they are now: they are not saved. None is gone."""
        changed: dict[UUID, Episode | None] = {}
        async with self._episodic.writing() as tx:
            for episode in sorted(read, key=lambda e: e.id):  # in one order, so that workers cannot lock each other out
                # Read again: a summary must not bring back what was forgotten while the model was at work. Another
                # worker's summary is no such change to the index: that worker may be dead, and leaves the point to us.
                now = await tx.episode(episode.scope.namespace, episode.id)
                if now == episode:
                    await tx.save_episode(made[episode.id])
                else:
                    changed[episode.id] = now
        CONSOLIDATED.labels("summarised").inc(len(made) - len(changed))
        return changed

    async def _delay(self, entries: Sequence[OutboxEntry], error: str) -> None:
        """An outage ends by itself and says nothing against a record."""
        due = self._due_after(max(e.attempts for e in entries))
        async with self._giving_back() as tx:
            await tx.delay_outbox(entries, error=error, next_attempt_at=due)

    async def _give_back(self, entry: OutboxEntry, error: str) -> None:
        """Only a record's own failures are counted, and too many of them are final."""
        is_dead = entry.failures + 1 >= self._policy.max_attempts
        due = self._due_after(entry.attempts)
        async with self._giving_back() as tx:
            await tx.release_outbox([entry], error=error, next_attempt_at=due, is_dead=is_dead)

    @asynccontextmanager
    async def _giving_back(self) -> AsyncIterator[EpisodicWriter]:
        async with self._episodic.writing() as tx:
            yield tx
            await reached(FaultPoint.INDEX_GIVING_BACK)
        await reached(FaultPoint.INDEX_GIVEN_BACK)

    def _due_after(self, attempts: int) -> datetime:
        chance = random.random()  # noqa: S311 - jitter, not a secret
        return self._clock() + self._policy.retry_after(attempts, chance)


@dataclass(frozen=True, slots=True)
class _Read:
    """The records of a batch that are there and can be read."""

    messages: Sequence[MessageInContext]
    episodes: Sequence[Episode]
    knowledge: Sequence[Knowledge]
    items: Sequence[ItemText]

    @property
    def uids(self) -> set[UUID]:
        found: list[Episode | Knowledge | ItemText] = [*self.episodes, *self.knowledge, *self.items]
        return {*(m.message.uid for m in self.messages), *(record.uid for record in found)}


async def _read(reader: EpisodicReader, entries: Sequence[OutboxEntry]) -> _Read:
    uids: Mapping[RecordKind, list[UUID]] = defaultdict(list)
    for entry in entries:
        uids[entry.kind].append(entry.record_uid)
    return _Read(
        messages=await _if_any(reader.messages_in_context, uids[RecordKind.MESSAGE]),
        episodes=await _if_any(reader.episodes_by_uid, uids[RecordKind.EPISODE]),
        knowledge=await _if_any(reader.knowledge_by_uid, uids[RecordKind.KNOWLEDGE]),
        items=await _if_any(reader.item_texts, uids[RecordKind.ITEM]),
    )


async def _if_any(read: Callable[[Sequence[UUID]], Awaitable[Sequence[T]]], uids: Sequence[UUID]) -> Sequence[T]:
    """A kind that no entry names costs no round trip."""
    return await read(uids) if uids else ()


def _texts_of(drafts: Iterable[PointDraft]) -> list[str]:
    return [text for draft in drafts for text in draft.texts]


def _is_searched(episode: Episode) -> bool:
    return not episode.is_open and episode.archived_at is None


def _is_ready(changed: Episode | None) -> TypeGuard[Episode]:
    """Whether an episode that changed under the summary has another worker's; if not, its change has queued it again."""
    return changed is not None and bool(changed.summary) and _is_searched(changed)


async def _refuse_unread(reader: EpisodicReader, entries: Sequence[OutboxEntry]) -> None:
    """A record that is gone leaves the index; one that only cannot be read by this release must not.

    Raises:
        Unreadable: one of these is there.
    """
    for entry in entries:
        if await reader.existing(entry.kind, entry.namespace, [entry.record_uid]):
            raise Unreadable(entry.kind.value, str(entry.record_uid), "cannot be read by this release; see `row_skipped`")
