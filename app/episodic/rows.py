"""Rows to records. A row may be damaged, or written by a newer release, so reading one can fail."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from typing import Any, TypeVar
from uuid import UUID

import structlog
from sqlalchemy import Row

from app.episodic.engine import TIER, UnreadJson
from app.episodic.upgrades import EPISODES, KNOWLEDGE, SESSIONS
from app.errors import NewerRelease, Unreadable
from app.lineage import Damaged, Lineage, NewerVersion
from app.observability import STORE_ERRORS
from app.ports import (
    Erasure,
    FiledMessage,
    Indexable,
    OutboxEntry,
    OutboxOp,
    OutboxState,
    OwedErasure,
    Queued,
    SessionRecord,
)
from app.records import (
    Cause,
    ControlMode,
    Episode,
    EpisodeKind,
    EpisodeStep,
    Feedback,
    FindingKind,
    Json,
    Knowledge,
    KnowledgeKind,
    Message,
    Origin,
    OutcomeRevision,
    Pattern,
    PatternKind,
    PatternState,
    ReconcileState,
    Reconciliation,
    RecordKind,
    Revision,
    Role,
    RunReport,
    Scope,
    SessionKey,
    SessionState,
    Verdict,
)

log = structlog.get_logger(__name__)

Record = TypeVar("Record")
Decode = Callable[[Row[Any]], Record]


def readable(rows: Iterable[Row[Any]], decode: Decode[Record]) -> tuple[Record, ...]:
    """The records of these rows. One that this release cannot read is left out, logged and counted."""
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
        NewerRelease: a newer release wrote it; during a rolling upgrade an instance of that release can read it.
        Unreadable: the row is damaged.
    """
    for row in rows:
        try:
            return decode(row)
        except NewerVersion as error:
            raise NewerRelease(decode.__name__, str(row[0]), str(error)) from error
        except ValueError as error:
            raise Unreadable(decode.__name__, str(row[0]), str(error)) from error
    return None


def document_of(row: Row[Any], name: str) -> Json:
    """The JSON object in the column `name`.

    Raises:
        Damaged: it is none, or too large to be parsed.
    """
    value = getattr(row, name)
    if isinstance(value, UnreadJson):
        raise Damaged(f"{name}: {value.problem}")
    if not isinstance(value, dict):
        raise Damaged(f"{name}: a {type(value).__name__}, not an object")
    return value


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
        metadata=document_of(row, "metadata"),
        sequence=row.sequence,
    )


def filed_message(row: Row[Any]) -> FiledMessage:
    return FiledMessage(message(row), row.episode_id)


def episode(row: Row[Any], lineage: Lineage = EPISODES) -> Episode:
    return Episode(
        id=row.id,
        kind=EpisodeKind(row.kind),
        scope=scope_of(row),
        started_at=row.started_at,
        ended_at=row.ended_at,
        **_episode_documents(row, lineage),
        outcome_quality=row.outcome_quality,
        summary=row.summary,
        quality=row.quality,
        is_open=row.is_open,
        message_count=row.message_count,
        token_count=row.token_count,
        first_sequence=row.first_sequence,
        last_sequence=row.last_sequence,
        schema_version=lineage.current,
        version=row.version,
        pinned=row.pinned,
        archived_at=row.archived_at,
        agent_version=row.agent_version,
        control_mode=None if row.control_mode is None else ControlMode(row.control_mode),
        decision_source=row.decision_source,
        sprint_id=row.sprint_id,
        chronicle_note_id=row.chronicle_note_id,
        patterns=tuple(row.patterns),
        is_quality_given=row.is_quality_given,
    )


def _episode_documents(row: Row[Any], lineage: Lineage) -> dict[str, Any]:
    stored = {name: document_of(row, name) for name in ("perception", "reasoning", "action", "metadata")}
    outcome = None if row.outcome is None else document_of(row, "outcome")
    return dict(lineage.upgraded({**stored, "outcome": outcome}, row.schema_version))


def step(row: Row[Any]) -> EpisodeStep:
    return EpisodeStep(index=row.position, content=document_of(row, "content"), created_at=row.created_at)


def outcome_revision(row: Row[Any]) -> OutcomeRevision:
    outcome = None if row.outcome is None else document_of(row, "outcome")
    return OutcomeRevision(row.position, outcome, row.outcome_quality, row.recorded_at, row.call_id)


