"""The policy put together on in-memory twins: what `bootstrap` does with engines, and what a test needs to look inside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from uuid import UUID

from given import NOW, SESSION

from app.consolidation.drain import Drain, DrainPolicy
from app.consolidation.erasures import Erasures
from app.consolidation.forget import Forgetting
from app.consolidation.indexing import Indexer, IndexingPolicy
from app.consolidation.logged_episodes import EpisodeDrain
from app.consolidation.reconcile import Reconcile, ReconcilePolicy
from app.consolidation.run import Consolidation, RunPolicy, Workers
from app.consolidation.segmentation import SegmentationPolicy
from app.consolidation.spaces import Spaces
from app.consolidation.summaries import ExtractiveSummarizer
from app.embedding.hashing import HashingEmbedder
from app.ingestion.limits import Limits
from app.ingestion.messages import MessageIngestion
from app.ports import (
    AnswerStore,
    Embedder,
    EpisodicMemory,
    OutboxEntry,
    OutboxQuery,
    SemanticMemory,
    Summarizer,
    WorkingMemory,
)
from app.records import Draft, Episode, Message, Query, RecordKind, Role, Scope, SessionKey, new_id
from app.retrieval.recall import Recall, RecallPolicy
from app.retrieval.stages import Stages
from app.semantic.bm25 import Bm25Encoder
from app.testing.answers import InMemoryAnswerStore
from app.testing.clock import FixedClock
from app.testing.episodic import InMemoryEpisodicMemory
from app.testing.semantic import InMemorySemanticMemory
from app.testing.working import InMemoryWorkingMemory

EVERYWHERE = Scope(SESSION.namespace)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiers:
    """Three twins, an embedder and a clock; `dataclasses.replace` puts a troubled one in."""

    clock: FixedClock
    working: WorkingMemory
    answers: AnswerStore = field(default_factory=InMemoryAnswerStore)
    episodic: EpisodicMemory = field(default_factory=InMemoryEpisodicMemory)
    semantic: SemanticMemory = field(default_factory=lambda: InMemorySemanticMemory(Bm25Encoder()))
    embedder: Embedder = field(default_factory=HashingEmbedder)


def tiers() -> Tiers:
    """Empty twins on one clock that stands at `NOW`."""
    clock = FixedClock(NOW)
    return Tiers(clock=clock, working=InMemoryWorkingMemory(clock))


def drain_of(tiers: Tiers, policy: DrainPolicy | None = None, segmentation: SegmentationPolicy | None = None) -> Drain:
    return Drain(
        tiers.working,
        tiers.episodic,
        policy=policy or DrainPolicy(),
        segmentation=segmentation or SegmentationPolicy(),
        clock=tiers.clock,
        new_id=new_id,
    )


def ingestion_of(tiers: Tiers) -> MessageIngestion:
    return MessageIngestion(tiers.working, tiers.episodic, drain_of(tiers), limits=Limits(), clock=tiers.clock)


def indexer_of(tiers: Tiers, policy: IndexingPolicy | None = None, summarizer: Summarizer | None = None) -> Indexer:
    return Indexer(
        tiers.episodic,
        tiers.semantic,
        tiers.embedder,
        summarizer or ExtractiveSummarizer(tiers.embedder),
        policy=policy or IndexingPolicy(),
        clock=tiers.clock,
    )


def workers_of(tiers: Tiers, drain: Drain, indexer: Indexer) -> Workers:
    erasures = Erasures(tiers.working, tiers.episodic, tiers.answers)
    return Workers(erasures, drain, EpisodeDrain(tiers.working, tiers.episodic), indexer)


def consolidation_of(tiers: Tiers, policy: RunPolicy | None = None) -> Consolidation:
    return Consolidation(
        tiers.working,
        tiers.episodic,
        spaces_of(tiers),
        workers=workers_of(tiers, drain_of(tiers), indexer_of(tiers)),
        policy=policy or RunPolicy(),
        clock=tiers.clock,
    )


def spaces_of(tiers: Tiers) -> Spaces:
    return Spaces(tiers.semantic, lambda: tiers.embedder.space)


def reconcile_of(tiers: Tiers, policy: ReconcilePolicy | None = None) -> Reconcile:
    return Reconcile(
        tiers.episodic,
        tiers.semantic,
        spaces_of(tiers),
        policy=policy or ReconcilePolicy(),
        clock=tiers.clock,
    )


def recall_of(tiers: Tiers, deadline: timedelta = timedelta(seconds=5), stages: Stages | None = None) -> Recall:
    return Recall(
        tiers.working,
        tiers.episodic,
        tiers.semantic,
        tiers.embedder,
        encoder=Bm25Encoder(),
        policy=RecallPolicy(deadline=deadline),
        stages=stages,
    )


def forgetting_of(tiers: Tiers) -> Forgetting:
    return Forgetting(
        tiers.working, tiers.episodic, tiers.semantic,
        answers=tiers.answers, cache=None, on_forgotten=lambda _: None, clock=tiers.clock,
    )  # fmt: skip


async def append(tiers: Tiers, *contents: str, session: SessionKey = SESSION, user_id: str | None = None) -> list[UUID]:
    """Append these as a user's messages; their ids."""
    drafts = [Draft(Role.USER, content) for content in contents]
    receipt = await ingestion_of(tiers).append(Scope(session.namespace, user_id, session_id=session.session_id), drafts)
    return [appended.id for appended in receipt.messages]


