"""A namespace out of Postgres as JSON Lines, at one moment, after what Redis held of it was drained."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Final
from uuid import UUID

import structlog

from app.consolidation.drain import Drain
from app.errors import TierUnavailable
from app.ingestion.limits import Limits, check_label
from app.ports import Clock, EpisodicMemory, EpisodicReader
from app.records import Episode, Knowledge, Scope, Tier
from app.transfer.portable import (
    EndLine,
    HeaderLine,
    RecordLine,
    encode,
    episode_line,
    feedback_line,
    item_line,
    knowledge_line,
    message_line,
    outcome_line,
    revision_line,
    session_line,
    step_line,
)

log = structlog.get_logger(__name__)

_PAGE: Final = 500
_DOCUMENTS_PAGE: Final = 50
"""Episodes and knowledge may hold documents of a megabyte each."""


class Exporting:
    """Writes a namespace as the lines of `portable`."""

    def __init__(self, episodic: EpisodicMemory, drain: Drain, *, limits: Limits, clock: Clock) -> None:
        self._episodic = episodic
        self._drain = drain
        self._limits = limits
        self._clock = clock

    async def stream(self, namespace: str) -> AsyncGenerator[bytes, None]:
        """The bytes of the file, in portions; nothing acknowledged before the call is missing.

        Raises:
            InvalidInput: no namespace can be called so.
            TierUnavailable: Redis or Postgres went away, or a record was written by a newer version of this program.
        """
        check_label("namespace", namespace, self._limits)
        await self._drain.drain_all(namespace)
        header = encode(HeaderLine(namespace=namespace, created_at=self._clock()))
        sha256, counts = hashlib.sha256(header), Counter[str]()
        yield header
        async with self._episodic.frozen() as reader:
            async for lines in _record_lines(reader, namespace):
                portion = b"".join(map(encode, lines))
                counts.update(line.type for line in lines)
                sha256.update(portion)
                yield portion
            await _refuse_if_unread(reader, namespace, counts)
        yield encode(EndLine(lines=counts.total(), sha256=sha256.hexdigest()))
        log.info("exported", **counts)


async def _record_lines(reader: EpisodicReader, namespace: str) -> AsyncIterator[Sequence[RecordLine]]:
    """Steps and messages come after their episodes. No portion is empty."""
    for lines in (_sessions, _knowledge, _episodes, _messages, _feedback, _items):
        async for portion in lines(reader, namespace):
            yield portion


async def _sessions(reader: EpisodicReader, namespace: str) -> AsyncIterator[Sequence[RecordLine]]:
    after = ""
    while page := await reader.list_sessions(namespace, after=after, limit=_DOCUMENTS_PAGE):
        yield [session_line(record) for record in page]
        after = page[-1].session.session_id


async def _knowledge(reader: EpisodicReader, namespace: str) -> AsyncIterator[Sequence[RecordLine]]:
    before: UUID | None = None
    while page := await reader.list_knowledge(Scope(namespace), kind=None, before=before, limit=_DOCUMENTS_PAGE):
        for knowledge in page:
            yield [knowledge_line(knowledge)]
            async for revisions in _revisions(reader, knowledge):
                yield revisions
        before = page[-1].id


async def _revisions(reader: EpisodicReader, knowledge: Knowledge) -> AsyncIterator[Sequence[RecordLine]]:
    after = 0
    while page := await reader.revisions(knowledge.id, after=after, limit=_DOCUMENTS_PAGE):
        yield [revision_line(knowledge.id, revision) for revision in page]
        after = page[-1].number


async def _episodes(reader: EpisodicReader, namespace: str) -> AsyncIterator[Sequence[RecordLine]]:
    before: UUID | None = None
    while page := await reader.list_episodes(Scope(namespace), kind=None, before=before, limit=_DOCUMENTS_PAGE, archived=None):
        for episode in page:
            yield [episode_line(episode)]
            async for steps in _steps(reader, episode):
                yield steps
            async for outcomes in _outcomes(reader, episode):
                yield outcomes
        before = page[-1].id


async def _steps(reader: EpisodicReader, episode: Episode) -> AsyncIterator[Sequence[RecordLine]]:
    after = -1
    while page := await reader.steps(episode.id, after=after, limit=_DOCUMENTS_PAGE):
        yield [step_line(episode.id, step) for step in page]
        after = page[-1].index


async def _outcomes(reader: EpisodicReader, episode: Episode) -> AsyncIterator[Sequence[RecordLine]]:
    after = -1
    while page := await reader.outcomes(episode.id, after=after, limit=_DOCUMENTS_PAGE):
        yield [outcome_line(episode.id, revision) for revision in page]
        after = page[-1].index


async def _feedback(reader: EpisodicReader, namespace: str) -> AsyncIterator[Sequence[RecordLine]]:
    after: UUID | None = None
    while page := await reader.list_feedback(namespace, after=after, limit=_PAGE):
        yield [feedback_line(feedback) for feedback in page]
        after = page[-1].id


async def _messages(reader: EpisodicReader, namespace: str) -> AsyncIterator[Sequence[RecordLine]]:
    after = ("", 0)
    while page := await reader.list_messages(namespace, after=after, limit=_PAGE):
        yield [message_line(filed) for filed in page]
        last = page[-1].message
        after = (last.session.session_id, last.sequence)


async def _items(reader: EpisodicReader, namespace: str) -> AsyncIterator[Sequence[RecordLine]]:
    after: UUID | None = None
    while page := await reader.list_items(namespace, after=after, limit=_DOCUMENTS_PAGE):
        yield [item_line(filed) for filed in page]
        after = page[-1].item.uid


async def _refuse_if_unread(reader: EpisodicReader, namespace: str, counts: Counter[str]) -> None:
    """A row that this version cannot read is left out of pages: an export without it must not look whole."""
    stored = await reader.count(Scope(namespace))
    unread = {kind.value: count - counts[kind.value] for kind, count in stored.items() if count != counts[kind.value]}
    if unread:
        raise TierUnavailable(Tier.EPISODIC, f"{unread} records were written by a newer version of this program")
