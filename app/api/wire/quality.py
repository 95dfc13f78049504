"""Quality, rendering, backfill and features on the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import BaseModel, Field, StrictBool, StrictFloat, StrictInt, StrictStr

from app.api.wire.base import Body, example
from app.features import Switches
from app.learning.quality import Quality
from app.records import Backfill, BackfillPending, BackfillReport, Episode, Feature, QualityCounts, Tier
from app.records.quality import summed


class PartOut(BaseModel):
    weight: float = Field(description="What share of the score the part is worth")
    score: float = Field(description="The product of the two below, in [0, 1]")
    completeness: float = Field(description="The share of its fields that hold something")
    substance: float = Field(description="Different words and numbers, in shares of what is enough")


class ReasonOut(BaseModel):
    part: str
    aspect: str
    lost: float = Field(description="Of the score; all of these and the score add up to 1")
    problem: str


class QualityOut(BaseModel):
    """What the quality validator says of an episode; a conversation is not judged."""

    episode_id: UUID
    quality: float | None = Field(description="As it counts: given by a caller, or the score when it was stored or last changed")
    is_quality_given: bool
    is_learnable: bool
    threshold: float
    score: float | None = Field(description="Of the episode as it is; null for a conversation")
    parts: dict[str, PartOut]
    reasons: list[ReasonOut]

    @classmethod
    def of(cls, episode: Episode, quality: Quality | None, *, is_learnable: bool, threshold: float) -> Self:
        parts = () if quality is None else quality.parts
        return cls(
            episode_id=episode.id,
            quality=episode.quality,
            is_quality_given=episode.is_quality_given,
            is_learnable=is_learnable,
            threshold=threshold,
            score=None if quality is None else quality.score,
            parts={
                p.part: PartOut(weight=p.share, score=p.score, completeness=p.completeness, substance=p.substance) for p in parts
            },
            reasons=[] if quality is None else [ReasonOut(**asdict(reason)) for reason in quality.reasons],
        )


class RenderingOut(BaseModel):
    episode_id: UUID
    text: str = Field(description="What is embedded, searched and shown of the episode")
    rendering_version: str = Field(description="Another one for another template or other rules: what is indexed is then stale")


class CountsOut(BaseModel):
    scored: int
    unscored: int
    counts: list[int] = Field(description="Ten: from 0 up to 0.1, …, from 0.9 to 1")
    mean: float | None
    share_below_threshold: float | None

    @classmethod
    def of(cls, counts: QualityCounts) -> Self:
        return cls.model_validate(_counted(counts))


class ProjectOut(CountsOut):
    project_id: str | None

    @classmethod
    def of(cls, counts: QualityCounts) -> Self:
        return cls.model_validate({**_counted(counts), "project_id": counts.project_id})


class DistributionOut(CountsOut):
    threshold: float
    projects: list[ProjectOut]

    @classmethod
    def of_projects(cls, counts: Sequence[QualityCounts], threshold: float) -> Self:
        projects = [ProjectOut.of(c) for c in counts]
        return cls.model_validate({**_counted(summed(tuple(counts))), "threshold": threshold, "projects": projects})


def _counted(counts: QualityCounts) -> dict[str, object]:
    return {
        "scored": counts.scored,
        "unscored": counts.unscored,
        "counts": list(counts.tenths),
        "mean": counts.mean,
        "share_below_threshold": counts.share_below,
    }


class BackfillIn(Body):
    model_config = example(batch_size=100, max_episodes=1000)

    namespace: StrictStr | None = Field(default=None, description="All, if left out")
    batch_size: StrictInt = 100
    max_episodes: StrictInt = Field(default=10_000, description="At most so many are scored, and as many embedded")
    rate: StrictFloat | None = Field(default=None, description="At most so many episodes a second; unbounded, if left out")

    def backfill(self) -> Backfill:
        return Backfill(self.namespace, self.batch_size, self.max_episodes, self.rate)


class PendingOut(BaseModel):
    unscored: int = Field(description="Closed episodes without a quality, conversations aside")
    unembedded: int = Field(description="Episodes that the index has yet to learn of, dead letters included")

    @classmethod
    def of(cls, pending: BackfillPending) -> Self:
        return cls(**asdict(pending))


class BackfillPendingOut(BaseModel):
    pending: PendingOut


class BackfillOut(BaseModel):
    id: UUID
    started_at: datetime
    finished_at: datetime
    duration_ms: float
    counts: dict[str, int] = Field(description="Episodes scored, unreadable, embedded, failed and postponed")
    pending: PendingOut
    errors: list[str]

    @classmethod
    def of(cls, report: BackfillReport) -> Self:
        run = report.run
        return cls(
            id=run.id,
            started_at=run.started_at,
            finished_at=run.finished_at,
            duration_ms=round(run.duration_ms, 3),
            counts=dict(run.counts),
            pending=PendingOut.of(report.pending),
            errors=list(run.errors),
        )


class FeaturesIn(Body):
    """Only what is given is switched."""

    model_config = example(retrieval=True)

    episode_logging: StrictBool | None = Field(default=None, description="Off: POST /v1/episodes keeps nothing, and says so")
    retrieval: StrictBool | None = Field(default=None, description="Off: searches find nothing, and say so in `degraded`")

    @property
    def given(self) -> Mapping[Feature, bool]:
        switched = {feature: getattr(self, feature.value) for feature in Feature}
        return {feature: is_on for feature, is_on in switched.items() if is_on is not None}


class FeaturesOut(BaseModel):
    episode_logging: bool
    retrieval: bool
    degraded: list[str] = Field(description="`episodic` while PostgreSQL is away: as last known then")

    @classmethod
    def of(cls, switches: Switches) -> Self:
        stands = {feature.value: is_on for feature, is_on in switches.features.items()}
        return cls.model_validate({**stands, "degraded": [] if switches.is_current else [Tier.EPISODIC.value]})
