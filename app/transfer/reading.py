"""Files as records: the near side of an import. A reader for another program's files stands beside `PortableReader`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any, Final, Protocol, TypeAlias
from uuid import UUID

from app.errors import InvalidInput
from app.ports import SessionRecord
from app.records import (
    Episode,
    EpisodeStep,
    Feedback,
    Item,
    Knowledge,
    Message,
    OutcomeRevision,
    RecordKind,
    Revision,
    derived_uuid,
)
from app.transfer.portable import (
    LINE_BYTES,
    VERSION,
    AnyLine,
    EndLine,
    EpisodeLine,
    FeedbackLine,
    HeaderLine,
    ItemLine,
    KnowledgeLine,
    MessageLine,
    OutcomeLine,
    RecordLine,
    RevisionLine,
    SessionLine,
    StepLine,
    decode,
    episode_record,
    feedback_record,
    item_record,
    knowledge_record,
    message_record,
    outcome_record,
    revision_record,
    session_record,
    step_record,
)

_BATCH_LINES: Final = 500
_BATCH_BYTES: Final = 1 << 20
_TIME_AND_VERSION: Final = ((1 << 52) - 1) << 76
"""The bits of a UUID that say when it was made."""


@dataclass(frozen=True, slots=True)
class StepOf:
    """A step and the episode it belongs to."""

    episode_id: UUID
    step: EpisodeStep


@dataclass(frozen=True, slots=True)
class OutcomeOf:
    """What was known at a time of an episode's outcome."""

    episode_id: UUID
    revision: OutcomeRevision


@dataclass(frozen=True, slots=True)
class RevisionOf:
    """A revision and the piece of knowledge that it changed."""

    knowledge_id: UUID
    revision: Revision


@dataclass(frozen=True, slots=True)
class MessageOf:
    """A message and its episode; None for one that is still to be cut into episodes."""

    episode_id: UUID | None
    message: Message


@dataclass(frozen=True, slots=True)
class ItemOf:
    """An item and the paths whose texts are indexed."""

    item: Item
    fields: tuple[str, ...]


Record: TypeAlias = SessionRecord | Knowledge | RevisionOf | Episode | StepOf | OutcomeOf | MessageOf | Feedback | ItemOf


@dataclass(frozen=True, slots=True)
class Placed:
    """A record and the number of the line it was read from."""

    line: int
    record: Record


@dataclass(frozen=True, slots=True)
class Batch:
    """Some records in order. `position`: how many bytes of the file were read by then."""

    placed: Sequence[Placed]
    position: int


class RecordReader(Protocol):
    """Reads one file, any number of times; blocks."""

    def batches(self) -> Iterator[Batch]:
        """The file's records, in the namespace they are meant for, in bounded memory.

        Raises:
            InvalidInput: names the line and what is wrong with it.
        """
        ...


class PortableReader:
    """Reads what `Exporting` writes. In another namespace than the file's own, records get ids of their own."""

    def __init__(self, path: Path, namespace: str) -> None:
        self._path = path
        self._namespace = namespace

    def batches(self) -> Iterator[Batch]:
        lines = _Lines()
        with self._path.open("rb") as file:
            for raw in iter(lambda: _read(file), []):
                placed = [Placed(number, self._meant(line, lines.namespace)) for number, line in lines.take(raw)]
                yield Batch(placed, file.tell())
        lines.check_end()

    def _meant(self, line: RecordLine, origin: str) -> Record:
        record = _record(line, self._namespace)
        return record if origin == self._namespace else _renamed(record, partial(id_in, self._namespace))


def namespace_of(path: Path) -> str:
    """The namespace that a file was written for.

    Raises:
        InvalidInput: it does not begin as such a file does.
    """
    lines = _Lines()
    with path.open("rb") as file:
        list(lines.take([file.readline(LINE_BYTES + 1)]))
    return lines.namespace


class _Lines:
    """What was read of a file so far; holds it to what its header and its end say."""

    def __init__(self) -> None:
        self.namespace = ""
        self._number = 0
        self._sha256 = hashlib.sha256()
        self._end: EndLine | None = None

    def take(self, raw_lines: Iterable[bytes]) -> Iterator[tuple[int, RecordLine]]:
        """The records among the next lines, with their numbers."""
        for raw in raw_lines:
            self._number += 1
            match self._decode(raw):
                case HeaderLine() as header:
                    self._begin(header)
                case EndLine() as end:
                    self._finish(end)
                case record:
                    yield self._number, record
            self._sha256.update(raw)

    def check_end(self) -> None:
        if self._end is None:
            raise InvalidInput("file", f"is cut short: its end is missing after line {self._number}")

    def _decode(self, raw: bytes) -> AnyLine:
        try:
            line = decode(self._number, raw)
        except InvalidInput:
            if not raw.endswith(b"\n") and len(raw) <= LINE_BYTES:
                self._number -= 1
                self.check_end()
            raise
        if isinstance(line, HeaderLine) != (self._number == 1):
            raise self._refusal("must be the header" if self._number == 1 else "must not be another header")
        if self._end is not None:
            raise self._refusal("must not follow the end")
        return line

    def _begin(self, header: HeaderLine) -> None:
        if header.version > VERSION:
            problem = f"is of a newer version ({header.version}; this program reads {VERSION}): update the program first"
            raise InvalidInput("file", problem)
        self.namespace = header.namespace

    def _finish(self, end: EndLine) -> None:
        if end.lines != self._number - 2:
            raise InvalidInput("file", f"is not whole: its end says {end.lines} lines, there are {self._number - 2}")
        if end.sha256 is not None and end.sha256 != self._sha256.hexdigest():
            raise InvalidInput("file", "was changed: its checksum does not match (without `sha256` none is asked for)")
        self._end = end

    def _refusal(self, problem: str) -> InvalidInput:
        return InvalidInput(f"line {self._number}", problem)


