"""What may be imported (pure): each record within the limits, and all of them fitting together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from app.consolidation.rendering import DOCUMENTS
from app.errors import InvalidInput
from app.ingestion.items import ItemLimits, check_item
from app.ingestion.limits import (
    Limits,
    check_document,
    check_episode_labels,
    check_episode_size,
    check_kinds,
    check_label,
    check_scope,
    check_text,
    check_time,
    document_bytes,
)
from app.ports import SessionRecord
from app.records import (
    Episode,
    EpisodeKind,
    EpisodeStep,
    Feedback,
    Knowledge,
    Message,
    OutcomeRevision,
    RecordKind,
    Revision,
    SessionKey,
    SessionState,
)
from app.transfer.reading import ItemOf, MessageOf, OutcomeOf, Placed, Record, RevisionOf, StepOf


@dataclass(slots=True)
class Admission:
    """Looks at the records of one file in order. What it remembers grows with episodes and sessions, not with messages."""

    limits: Limits
    now: datetime
    _step_bytes: int = 0
    _homes: dict[UUID, str | None] = field(default_factory=dict)
    _steps: tuple[UUID, int] | None = None
    _knowledge: set[UUID] = field(default_factory=set)
    _revisions: tuple[UUID, int] | None = None
    _sessions: set[str] = field(default_factory=set)
    _last: Message | None = None
    _ids: set[UUID] = field(default_factory=set)

    def admit(self, placed: Placed) -> None:
        """
        Raises:
            InvalidInput: names the line, the field and the limit.
        """
        with at(placed.line):
            check_record(placed.record, self.limits, self.now)
            self._fit(placed.record)

    def _fit(self, record: Record) -> None:
        match record:
            case Episode():
                self._homes[record.id] = record.scope.session_id if record.kind is EpisodeKind.CONVERSATION else None
            case Knowledge():
                self._knowledge.add(record.id)
            case RevisionOf():
                self._fit_revision(record)
            case StepOf():
                self._fit_step(record)
            case OutcomeOf():
                self._fit_outcome(record)
            case MessageOf():
                self._fit_message(record)
            case _:
                pass

    def _fit_step(self, step: StepOf) -> None:
        if step.episode_id not in self._homes:
            raise InvalidInput("episode_id", "must be that of an episode on a line before")
        expected = self._steps[1] + 1 if self._steps is not None and self._steps[0] == step.episode_id else 0
        if step.step.index != expected:
            raise InvalidInput("index", f"must be {expected}, is {step.step.index}: steps stand together and count from 0")
        self._step_bytes = document_bytes(step.step.content) + (self._step_bytes if expected else 0)
        check_episode_size(self._step_bytes, expected + 1, self.limits)
        self._steps = (step.episode_id, expected)

    def _fit_outcome(self, outcome: OutcomeOf) -> None:
        if outcome.episode_id not in self._homes:
            raise InvalidInput("episode_id", "must be that of an episode on a line before")

    def _fit_revision(self, changed: RevisionOf) -> None:
        if changed.knowledge_id not in self._knowledge:
            raise InvalidInput("knowledge_id", "must be that of a piece of knowledge on a line before")
        is_next = self._revisions is not None and self._revisions[0] == changed.knowledge_id
        expected = self._revisions[1] + 1 if self._revisions is not None and is_next else 1
        if changed.revision.number != expected:
            problem = f"must be {expected}, is {changed.revision.number}: revisions stand together and count from 1"
            raise InvalidInput("number", problem)
        self._revisions = (changed.knowledge_id, expected)

    def _fit_message(self, filed: MessageOf) -> None:
        message, session_id = filed.message, filed.message.session.session_id
        if filed.episode_id is not None and self._homes.get(filed.episode_id) != session_id:
            raise InvalidInput("episode_id", "must be that of a conversation of this session on a line before")
        if self._last is None or self._last.session != message.session:
            self._begin_session(session_id)
        elif message.sequence <= self._last.sequence:
            raise InvalidInput("sequence", f"must be above {self._last.sequence}, that of the message before")
        if message.id in self._ids:
            raise InvalidInput("id", "is that of another message of this session")
        self._ids.add(message.id)
        self._last = message

    def _begin_session(self, session_id: str) -> None:
        if session_id in self._sessions:
            raise InvalidInput("session_id", "came before: the messages of a session stand together")
        self._sessions.add(session_id)
        self._ids.clear()


@contextmanager
def at(line: int) -> Iterator[None]:
    """Have a refusal name the line."""
    try:
        yield
    except InvalidInput as error:
        raise InvalidInput(f"line {line}, {error.field}", error.problem) from None


def check_record(record: Record, limits: Limits, now: datetime) -> None:
    """
    Raises:
        InvalidInput: the first field found to break a limit.
    """
    match record:
        case SessionRecord():
            _check_session(record, limits, now)
        case Knowledge():
            _check_knowledge(record, limits, now)
        case Episode():
            _check_episode(record, limits, now)
        case RevisionOf():
            _check_revision(record.revision, limits, now)
        case StepOf():
            _check_step(record.step, limits, now)
        case OutcomeOf():
            _check_outcome(record.revision, limits, now)
        case MessageOf():
            _check_message(record.message, limits, now)
        case ItemOf():
            _check_item(record, limits, now)
        case Feedback():
            _check_feedback(record, limits, now)


def _check_revision(revision: Revision, limits: Limits, now: datetime) -> None:
    # Room for everything about a piece at once, its content among it.
    most, depth = 2 * limits.document_bytes, limits.document_depth + 1
    check_document("changes", revision.changes, max_bytes=most, max_depth=depth)
    _check_times(revision, limits, now, "recorded_at")


def _check_step(step: EpisodeStep, limits: Limits, now: datetime) -> None:
    _check_object("content", step.content, limits)
    _check_times(step, limits, now, "created_at")


def _check_item(record: ItemOf, limits: Limits, now: datetime) -> None:
    check_item(record.item, record.fields, ItemLimits())
    _check_times(record.item, limits, now, "created_at", "updated_at")
    _check_times(record.item, limits, None, "expires_at")


def _check_outcome(revision: OutcomeRevision, limits: Limits, now: datetime) -> None:
    if revision.outcome is not None:
        _check_object("outcome", revision.outcome, limits)
    _check_share("outcome_quality", revision.outcome_quality)
    _check_times(revision, limits, now, "recorded_at")


def _check_feedback(feedback: Feedback, limits: Limits, now: datetime) -> None:
    check_scope(feedback.scope, limits)
    check_kinds("kind", [feedback.kind])
    if feedback.kind is RecordKind.MESSAGE and feedback.scope.session_id is None:
        raise InvalidInput("session_id", "must be given for feedback on a message")
    for name, text, most in (("query", feedback.query, limits.query_bytes), ("note", feedback.note, limits.metadata_bytes)):
        if text is not None:
            check_text(name, text, most)
    _check_times(feedback, limits, now, "created_at")


def _check_session(record: SessionRecord, limits: Limits, now: datetime) -> None:
    _check_session_key(record.session, limits)
    _check_state(record.state, limits)
    _check_times(record, limits, now, "created_at", "last_message_at", "ended_at")


def _check_session_key(session: SessionKey, limits: Limits) -> None:
    check_label("session_id", session.session_id, limits)


def _check_state(state: SessionState, limits: Limits) -> None:
    if state.goal is not None:
        check_text("goal", state.goal, limits.message_bytes)
    for name, items in (("thoughts", state.thoughts), ("related_episodes", state.related_episodes)):
        if len(items) > limits.state_items:
            raise InvalidInput(name, f"must have at most {limits.state_items} items, has {len(items)}")
    for position, thought in enumerate(state.thoughts):
        check_text(f"thoughts[{position}]", thought, limits.message_bytes)
    check_document("active_context", state.active_context, max_bytes=limits.message_bytes, max_depth=limits.document_depth)


def _check_knowledge(knowledge: Knowledge, limits: Limits, now: datetime) -> None:
    check_scope(knowledge.scope, limits)
    check_text("description", knowledge.description, limits.message_bytes)
    _check_object("content", knowledge.content, limits)
    _check_share("confidence", knowledge.confidence)
    _check_times(knowledge, limits, now, "created_at")
    _check_times(knowledge, limits, None, "valid_from", "valid_to")
    if knowledge.inactive_reason is not None:
        check_text("inactive_reason", knowledge.inactive_reason, limits.message_bytes)


def _check_episode(episode: Episode, limits: Limits, now: datetime) -> None:
    check_scope(episode.scope, limits)
    if episode.kind is EpisodeKind.CONVERSATION and episode.scope.session_id is None:
        raise InvalidInput("session_id", "must be given for a conversation")
    for name in DOCUMENTS:
        if (document := getattr(episode, name)) is not None:
            _check_object(name, document, limits)
    if episode.summary:
        check_text("summary", episode.summary, limits.document_bytes)
    check_episode_labels(episode, limits)
    _check_share("outcome_quality", episode.outcome_quality)
    _check_share("quality", episode.quality)
    _check_times(episode, limits, now, "started_at", "ended_at", "archived_at")
    if episode.is_open and episode.archived_at is not None:
        raise InvalidInput("archived_at", "must not be given for an episode that is open")


def _check_message(message: Message, limits: Limits, now: datetime) -> None:
    check_scope(message.scope, limits)
    check_text("content", message.content, limits.message_bytes)
    if message.name is not None:
        check_label("name", message.name, limits)
    check_document("metadata", message.metadata, max_bytes=limits.metadata_bytes, max_depth=limits.metadata_depth)
    _check_times(message, limits, now, "created_at")


def _check_times(record: object, limits: Limits, now: datetime | None, *fields: str) -> None:
    for name in fields:
        if (moment := getattr(record, name)) is not None:
            check_time(name, moment, limits, now)


def _check_object(name: str, document: object, limits: Limits) -> None:
    check_document(name, document, max_bytes=limits.document_bytes, max_depth=limits.document_depth)


def _check_share(name: str, value: float | None) -> None:
    if value is not None and not 0.0 <= value <= 1.0:
        raise InvalidInput(name, f"must be between 0 and 1, is {value}")
