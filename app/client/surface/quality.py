"""How good episodes are and how they read; backfill; and what is switched on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from app.client.answers import field_of, the
from app.client.asking import LONG, Ask, get, post, put
from app.records import DEFAULT_NAMESPACE, BackfillPending

_EPISODE = "/v1/episodes/{episode_id}"


@dataclass(frozen=True, slots=True)
class PartScore:
    """One part of an episode: what share of the whole it is worth, and how its score in [0, 1] came about."""

    weight: float
    score: float
    completeness: float
    substance: float


@dataclass(frozen=True, slots=True)
class PointsLost:
    """Why points were lost, in parts of the whole."""

    part: str
    aspect: str
    lost: float
    problem: str


@dataclass(frozen=True, slots=True)
class EpisodeQuality:
    """What the validator says of an episode; `score` is None for a conversation, which it does not judge."""

    quality: float | None
    is_quality_given: bool
    is_learnable: bool
    threshold: float
    score: float | None
    parts: Mapping[str, PartScore]
    reasons: tuple[PointsLost, ...]


@dataclass(frozen=True, slots=True)
class EpisodeRendering:
    """The text that an episode is embedded by."""

    text: str
    rendering_version: str


@dataclass(frozen=True, slots=True)
class ProjectQuality:
    """How good a project's episodes are; `counts` has ten numbers, from 0 up to 0.1 and so on."""

    scored: int
    unscored: int
    counts: tuple[int, ...]
    mean: float | None
    share_below_threshold: float | None
    project_id: str | None = None


@dataclass(frozen=True, slots=True)
class QualityDistribution:
    """How good all episodes asked about are, and those of each project."""

    scored: int
    unscored: int
    counts: tuple[int, ...]
    mean: float | None
    share_below_threshold: float | None
    threshold: float
    projects: tuple[ProjectQuality, ...] = ()


@dataclass(frozen=True, slots=True)
class BackfillRun:
    """What a backfill did, by result, and what it left."""

    id: UUID
    started_at: datetime
    finished_at: datetime
    duration_ms: float
    counts: Mapping[str, int]
    pending: BackfillPending
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FeatureSwitches:
    """What is switched on; as last known where `degraded` names a tier."""

    episode_logging: bool
    retrieval: bool
    degraded: tuple[str, ...] = field(default=())


class QualityCalls:
    """Calls about the quality of episodes, backfill and features."""

    @get(f"{_EPISODE}/quality")
    def episode_quality(self, episode_id: UUID, *, namespace: str = DEFAULT_NAMESPACE) -> Ask[EpisodeQuality]:
        """How good an episode is, with a reason for every point lost."""
        return Ask(the(EpisodeQuality), path={"episode_id": episode_id}, params={"namespace": namespace})

    @get(f"{_EPISODE}/rendering")
    def episode_rendering(self, episode_id: UUID, *, namespace: str = DEFAULT_NAMESPACE) -> Ask[EpisodeRendering]:
        """The text that an episode is embedded by."""
        return Ask(the(EpisodeRendering), path={"episode_id": episode_id}, params={"namespace": namespace})

    @get("/v1/admin/quality")
    def quality(self, *, namespace: str | None = None) -> Ask[QualityDistribution]:
        """How good the episodes are, by tenths and by project."""
        return Ask(the(QualityDistribution), params={} if namespace is None else {"namespace": namespace})

    @post("/v1/admin/backfill")
    def backfill(
        self, *, namespace: str | None = None, batch_size: int = 100, max_episodes: int = 10_000, rate: float | None = None,
        idempotency_key: str | None = None,
    ) -> Ask[BackfillRun]:  # fmt: skip
        """Score and embed episodes that lack a quality or a vector, at most `rate` a second: answers when it is done."""
        body = {"namespace": namespace, "batch_size": batch_size, "max_episodes": max_episodes, "rate": rate}
        return Ask(the(BackfillRun), body=body, timeout=LONG, idempotency_key=idempotency_key)

    @get("/v1/admin/backfill")
    def backfill_pending(self, *, namespace: str | None = None) -> Ask[BackfillPending]:
        """How many episodes a backfill would find."""
        return Ask(field_of("pending", BackfillPending), params={} if namespace is None else {"namespace": namespace})

    @get("/v1/admin/features")
    def features(self) -> Ask[FeatureSwitches]:
        """What is switched on."""
        return Ask(the(FeatureSwitches))

    @put("/v1/admin/features")
    def switch_features(self, *, episode_logging: bool | None = None, retrieval: bool | None = None) -> Ask[FeatureSwitches]:
        """Switch features on or off for every process; what is None stays as it is."""
        return Ask(the(FeatureSwitches), body={"episode_logging": episode_logging, "retrieval": retrieval})
