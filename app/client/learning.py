"""Answers about what was learned as values (pure): strategies, patterns, the history of knowledge, and feedback."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from app.client.answers import Document, document, given, scoped, valued
from app.client.reply import Reply
from app.records import (
    Feedback,
    Json,
    Knowledge,
    KnowledgeHistory,
    PatternKind,
    PatternState,
    RecordKind,
    Scope,
    SessionKey,
    message_uid,
)


@dataclass(frozen=True, slots=True)
class MetCondition:
    """A condition that holds, and what the context has there."""

    field: str
    op: str
    value: object
    found: object


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is believed of a success rate, however few the applications: it is in [`lower`, `upper`] with 90 %."""

    mean: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKnowledge(Knowledge):
    """A piece of knowledge as the service has it, with what is believed of its success rate."""

    estimated_success: Estimate


@dataclass(frozen=True, slots=True)
class LearnedStrategy:
    """A piece of knowledge for a situation. `components` are the terms `score` is the sum of; `why` says it in words."""

    knowledge: StoredKnowledge
    score: float
    components: Mapping[str, float]
    matched_conditions: tuple[MetCondition, ...]
    estimated_success: Estimate
    why: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LearnedStrategies:
    """Best first. `degraded` names each tier that could not be asked."""

    strategies: tuple[LearnedStrategy, ...]
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FoundPattern:
    """What episodes have in common; once it is kept, it is knowledge under the same id.

    `supporters` and `contradictors` count the episodes, of which the newest are listed.
    """

    id: UUID
    kind: PatternKind
    scope: Scope
    description: str
    content: Json
    confidence: float
    state: PatternState
    supporters: int
    contradictors: int
    supporting_episodes: tuple[UUID, ...]
    contradicting_episodes: tuple[UUID, ...]
    first_seen_at: datetime


def knowledge(found: Document) -> StoredKnowledge:
    return valued(StoredKnowledge, scoped(found))


def one_knowledge(reply: Reply) -> StoredKnowledge:
    return knowledge(document(reply))


def learned_strategies(reply: Reply) -> LearnedStrategies:
    answer = document(reply)
    return valued(LearnedStrategies, {**answer, "strategies": tuple(map(_strategy, given(answer, "strategies")))})


def knowledge_history(reply: Reply) -> KnowledgeHistory:
    answer = document(reply)
    return valued(KnowledgeHistory, {**answer, "versions": tuple(map(knowledge, given(answer, "versions")))})


def feedback(reply: Reply) -> Feedback:
    """What was said; the name that the record has in the index is made of what the answer says, as the service makes it."""
    said = document(reply)
    fields = {**scoped(said), "record_uid": given(said, "record_id")}
    found = valued(Feedback, fields)
    if found.kind is not RecordKind.MESSAGE or found.scope.session_id is None:
        return found
    session = SessionKey(found.scope.namespace, found.scope.session_id)
    return replace(found, record_uid=message_uid(session, found.record_id))


def pattern(found: Document) -> FoundPattern:
    return valued(FoundPattern, scoped(found))


def _strategy(found: Document) -> LearnedStrategy:
    piece = given(found, "knowledge")
    return valued(
        LearnedStrategy, {**found, "knowledge": knowledge(piece), "estimated_success": given(piece, "estimated_success")}
    )
