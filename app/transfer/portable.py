"""One namespace as JSON Lines: what each line looks like (pure). For people and other programs to read and write.

    {"type": "header", "format": "hybrid-memory-export", "version": 1, "namespace": …, "created_at": …}
    {"type": "session" | "knowledge" | "revision" | "episode" | "step" | "outcome" | "message" | "feedback" | "item", …}
    {"type": "end", "lines": …, "sha256": …}

The end counts the lines before it, without the header, so that a file cut short is known as one; `sha256` is over all
bytes before the end, and may be left out. Steps, outcomes and messages come after their episode; steps stand together and
count from 0 without a gap, the revisions of a piece of knowledge from 1; a session's messages stand together, by rising
sequence. An episode whose outcome was revised has a line for each that was ever known; feedback comes after what it is about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import timedelta
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, TypeAdapter, ValidationError

from app.errors import InvalidInput
from app.ports import FiledItem, FiledMessage, SessionRecord
from app.records import (
    SCHEMA_VERSION,
    Cause,
    ControlMode,
    Episode,
    EpisodeKind,
    EpisodeStep,
    Feedback,
    Item,
    ItemName,
    Knowledge,
    KnowledgeKind,
    Message,
    Origin,
    OutcomeRevision,
    RecordKind,
    Revision,
    Role,
    Scope,
    SessionKey,
    SessionState,
    Verdict,
    message_uid,
)

FORMAT: Final = "hybrid-memory-export"
VERSION: Final = 2
"""1: before episodes were told in full. Files of every version up to this one are read."""
LINE_BYTES: Final = 1 << 23
"""No line may be longer: an episode of five documents of a megabyte each fits."""

_Document = dict[str, Any]
_INT32_MAX: Final = 2**31 - 1
_INT64_MAX: Final = 2**63 - 1


class _Line(BaseModel):
    """Strict: what is not as it should be is refused, never bent."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class HeaderLine(_Line):
    """Of a newer version there may be more in it: it is read as far as it is known, so that it can be refused by name."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    type: Literal["header"] = "header"
    format: Literal["hybrid-memory-export"] = FORMAT
    version: PositiveInt = VERSION
    namespace: str
    created_at: AwareDatetime | None = None


class SessionLine(_Line):
    type: Literal["session"] = "session"
    session_id: str
    goal: str | None = None
    active_context: _Document = {}
    thoughts: tuple[str, ...] = ()
    related_episodes: tuple[UUID, ...] = ()
    created_at: AwareDatetime
    last_message_at: AwareDatetime | None = None
    ended_at: AwareDatetime | None = None


class _Owned(_Line):
    id: UUID
    user_id: str | None = None
    agent_id: str | None = None
    session_id: str | None = None
    project_id: str | None = None

    def scope(self, namespace: str) -> Scope:
        return Scope(namespace, self.user_id, self.agent_id, self.session_id, self.project_id)


class KnowledgeLine(_Owned):
    type: Literal["knowledge"] = "knowledge"
    kind: KnowledgeKind
    description: str
    created_at: AwareDatetime
    content: _Document = {}
    confidence: float = 1.0
    supporting_episodes: tuple[UUID, ...] = ()
    contradicting_episodes: tuple[UUID, ...] = ()
    times_applied: Annotated[NonNegativeInt, Field(le=_INT32_MAX)] = 0
    success_count: Annotated[NonNegativeInt, Field(le=_INT32_MAX)] = 0
    failure_count: Annotated[NonNegativeInt, Field(le=_INT32_MAX)] = 0
    valid_from: AwareDatetime | None = None
    valid_to: AwareDatetime | None = None
    superseded_by: UUID | None = None
    schema_version: Annotated[PositiveInt, Field(le=SCHEMA_VERSION)] = SCHEMA_VERSION
    pinned: bool = False
    origin: Origin = Origin.STATED
    is_active: bool = True
    inactive_reason: str | None = None
    supersedes: UUID | None = None
    evidence_count: Annotated[NonNegativeInt, Field(le=_INT32_MAX)] = 0
    applied_when_activated: Annotated[NonNegativeInt, Field(le=_INT32_MAX)] = 0


class RevisionLine(_Line):
    type: Literal["revision"] = "revision"
    knowledge_id: UUID
    number: Annotated[PositiveInt, Field(le=_INT32_MAX)]
    recorded_at: AwareDatetime
    cause: Cause
    changes: _Document


class EpisodeLine(_Owned):
    type: Literal["episode"] = "episode"
    kind: EpisodeKind
    started_at: AwareDatetime
    ended_at: AwareDatetime
    perception: _Document = {}
    reasoning: _Document = {}
    action: _Document = {}
    outcome: _Document | None = None
    outcome_quality: float | None = None
    summary: str = ""
    quality: float | None = None
    is_open: bool = False
    message_count: Annotated[NonNegativeInt, Field(le=_INT32_MAX)] = 0
    token_count: Annotated[NonNegativeInt, Field(le=_INT32_MAX)] = 0
    first_sequence: Annotated[NonNegativeInt, Field(le=_INT64_MAX)] = 0
    last_sequence: Annotated[NonNegativeInt, Field(le=_INT64_MAX)] = 0
    metadata: _Document = {}
    schema_version: Annotated[PositiveInt, Field(le=SCHEMA_VERSION)] = SCHEMA_VERSION
    pinned: bool = False
    archived_at: AwareDatetime | None = None
    agent_version: str | None = None
    control_mode: ControlMode | None = None
    decision_source: str | None = None
    sprint_id: str | None = None
    chronicle_note_id: str | None = None
    patterns: tuple[str, ...] = ()
    is_quality_given: bool = False


class StepLine(_Line):
    type: Literal["step"] = "step"
    episode_id: UUID
    index: Annotated[NonNegativeInt, Field(le=_INT32_MAX)]
    content: _Document
    created_at: AwareDatetime


class MessageLine(_Line):
    """Without an episode, the message is cut into episodes as one that was said just now."""

    type: Literal["message"] = "message"
    id: UUID
    session_id: str
    sequence: Annotated[PositiveInt, Field(le=_INT64_MAX)]
    role: Role
    name: str | None = None
    content: str
    created_at: AwareDatetime
    metadata: _Document = {}
    user_id: str | None = None
    agent_id: str | None = None
    project_id: str | None = None
    episode_id: UUID | None = None


class ItemLine(_Line):
    """`fields` are the paths whose texts are indexed."""

    type: Literal["item"] = "item"
    labels: tuple[str, ...]
    key: str
    value: _Document
    fields: tuple[str, ...] = ()
    created_at: AwareDatetime
    updated_at: AwareDatetime
    ttl_seconds: Annotated[float, Field(gt=0)] | None = None
    expires_at: AwareDatetime | None = None


class OutcomeLine(_Line):
    """One of the outcomes that an episode had in the course of time; the last one is the episode's own."""

    type: Literal["outcome"] = "outcome"
    episode_id: UUID
    index: Annotated[NonNegativeInt, Field(le=_INT32_MAX)]
    outcome: _Document | None = None
    outcome_quality: float | None = None
    recorded_at: AwareDatetime
    call: UUID | None = None


