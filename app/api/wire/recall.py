"""Questions, hits and context on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import (
    BaseModel,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
)

from app.api.wire.base import Body, FilterValue, JsonObject, Moment, RecalledKind, Scalar, Scoped, example
from app.api.wire.messages import MessageOut
from app.errors import InvalidInput
from app.ranking import (
    DEFAULT_RANKING,
    LARGEST_RRF_K,
    LARGEST_WEIGHT,
    LEAST_HALF_LIFE_DAYS,
    LONGEST_HALF_LIFE_DAYS,
    Fusion,
    Ranking,
)
from app.records import (
    RECALLED_KINDS,
    Arm,
    AssembledContext,
    FilterTerm,
    Hit,
    Mode,
    Participation,
    Query,
    Recollection,
    RecordKind,
    Stage,
)

HalfLife = Annotated[StrictFloat, Field(ge=LEAST_HALF_LIFE_DAYS, le=LONGEST_HALF_LIFE_DAYS)]
Weight = Annotated[StrictFloat, Field(ge=0.0, le=LARGEST_WEIGHT)]


class RankingIn(Body):
    """The weights of the terms of a score, in units of the dense dot product; 0 switches a term off."""

    fusion: Fusion = Fusion.LINEAR
    bm25: Weight = DEFAULT_RANKING.bm25
    author: Weight = DEFAULT_RANKING.author
    date: Weight = DEFAULT_RANKING.date
    session: Weight = DEFAULT_RANKING.session
    assistant: Weight = DEFAULT_RANKING.assistant
    recency: Weight = DEFAULT_RANKING.recency
    half_life_days: HalfLife = DEFAULT_RANKING.half_life_days
    quality: Weight = DEFAULT_RANKING.quality
    outcome: Weight = DEFAULT_RANKING.outcome
    feedback: Weight = DEFAULT_RANKING.feedback
    rrf_k: Annotated[StrictInt, Field(ge=1, le=LARGEST_RRF_K)] = DEFAULT_RANKING.rrf_k
    names_out: StrictBool = True
    expand: Weight = DEFAULT_RANKING.expand
    late_interaction: Weight = DEFAULT_RANKING.late_interaction
    cross_encoder: Weight = DEFAULT_RANKING.cross_encoder

    def ranking(self) -> Ranking:
        return Ranking(**self.model_dump())


class Question(Scoped):
    text: StrictStr = Field(examples=["When does the cat see the vet?"])
    session_id: StrictStr | None = None
    kinds: list[RecalledKind] | None = Field(default=None, description="All kinds, if left out")
    filter: dict[str, FilterValue] = Field(
        default_factory=dict,
        description="Field to value, or to several of which one must match; `metadata.<key>` reaches into metadata",
        examples=[{"author": "Mara", "metadata.channel": ["email", "chat"]}],
    )
    since: Moment | None = None
    until: Moment | None = None
    now: Moment | None = Field(default=None, description="What relative dates in the text are relative to")
    ranking: RankingIn | None = Field(default=None, description="Weights that differ from the defaults; for experiments")
    stages: list[Stage] = Field(
        default_factory=list, description="What to add at a price in time; what cannot take part is named in `degraded`"
    )

    as_of: Moment | None = Field(default=None, description="Knowledge that held then; that holds now, if left out")
    include_superseded: StrictBool = Field(default=False, description="Also knowledge that does not hold, or no longer")

    def query(self, limit: int, mode: Mode = Mode.HYBRID) -> Query:
        return Query(
            text=self.text,
            scope=self.scope(self.session_id),
            kinds=RECALLED_KINDS if self.kinds is None else tuple(self.kinds),
            filter=filter_terms(self.filter),
            since=self.since,
            until=self.until,
            now=self.now,
            limit=limit,
            mode=mode,
            ranking=DEFAULT_RANKING if self.ranking is None else self.ranking.ranking(),
            stages=tuple(dict.fromkeys(self.stages)),
            as_of=self.as_of,
            include_superseded=self.include_superseded,
        )


class SearchIn(Question):
    model_config = example(text="When does the cat see the vet?", limit=5)

    limit: StrictInt = 10
    mode: Mode = Mode.HYBRID
    experiment: StrictStr | None = Field(default=None, description="Take part in this experiment of the namespace")
    subject: StrictStr | None = Field(
        default=None, description="Who takes part; without it the session, user or agent that the experiment is about"
    )
    search_id: UUID | None = Field(default=None, description="Names the search: repeated under it, it is one exposure")
    kind_limits: dict[RecalledKind, StrictInt] = Field(
        default_factory=dict,
        description="The most hits of a kind. If left out, episodes and knowledge leave room for messages where there are any",
        examples=[{"episode": 2}],
    )
    collapse: StrictBool = Field(default=True, description="Of exact repetitions only the best is given, with `duplicates`")
    group_by_episode: StrictBool = Field(default=False, description="Hits of one episode stand together")
    neighbours: StrictInt = Field(default=0, description="Messages before and after each message hit, given beside it")

    def asked(self) -> Query:
        return replace(
            self.query(self.limit, self.mode),
            kind_limits=tuple(self.kind_limits.items()),
            is_collapsed=self.collapse,
            is_grouped=self.group_by_episode,
            neighbours=self.neighbours,
        )

    def participation(self) -> Participation | None:
        if self.experiment is None:
            if self.subject is not None or self.search_id is not None:
                raise InvalidInput("experiment", "must be given with subject and search_id")
            return None
        return Participation(self.experiment, self.subject, self.search_id)


class HitOut(BaseModel):
    id: UUID
    kind: RecordKind
    text: str
    score: float
    components: dict[str, float] = Field(description="The terms the score is the sum of")
    tier: str
    session_id: str | None
    created_at: datetime
    author: str | None
    role: str | None
    sequence: int | None
    metadata: JsonObject
    duplicates: list[UUID] = Field(description="Other records that say exactly the same")
    episode_id: UUID | None = Field(description="Where hits are grouped by episode")
    neighbours: list[MessageOut] = Field(description="The messages around it, where they were asked for")
    outcome_quality: float | None = Field(description="How an episode turned out, in [0, 1]; null where that is not known")

    @classmethod
    def of(cls, hit: Hit) -> Self:
        return cls(
            id=hit.id,
            kind=hit.kind,
            text=hit.text,
            score=hit.score,
            components=dict(hit.components),
            tier=hit.tier.value,
            session_id=hit.scope.session_id,
            created_at=hit.created_at,
            author=hit.author,
            role=hit.role,
            sequence=hit.sequence,
            metadata=dict(hit.metadata),
            duplicates=list(hit.duplicates),
            episode_id=hit.episode_id,
            neighbours=[MessageOut.of(m) for m in hit.neighbours],
            outcome_quality=hit.outcome_quality,
        )


class ArmOut(BaseModel):
    """The part of an experiment that a search took; without a `variant` it was answered as any other, `enrolment` says why."""

    name: str
    variant: str | None
    subject: str
    enrolment: str = Field(examples=["assigned"])
    search_id: UUID | None

    @classmethod
    def of(cls, arm: Arm) -> Self:
        return cls(
            name=arm.experiment,
            variant=arm.variant,
            subject=arm.subject,
            enrolment=arm.enrolment.value,
            search_id=arm.search_id,
        )


class SearchOut(BaseModel):
    hits: list[HitOut]
    degraded: list[str] = Field(description="Tiers and stages that did not answer in time")
    latency_ms: float
    experiment: ArmOut | None = Field(
        default=None, description="Only where the search asked to take part", exclude_if=lambda arm: arm is None
    )

    @classmethod
    def of(cls, recollection: Recollection) -> Self:
        return cls(
            hits=[HitOut.of(h) for h in recollection.hits],
            degraded=list(recollection.degraded),
            latency_ms=round(recollection.latency_ms, 3),
            experiment=None if recollection.experiment is None else ArmOut.of(recollection.experiment),
        )


class ContextIn(Question):
    model_config = example(text="When does the cat see the vet?", session_id="hello", budget_tokens=500)

    budget_tokens: StrictInt = 2000
    limit: StrictInt = Field(default=20, description="How many hits are recalled for packing")


class SectionOut(BaseModel):
    name: str
    budget_tokens: int
    spent_tokens: int
    included: int
    dropped: int


class ContextOut(BaseModel):
    text: str
    budget_tokens: int
    spent_tokens: int
    sections: list[SectionOut]
    citations: list[UUID]
    degraded: list[str]

    @classmethod
    def of(cls, context: AssembledContext) -> Self:
        return cls.model_validate(asdict(context))


def filter_terms(filter_: Mapping[str, Scalar | list[Scalar]]) -> tuple[FilterTerm, ...]:
    return tuple(FilterTerm(field, tuple(v) if isinstance(v, list) else (v,)) for field, v in filter_.items())
