"""The far side of an import: records into Postgres, each of them once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Final, TypeVar
from uuid import UUID

from app.consolidation.drain import Drain, renumber
from app.consolidation.segmentation import close
from app.errors import Conflict
from app.ingestion.items import ItemLimits, file_item
from app.ports import Checkpoint, EpisodicMemory, EpisodicReader, EpisodicWriter, OutboxEntry, OutboxOp, SessionRecord
from app.records import Episode, EpisodeKind, Feedback, Knowledge, Message, RecordKind, Revision, SessionKey
from app.transfer.reading import ItemOf, MessageOf, OutcomeOf, Placed, Record, RevisionOf, StepOf

_PAGE: Final = 1000
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""When nothing had expired."""
_NAMES: Final[dict[type[Record], str]] = {
    SessionRecord: "session",
    Knowledge: "knowledge",
    RevisionOf: "revision",
    Episode: "episode",
    StepOf: "step",
    OutcomeOf: "outcome",
    MessageOf: "message",
    Feedback: "feedback",
    ItemOf: "item",
}
R = TypeVar("R", SessionRecord, Knowledge, RevisionOf, Episode, StepOf, OutcomeOf, MessageOf, Feedback, ItemOf)


def kind_of(record: Record) -> str:
    """The type of the line that such a record stands on."""
    return _NAMES[type(record)]


async def refuse_taken(reader: EpisodicReader, placed: Sequence[Placed]) -> None:
    """
    Raises:
        Conflict: names the line whose id stands for something else already.
    """
    knowledge = {record.id: line for line, record in _of(placed, Knowledge)}
    episodes = {record.id: line for line, record in _of(placed, Episode)}
    messages = {record.message.uid: line for line, record in _of(placed, MessageOf)}
    namespaces = {p.record.scope.namespace for p in placed if isinstance(p.record, Knowledge | Episode)}
    _refuse_strangers(await reader.knowledge_by_uid(list(knowledge)), knowledge, namespaces)
    _refuse_strangers(await reader.episodes_by_uid(list(episodes)), episodes, namespaces)
    for session, group in _by_session(filed for _, filed in _of(placed, MessageOf)):
        for message in await _other_content(reader, session, [filed.message for filed in group]):
            raise Conflict(f"line {messages[message.uid]}, id", "is taken by a message with other content in this session")


def _refuse_strangers(stored: Iterable[Knowledge | Episode], lines: Mapping[UUID, int], namespaces: Collection[str]) -> None:
    for record in stored:
        if record.scope.namespace not in namespaces:
            raise Conflict(f"line {lines[record.id]}, id", "is taken by a record that is not of this namespace")


