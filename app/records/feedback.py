"""What callers say about records, and how episodes turned out in the course of time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.records.base import Json, RecordKind, Scope
from app.records.episodes import Episode
from app.standing import Verdict


@dataclass(frozen=True, slots=True)
class Feedback:
    """What one caller made of one record. `scope` is whose feedback it is; of a message its `session_id` is the message's.

    `record_uid` names the record in the index, as `record_id` does for callers. `query` is what it was recalled for.
    """

    id: UUID
    scope: Scope
    kind: RecordKind
    record_id: UUID
    record_uid: UUID
    verdict: Verdict
    created_at: datetime
    query: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class OutcomeRevision:
    """What was known of an episode's outcome from `recorded_at` on, until the next one; `index` counts from 0.

    `call` names the call that said so, if its caller gave it a name. Without an outcome one was taken back.
    """

    index: int
    outcome: Json | None
    outcome_quality: float | None
    recorded_at: datetime
    call: UUID | None = None


def first_outcome(episode: Episode) -> tuple[OutcomeRevision, ...]:
    """The history of an episode whose outcome was never revised: what it came with, known since it ended; or nothing."""
    if episode.outcome is None and episode.outcome_quality is None:
        return ()
    return (OutcomeRevision(0, episode.outcome, episode.outcome_quality, episode.ended_at),)
