"""The queue between the truth and the index."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from app.records import RecordKind


class OutboxOp(StrEnum):
    UPSERT = "upsert"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """Work for the vector index, written in the transaction of the record it is about.

    There is at most one open entry per record: a newer one replaces it and raises `generation`, so that a worker
    finishing the older work cannot tick off the newer. `attempts` are all there were, `failures` those of the record's
    own: an outage says nothing against a record.
    """

    op: OutboxOp
    kind: RecordKind
    namespace: str
    record_uid: UUID
    id: int = 0
    generation: int = 0
    attempts: int = 0
    failures: int = 0
    next_attempt_at: datetime | None = None
    last_error: str | None = None
    is_dead: bool = False


class OutboxState(StrEnum):
    """Due now, waiting for its next attempt, being worked on, or given up on."""

    DUE = "due"
    WAITING = "waiting"
    LEASED = "leased"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Queued:
    """An outbox entry as an operator sees it."""

    entry: OutboxEntry
    state: OutboxState
    created_at: datetime


@dataclass(frozen=True, slots=True)
class OutboxQuery:
    """Which entries to show, by rising id: of these states (all, when none is named), of one namespace or all.

    `after` is the last id of the page before.
    """

    limit: int = 100
    states: tuple[OutboxState, ...] = ()
    namespace: str | None = None
    after: int = 0
