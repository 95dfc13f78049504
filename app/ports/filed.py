"""What the episodic memory takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.records import Message, RecordKind, SessionKey, SessionState


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a session is drained: everything up to `sequence` is in Postgres."""

    session: SessionKey
    sequence: int


@dataclass(frozen=True, slots=True)
class MessageInContext:
    """A message with up to two messages directly before it in its session, oldest first.

    An archived one is not to be in the index.
    """

    message: Message
    before: tuple[Message, ...]
    is_archived: bool = False


@dataclass(frozen=True, slots=True)
class FiledMessage:
    """A message and the episode it is part of."""

    message: Message
    episode_id: UUID


@dataclass(frozen=True, slots=True)
class NamedRecord:
    """A record as callers name it, within a namespace; `session_id` belongs to the name of a message."""

    kind: RecordKind
    uid: UUID
    session_id: str | None = None


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session as Postgres knows it. `degraded` names the tiers that could not be asked about it."""

    session: SessionKey
    state: SessionState
    created_at: datetime
    last_message_at: datetime | None
    ended_at: datetime | None
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """Postgres' side of the books: open and dead outbox entries, and how many records should be in the index."""

    outbox_depth: int
    dead_letters: int
    indexable: Mapping[RecordKind, int]
    oldest_outbox_at: datetime | None
    erasures: int = 0


@dataclass(frozen=True, slots=True)
class Cutoffs:
    """What has outlived its retention: sessions idle since, episodes ended before, episodes archived before.

    None spares all of them.
    """

    sessions_idle_since: datetime | None
    ended_before: datetime | None
    archived_before: datetime | None


@dataclass(frozen=True, slots=True)
class Expired:
    """How much has outlived its retention: session states, and episodes with the messages they hold."""

    sessions: int = 0
    episodes_to_archive: int = 0
    messages_to_archive: int = 0
    episodes_to_delete: int = 0
    messages_to_delete: int = 0


@dataclass(frozen=True, slots=True)
class Taken:
    """One batch of episodes, and the messages that went with them."""

    episodes: int
    messages: int


@dataclass(frozen=True, slots=True)
class StepsHeld:
    """How many steps an episode has, and how many bytes of JSON they are."""

    count: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class EpisodePlace:
    """Where an episode stands in the order of when episodes ended."""

    ended_at: datetime
    id: UUID


@dataclass(frozen=True, slots=True)
class Indexable:
    """A record that belongs into the vector index.

    `content_sha256` is that of the text its point is made from; None where the record's kind makes a text of its fields,
    which the store knows nothing of.
    """

    uid: UUID
    kind: RecordKind
    namespace: str
    content_sha256: str | None
