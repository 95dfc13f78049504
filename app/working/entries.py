"""Entries of a buffer's stream, as messages: one that cannot be read never keeps the others from being."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import structlog

from app.lineage import Damaged, NewerVersion
from app.observability import STORE_ERRORS
from app.records import Message, SessionKey
from app.working.codec import decode_message

log = structlog.get_logger(__name__)

Entry: TypeAlias = tuple[bytes, Mapping[bytes, bytes]]
"""Id and fields, as the driver gives them."""


@dataclass(frozen=True, slots=True)
class Sorted:
    """The messages that can be read, up to the first that a newer release wrote, and which entries nobody can read."""

    messages: tuple[Message, ...]
    damaged: tuple[int, ...]
    newer: NewerVersion | None


def sequence_of(entry: Entry) -> int:
    return int(entry[0].partition(b"-")[0])


def id_of(entry: Entry) -> str:
    """The message's id; empty when the entry has none."""
    return entry[1].get(b"id", b"").decode(errors="replace")


def readable(session: SessionKey, entries: Iterable[Entry]) -> tuple[Message, ...]:
    """Their messages, in order. One that this release cannot read is left out, logged and counted."""
    messages: list[Message] = []
    for entry in entries:
        try:
            messages.append(_message(session, entry))
        except (Damaged, NewerVersion) as error:
            note_unread(session, sequence_of(entry), error)
    return tuple(messages)


def sorted_out(session: SessionKey, entries: Sequence[Entry]) -> Sorted:
    messages: list[Message] = []
    damaged: list[int] = []
    for entry in entries:
        try:
            messages.append(_message(session, entry))
        except NewerVersion as error:
            note_unread(session, sequence_of(entry), error)
            return Sorted(tuple(messages), tuple(damaged), error)
        except Damaged as error:
            note_unread(session, sequence_of(entry), error)
            damaged.append(sequence_of(entry))
    return Sorted(tuple(messages), tuple(damaged), None)


def note_unread(session: SessionKey, sequence: int | str, error: ValueError) -> None:
    """`sequence` is the message's, or names what else it was."""
    STORE_ERRORS.labels("working", "decode").inc()
    log.warning("entry_skipped", session=session.session_id, entry=sequence, problem=str(error))


def _message(session: SessionKey, entry: Entry) -> Message:
    return decode_message(session, sequence_of(entry), entry[1].get(b"m", b""))
