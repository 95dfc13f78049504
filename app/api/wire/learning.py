"""Learning on the wire."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import BaseModel, Field, StrictBool, StrictStr

from app.api.wire.base import Body, JsonObject, example
from app.records import Pattern, PatternKind, PatternState


class LearnIn(Body):
    model_config = example(namespace="default")

    namespace: StrictStr | None = Field(default=None, description="All, if left out")
    retry: StrictBool = Field(default=False, description="Also from episodes that were given up on")


class PatternOut(BaseModel):
    id: UUID = Field(description="Also that of the knowledge it is, once it is kept")
    kind: PatternKind
    namespace: str
    project_id: str | None
    description: str
    content: JsonObject
    confidence: float = Field(description="(supporters + 1) / (supporters + contradictors + 2)")
    state: PatternState
    supporters: int
    contradictors: int
    supporting_episodes: list[UUID] = Field(description="The newest thousand")
    contradicting_episodes: list[UUID] = Field(description="In which something else followed; the newest thousand")
    first_seen_at: datetime

    @classmethod
    def of(cls, pattern: Pattern) -> Self:
        fields = asdict(pattern)
        return cls.model_validate({**fields, **fields.pop("scope")})


class PatternsOut(BaseModel):
    patterns: list[PatternOut]
    next: UUID | None = Field(description="Pass as `after` for the next page; null on the last one")
