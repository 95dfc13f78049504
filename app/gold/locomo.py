"""Reads conversations in the format of the LoCoMo benchmark (Maharana et al. 2024) from a file the user has.

The data set's licence (CC BY-NC 4.0) keeps it out of this package. It says of sessions when they were and of questions
nothing: turns carry their session's date, a second apart, so that their order is their order in time, and a question is
asked when the last turn was said. Both speakers have the role `user`, for both are people, told apart by name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from app.errors import InvalidInput
from app.gold import GoldConversation, GoldMessage, GoldQuestion, end_of
from app.records import Role

CATEGORIES: Final[Mapping[int, str]] = {
    1: "multi-hop", 2: "temporal", 3: "open-domain", 4: "single-hop", 5: "adversarial",
}  # fmt: skip
"""What a question asks for, by its number in the file. The answer to an adversarial one is that it cannot be answered."""

_SESSION_KEY: Final = re.compile(r"session_(\d+)")
_DATE_FORMAT: Final = "%I:%M %p on %d %B, %Y"
_DIALOGUE_ID: Final = re.compile(r"D:?(\d+):(\d+)")
"""Lenient: evidence was typed by hand, with several ids to a string, stray colons and leading zeros."""


def load_locomo(path: Path) -> tuple[GoldConversation, ...]:
    """Read all conversations of a file, turns by session, without the questions that no existing turn answers.

    A turn's content ends with the caption of the image shared, if one was. Dates carry no zone and are taken as UTC.

    Raises:
        InvalidInput: the file is not in the LoCoMo format.
        OSError: the file cannot be read.
    """
    try:
        return tuple(_conversation(sample) for sample in json.loads(path.read_text(encoding="utf-8")))
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(str(path), f"not in the LoCoMo format ({type(error).__name__}: {error})") from error


def load_answerable(path: Path) -> tuple[GoldConversation, ...]:
    """As `load_locomo`, without the adversarial questions: whoever finds nothing for those is right."""
    return tuple(
        replace(conversation, questions=tuple(q for q in conversation.questions if q.category != CATEGORIES[5]))
        for conversation in load_locomo(path)
    )


def repair_evidence(evidence: Iterable[str], known: Collection[str]) -> tuple[str, ...]:
    """The dialogue ids meant by hand-typed evidence, in order, each once; ids not in `known` are dropped."""
    matches = (match for entry in evidence for match in _DIALOGUE_ID.finditer(entry))
    ids = (f"D{int(match[1])}:{int(match[2])}" for match in matches)
    return tuple(dict.fromkeys(dia_id for dia_id in ids if dia_id in known))


def _conversation(sample: Mapping[str, Any]) -> GoldConversation:
    name, messages = sample["sample_id"], tuple(_messages(sample["conversation"]))
    known, now = {message.id for message in messages}, end_of(messages)
    questions = (_question(f"{name}/q{index}", row, known, now) for index, row in enumerate(sample["qa"]))
    return GoldConversation(name, messages, tuple(question for question in questions if question.gold))


def _messages(talk: Mapping[str, Any]) -> Iterator[GoldMessage]:
    numbers = sorted(int(match[1]) for key in talk if (match := _SESSION_KEY.fullmatch(key)))
    for number in numbers:
        began = datetime.strptime(talk[f"session_{number}_date_time"], _DATE_FORMAT).replace(tzinfo=UTC)
        for place, row in enumerate(talk[f"session_{number}"]):
            said_at = began + timedelta(seconds=place)
            yield GoldMessage(row["dia_id"], str(number), Role.USER, row["speaker"], _content(row), said_at)


def _content(row: Mapping[str, Any]) -> str:
    said, caption = row["text"].strip(), (row.get("blip_caption") or "").strip()
    return f"{said} [image: {caption}]" if caption else said


def _question(question_id: str, row: Mapping[str, Any], known: Collection[str], now: datetime) -> GoldQuestion:
    gold = repair_evidence(row.get("evidence") or (), known)
    return GoldQuestion(question_id, row["question"], gold, CATEGORIES[row["category"]], now)