class FeedbackLine(_Owned):
    """Owners are whose feedback it is; a message is named by its session and its id."""

    type: Literal["feedback"] = "feedback"
    kind: RecordKind
    record_id: UUID
    verdict: Verdict
    created_at: AwareDatetime
    query: str | None = None
    note: str | None = None


class EndLine(_Line):
    type: Literal["end"] = "end"
    lines: NonNegativeInt
    sha256: str | None = None


RecordLine = (
    SessionLine | KnowledgeLine | RevisionLine | EpisodeLine | StepLine | OutcomeLine | MessageLine | FeedbackLine | ItemLine
)
AnyLine = HeaderLine | RecordLine | EndLine
_LINES: Final = TypeAdapter[AnyLine](Annotated[AnyLine, Field(discriminator="type")])


def encode(line: AnyLine) -> bytes:
    """The line with its break; a field that is null is left out."""
    # `default`: the UUIDs of asyncpg are of a class of their own.
    fields = {name: value for name, value in line if value is not None}
    return orjson.dumps({"type": line.type} | fields, default=str) + b"\n"


def decode(number: int, raw: bytes) -> AnyLine:
    """Line `number` of a file.

    Raises:
        InvalidInput: names the line and the field.
    """
    if len(raw) > LINE_BYTES:
        raise InvalidInput(f"line {number}", f"must have at most {LINE_BYTES} bytes")
    try:
        return _LINES.validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise InvalidInput(_place(number, first["loc"]), first["msg"]) from None


def _place(number: int, location: tuple[int | str, ...]) -> str:
    """`("message", "metadata", "a")` of line 7 as `line 7, metadata.a`; the first part is the type of the line."""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location[1:])
    return ", ".join(filter(None, [f"line {number}", path.removeprefix(".")]))


def session_line(record: SessionRecord) -> SessionLine:
    state = record.state
    return SessionLine(
        session_id=record.session.session_id,
        goal=state.goal,
        active_context=dict(state.active_context),
        thoughts=state.thoughts,
        related_episodes=state.related_episodes,
        created_at=record.created_at,
        last_message_at=record.last_message_at,
        ended_at=record.ended_at,
    )


def knowledge_line(knowledge: Knowledge) -> KnowledgeLine:
    return KnowledgeLine(**_flat(knowledge))


