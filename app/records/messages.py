"""Messages, and the state of the session they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from uuid import UUID

from app.records.base import Json, Scope, SessionKey, Tier, derived_uuid, sha256_hex


class Role(StrEnum):
    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a session.

    `scope.session_id` is always set. `sequence` orders a session's messages, counts from 1, and is 0 until the
    message was appended. A message is identified by (namespace, session, id): see `uid`.
    """

    id: UUID
    scope: Scope
    role: Role
    content: str
    created_at: datetime
    name: str | None = None
    metadata: Json = field(default_factory=dict)
    sequence: int = 0

    @property
    def session(self) -> SessionKey:
        return SessionKey(self.scope.namespace, self.scope.session_id or "")

    @property
    def author(self) -> str:
        """Who speaks: the name, or else the role."""
        return self.name or self.role.value

    @property
    def uid(self) -> UUID:
        """The id under which Postgres and the vector index hold this message: see `message_uid`."""
        return message_uid(self.session, self.id)

    @property
    def content_sha256(self) -> str:
        return sha256_hex(self.content)

    def numbered(self, sequence: int) -> Message:
        return replace(self, sequence=sequence)


@dataclass(frozen=True, slots=True)
class Draft:
    """A message as its author says it; what is left out is filled in when it is appended."""

    role: Role
    content: str
    name: str | None = None
    id: UUID | None = None
    created_at: datetime | None = None
    metadata: Json = field(default_factory=dict)


class Wait(StrEnum):
    """How far a write goes before it answers: buffered, in Postgres, or findable through the vector index."""

    NONE = "none"
    STORED = "stored"
    INDEXED = "indexed"


@dataclass(frozen=True, slots=True)
class Appended:
    """The receipt for one appended message."""

    id: UUID
    sequence: int


@dataclass(frozen=True, slots=True)
class AppendReceipt:
    """What an append did: where the messages are now, and which tiers could not take part."""

    messages: tuple[Appended, ...]
    stored_in: Tier
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SessionState:
    """What an agent keeps about a session besides its messages.

    `version` rises with every save and is 0 until the first. It need not be contiguous: of two states, the one with
    the higher version is the newer, whichever tier it comes from.
    """

    goal: str | None = None
    active_context: Json = field(default_factory=dict)
    thoughts: tuple[str, ...] = ()
    related_episodes: tuple[UUID, ...] = ()
    version: int = 0


def newest_state(*states: SessionState) -> SessionState:
    """The one with the highest version; the first of those with equal ones."""
    return max(states, key=lambda state: state.version)


@lru_cache(maxsize=16_384)
def message_uid(session: SessionKey, message_id: UUID) -> UUID:
    """Derived from namespace, session and id, so that an id chosen by one tenant can never meet another's row."""
    return derived_uuid("message", session.namespace, session.session_id, str(message_id))


def authors_of(messages: Sequence[Message]) -> tuple[str, ...]:
    """The distinct authors in order of first appearance."""
    return tuple(dict.fromkeys(m.author for m in messages))