class Sink:
    """Writes what is not there yet. What is there is left as it is."""

    def __init__(self, episodic: EpisodicMemory, drain: Drain) -> None:
        self._episodic = episodic
        self._drain = drain
        self._renumbered: SessionKey | None = None

    async def write(self, placed: Sequence[Placed]) -> Counter[str]:
        """Write records in order; returns how many of each kind were new."""
        new: Counter[str] = Counter()
        for kind, group in groupby((p.record for p in placed), key=type):
            new[_NAMES[kind]] += await self._write(list(group))
        return new

    async def _write(self, records: Sequence[Record]) -> int:  # noqa: PLR0911 - one for each type
        """Write records that are all of one type."""
        match records[0]:
            case SessionRecord():
                return await self._sessions(_all(SessionRecord, records))
            case Knowledge():
                return await self._knowledge(_all(Knowledge, records))
            case RevisionOf():
                return await self._revisions(_all(RevisionOf, records))
            case Episode():
                return await self._episodes(_all(Episode, records))
            case StepOf():
                return await self._steps(_all(StepOf, records))
            case OutcomeOf():
                return await self._outcomes(_all(OutcomeOf, records))
            case MessageOf():
                return await self._messages(_all(MessageOf, records))
            case ItemOf():
                return await self._items(_all(ItemOf, records))
            case Feedback():
                return await self._feedback(_all(Feedback, records))

    async def _sessions(self, records: Sequence[SessionRecord]) -> int:
        async with self._episodic.writing() as tx:
            return sum([await _save_session(tx, record) for record in records])

    async def _knowledge(self, records: Sequence[Knowledge]) -> int:
        async with self._episodic.writing() as tx:
            known = {k.id for k in await tx.knowledge_by_uid([k.id for k in records])}
            fresh = [knowledge for knowledge in records if knowledge.id not in known]
            for knowledge in fresh:
                await tx.save_knowledge(knowledge)
            await tx.enqueue([_upsert(RecordKind.KNOWLEDGE, k) for k in fresh])
        return len(fresh)

    async def _revisions(self, records: Sequence[RevisionOf]) -> int:
        new = 0
        for knowledge_id, group in groupby(records, key=lambda record: record.knowledge_id):
            async with self._episodic.writing() as tx:
                new += await _add_revisions(tx, knowledge_id, [record.revision for record in group])
        return new

    async def _episodes(self, records: Sequence[Episode]) -> int:
        async with self._episodic.writing() as tx:
            known = {e.id for e in await tx.episodes_by_uid([e.id for e in records])}
            fresh = [episode for episode in records if episode.id not in known]
            closed = [episode for episode in fresh if not _is_open_conversation(episode)]
            for episode in closed:
                await tx.save_episode(episode)
            await tx.enqueue(
                [_upsert(RecordKind.EPISODE, episode) for episode in closed if not (episode.is_open or episode.archived_at)]
            )
        for episode in filter(_is_open_conversation, fresh):
            await self._open(episode)
        return len(fresh)

    async def _open(self, episode: Episode) -> None:
        """Save a conversation that goes on, unless another one of its session does: then it is over."""
        session = SessionKey(episode.scope.namespace, episode.scope.session_id or "")
        async with self._drain.locked(session) as tx:
            if await tx.open_episode(session) is None:
                await tx.save_episode(episode)
            else:
                await tx.save_episode(close(episode))
                await tx.enqueue([_upsert(RecordKind.EPISODE, episode)])

    async def _steps(self, records: Sequence[StepOf]) -> int:
        new = 0
        for episode_id, group in groupby(records, key=lambda record: record.episode_id):
            async with self._episodic.writing() as tx:
                new += await _append_steps(tx, episode_id, list(group))
        return new

    async def _items(self, records: Sequence[ItemOf]) -> int:
        named = {record.item.name: record for record in records}
        async with self._episodic.writing() as tx:
            known = await tx.items(records[0].item.namespace, named, now=_LONG_AGO)
            fresh = [record for name, record in named.items() if name not in known]
            await tx.save_items([file_item(record.item, record.fields, ItemLimits()) for record in fresh])
        return len(fresh)

    async def _outcomes(self, records: Sequence[OutcomeOf]) -> int:
        async with self._episodic.writing() as tx:
            return sum([await tx.insert_outcomes(record.episode_id, [record.revision]) for record in records])

    async def _feedback(self, records: Sequence[Feedback]) -> int:
        """What is about a record that is neither in the file nor here has nothing to be about, and is left out."""
        new = 0
        for (kind, namespace), group in groupby(records, key=lambda record: (record.kind, record.scope.namespace)):
            given = list(group)
            async with self._episodic.writing() as tx:
                there = await tx.existing(kind, namespace, [feedback.record_uid for feedback in given])
                fresh = await tx.insert_feedback([feedback for feedback in given if feedback.record_uid in there])
                about = {feedback.record_uid for feedback in given if feedback.id in fresh}
                await tx.enqueue([OutboxEntry(OutboxOp.UPSERT, kind, namespace, uid) for uid in sorted(about)])
            new += len(fresh)
        return new

    async def _messages(self, records: Sequence[MessageOf]) -> int:
        return sum([await self._of_session(session, group) for session, group in _by_session(records)])

    async def _of_session(self, session: SessionKey, records: Sequence[MessageOf]) -> int:
        known = await self._known(session, records)
        fresh = [record for record in records if record.message.id not in known]
        if _is_renumbered(known, records):
            self._renumbered = session
        filed = [record for record in fresh if record.episode_id is not None]
        homeless = [record.message for record in fresh if record.episode_id is None]
        if filed:
            await self._file(session, filed)
        if homeless:
            await self._drain.store(session, homeless)
        if fresh:
            await self._drain.catch_up(session, await self._last(session))
        return len(fresh)

    async def _known(self, session: SessionKey, records: Sequence[MessageOf]) -> Mapping[UUID, Message]:
        async with self._episodic.reading() as reader:
            return await reader.messages_by_id(session, [record.message.id for record in records])

    async def _last(self, session: SessionKey) -> int:
        async with self._episodic.reading() as reader:
            return await reader.last_sequence(session)

    async def _file(self, session: SessionKey, records: Sequence[MessageOf]) -> None:
        """Put messages into the episodes that they came with."""
        homes = [record.episode_id for record in records if record.episode_id is not None]
        async with self._drain.locked(session) as tx:
            messages = await self._numbered(tx, session, [record.message for record in records])
            await tx.insert_messages(messages, homes)
            await tx.recount_episodes(list(dict.fromkeys(homes)))
            await tx.enqueue([_upsert(RecordKind.MESSAGE, message) for message in messages])
            await tx.save_checkpoint(Checkpoint(session, await tx.last_sequence(session)))

    async def _numbered(self, tx: EpisodicWriter, session: SessionKey, messages: Sequence[Message]) -> Sequence[Message]:
        """Under their own numbers if the session has room there, else numbered on, and then all that follow, too."""
        if self._renumbered != session and await _is_free(tx, session, messages):
            return messages
        self._renumbered = session
        return renumber(messages, await tx.last_sequence(session))


