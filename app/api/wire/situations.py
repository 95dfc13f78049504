"""Situations, and episodes like them, on the wire."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Final, Self

from pydantic import (
    BaseModel,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from app.api.wire.base import FilterValue, JsonObject, Moment, Scoped, example
from app.api.wire.recall import HitOut, RankingIn, Weight, filter_terms
from app.api.wire.records import EpisodeRecordOut
from app.ranking import SITUATION_RANKING
from app.records import EpisodeKind, Hit, OutcomeAsked, Recollection, SituationTerms

_DAY_MS: Final = 86_400_000.0


def _context(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    """One refusal instead of one for each type that the value might have had."""
    try:
        return handler(value)
    except ValidationError:
        raise PydanticCustomError("context", "must be a text or a JSON object") from None


Context = Annotated[StrictStr | JsonObject, WrapValidator(_context)]


class SituationRankingIn(RankingIn):
    """As for a search, with the defaults for situations."""

    author: Weight = SITUATION_RANKING.author
    date: Weight = SITUATION_RANKING.date
    session: Weight = SITUATION_RANKING.session
    quality: Weight = SITUATION_RANKING.quality
    outcome: Weight = SITUATION_RANKING.outcome
    names_out: StrictBool = SITUATION_RANKING.names_out


class SituationIn(Scoped):
    model_config = example(context={"backlog": 12, "velocity": 9}, kind="decision", outcome="good")

    context: Context = Field(description="The situation", examples=[{"backlog": 12, "velocity": 9}, "twelve stories, nine done"])
    session_id: StrictStr | None = None
    limit: StrictInt = 5
    kind: EpisodeKind | None = Field(default=None, description="All kinds, if left out")
    outcome: OutcomeAsked = Field(
        default=OutcomeAsked.ANY, description="`good`: an outcome quality of 0.5 and more; `bad`: below; else it is not known"
    )
    min_quality: StrictFloat | None = Field(default=None, description="In [0, 1]; an episode that was never judged is left out")
    min_outcome_quality: StrictFloat | None = Field(default=None, description="In [0, 1]; one without outcome is left out")
    filter: dict[str, FilterValue] = Field(
        default_factory=dict, description="As in a search", examples=[{"metadata.team": "blue"}]
    )
    since: Moment | None = Field(default=None, description="When the episode ended, at the earliest")
    until: Moment | None = None
    now: Moment | None = Field(default=None, description="What ages are counted from")
    ranking: SituationRankingIn = Field(default_factory=SituationRankingIn, description="Weights that differ from the defaults")
    deadline_ms: StrictFloat | None = Field(default=None, description="How long to wait for the tiers; 300, if left out")

    def terms(self) -> SituationTerms:
        return SituationTerms(
            limit=self.limit,
            kind=self.kind,
            outcome=self.outcome,
            min_quality=self.min_quality,
            min_outcome_quality=self.min_outcome_quality,
            filter=filter_terms(self.filter),
            since=self.since,
            until=self.until,
            now=self.now,
            ranking=self.ranking.ranking(),
            deadline=None if self.deadline_ms is None else _span(self.deadline_ms),
        )


def _span(milliseconds: float) -> timedelta:
    """As many; of numbers that no span of time has, the nearest one, which is refused with its limits like any other."""
    return timedelta(milliseconds=max(-_DAY_MS, min(milliseconds, _DAY_MS)))


class SituationOut(HitOut):
    quality: float | None
    why: list[str] = Field(description="What speaks for it and against it, the weightiest first")
    episode: EpisodeRecordOut | None = Field(description="What is stored; null when PostgreSQL did not say in time")

    @classmethod
    def of(cls, hit: Hit) -> Self:
        known = HitOut.of(hit).model_dump()
        episode = None if hit.episode is None else EpisodeRecordOut.of_record(hit.episode)
        return cls(**known, quality=hit.quality, why=list(hit.why), episode=episode)


class SituationsOut(BaseModel):
    hits: list[SituationOut]
    degraded: list[str] = Field(description="Tiers and stages that did not answer in time")
    latency_ms: float
    is_cached: bool = Field(description="The answer given a moment ago; nothing changed since that could change it")

    @classmethod
    def of(cls, recollection: Recollection) -> Self:
        return cls(
            hits=[SituationOut.of(hit) for hit in recollection.hits],
            degraded=list(recollection.degraded),
            latency_ms=round(recollection.latency_ms, 3),
            is_cached=recollection.is_cached,
        )
