"""What several parts of `HybridMemoryService` stand on: the open tiers, and what is put on them first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from app.bootstrap.policies import limits_of, quality_policy, rendering_of
from app.breakers import BreakerState
from app.consolidation.drain import Drain, DrainPolicy
from app.consolidation.erasures import Erasures
from app.consolidation.indexing import Indexer, IndexingPolicy
from app.consolidation.logged_episodes import EpisodeDrain
from app.consolidation.representation import ContextPolicy
from app.consolidation.run import Consolidation, RunPolicy, Workers
from app.consolidation.segmentation import SegmentationPolicy
from app.consolidation.spaces import Spaces
from app.embedding.cache import uncached
from app.features import Features
from app.ingestion.episodes import RecordIngestion
from app.ingestion.limits import Limits
from app.learning.phrasing import Phraser
from app.learning.quality import QualityPolicy, assess
from app.learning.trends.usage import SearchLog
from app.ports import (
    AnswerStore,
    Embedder,
    EpisodicMemory,
    ExperimentStore,
    Judge,
    SemanticMemory,
    SparseEncoder,
    Summarizer,
    TableStore,
    TrendStore,
    WorkingMemory,
)
from app.records import Feature, new_id, utc_now
from app.retrieval.recall import Recall, RecallPolicy
from app.retrieval.recent import SessionReader
from app.retrieval.stages import Stages
from app.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiers:
    """The open engines and models, and what speaks to one of them alone."""

    working: WorkingMemory
    episodic: EpisodicMemory
    semantic: SemanticMemory
    embedder: Embedder
    encoder: SparseEncoder
    spaces: Spaces
    tables: TableStore
    breakers: Mapping[str, Callable[[], BreakerState]]
    stages: Stages
    features: Features
    experiments: ExperimentStore
    trends: TrendStore
    phraser: Phraser


@dataclass(frozen=True, slots=True)
class Trunk:
    """What more than one part is given: each exists once."""

    limits: Limits
    quality: QualityPolicy
    judge: Judge
    context: ContextPolicy
    indexer: Indexer
    drain: Drain
    logged: EpisodeDrain
    consolidation: Consolidation
    records: RecordIngestion
    session_reader: SessionReader
    deadline: timedelta
    recall: Recall
    search_log: SearchLog


def trunk_of(settings: Settings, tiers: Tiers, summarizer: Summarizer, answers: AnswerStore) -> Trunk:
    limits, quality = limits_of(settings), quality_policy(settings)
    judge, recalling = _judge_of(quality), RecallPolicy(deadline=timedelta(milliseconds=settings.recall_deadline_ms))
    context = ContextPolicy(rendering=rendering_of(settings))
    indexer = _indexer(settings, tiers, summarizer, context)
    drain, logged = _drain(settings, tiers), EpisodeDrain(tiers.working, tiers.episodic)
    workers = Workers(Erasures(tiers.working, tiers.episodic, answers), drain, logged, indexer)
    return Trunk(
        limits=limits,
        quality=quality,
        judge=judge,
        context=context,
        indexer=indexer,
        drain=drain,
        logged=logged,
        consolidation=_consolidation(settings, tiers, workers),
        records=RecordIngestion(tiers.episodic, limits=limits, clock=utc_now, judge=judge),
        session_reader=SessionReader(tiers.working, tiers.episodic, preference=settings.read_preference),
        deadline=recalling.deadline,
        recall=_recall(tiers, recalling),
        search_log=SearchLog(tiers.trends, process=new_id(), clock=utc_now),
    )


def _judge_of(policy: QualityPolicy) -> Judge:
    """The quality validator, for whoever has to judge episodes."""
    return lambda episode: assess(episode, policy).score


def _indexer(settings: Settings, tiers: Tiers, summarizer: Summarizer, context: ContextPolicy) -> Indexer:
    return Indexer(
        tiers.episodic,
        tiers.semantic,
        tiers.embedder,
        summarizer,
        policy=IndexingPolicy(max_attempts=settings.outbox_max_attempts, context=context),
        clock=utc_now,
        uncached=uncached(tiers.embedder),
    )


def _drain(settings: Settings, tiers: Tiers) -> Drain:
    return Drain(
        tiers.working,
        tiers.episodic,
        policy=DrainPolicy(ttl=timedelta(seconds=settings.session_ttl_seconds)),
        segmentation=SegmentationPolicy(
            idle_gap=timedelta(minutes=settings.episode_idle_minutes),
            max_messages=settings.episode_max_messages,
            max_tokens=settings.episode_max_tokens,
        ),
        clock=utc_now,
        new_id=new_id,
    )


def _consolidation(settings: Settings, tiers: Tiers, workers: Workers) -> Consolidation:
    policy = RunPolicy(retain=settings.buffer_window)
    return Consolidation(tiers.working, tiers.episodic, tiers.spaces, workers=workers, policy=policy, clock=utc_now)


def _recall(tiers: Tiers, policy: RecallPolicy) -> Recall:
    return Recall(
        tiers.working,
        tiers.episodic,
        tiers.semantic,
        tiers.embedder,
        encoder=tiers.encoder,
        policy=policy,
        stages=tiers.stages,
        is_on=partial(tiers.features.is_on, Feature.RETRIEVAL),
    )
