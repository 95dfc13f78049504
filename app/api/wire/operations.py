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
from app.errors import InvalidInput
from app.ports import LearningStatus, OutboxState, Queued
from app.records import FindingKind, ForgetReceipt, ImportReport, Reconciliation, RunReport, Scope, Selection, Tier


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
    malformed: int = Field(description="Entries that nobody could read, set aside")


class OutboxStatusOut(BaseModel):
    depth: int
    dead_letters: int
    oldest_at: datetime | None
    erasures: int = Field(description="What the buffers are still owed of things forgotten or deleted")


class EmbeddingOut(BaseModel):
    space: str
    model: str
    dimension: int
    provider: str | None = Field(description="Who answered last; null before the first answer")


class LearningOut(BaseModel):
    pending: int = Field(description="Closed episodes that were not learned from yet")
    dead_letters: int = Field(description="Episodes given up on; `retry` of /v1/admin/learn makes them due again")
    stale: int = Field(description="Marks on patterns and heuristics that are to be looked at again")
    oldest_at: datetime | None
    patterns: dict[str, int]

    @classmethod
    def of(cls, status: LearningStatus) -> Self:
        counted = {state.value: count for state, count in (status.patterns or {}).items()}
        return cls(
            pending=status.pending,
            dead_letters=status.dead_letters,
            stale=status.stale,
            oldest_at=status.oldest_at,
            patterns=counted,
        )


class StatusOut(BaseModel):
    learning: LearningOut | None = Field(default=None, description="Null when the episodic tier is away")
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
    def of(cls, status: ConsolidationStatus, embedding: EmbeddingOut | None, learning: LearningStatus | None = None) -> Self:
        backlog, store = status.backlog, status.store
        missing = {"working": backlog, "episodic": store, "semantic": status.indexed_points}
        return cls(
            learning=None if learning is None else LearningOut.of(learning),
            backlog=None if backlog is None else BacklogOut(**asdict(backlog)),
            outbox=None
            if store is None
            else OutboxStatusOut(
                depth=store.outbox_depth,
                dead_letters=store.dead_letters,
                oldest_at=store.oldest_outbox_at,
                erasures=store.erasures,
            ),
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
    namespace: str
    record_uid: UUID
    state: OutboxState
    attempts: int = Field(description="All there were")
    failures: int = Field(description="Those of the record's own: an outage is none")
    next_attempt_at: datetime | None
    last_error: str | None
    is_dead: bool
    created_at: datetime

    @classmethod
    def of(cls, queued: Queued) -> Self:
        return cls.model_validate({**asdict(queued.entry), "state": queued.state, "created_at": queued.created_at})


class OutboxOut(BaseModel):
    entries: list[OutboxEntryOut]
    next: int | None = Field(description="Pass as `after` for the next page; null on the last one")


class RetryIn(Body):
    model_config = example(ids=[1])

    namespace: StrictStr | None = Field(default=None, description="Only dead letters of this one")
    ids: list[OutboxId] | None = Field(default=None, max_length=IDS_PER_CALL, description="All dead letters, if left out")


class RetryOut(BaseModel):
    retried: int


class DropIn(Body):
    model_config = example(ids=[1])

    namespace: StrictStr | None = Field(default=None, description="Only dead letters of this one")
    ids: list[OutboxId] = Field(max_length=IDS_PER_CALL, description="Which dead letters to give up on: there is no `all`")


class DropOut(BaseModel):
    dropped: int


class RetentionIn(Body):
    model_config = example(dry_run=True)

    dry_run: StrictBool = Field(default=False, description="Only count what would be done")


class RetentionOut(BaseModel):
    dry_run: bool
    counts: dict[str, int]
    duration_ms: float
    errors: list[str]

    @classmethod
    def of(cls, run: RunReport, *, dry_run: bool) -> Self:
        counts, errors = dict(run.counts), list(run.errors)
        return cls(dry_run=dry_run, counts=counts, duration_ms=round(run.duration_ms, 3), errors=errors)


class ForgetIn(Body):
    """A scope, or records by name: not both."""

    model_config = example(namespace="default", session_id="hello")

    namespace: StrictStr = Field(description="Has to be said: there is no default for forgetting")
    session_id: StrictStr | None = None
    user_id: StrictStr | None = None
    agent_id: StrictStr | None = None
    project_id: StrictStr | None = None
    message_ids: list[UUID] = Field(default_factory=list, description="Of the session `session_id`")
    episode_ids: list[UUID] = Field(default_factory=list, description="With the messages they hold")
    knowledge_ids: list[UUID] = Field(default_factory=list)

    @property
    def names_records(self) -> bool:
        return bool({"message_ids", "episode_ids", "knowledge_ids"} & self.model_fields_set)

    @property
    def scope(self) -> Scope:
        return Scope(self.namespace, self.user_id, self.agent_id, self.session_id, self.project_id)

    @property
    def selection(self) -> Selection:
        """Raises `InvalidInput` where an owner is named as well: it would be ignored."""
        for field in ("user_id", "agent_id", "project_id"):
            if getattr(self, field) is not None:
                raise InvalidInput(field, "cannot be given with ids of records")
        ids = (tuple(self.message_ids), tuple(self.episode_ids), tuple(self.knowledge_ids))
        return Selection(self.namespace, self.session_id, *ids)


class TierReceiptOut(BaseModel):
    removed: dict[str, int]
    remaining: int | None = Field(description="What a second look still found; null when nobody could look")


class ForgetOut(BaseModel):
    removed: dict[str, int] = Field(description="Records by kind, and messages that were `buffered`")
    remaining: int = Field(description="What a second look still found in all tiers")
    tiers: dict[str, TierReceiptOut]
    pending: list[str] = Field(description="Tiers that were away: removed there as soon as they are back")
    degraded: list[str]

    @classmethod
    def of(cls, receipt: ForgetReceipt) -> Self:
        tiers = {tier.value: TierReceiptOut(**asdict(found)) for tier, found in receipt.tiers.items()}
        return cls(
            removed=_removed(receipt),
            remaining=receipt.remaining,
            tiers=tiers,
            pending=list(receipt.pending),
            degraded=list(receipt.pending),
        )


def _removed(receipt: ForgetReceipt) -> dict[str, int]:
    """Episodes that were only logged are episodes; of messages some are stored and buffered at once."""
    waiting, stored = receipt.tiers[Tier.WORKING].removed, receipt.tiers[Tier.EPISODIC].removed
    episodes = stored.get("episode", 0) + waiting.get("episode", 0)
    buffered = waiting.get("message", 0)
    return {**stored, **({"episode": episodes} if episodes else {}), **({"buffered": buffered} if buffered else {})}


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