def feedback(row: Row[Any]) -> Feedback:
    return Feedback(
        id=row.id,
        scope=scope_of(row),
        kind=RecordKind(row.kind),
        record_id=row.record_id,
        record_uid=row.record_uid,
        verdict=Verdict(row.verdict),
        created_at=row.created_at,
        query=row.query,
        note=row.note,
    )


def feedback_values(given: Feedback, subject: str) -> dict[str, Any]:
    """The inverse of `feedback`; `subject` is the column that refers to the record."""
    own = {name: getattr(given, name) for name in ("id", "record_id", "verdict", "created_at", "query", "note")}
    return own | asdict(given.scope) | {"message_uid": None, "episode_id": None, "knowledge_id": None, subject: given.record_uid}


def knowledge(row: Row[Any]) -> Knowledge:
    return Knowledge(
        id=row.id,
        kind=KnowledgeKind(row.kind),
        scope=scope_of(row),
        description=row.description,
        created_at=row.created_at,
        content=KNOWLEDGE.upgraded(document_of(row, "content"), row.schema_version),
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
        pinned=row.pinned,
        origin=Origin(row.origin),
        is_active=row.is_active,
        inactive_reason=row.inactive_reason,
        supersedes=row.supersedes,
        evidence_count=row.evidence_count,
        applied_when_activated=row.applied_when_activated,
    )


def revision(row: Row[Any]) -> Revision:
    return Revision(row.number, row.recorded_at, Cause(row.cause), document_of(row, "changes"))


def session(row: Row[Any]) -> SessionRecord:
    return SessionRecord(
        session=SessionKey(row.namespace, row.session_id),
        state=replace(state_from(SESSIONS.upgraded(document_of(row, "state"), row.schema_version)), version=row.version),
        created_at=row.created_at,
        last_message_at=row.last_message_at,
        ended_at=row.ended_at,
    )


def state_from(document: Json) -> SessionState:
    """The inverse of `state_document`; what the document lacks is empty. The version stands in a column of its own.

    Raises:
        Damaged: a part is not what it should be.
    """
    goal, context = document.get("goal"), document.get("active_context", {})
    thoughts, related = _texts(document, "thoughts"), _texts(document, "related_episodes")
    if not isinstance(goal, str | None) or not isinstance(context, dict):
        raise Damaged("state: goal must be text, and active_context an object")
    return SessionState(goal, context, thoughts, tuple(UUID(text) for text in related))


def _texts(document: Json, name: str) -> tuple[str, ...]:
    value = document.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise Damaged(f"{name}: not a list of texts")
    return tuple(value)


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
        failures=row.failures,
        next_attempt_at=row.next_attempt_at,
        last_error=row.last_error,
        is_dead=row.is_dead,
    )


def queued(row: Row[Any]) -> Queued:
    return Queued(outbox_entry(row), OutboxState(row.state), row.created_at)


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
        counts=document_of(row, "counts"),
        errors=_texts({"errors": row.errors}, "errors"),
    )


def step_of_episode(row: Row[Any]) -> tuple[UUID, Json]:
    return row.episode_id, document_of(row, "content")


def pattern(row: Row[Any]) -> Pattern:
    return Pattern(
        id=row.id,
        kind=PatternKind(row.kind),
        scope=scope_of(row),
        family=row.family,
        gist=row.gist,
        premise=_texts({"premise": row.premise}, "premise"),
        conclusion=_texts({"conclusion": row.conclusion}, "conclusion"),
        description=row.description,
        first_seen_at=row.first_seen_at,
        content=document_of(row, "content"),
        words=tuple(row.words),
        confidence=row.confidence,
        supporters=row.supporters,
        contradictors=row.contradictors,
        state=PatternState(row.state),
        weighed_at=row.weighed_at,
    )


def pattern_similar_to(row: Row[Any]) -> tuple[UUID, Pattern]:
    return row.of_id, pattern(row)


def owed_erasure(row: Row[Any]) -> OwedErasure:
    ids = None if row.record_ids is None else tuple(row.record_ids)
    return OwedErasure(row.id, Erasure(scope_of(row), row.requested_at, ids))
