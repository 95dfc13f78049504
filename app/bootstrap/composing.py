"""The parts of `HybridMemoryService`, put together on open tiers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from importlib.metadata import version

from app.bootstrap.learning import learning_of
from app.bootstrap.policies import call_ttl_of, limits_of, quality_policy, rendering_of, retention_policy
from app.breakers import BreakerState
from app.consolidation.backfill import Backfilling
from app.consolidation.drain import Drain, DrainPolicy
from app.consolidation.erasures import Erasures
from app.consolidation.forget import Forgetting
from app.consolidation.indexing import Indexer, IndexingPolicy
from app.consolidation.logged_episodes import EpisodeDrain
from app.consolidation.reconcile import Reconcile, ReconcilePolicy
from app.consolidation.representation import ContextPolicy
from app.consolidation.retention import Retention
from app.consolidation.run import Consolidation, RunPolicy, Workers
from app.consolidation.segmentation import SegmentationPolicy
from app.consolidation.spaces import Spaces
from app.embedding.cache import CachedEmbedder
from app.errors import EmbedderUnavailable
from app.features import Features
from app.ingestion.episode_log import EpisodeLog
from app.ingestion.episodes import RecordIngestion
from app.ingestion.feedback import Draining, FeedbackIngestion
from app.ingestion.items import ItemIngestion, ItemLimits
from app.ingestion.limits import Limits
from app.ingestion.messages import MessageIngestion
from app.ingestion.sessions import SessionIngestion
from app.learning.experiments.exposures import ExposureLog
from app.learning.experiments.running import Experiments
from app.learning.knowledge import KnowledgeKeeping
from app.learning.phrasing import Phraser
from app.learning.quality import QualityPolicy, assess
from app.learning.strategies import Strategies
from app.learning.trends.report import TrendReports
from app.learning.trends.usage import SearchLog
from app.ports import (
    AnswerStore,
    Embedder,
    EpisodicMemory,
    ExperimentStore,
    Pingable,
    SemanticMemory,
    SparseEncoder,
    Summarizer,
    TableStore,
    TrendStore,
    WorkingMemory,
)
from app.records import Episode, Feature, RecordKind, new_id, utc_now
from app.retrieval.assembly import ContextAssembly
from app.retrieval.context import ContextShares
from app.retrieval.episodes import EpisodeReader
from app.retrieval.items import ItemPolicy, ItemSearch
from app.retrieval.recall import Recall, RecallPolicy
from app.retrieval.recent import SessionReader
from app.retrieval.situation_cache import CachePolicy, SituationCache
from app.retrieval.situations import Situations
from app.retrieval.stages import Stages
from app.retrieval.surroundings import Surroundings
from app.service import Parts
from app.settings import Settings
from app.transfer.backups import Backups
from app.transfer.exporting import Exporting
from app.transfer.importing import Importing


@dataclass(frozen=True, slots=True)
class Tiers:
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


def compose(settings: Settings, tiers: Tiers, summarizer: Summarizer, answers: AnswerStore) -> Parts:
    limits, quality = limits_of(settings), quality_policy(settings)
    context = ContextPolicy(rendering=rendering_of(settings))
    indexer = _indexer(settings, tiers, summarizer, context)
    consolidation, drain = _consolidation(settings, tiers, indexer, answers)
    session_reader = SessionReader(tiers.working, tiers.episodic, preference=settings.read_preference)
    policy = RecallPolicy(deadline=timedelta(milliseconds=settings.recall_deadline_ms))
    recall = Recall(
        tiers.working,
        tiers.episodic,
        tiers.semantic,
        tiers.embedder,
        encoder=tiers.encoder,
        policy=policy,
        stages=tiers.stages,
        is_on=partial(tiers.features.is_on, Feature.RETRIEVAL),
    )
    session_ttl = timedelta(seconds=settings.session_ttl_seconds)
    judge = judge_of(quality)
    records = RecordIngestion(tiers.episodic, limits=limits, clock=utc_now, judge=judge)
    situations = _situations(settings, tiers, recall, policy.deadline)
    search_log = SearchLog(tiers.trends, process=new_id(), clock=utc_now)
    return Parts(
        messages=MessageIngestion(tiers.working, tiers.episodic, drain, limits=limits, clock=utc_now),
        records=records,
        knowledge=KnowledgeKeeping(tiers.episodic, limits=limits, clock=utc_now),
        strategies=Strategies(tiers.episodic, recall, limits=limits, clock=utc_now),
        episode_log=EpisodeLog(tiers.working, records, tiers.features),
        feedback=_feedback(tiers, consolidation, limits),
        sessions=SessionIngestion(tiers.working, tiers.episodic, limits=limits, scratch_ttl=session_ttl, clock=utc_now),
        session_reader=session_reader,
        episode_reader=EpisodeReader(tiers.working, tiers.episodic),
        recall=recall,
        surroundings=Surroundings(session_reader, tiers.episodic, deadline=policy.deadline),
        situations=situations,
        context=ContextAssembly(session_reader, recall, shares=ContextShares(), recent_limit=settings.buffer_window),
        consolidation=consolidation,
        forgetting=_forgetting(tiers, (recall.forget, situations.forget), answers, context),
        retention=Retention(tiers.episodic, policy=retention_policy(settings), clock=utc_now),
        reconcile=Reconcile(
            tiers.episodic,
            tiers.semantic,
            tiers.spaces,
            policy=ReconcilePolicy(),
            clock=utc_now,
            rendering=context.rendering,
        ),
        backfilling=Backfilling(tiers.episodic, indexer, judge, clock=utc_now),
        quality=quality,
        rendering=context.rendering,
        features=tiers.features,
        backups=_backups(tiers, drain),
        exporting=Exporting(tiers.episodic, drain, limits=limits, clock=utc_now),
        importing=Importing(tiers.episodic, drain, limits=limits, clock=utc_now),
        learning=learning_of(
            tiers.episodic, tiers.phraser, EpisodeDrain(tiers.working, tiers.episodic), min_quality=quality.threshold
        ),
        episodic=tiers.episodic,
        dependencies=_dependencies(tiers),
        breakers=tiers.breakers,
        limits=limits,
        call_ttl=call_ttl_of(settings),
        experiments=Experiments(tiers.experiments, ExposureLog(tiers.experiments), clock=utc_now),
        search_log=search_log,
        trends=TrendReports(tiers.trends, search_log, clock=utc_now),
        item_ingestion=ItemIngestion(tiers.episodic, limits=ItemLimits(), clock=utc_now),
        item_search=ItemSearch(
            tiers.episodic,
            tiers.semantic,
            tiers.embedder,
            catch_up=partial(consolidation.index_now, RecordKind.ITEM),
            policy=ItemPolicy(),
            clock=utc_now,
        ),
        item_limits=ItemLimits(),
    )


def _situations(settings: Settings, tiers: Tiers, recall: Recall, deadline: timedelta) -> Situations:
    cache = SituationCache(CachePolicy(ttl=timedelta(seconds=settings.recall_cache_ttl_seconds)))
    return Situations(recall, tiers.episodic, cache, deadline=deadline)


def _feedback(tiers: Tiers, consolidation: Consolidation, limits: Limits) -> FeedbackIngestion:
    draining = Draining(consolidation.drain_session, consolidation.store_logged_episode)
    return FeedbackIngestion(
        tiers.working, tiers.episodic, tiers.semantic, draining=draining, limits=limits, clock=utc_now
    )  # fmt: skip


def _forgetting(tiers: Tiers, told: Sequence[Callable[[str], None]], answers: AnswerStore, context: ContextPolicy) -> Forgetting:
    """`told` are those who remember something of a namespace between calls."""

    def on_forgotten(namespace: str) -> None:
        for forget in told:
            forget(namespace)

    cache = tiers.embedder if isinstance(tiers.embedder, CachedEmbedder) else None
    return Forgetting(
        tiers.working, tiers.episodic, tiers.semantic,
        answers=answers, cache=cache, on_forgotten=on_forgotten, clock=utc_now, context=context,
    )  # fmt: skip


def judge_of(policy: QualityPolicy) -> Callable[[Episode], float]:
    """The quality validator, for whoever has to judge episodes."""
    return lambda episode: assess(episode, policy).score


def _indexer(settings: Settings, tiers: Tiers, summarizer: Summarizer, context: ContextPolicy) -> Indexer:
    return Indexer(
        tiers.episodic,
        tiers.semantic,
        tiers.embedder,
        summarizer,
        policy=IndexingPolicy(max_attempts=settings.outbox_max_attempts),
        context=context,
        clock=utc_now,
    )


def _consolidation(settings: Settings, tiers: Tiers, indexer: Indexer, answers: AnswerStore) -> tuple[Consolidation, Drain]:
    drain = Drain(
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
    policy = RunPolicy(retain=settings.buffer_window)
    workers = Workers(
        Erasures(tiers.working, tiers.episodic, answers), drain, EpisodeDrain(tiers.working, tiers.episodic), indexer
    )
    consolidation = Consolidation(tiers.working, tiers.episodic, tiers.spaces, workers=workers, policy=policy, clock=utc_now)
    return consolidation, drain


def _backups(tiers: Tiers, drain: Drain) -> Backups:
    def space() -> str | None:
        try:
            return tiers.embedder.space.name
        except EmbedderUnavailable:
            return None

    program = version("hybrid-memory")
    return Backups(tiers.working, tiers.tables, tiers.semantic, drain, clock=utc_now, program=program, space=space)


def _dependencies(tiers: Tiers) -> Mapping[str, Pingable]:
    return {"working": tiers.working, "episodic": tiers.episodic, "semantic": tiers.semantic, "embedder": tiers.embedder}