async def history_of(tiers: Tiers, session: SessionKey = SESSION) -> tuple[Message, ...]:
    """What Postgres has of a session."""
    async with tiers.episodic.reading() as reader:
        return await reader.history(session, after=0, limit=100_000)


async def outbox_of(tiers: Tiers, *, is_dead: bool | None = None) -> tuple[OutboxEntry, ...]:
    async with tiers.episodic.reading() as reader:
        queued = await reader.list_outbox(OutboxQuery(limit=100_000), now=tiers.clock())
    return tuple(q.entry for q in queued if is_dead in {None, q.entry.is_dead})


async def episodes_of(tiers: Tiers, scope: Scope = EVERYWHERE) -> tuple[Episode, ...]:
    """Oldest first."""
    async with tiers.episodic.reading() as reader:
        return (await reader.list_episodes(scope, kind=None, before=None, limit=100_000))[::-1]


async def texts_found(tiers: Tiers, text: str, scope: Scope = EVERYWHERE) -> Sequence[str]:
    """The texts of the hits for a query, best first."""
    recollection = await recall_of(tiers).recall(Query(text, scope))
    return [hit.text for hit in recollection.hits]


async def contents_of(tiers: Tiers) -> list[str]:
    return [m.content for m in await history_of(tiers)]


async def check_books(tiers: Tiers) -> None:
    """Seen from outside: sequences rise, each message is in one episode which knows it, and what is owed is queued once."""
    messages, episodes = await history_of(tiers), await episodes_of(tiers)
    assert all(before.sequence < after.sequence for before, after in pairwise(messages))
    async with tiers.episodic.reading() as reader:
        homes = {e.id: await reader.episode_messages(e.id) for e in episodes}
    assert Counter(m.uid for home in homes.values() for m in home) == Counter(m.uid for m in messages)
    assert [(e.message_count, e.first_sequence, e.last_sequence) for e in episodes] == [
        (len(homes[e.id]), homes[e.id][0].sequence, homes[e.id][-1].sequence) for e in episodes
    ]
    assert sum(e.is_open for e in episodes) <= 1
    owed = [(RecordKind.MESSAGE, m.uid) for m in messages] + [(RecordKind.EPISODE, e.id) for e in episodes if not e.is_open]
    assert Counter((e.kind, e.record_uid) for e in await outbox_of(tiers)) == Counter(owed)
