"""Items as records (pure): ids that stay the same, sequences, limits, and an account of what is left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson

from app.errors import InvalidInput
from app.ingestion.limits import Limits, check_document
from app.ports import SessionRecord
from app.records import (
    IMPORTED_FROM,
    SOURCE_ID,
    Knowledge,
    KnowledgeKind,
    Message,
    Scope,
    SessionKey,
    SessionState,
    derived_uuid,
)
from app.transfer.admission import check_record
from app.transfer.portable import EndLine, HeaderLine, RecordLine, encode, knowledge_line, session_line, unfiled_line
from app.transfer.reading import MessageOf, Record
from app.transfer.sources.items import Fact, Item, SessionOf, Skip, Turn

_TIME_AND_VERSION: Final = ((1 << 52) - 1) << 76
_VERSION_7: Final = 7 << 76
_FIRST_RECORD: Final = 2
"""The line of the first record: the header is before it."""


@dataclass(frozen=True, slots=True)
class Trimmed:
    """A record that was taken in without some of what the export says besides."""

    place: str
    fields: tuple[str, ...]


@dataclass(slots=True)
class Conversion:
    """The records of one export, in the order in which they are imported. `now` is the time of what has none.

    Ids are derived from the source, the namespace and the ids of the export, so that the same things are the same records
    in every import of it.
    """

    source: str
    namespace: str
    now: datetime
    limits: Limits = field(default_factory=Limits)
    skipped: list[Skip] = field(default_factory=list)
    trimmed: list[Trimmed] = field(default_factory=list)
    _sessions: dict[str, SessionRecord] = field(default_factory=dict)
    _facts: dict[UUID, Knowledge] = field(default_factory=dict)
    _turns: dict[str, dict[UUID, Message]] = field(default_factory=dict)
    _places: dict[UUID | str, str] = field(default_factory=dict)

    def take(self, items: Iterable[Item]) -> None:
        for item in items:
            match item:
                case Skip():
                    self.skipped.append(item)
                case SessionOf():
                    self._take_session(item)
                case Fact():
                    self._take_fact(item)
                case Turn():
                    self._take_turn(item)

    @property
    def counts(self) -> Mapping[str, int]:
        """How many records of each kind there are."""
        kinds = {"session": len(self._sessions), "knowledge": len(self._facts)}
        kinds["message"] = sum(map(len, self._turns.values()))
        return {kind: count for kind, count in kinds.items() if count}

    def lines(self) -> Iterator[bytes]:
        """The export as the file that `import` takes."""
        yield encode(HeaderLine(namespace=self.namespace, created_at=self.now))
        count = 0
        for count, line in enumerate(self._lines(), 1):  # noqa: B007 - counts them
            yield encode(line)
        yield encode(EndLine(lines=count))

    def place_at(self, line: int) -> str | None:
        """Where in the export the record comes from that is on a line of the file."""
        keys: list[UUID | str] = [*self._sessions, *self._facts, *(id_ for messages in self._turns.values() for id_ in messages)]
        number = line - _FIRST_RECORD
        return self._places.get(keys[number]) if 0 <= number < len(keys) else None

    def _lines(self) -> Iterator[RecordLine]:
        yield from map(session_line, self._sessions.values())
        yield from map(knowledge_line, self._facts.values())
        for messages in self._turns.values():
            for sequence, message in enumerate(messages.values(), 1):
                yield unfiled_line(replace(message, sequence=sequence))

    def _take_session(self, item: SessionOf) -> None:
        context = self._fitting(item.place, item.context, self.limits.message_bytes, self.limits.document_depth)
        record = SessionRecord(
            session=SessionKey(self.namespace, item.session),
            state=SessionState(active_context=context),
            created_at=item.created_at or self.now,
            last_message_at=None,
            ended_at=None,
        )
        if self._is_admitted(item.place, "session", record):
            self._sessions.setdefault(item.session, record)
            self._places.setdefault(item.session, item.place)

    def _take_fact(self, item: Fact) -> None:
        content = {IMPORTED_FROM: self.source, SOURCE_ID: item.key, **item.content}
        knowledge = Knowledge(
            id=self._sortable_id(item),
            kind=KnowledgeKind.FACT,
            scope=Scope(self.namespace, **item.owner),
            description=item.text,
            created_at=item.created_at or self.now,
            content=self._fitting(item.place, content, self.limits.document_bytes, self.limits.document_depth),
            valid_from=item.valid_from,
            valid_to=item.valid_to,
        )
        if self._is_admitted(item.place, "knowledge", knowledge):
            self._keep(self._facts, knowledge.id, knowledge, item.place, "knowledge")

    def _take_turn(self, item: Turn) -> None:
        said = self._turns.get(item.session, {})
        metadata = {IMPORTED_FROM: self.source, SOURCE_ID: item.key, **item.metadata}
        message = Message(
            id=derived_uuid("import", self.source, item.session, item.key),
            scope=Scope(self.namespace, session_id=item.session, **item.owner),
            role=item.role,
            content=item.content,
            created_at=item.created_at or self._time_in(item.session, said),
            name=item.name,
            metadata=self._fitting(item.place, metadata, self.limits.metadata_bytes, self.limits.metadata_depth),
        )
        if self._is_admitted(item.place, "message", MessageOf(None, message)):
            self._keep(self._turns.setdefault(item.session, said), message.id, message, item.place, "message")

    def _keep(self, there: dict[UUID, Any], id_: UUID, record: Message | Knowledge, place: str, kind: str) -> None:
        """The first of those with one id; another one with the same text is no loss."""
        first = there.setdefault(id_, record)
        self._places.setdefault(id_, place)
        if _text(first) != _text(record):
            self.skipped.append(Skip(place, kind, "its id came before, with another text"))

    def _time_in(self, session: str, said: dict[UUID, Message]) -> datetime:
        """Of a message that says none: that of the one before, or of its session."""
        if said:
            return next(reversed(said.values())).created_at
        return self._sessions[session].created_at if session in self._sessions else self.now

    def _sortable_id(self, item: Fact) -> UUID:
        """Ids sort by time; what has none is older than everything."""
        derived = derived_uuid("import", self.namespace, self.source, item.key).int & ~_TIME_AND_VERSION
        milliseconds = 0 if item.created_at is None else max(0, int(item.created_at.timestamp() * 1000))
        return UUID(int=derived | (milliseconds << 80) | _VERSION_7)

    def _is_admitted(self, place: str, kind: str, record: Record) -> bool:
        try:
            check_record(record, self.limits, self.now)
        except InvalidInput as error:
            self.skipped.append(Skip(place, kind, str(error)))
            return False
        return True

    def _fitting(self, place: str, document: Mapping[str, Any], most_bytes: int, most_levels: int) -> dict[str, Any]:
        """The fields that fit into the limits, in order; the others are left out and named."""
        if _fits(document, most_bytes, most_levels):
            return dict(document)
        kept: dict[str, Any] = {}
        left = most_bytes
        for name, value in document.items():
            if _fits({name: value}, left, most_levels):
                kept[name] = value
                left -= len(orjson.dumps({name: value}))
        self.trimmed.append(Trimmed(place, tuple(name for name in document if name not in kept)))
        return kept


def _fits(document: Mapping[str, Any], most_bytes: int, most_levels: int) -> bool:
    try:
        check_document("content", document, max_bytes=most_bytes, max_depth=most_levels)
    except (InvalidInput, TypeError):
        return False
    return True


def _text(record: Message | Knowledge) -> str:
    return record.content if isinstance(record, Message) else record.description
