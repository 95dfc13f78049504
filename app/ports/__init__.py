"""The contracts between policy and engines, stated by the policy that needs them.

Each port has one conformance exam (`tests/conformance`) that every implementation and the in-memory twin in
`app.testing` sit. Implementations translate their driver's errors into `TierUnavailable` (or
`EmbedderUnavailable`) in one place; nothing else escapes but the errors listed here.
"""

from __future__ import annotations

from app.ports.answers import Answer, AnswerStore, Call, Claim
from app.ports.engines import Clock, Judge, Pingable
from app.ports.episodic import EpisodicMemory, EpisodicReader, EpisodicWriter
from app.ports.experiments import ExperimentStore, TrendStore
from app.ports.filed import (
    Checkpoint,
    Cutoffs,
    EpisodePlace,
    Expired,
    FiledMessage,
    Indexable,
    MessageInContext,
    NamedRecord,
    SessionRecord,
    StepsHeld,
    StoreStatus,
    Taken,
)
from app.ports.items import FiledItem, ItemReader, ItemSelection, ItemWriter
from app.ports.models import Cache, Embedder, EmbeddingCache, Rephraser, Reranker, SparseEncoder, Summarizer, Summary
from app.ports.outbox import OutboxEntry, OutboxOp, OutboxQuery, OutboxState, Queued
from app.ports.patterns import (
    Extraction,
    LearningStatus,
    Lesson,
    PatternQuery,
    PatternReader,
    PatternWriter,
    StaleScope,
)
from app.ports.semantic import IndexedPoint, IndexQuery, SemanticMemory
from app.ports.tables import FeatureStore, KeyStore, TableFilling, TableSnapshot, TableStore
from app.ports.working import Backlog, Erasure, OwedErasure, Settlement, Window, WorkingMemory

__all__ = [
    "Answer",
    "AnswerStore",
    "Backlog",
    "Cache",
    "Call",
    "Checkpoint",
    "Claim",
    "Clock",
    "Cutoffs",
    "Embedder",
    "EmbeddingCache",
    "EpisodePlace",
    "EpisodicMemory",
    "EpisodicReader",
    "EpisodicWriter",
    "Erasure",
    "ExperimentStore",
    "Expired",
    "Extraction",
    "FeatureStore",
    "FiledItem",
    "FiledMessage",
    "IndexQuery",
    "Indexable",
    "IndexedPoint",
    "ItemReader",
    "ItemSelection",
    "ItemWriter",
    "Judge",
    "KeyStore",
    "LearningStatus",
    "Lesson",
    "MessageInContext",
    "NamedRecord",
    "OutboxEntry",
    "OutboxOp",
    "OutboxQuery",
    "OutboxState",
    "OwedErasure",
    "PatternQuery",
    "PatternReader",
    "PatternWriter",
    "Pingable",
    "Queued",
    "Rephraser",
    "Reranker",
    "SemanticMemory",
    "SessionRecord",
    "Settlement",
    "SparseEncoder",
    "StaleScope",
    "StepsHeld",
    "StoreStatus",
    "Summarizer",
    "Summary",
    "TableFilling",
    "TableSnapshot",
    "TableStore",
    "Taken",
    "TrendStore",
    "Window",
    "WorkingMemory",
]
