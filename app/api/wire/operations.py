"""Consolidation, status, outbox, forgetting and health on the wire."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import (
    BaseModel,
    Field,
    StrictBool,
    StrictStr,
)

from app.api.wire.base import IDS_PER_CALL, Body, OutboxId, example
from app.consolidation.run import ConsolidationStatus
from app.ports import OutboxEntry
from app.records import FindingKind, ForgetReceipt, ImportReport, Reconciliation, RunReport


class ConsolidateIn(Body):
    model_config = example(namespace="default", session_id="hello")

    namespace: StrictStr | None = None
    session_id: StrictStr | None = None


class RunOut(BaseModel):
    id: UUID
    started_at: datetime
    finished_at: datetime
    duration_ms: float
    counts: dict[str, int]
    errors: list[str]

    @classmethod
    def of(cls, run: RunReport) -> Self:
        return cls(
            id=run.id,
            started_at=run.started_at,
            finished_at=run.finished_at,
            duration_ms=round(run.duration_ms, 3),
            counts=dict(run.counts),
            errors=list(run.errors),
        )


class RunsOut(BaseModel):
    runs: list[RunOut]


class BacklogOut(BaseModel):
    sessions: int
    messages: int
    oldest_at: datetime | None
    episodes: int


class OutboxStatusOut(BaseModel):
    depth: int
    dead_letters: int
    oldest_at: datetime | None


class EmbeddingOut(BaseModel):
    space: str
    model: str
    dimension: int
    provider: str | None = Field(description="Who answered last; null before the first answer")


class StatusOut(BaseModel):
    backlog: BacklogOut | None
    outbox: OutboxStatusOut | None
    records: dict[str, int] | None = Field(description="What should be in the vector index, by kind")
    indexed_points: int | None = Field(description="Points in the space that new vectors are meant for")
    misplaced_points: int | None = Field(description="Points in other spaces: of a former model, or of a fallback")
    drift: int | None = Field(
        description="Records less points; where these agree, points in other spaces, or else what the last reconcile found "
        "and did not repair. 0 when index and truth agree, null when a tier is away"
    )
    embedding: EmbeddingOut | None = Field(description="Null while no provider has answered and the space is unknown")
    degraded: list[str]

    @classmethod
    def of(cls, status: ConsolidationStatus, embedding: EmbeddingOut | None) -> Self:
        backlog, store = status.backlog, status.store
        missing = {"working": backlog, "episodic": store, "semantic": status.indexed_points}
        return cls(
            backlog=None if backlog is None else BacklogOut(**asdict(backlog)),
            outbox=None
            if store is None
            else OutboxStatusOut(depth=store.outbox_depth, dead_letters=store.dead_letters, oldest_at=store.oldest_outbox_at),
            records=None if store is None else {kind.value: n for kind, n in store.indexable.items()},
            indexed_points=status.indexed_points,
            misplaced_points=status.misplaced_points,
            drift=status.drift,
            embedding=embedding,
            degraded=[tier for tier, answer in missing.items() if answer is None],
        )


class ReconcileIn(Body):
    model_config = example(namespace="default", repair=False)

    namespace: StrictStr | None = Field(default=None, description="All, if left out")
    repair: StrictBool = Field(default=False, description="Queue what is wrong for the indexer; otherwise only report it")


class ReconcileOut(BaseModel):
    """A comparison of the index with PostgreSQL. What waits in the outbox anyway is `pending`, and no finding."""

    id: UUID
    namespace: str | None
    repair: bool
    space: str
    state: str = Field(description="running, done, or abandoned: interrupted, and then asked for in another way")
    started_at: datetime
    finished_at: datetime | None
    is_resumed: bool
    checked: int
    total: int = Field(description="Records when it began")
    findings: dict[str, int] = Field(description="How many records are missing, orphaned, stale or in the wrong space")
    examples: dict[str, list[UUID]] = Field(description="The first of each, as the outbox names records")
    pending: int
    dead_letters: int = Field(description="Given up on by the indexer: a repair leaves them to POST /v1/admin/outbox/retry")

    @classmethod
    def of(cls, run: Reconciliation) -> Self:
        return cls(
            id=run.id,
            namespace=run.namespace,
            repair=run.is_repair,
            space=run.space,
            state=run.state.value,
            started_at=run.started_at,
            finished_at=run.finished_at,
            is_resumed=run.generation > 1,
            checked=run.checked,
            total=run.total,
            findings={kind.value: run.findings.get(kind, 0) for kind in FindingKind},
            examples={kind.value: list(run.examples.get(kind, ())) for kind in FindingKind},
            pending=run.pending,
            dead_letters=run.dead_letters,
        )


class ReconciliationsOut(BaseModel):
    runs: list[ReconcileOut]


class OutboxEntryOut(BaseModel):
    id: int
    op: str
    kind: str
    record_uid: UUID
    attempts: int
    next_attempt_at: datetime | None
    last_error: str | None
    is_dead: bool

    @classmethod
    def of(cls, entry: OutboxEntry) -> Self:
        return cls(
            id=entry.id,
            op=entry.op.value,
            kind=entry.kind.value,
            record_uid=entry.record_uid,
            attempts=entry.attempts,
            next_attempt_at=entry.next_attempt_at,
            last_error=entry.last_error,
            is_dead=entry.is_dead,
        )


class OutboxOut(BaseModel):
    entries: list[OutboxEntryOut]


class RetryIn(Body):
    model_config = example(ids=[1])

    ids: list[OutboxId] | None = Field(default=None, max_length=IDS_PER_CALL, description="All dead letters, if left out")


class RetryOut(BaseModel):
    retried: int


class ForgetIn(Body):
    model_config = example(namespace="default", session_id="hello")

    namespace: StrictStr = Field(description="Has to be said: there is no default for forgetting")
    session_id: StrictStr | None = None


class ForgetOut(BaseModel):
    removed: dict[str, int]
    remaining: int
    degraded: list[str]

    @classmethod
    def of(cls, receipt: ForgetReceipt) -> Self:
        return cls(removed=dict(receipt.removed), remaining=receipt.remaining, degraded=list(receipt.degraded))


class ImportOut(BaseModel):
    new: dict[str, int] = Field(description="What was written, by type of line")
    known: dict[str, int] = Field(description="What was there already, and was left as it is")

    @classmethod
    def of(cls, report: ImportReport) -> Self:
        return cls(new=dict(report.new), known=dict(report.known))


class TierOut(BaseModel):
    name: str
    is_up: bool
    latency_ms: float
    detail: str
    breaker: str = Field(description="`closed`; `open` or `half-open` while the engine is left alone", examples=["closed"])


class HealthOut(BaseModel):
    status: str = Field(examples=["ready"])
    tiers: list[TierOut]
