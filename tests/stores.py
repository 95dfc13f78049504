"""A whole service on twins, or on the engines a test brings, with a LangGraph store on it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from factories import Tiers, consolidation_of, spaces_of
from langgraph.store.base import GetOp, ListNamespacesOp, MatchCondition, PutOp, SearchOp

from app.bootstrap.composing import compose
from app.bootstrap.trunk import Tiers as Composed
from app.consolidation.summaries import ExtractiveSummarizer
from app.features import Features
from app.ingestion.items import ItemIngestion, ItemLimits
from app.integrations.langgraph import HybridMemoryStore
from app.learning.phrasing import PlainPhraser
from app.records import RecordKind
from app.retrieval.items import ItemPolicy, ItemSearch
from app.retrieval.stages import Stages
from app.semantic.bm25 import Bm25Encoder
from app.service import HybridMemoryService, Parts
from app.settings import Settings
from app.testing.experiments import InMemoryExperiments, InMemoryTrends
from app.testing.features import InMemoryFeatureStore
from app.testing.tables import InMemoryTables

__all__ = ["GetOp", "ListNamespacesOp", "MatchCondition", "PutOp", "SearchOp", "service_of", "store_of"]


def service_of(tiers: Tiers, policy: ItemPolicy | None = None) -> HybridMemoryService:
    """The façade on these tiers, whose items live by the tiers' clock."""
    composed = Composed(
        working=tiers.working,
        episodic=tiers.episodic,
        semantic=tiers.semantic,
        embedder=tiers.embedder,
        encoder=Bm25Encoder(),
        spaces=spaces_of(tiers),
        tables=InMemoryTables("1", {}),
        breakers={},
        stages=Stages(),
        features=Features(InMemoryFeatureStore(), {}),
        experiments=InMemoryExperiments(tiers.episodic),
        trends=InMemoryTrends(tiers.episodic),
        phraser=PlainPhraser(),
    )
    parts = compose(Settings(_env_file=None), composed, ExtractiveSummarizer(tiers.embedder), tiers.answers)
    return HybridMemoryService(_on_clock(parts, tiers, policy or ItemPolicy()))


def _on_clock(parts: Parts, tiers: Tiers, policy: ItemPolicy) -> Parts:
    search = ItemSearch(
        tiers.episodic, tiers.semantic, tiers.embedder,
        catch_up=partial(consolidation_of(tiers).index_now, RecordKind.ITEM), policy=policy, clock=tiers.clock,
    )  # fmt: skip
    ingestion = ItemIngestion(tiers.episodic, limits=ItemLimits(), clock=tiers.clock)
    return replace(parts, item_search=search, item_ingestion=ingestion, consolidation=consolidation_of(tiers))


def store_of(tiers: Tiers, policy: ItemPolicy | None = None, **options: Any) -> HybridMemoryStore:
    return HybridMemoryStore(service_of(tiers, policy), **({"namespace": "acme"} | options))