def _is_renumbered(known: Mapping[UUID, Message], records: Sequence[MessageOf]) -> bool:
    """Whether one of these messages is there under another number than it came with."""
    met = [record.message for record in records if record.message.id in known]
    return any(known[message.id].sequence != message.sequence for message in met)


async def _is_free(tx: EpisodicReader, session: SessionKey, messages: Sequence[Message]) -> bool:
    """Whether the session has no message with the sequence of one of these, which rise."""
    wanted, after = {message.sequence for message in messages}, messages[0].sequence - 1
    while page := await tx.history(session, after=after, limit=_PAGE):
        if not wanted.isdisjoint(message.sequence for message in page):
            return False
        after = page[-1].sequence
        if after >= messages[-1].sequence:
            return True
    return True


async def _save_session(tx: EpisodicWriter, record: SessionRecord) -> bool:
    """Save a session that is not known; whether it was not."""
    if await tx.session(record.session) is not None:
        return False
    await tx.save_session(
        record.session, state=record.state, last_message_at=record.last_message_at, now=record.created_at
    )  # fmt: skip
    if record.ended_at is not None:
        await tx.end_session(record.session, record.ended_at)
    return True


async def _append_steps(tx: EpisodicWriter, episode_id: UUID, records: Sequence[StepOf]) -> int:
    """Append those that the episode does not have yet; how many."""
    known = await tx.steps(episode_id, after=records[0].step.index - 1, limit=len(records))
    fresh = [record.step for record in records[len(known) :]]
    for created_at, group in groupby(fresh, key=lambda step: step.created_at):
        await tx.append_steps(episode_id, [step.content for step in group], created_at)
    return len(fresh)


async def _add_revisions(tx: EpisodicWriter, knowledge_id: UUID, revisions: Sequence[Revision]) -> int:
    """Add those that the piece does not have yet; how many."""
    known = await tx.revisions(knowledge_id, after=revisions[0].number - 1, limit=len(revisions))
    fresh = revisions[len(known) :]
    for revision in fresh:
        await tx.add_revision(knowledge_id, revision.cause, revision.changes, revision.recorded_at)
    return len(fresh)


async def _other_content(reader: EpisodicReader, session: SessionKey, messages: Sequence[Message]) -> Sequence[Message]:
    """Those of these messages whose id stands for other content in the session."""
    stored = await reader.messages_by_id(session, [message.id for message in messages])
    return [m for m in messages if m.id in stored and stored[m.id].content_sha256 != m.content_sha256]


def _by_session(records: Iterable[MessageOf]) -> Iterator[tuple[SessionKey, list[MessageOf]]]:
    for session, group in groupby(records, key=lambda record: record.message.session):
        yield session, list(group)


def _all(kind: type[R], records: Sequence[Record]) -> list[R]:
    return [record for record in records if isinstance(record, kind)]


def _of(placed: Sequence[Placed], kind: type[R]) -> list[tuple[int, R]]:
    return [(p.line, p.record) for p in placed if isinstance(p.record, kind)]


def _is_open_conversation(episode: Episode) -> bool:
    return episode.is_open and episode.kind is EpisodeKind.CONVERSATION


def _upsert(kind: RecordKind, record: Message | Episode | Knowledge) -> OutboxEntry:
    return OutboxEntry(OutboxOp.UPSERT, kind, record.scope.namespace, record.uid)
