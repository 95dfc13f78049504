"""What the tools answer, as their output schemas say it; and how the API's answers become that (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, Field

from app.integrations.mcp.bounds import bounded


class Degradable(BaseModel):
    degraded: list[str] = Field(description="Parts of memory that were away: the answer may be incomplete. Usually empty")


class Remembered(Degradable):
    id: str
    session_id: str
    stored_in: str


class Recalled(BaseModel):
    id: str
    kind: str
    text: str
    author: str | None = Field(description="Who said it, of a message")
    session_id: str | None
    created_at: str
    score: float = Field(description="Higher fits better; comparable within one answer")
    outcome_quality: float | None = Field(description="How a decision turned out, from 0 (bad) to 1; null: not known")

    @classmethod
    def of(cls, hit: Mapping[str, Any], text: str) -> Self:
        return cls(
            id=hit["id"], kind=hit["kind"], text=text, author=hit["author"], session_id=hit["session_id"],
            created_at=hit["created_at"], score=round(hit["score"], 3), outcome_quality=hit["outcome_quality"],
        )  # fmt: skip


class RecallResult(Degradable):
    results: list[Recalled] = Field(description="Best first. Empty: nothing is known about it")
    note: str | None = Field(description="What was cut or left out, if anything")

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Self:
        hits = answer["hits"]
        texts = bounded([hit["text"] for hit in hits])
        results = [Recalled.of(hit, text) for hit, text in zip(hits, texts.texts, strict=False)]
        return cls(results=results, note=texts.note, degraded=answer["degraded"])


class ContextResult(Degradable):
    text: str = Field(description="Text for your context: state, knowledge, episodes, recalled and recent messages")
    spent_tokens: int
    citations: list[str] = Field(description="Ids of the records the text is made of, in order")


class DecisionResult(Degradable):
    episode_id: str = Field(description="Give it to record_outcome when you know how it turned out")
    stored_in: str


class OutcomeResult(BaseModel):
    episode_id: str
    outcome_quality: float | None
    version: int


class LearnResult(BaseModel):
    knowledge_id: str
    kind: str


class Strategy(BaseModel):
    id: str
    kind: str
    description: str
    confidence: float
    times_applied: int
    success_rate: float | None = Field(description="Of its applications so far; null before the first")
    why: list[str] = Field(description="What speaks for it here")

    @classmethod
    def of(cls, found: Mapping[str, Any], description: str) -> Self:
        knowledge = found["knowledge"]
        told = {name: knowledge[name] for name in ("id", "kind", "confidence", "times_applied", "success_rate")}
        return cls(description=description, why=found["why"], **told)


class StrategiesResult(Degradable):
    strategies: list[Strategy] = Field(description="Best fitting first. Empty: nothing was learned about it")
    note: str | None = Field(description="What was cut or left out, if anything")

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Self:
        found = answer["strategies"]
        texts = bounded([strategy["knowledge"]["description"] for strategy in found])
        strategies = [Strategy.of(strategy, text) for strategy, text in zip(found, texts.texts, strict=False)]
        return cls(strategies=strategies, note=texts.note, degraded=answer["degraded"])


class ForgetResult(Degradable):
    removed: dict[str, int] = Field(description="How many records of each kind are gone; empty: there was none of this id")
    remaining: int = Field(description="What a second look still found; 0 when all is gone")
    pending: list[str] = Field(description="Parts of memory that were away: it is removed there as soon as they are back")
