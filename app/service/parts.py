"""What the façade is made of, and what each of its sides stands on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeVar
from uuid import UUID

from app.breakers import BreakerState
from app.consolidation.backfill import Backfilling
from app.consolidation.forget import Forgetting
from app.consolidation.reconcile import Reconcile
from app.consolidation.rendering import Rendering
from app.consolidation.retention import Retention
from app.consolidation.run import Consolidation
from app.errors import NotFound
from app.features import Features
from app.ingestion.episode_log import EpisodeLog
from app.ingestion.episodes import RecordIngestion
from app.ingestion.feedback import FeedbackIngestion
from app.ingestion.items import ItemIngestion, ItemLimits
from app.ingestion.limits import Limits, check_count, check_label, check_scope
from app.ingestion.messages import MessageIngestion
from app.ingestion.sessions import SessionIngestion
from app.learning.experiments.running import Experiments
from app.learning.knowledge import KnowledgeKeeping
from app.learning.quality import QualityPolicy
from app.learning.run import Learning
from app.learning.strategies import Strategies
from app.learning.trends.report import TrendReports
from app.learning.trends.usage import SearchLog
from app.ports import EpisodicMemory, Pingable
from app.records import Scope, SessionKey
from app.retrieval.assembly import ContextAssembly
from app.retrieval.episodes import EpisodeReader
from app.retrieval.items import ItemSearch
from app.retrieval.recall import Recall
from app.retrieval.recent import SessionReader
from app.retrieval.situations import Situations
from app.retrieval.surroundings import Surroundings
from app.transfer.backups import Backups
from app.transfer.exporting import Exporting
from app.transfer.importing import Importing

T = TypeVar("T")

INDEX_WAIT: Final = timedelta(seconds=60)
"""How long a call that promises to be indexed waits for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the façade is made of; put together in `bootstrap`."""

    messages: MessageIngestion
    records: RecordIngestion
    knowledge: KnowledgeKeeping
    strategies: Strategies
    episode_log: EpisodeLog
    feedback: FeedbackIngestion
    sessions: SessionIngestion
    session_reader: SessionReader
    episode_reader: EpisodeReader
    recall: Recall
    surroundings: Surroundings
    situations: Situations
    context: ContextAssembly
    consolidation: Consolidation
    forgetting: Forgetting
    retention: Retention
    reconcile: Reconcile
    backfilling: Backfilling
    quality: QualityPolicy
    rendering: Rendering
    features: Features
    backups: Backups
    exporting: Exporting
    importing: Importing
    learning: Learning
    episodic: EpisodicMemory
    dependencies: Mapping[str, Pingable]
    breakers: Mapping[str, Callable[[], BreakerState]]
    limits: Limits
    call_ttl: timedelta
    experiments: Experiments
    search_log: SearchLog
    trends: TrendReports
    item_ingestion: ItemIngestion
    item_search: ItemSearch
    item_limits: ItemLimits


class Side:
    """One side of the façade: it holds no policy, every method delegates to a part."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def _check_namespace(self, namespace: str | None) -> None:
        if namespace is not None:
            check_label("namespace", namespace, self._parts.limits)

    def _check(self, scope: Scope, *, limit: int) -> None:
        check_scope(scope, self._parts.limits)
        check_count("limit", limit, self._parts.limits.results)


def session_key(scope: Scope) -> SessionKey:
    check_label("session_id", scope.session_id or "", Limits())
    return SessionKey(scope.namespace, scope.session_id or "")


def scope_parts(scope: Scope) -> tuple[str | None, ...]:
    return (scope.namespace, scope.user_id, scope.agent_id, scope.session_id, scope.project_id)


def found(kind: str, record_id: UUID, record: T | None) -> T:
    if record is None:
        raise NotFound(kind, str(record_id))
    return record
