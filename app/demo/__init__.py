"""A conversation to try the memory on: eleven sessions from March to May 2026, and questions with their gold turns.

Mara moves from Bremen to Utrecht and changes jobs; she talks to her friend Jonas and plans with Wren, an assistant.
Dates, colours and numbers change on the way, so that a memory has to find the newest. Written for this project.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from itertools import groupby
from operator import attrgetter
from typing import Any

from app.records import Role


@dataclass(frozen=True, slots=True)
class DemoTurn:
    """One thing said. `id` is unique in the whole conversation: the day and the place in it, `0307-18`."""

    id: str
    session_id: str
    at: datetime
    author: str
    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class DemoSession:
    """The turns of one session in the order in which they were said."""

    session_id: str
    turns: tuple[DemoTurn, ...]


@dataclass(frozen=True, slots=True)
class DemoQuestion:
    """A question, the ids of the turns that answer it, and what makes it worth asking."""

    question: str
    gold: tuple[str, ...]
    note: str


def load_conversation() -> tuple[DemoSession, ...]:
    """The sessions by time."""
    turns = (_turn(row) for row in _rows("conversation.jsonl"))
    return tuple(DemoSession(session_id, tuple(group)) for session_id, group in groupby(turns, attrgetter("session_id")))


def load_questions() -> tuple[DemoQuestion, ...]:
    """The questions in the order of the file; where a fact changed, gold is its newest statement."""
    return tuple(DemoQuestion(row["question"], tuple(row["gold"]), row["note"]) for row in _rows("questions.jsonl"))


def _turn(row: dict[str, Any]) -> DemoTurn:
    at = datetime.fromisoformat(row["at"])
    return DemoTurn(row["id"], row["session"], at, row["author"], Role(row["role"]), row["text"])


def _rows(name: str) -> Iterator[dict[str, Any]]:
    lines = files(__name__).joinpath(name).read_text(encoding="utf-8").splitlines()
    return (json.loads(line) for line in lines)