def _read(file: IO[bytes]) -> list[bytes]:
    """The next lines, not many and not large; none of them longer than a line may be and one byte."""
    lines, size = list[bytes](), 0
    while len(lines) < _BATCH_LINES and size < _BATCH_BYTES and (line := file.readline(LINE_BYTES + 1)):
        lines.append(line)
        size += len(line)
    return lines


def _record(line: RecordLine, namespace: str) -> Record:  # noqa: PLR0911 - one for each type
    match line:
        case SessionLine():
            return session_record(line, namespace)
        case KnowledgeLine():
            return knowledge_record(line, namespace)
        case RevisionLine():
            return RevisionOf(line.knowledge_id, revision_record(line))
        case EpisodeLine():
            return episode_record(line, namespace)
        case StepLine() | OutcomeLine():
            return _part_of_episode(line)
        case MessageLine():
            return MessageOf(line.episode_id, message_record(line, namespace))
        case ItemLine():
            return ItemOf(item_record(line, namespace), line.fields)
        case FeedbackLine():
            return feedback_record(line, namespace)


def _part_of_episode(line: StepLine | OutcomeLine) -> StepOf | OutcomeOf:
    if isinstance(line, StepLine):
        return StepOf(line.episode_id, step_record(line))
    return OutcomeOf(line.episode_id, outcome_record(line))


def _renamed(record: Record, rename: Callable[[UUID], UUID]) -> Record:  # noqa: PLR0911 - one for each type
    """The record with every id that is unique beyond its namespace put through `rename`. A message's and an item's are not."""
    match record:
        case SessionRecord():
            related = tuple(map(rename, record.state.related_episodes))
            return replace(record, state=replace(record.state, related_episodes=related))
        case Knowledge():
            return _renamed_knowledge(record, rename)
        case RevisionOf():
            return RevisionOf(rename(record.knowledge_id), renamed(record.revision, rename))
        case Episode():
            return replace(record, id=rename(record.id))
        case StepOf() | OutcomeOf():
            return replace(record, episode_id=rename(record.episode_id))
        case MessageOf():
            return replace(record, episode_id=record.episode_id and rename(record.episode_id))
        case ItemOf():
            return record
        case Feedback():
            return _renamed_feedback(record, rename)


def _renamed_knowledge(knowledge: Knowledge, rename: Callable[[UUID], UUID]) -> Knowledge:
    return replace(
        knowledge,
        id=rename(knowledge.id),
        supporting_episodes=tuple(map(rename, knowledge.supporting_episodes)),
        contradicting_episodes=tuple(map(rename, knowledge.contradicting_episodes)),
        superseded_by=knowledge.superseded_by and rename(knowledge.superseded_by),
        supersedes=knowledge.supersedes and rename(knowledge.supersedes),
    )


def _renamed_feedback(feedback: Feedback, rename: Callable[[UUID], UUID]) -> Feedback:
    renamed = replace(feedback, id=rename(feedback.id))
    if feedback.kind is RecordKind.MESSAGE:
        return renamed
    return replace(renamed, record_id=rename(feedback.record_id), record_uid=rename(feedback.record_uid))


def renamed(revision: Revision, rename: Callable[[UUID], UUID]) -> Revision:
    """With the ids in its changes put through `rename`; what is none stays as it is."""
    links = {name: _renamed_ids(revision.changes[name], rename) for name in _LINKS if name in revision.changes}
    return replace(revision, changes={**revision.changes, **links})


_LINKS: Final = ("superseded_by", "supersedes", "supporting_episodes", "contradicting_episodes")


def _renamed_ids(value: Any, rename: Callable[[UUID], UUID]) -> Any:
    if isinstance(value, Mapping):
        return {key: _renamed_ids(item, rename) for key, item in value.items()}
    if isinstance(value, list):
        return [_renamed_ids(item, rename) for item in value]
    try:
        return str(rename(UUID(value))) if isinstance(value, str) else value
    except ValueError:
        return value


def id_in(namespace: str, record_id: UUID) -> UUID:
    """The id of a copy in another namespace: always the same one, and as old as the original, for ids sort by time."""
    derived = derived_uuid("copy", namespace, str(record_id)).int & ~_TIME_AND_VERSION
    return UUID(int=derived | (record_id.int & _TIME_AND_VERSION))
