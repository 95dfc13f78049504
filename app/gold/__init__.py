"""Conversations, questions about them, and which messages answer each: what recall is measured on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from app.records import Role


@dataclass(frozen=True, slots=True)
class GoldMessage:
    """One thing said. `id` is unique in its conversation; `session` says which messages were one sitting."""

    id: str
    session: str
    role: Role
    name: str | None
    content: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class GoldQuestion:
    """A question and the ids of the messages that answer it, at least one; dates in it are relative to `now`."""

    id: str
    text: str
    gold: tuple[str, ...]
    category: str
    now: datetime


@dataclass(frozen=True, slots=True)
class GoldConversation:
    """Messages in the order in which they were said, at least one, and what is asked about them."""

    id: str
    messages: tuple[GoldMessage, ...]
    questions: tuple[GoldQuestion, ...]


def end_of(messages: tuple[GoldMessage, ...]) -> datetime:
    """When a question is asked whose data set does not say: as the newest message was said."""
    return max(message.created_at for message in messages)
