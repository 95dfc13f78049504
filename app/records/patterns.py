"""Patterns: what episodes have in common, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from app.records.base import Json, Scope


class PatternKind(StrEnum):
    """What is seen to follow from what: a tool from the tools before it, an action from a condition, what mends a failure
    from the failure, how it turned out from a condition and an action."""

    TOOL_SEQUENCE = "tool_sequence"
    DECISION_POINT = "decision_point"
    ERROR_RECOVERY = "error_recovery"
    CONTEXT_OUTCOME = "context_outcome"


class PatternState(StrEnum):
    """`kept`: sure enough to be knowledge, under the pattern's own id. `candidate`: not yet, or not any more."""

    CANDIDATE = "candidate"
    KEPT = "kept"


@dataclass(frozen=True, slots=True)
class Pattern:
    """Given `premise`, `conclusion`: seen in `supporting_episodes`, while in `contradicting_episodes` another one followed.

    Patterns of one `family` share kind, scope and premise: each contradicts the others. `scope` is a namespace and a
    project. Both sides are normalised texts; `description` and `content` say the same for people and for programs.
    `supporters` and `contradictors` count the episodes, of which only the newest may be listed. Patterns of one `gist`
    say the same but for spelling, endings and the order of words; `words` are what longer texts have in them, by which others
    of nearly the same meaning are found. `weighed_at` is None as long as nobody has compared the pattern with the others.
    """

    id: UUID
    kind: PatternKind
    scope: Scope
    family: UUID
    gist: UUID
    premise: tuple[str, ...]
    conclusion: tuple[str, ...]
    description: str
    first_seen_at: datetime
    content: Json = field(default_factory=dict)
    words: tuple[str, ...] = ()
    confidence: float = 0.0
    supporting_episodes: tuple[UUID, ...] = ()
    contradicting_episodes: tuple[UUID, ...] = ()
    supporters: int = 0
    contradictors: int = 0
    state: PatternState = PatternState.CANDIDATE
    weighed_at: datetime | None = None