def revision_line(knowledge_id: UUID, revision: Revision) -> RevisionLine:
    return RevisionLine(
        knowledge_id=knowledge_id,
        number=revision.number,
        recorded_at=revision.recorded_at,
        cause=revision.cause,
        changes=dict(revision.changes),
    )


def episode_line(episode: Episode) -> EpisodeLine:
    return EpisodeLine(**_flat(episode))


def step_line(episode_id: UUID, step: EpisodeStep) -> StepLine:
    return StepLine(episode_id=episode_id, index=step.index, content=dict(step.content), created_at=step.created_at)


def outcome_line(episode_id: UUID, revision: OutcomeRevision) -> OutcomeLine:
    outcome = None if revision.outcome is None else dict(revision.outcome)
    return OutcomeLine(
        episode_id=episode_id,
        index=revision.index,
        outcome=outcome,
        outcome_quality=revision.outcome_quality,
        recorded_at=revision.recorded_at,
        call=revision.call,
    )


def feedback_line(feedback: Feedback) -> FeedbackLine:
    fields = _flat(feedback)
    del fields["record_uid"]
    return FeedbackLine(**fields)


def message_line(filed: FiledMessage) -> MessageLine:
    return MessageLine(**_flat(filed.message), episode_id=filed.episode_id)


def unfiled_line(message: Message) -> MessageLine:
    """Of a message that is still to be cut into episodes."""
    return MessageLine(**_flat(message))


def item_line(filed: FiledItem) -> ItemLine:
    item = filed.item
    return ItemLine(
        labels=item.name.labels,
        key=item.name.key,
        value=dict(item.value),
        fields=tuple(dict.fromkeys(text.field for text in filed.texts)),
        created_at=item.created_at,
        updated_at=item.updated_at,
        ttl_seconds=None if item.ttl is None else item.ttl.total_seconds(),
        expires_at=item.expires_at,
    )


def item_record(line: ItemLine, namespace: str) -> Item:
    ttl = None if line.ttl_seconds is None else timedelta(seconds=line.ttl_seconds)
    name = ItemName(line.labels, line.key)
    return Item(namespace, name, line.value, line.created_at, line.updated_at, ttl, line.expires_at)


def session_record(line: SessionLine, namespace: str) -> SessionRecord:
    return SessionRecord(
        session=SessionKey(namespace, line.session_id),
        state=SessionState(line.goal, line.active_context, line.thoughts, line.related_episodes),
        created_at=line.created_at,
        last_message_at=line.last_message_at,
        ended_at=line.ended_at,
    )


def knowledge_record(line: KnowledgeLine, namespace: str) -> Knowledge:
    return Knowledge(scope=line.scope(namespace), **_fields(line))


def revision_record(line: RevisionLine) -> Revision:
    return Revision(line.number, line.recorded_at, line.cause, line.changes)


def episode_record(line: EpisodeLine, namespace: str) -> Episode:
    return Episode(scope=line.scope(namespace), **_fields(line))


def step_record(line: StepLine) -> EpisodeStep:
    return EpisodeStep(line.index, line.content, line.created_at)


def outcome_record(line: OutcomeLine) -> OutcomeRevision:
    return OutcomeRevision(line.index, line.outcome, line.outcome_quality, line.recorded_at, line.call)


def feedback_record(line: FeedbackLine, namespace: str) -> Feedback:
    is_message = line.kind is RecordKind.MESSAGE
    uid = message_uid(SessionKey(namespace, line.session_id or ""), line.record_id) if is_message else line.record_id
    return Feedback(scope=line.scope(namespace), record_uid=uid, **_fields(line))


def message_record(line: MessageLine, namespace: str) -> Message:
    fields = {name: value for name, value in _fields(line).items() if name != "episode_id"}
    return Message(scope=Scope(namespace, line.user_id, line.agent_id, line.session_id, line.project_id), **fields)


_OWNERS: Final = frozenset({"type", "user_id", "agent_id", "session_id", "project_id"})


def _fields(line: _Line) -> Mapping[str, Any]:
    return {name: value for name, value in line if name not in _OWNERS}


def _flat(record: Episode | Knowledge | Message | Feedback) -> dict[str, Any]:
    """The record's fields with its scope's among them, but for the namespace, which is the file's.

    Versions stay behind: they count the changes that an installation made.
    """
    own = {field.name: getattr(record, field.name) for field in fields(record) if field.name not in {"scope", "version"}}
    return own | {name: getattr(record.scope, name) for name in _OWNERS if name != "type"}


EXAMPLE: Final = (encode(HeaderLine(namespace="default")) + encode(EndLine(lines=0))).decode()
"""The shortest file there is."""
