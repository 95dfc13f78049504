"""The parts of `HybridMemoryService`, put together on open tiers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from importlib.metadata import version

from app.bootstrap.learning import learning_of
from app.bootstrap.policies import call_ttl_of, retention_policy
from app.bootstrap.trunk import Tiers, Trunk, trunk_of
from app.consolidation.backfill import Backfilling
from app.consolidation.forget import Forgetting
from app.consolidation.reconcile import Reconcile, ReconcilePolicy
from app.consolidation.retention import Retention
from app.embedding.cache import CachedEmbedder, uncached
from app.errors import EmbedderUnavailable
from app.ingestion.episode_log import EpisodeLog
from app.ingestion.feedback import Draining, FeedbackIngestion
from app.ingestion.items import ItemIngestion, ItemLimits
from app.ingestion.messages import MessageIngestion
from app.ingestion.sessions import SessionIngestion
from app.learning.experiments.exposures import ExposureLog
from app.learning.experiments.running import Experiments
from app.learning.knowledge import KnowledgeKeeping
from app.learning.strategies import Strategies
from app.learning.trends.report import TrendReports
from app.ports import AnswerStore, Pingable, Summarizer
from app.records import RecordKind, utc_now
from app.retrieval.assembly import ContextAssembly
from app.retrieval.context import ContextShares
from app.retrieval.episodes import EpisodeReader
from app.retrieval.items import ItemPolicy, ItemSearch
from app.retrieval.situation_cache import CachePolicy, SituationCache
from app.retrieval.situations import Situations
from app.retrieval.surroundings import Surroundings
from app.service import Parts
from app.settings import Settings
from app.transfer.backups import Backups
from app.transfer.exporting import Exporting
from app.transfer.importing import Importing


def compose(settings: Settings, tiers: Tiers, summarizer: Summarizer, answers: AnswerStore) -> Parts:
    """The table of contents: a part a line, in the order of the façade's sides."""
    trunk, items = trunk_of(settings, tiers, summarizer, answers), ItemLimits()
    episodic, limits, situations = tiers.episodic, trunk.limits, _situations(settings, tiers, trunk)
    return Parts(
        messages=MessageIngestion(tiers.working, episodic, trunk.drain, limits=limits, clock=utc_now),
        sessions=_sessions(settings, tiers, trunk),
        session_reader=trunk.session_reader,
        records=trunk.records,
        episode_log=EpisodeLog(tiers.working, trunk.records, tiers.features),
        episode_reader=EpisodeReader(tiers.working, episodic),
        feedback=_feedback(tiers, trunk),
        quality=trunk.quality,
        rendering=trunk.context.rendering,
        knowledge=KnowledgeKeeping(episodic, limits=limits, clock=utc_now),
        strategies=Strategies(episodic, trunk.recall, limits=limits, clock=utc_now),
        learning=learning_of(episodic, tiers.phraser, trunk.logged, min_quality=trunk.quality.threshold),
        recall=trunk.recall,
        surroundings=Surroundings(trunk.session_reader, episodic, deadline=trunk.deadline),
        situations=situations,
        context=_context(settings, trunk),
        item_ingestion=ItemIngestion(episodic, limits=items, clock=utc_now),
        item_search=_item_search(tiers, trunk),
        item_limits=items,
        consolidation=trunk.consolidation,
        forgetting=_forgetting(tiers, trunk, situations, answers),
        retention=Retention(episodic, policy=retention_policy(settings), clock=utc_now),
        reconcile=_reconcile(tiers, trunk),
        backfilling=Backfilling(episodic, trunk.indexer, trunk.judge, clock=utc_now),
        backups=_backups(tiers, trunk),
        exporting=Exporting(episodic, trunk.drain, limits=limits, clock=utc_now),
        importing=Importing(episodic, trunk.drain, limits=limits, clock=utc_now),
        features=tiers.features,
        episodic=episodic,
        dependencies=_dependencies(tiers),
        breakers=tiers.breakers,
        limits=limits,
        call_ttl=call_ttl_of(settings),
        experiments=Experiments(tiers.experiments, ExposureLog(tiers.experiments), clock=utc_now),
        search_log=trunk.search_log,
        trends=TrendReports(tiers.trends, trunk.search_log, clock=utc_now),
    )


def _sessions(settings: Settings, tiers: Tiers, trunk: Trunk) -> SessionIngestion:
    ttl = timedelta(seconds=settings.session_ttl_seconds)
    return SessionIngestion(tiers.working, tiers.episodic, limits=trunk.limits, scratch_ttl=ttl, clock=utc_now)


def _feedback(tiers: Tiers, trunk: Trunk) -> FeedbackIngestion:
    draining = Draining(trunk.consolidation.drain_session, trunk.consolidation.store_logged_episode)
    return FeedbackIngestion(
        tiers.working, tiers.episodic, tiers.semantic, draining=draining, limits=trunk.limits, clock=utc_now
    )  # fmt: skip


def _situations(settings: Settings, tiers: Tiers, trunk: Trunk) -> Situations:
    cache = SituationCache(CachePolicy(ttl=timedelta(seconds=settings.recall_cache_ttl_seconds)))
    return Situations(trunk.recall, tiers.episodic, cache, deadline=trunk.deadline)


def _context(settings: Settings, trunk: Trunk) -> ContextAssembly:
    return ContextAssembly(trunk.session_reader, trunk.recall, shares=ContextShares(), recent_limit=settings.buffer_window)


def _item_search(tiers: Tiers, trunk: Trunk) -> ItemSearch:
    return ItemSearch(
        tiers.episodic,
        tiers.semantic,
        tiers.embedder,
        catch_up=partial(trunk.consolidation.index_now, RecordKind.ITEM),
        policy=ItemPolicy(),
        clock=utc_now,
        uncached=uncached(tiers.embedder),
    )


def _forgetting(tiers: Tiers, trunk: Trunk, situations: Situations, answers: AnswerStore) -> Forgetting:
    def on_forgotten(namespace: str) -> None:
        """Tell those who remember something of a namespace between calls."""
        trunk.recall.forget(namespace)
        situations.forget(namespace)

    cache = tiers.embedder if isinstance(tiers.embedder, CachedEmbedder) else None
    return Forgetting(
        tiers.working, tiers.episodic, tiers.semantic,
        answers=answers, cache=cache, on_forgotten=on_forgotten, clock=utc_now, context=trunk.context,
    )  # fmt: skip


def _reconcile(tiers: Tiers, trunk: Trunk) -> Reconcile:
    return Reconcile(
        tiers.episodic,
        tiers.semantic,
        tiers.spaces,
        policy=ReconcilePolicy(),
        clock=utc_now,
        rendering=trunk.context.rendering,
    )


def _backups(tiers: Tiers, trunk: Trunk) -> Backups:
    def space() -> str | None:
        try:
            return tiers.embedder.space.name
        except EmbedderUnavailable:
            return None

    program = version("hybrid-memory")
    return Backups(tiers.working, tiers.tables, tiers.semantic, trunk.drain, clock=utc_now, program=program, space=space)


def _dependencies(tiers: Tiers) -> Mapping[str, Pingable]:
    return {"working": tiers.working, "episodic": tiers.episodic, "semantic": tiers.semantic, "embedder": tiers.embedder}
