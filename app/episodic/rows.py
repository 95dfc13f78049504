"""Rows to records. A row may have been written by a newer version of this program, so reading one can fail."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from typing import Any, TypeVar
from uuid import UUID

import structlog
from sqlalchemy import Row

from app.episodic.engine import TIER
from app.errors import TierUnavailable
from app.observability import STORE_ERRORS
from app.ports import FiledMessage, Indexable, OutboxEntry, OutboxOp, SessionRecord
from app.records import (
    SCHEMA_VERSION,
    Episode,
    EpisodeKind,
    EpisodeStep,
    FindingKind,
    Json,
    Knowledge,
    KnowledgeKind,
    Message,
    ReconcileState,
    Reconciliation,
    RecordKind,
    Role,
    RunReport,
    Scope,
    SessionKey,
    SessionState,
)

log = structlog.get_logger(__name__)

Record = TypeVar("Record")
Decode = Callable[[Row[Any]], Record]


def readable(rows: Iterable[Row[Any]], decode: Decode[Record]) -> tuple[Record, ...]:
    """The records of these rows. One that this version cannot read is left out, logged and counted."""
    records: list[Record] = []
    for row in rows:
        try:
            records.append(decode(row))
        except ValueError as error:
            STORE_ERRORS.labels(TIER, decode.__name__).inc()
            log.warning("row_skipped", decode=decode.__name__, key=str(row[0]), problem=str(error))
    return tuple(records)


def only(rows: Iterable[Row[Any]], decode: Decode[Record]) -> Record | None:
    """The record of the one row asked for, None when there is none.

    Raises:
        TierUnavailable: this version cannot read the row; during a rolling upgrade a newer instance can.
    """
    for row in rows:
        try:
            return decode(row)
        except ValueError as error:
            raise TierUnavailable(TIER, f"{decode.__name__} {row[0]}: {error}") from error
    return None


def scope_of(row: Row[Any]) -> Scope:
    return Scope(row.namespace, row.user_id, row.agent_id, row.session_id, row.project_id)


def message(row: Row[Any]) -> Message:
    return Message(
        id=row.id,
        scope=scope_of(row),
        role=Role(row.role),
        content=row.content,
        created_at=row.created_at,
        name=row.name,
        metadata=row.metadata,
        sequence=row.sequence,
    )


def filed_message(row: Row[Any]) -> FiledMessage:
    return FiledMessage(message(row), row.episode_id)


def episode(row: Row[Any]) -> Episode:
    if row.schema_version > SCHEMA_VERSION:
        raise ValueError(f"schema version {row.schema_version}, this program reads up to {SCHEMA_VERSION}")
    return Episode(
        id=row.id,
        kind=EpisodeKind(row.kind),
        scope=scope_of(row),
        started_at=row.started_at,
        ended_at=row.ended_at,
        perception=row.perception,
        reasoning=row.reasoning,
        action=row.action,
        outcome=row.outcome,
        outcome_quality=row.outcome_quality,
        summary=row.summary,
        quality=row.quality,
        is_open=row.is_open,
        message_count=row.message_count,
        token_count=row.token_count,
        first_sequence=row.first_sequence,
        last_sequence=row.last_sequence,
        metadata=row.metadata,
        schema_version=row.schema_version,
        version=row.version,
    )


def step(row: Row[Any]) -> EpisodeStep:
    return EpisodeStep(index=row.position, content=row.content, created_at=row.created_at)


def knowledge(row: Row[Any]) -> Knowledge:
    return Knowledge(
        id=row.id,
        kind=KnowledgeKind(row.kind),
        scope=scope_of(row),
        description=row.description,
        created_at=row.created_at,
        content=row.content,
        confidence=row.confidence,
        supporting_episodes=tuple(row.supporting_episodes),
        contradicting_episodes=tuple(row.contradicting_episodes),
        times_applied=row.times_applied,
        success_count=row.success_count,
        failure_count=row.failure_count,
        valid_from=row.valid_from,
        valid_to=row.valid_to,
        superseded_by=row.superseded_by,
        version=row.version,
    )


def session(row: Row[Any]) -> SessionRecord:
    return SessionRecord(
        session=SessionKey(row.namespace, row.session_id),
        state=replace(state_from(row.state), version=row.version),
        created_at=row.created_at,
        last_message_at=row.last_message_at,
        ended_at=row.ended_at,
    )


def state_from(document: Json) -> SessionState:
    """The inverse of `state_document`; what the document lacks is empty. The version stands in a column of its own."""
    return SessionState(
        goal=document.get("goal"),
        active_context=document.get("active_context", {}),
        thoughts=tuple(document.get("thoughts", ())),
        related_episodes=tuple(UUID(text) for text in document.get("related_episodes", ())),
    )


def state_document(state: SessionState) -> Json:
    return {
        "goal": state.goal,
        "active_context": state.active_context,
        "thoughts": list(state.thoughts),
        "related_episodes": [str(episode_id) for episode_id in state.related_episodes],
    }


def outbox_entry(row: Row[Any]) -> OutboxEntry:
    return OutboxEntry(
        id=row.id,
        op=OutboxOp(row.op),
        kind=RecordKind(row.kind),
        namespace=row.namespace,
        record_uid=row.record_uid,
        generation=row.generation,
        attempts=row.attempts,
        next_attempt_at=row.next_attempt_at,
        last_error=row.last_error,
        is_dead=row.is_dead,
    )


def indexable(row: Row[Any]) -> Indexable:
    return Indexable(row.uid, RecordKind(row.kind), row.namespace, row.content_sha256)


def reconciliation(row: Row[Any]) -> Reconciliation:
    return Reconciliation(
        id=row.id,
        namespace=row.namespace,
        is_repair=row.is_repair,
        space=row.space,
        started_at=row.started_at,
        total=row.total,
        checked=row.checked,
        findings={FindingKind(kind): count for kind, count in row.findings.items()},
        examples={FindingKind(kind): tuple(UUID(text) for text in uids) for kind, uids in row.examples.items()},
        pending=row.pending,
        dead_letters=row.dead_letters,
        cursor=row.cursor,
        state=ReconcileState(row.state),
        finished_at=row.finished_at,
        leased_until=row.leased_until,
        generation=row.generation,
    )


def reconciliation_values(run: Reconciliation) -> dict[str, Any]:
    """The inverse of `reconciliation`."""
    return asdict(run) | {
        "findings": {kind.value: count for kind, count in run.findings.items()},
        "examples": {kind.value: [str(uid) for uid in uids] for kind, uids in run.examples.items()},
        "state": run.state.value,
    }


def run_report(row: Row[Any]) -> RunReport:
    return RunReport(
        id=row.id,
        started_at=row.started_at,
        finished_at=row.finished_at,
        counts=row.counts,
        errors=tuple(row.errors),
    )
