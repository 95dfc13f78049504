"""Reads conversations in the format of the LoCoMo benchmark (Maharana et al. 2024) from a file the user has.

The data set's licence (CC BY-NC 4.0) keeps it out of this package.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

from app.errors import InvalidInput

_SESSION_KEY: Final = re.compile(r"session_(\d+)")
_DATE_FORMAT: Final = "%I:%M %p on %d %B, %Y"
_DIALOGUE_ID: Final = re.compile(r"D:?(\d+):(\d+)")
"""Lenient: evidence was typed by hand, with several ids to a string, stray colons and leading zeros."""


class Category(IntEnum):
    """What a question asks for. The answer to an adversarial one is that it cannot be answered."""

    MULTI_HOP = 1
    TEMPORAL = 2
    OPEN_DOMAIN = 3
    SINGLE_HOP = 4
    ADVERSARIAL = 5


@dataclass(frozen=True, slots=True)
class LocomoTurn:
    """One thing said. `text` ends with the caption of the image shared, if one was; `said_at` is its session's date."""

    dia_id: str
    session: int
    speaker: str
    text: str
    said_at: datetime


@dataclass(frozen=True, slots=True)
class LocomoQuestion:
    """A question and the ids of the turns that answer it, at least one."""

    id: str
    text: str
    gold: tuple[str, ...]
    category: Category
    answer: str


@dataclass(frozen=True, slots=True)
class LocomoConversation:
    id: str
    speakers: tuple[str, str]
    turns: tuple[LocomoTurn, ...]
    questions: tuple[LocomoQuestion, ...]


def load_locomo(path: Path) -> tuple[LocomoConversation, ...]:
    """Read all conversations of a file, turns by session, without the questions that no existing turn answers.

    Dates carry no zone in the data and are taken as UTC.

    Raises:
        InvalidInput: the file is not in the LoCoMo format.
        OSError: the file cannot be read.
    """
    try:
        return tuple(_conversation(sample) for sample in json.loads(path.read_text(encoding="utf-8")))
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(str(path), f"not in the LoCoMo format ({type(error).__name__}: {error})") from error


def repair_evidence(evidence: Iterable[str], known: Collection[str]) -> tuple[str, ...]:
    """The dialogue ids meant by hand-typed evidence, in order, each once; ids not in `known` are dropped."""
    matches = (match for entry in evidence for match in _DIALOGUE_ID.finditer(entry))
    ids = (f"D{int(match[1])}:{int(match[2])}" for match in matches)
    return tuple(dict.fromkeys(dia_id for dia_id in ids if dia_id in known))


def _conversation(sample: Mapping[str, Any]) -> LocomoConversation:
    talk = sample["conversation"]
    turns = tuple(_turns(talk))
    known = {turn.dia_id for turn in turns}
    questions = (_question(f"{sample['sample_id']}/q{index}", row, known) for index, row in enumerate(sample["qa"]))
    return LocomoConversation(
        id=sample["sample_id"],
        speakers=(talk["speaker_a"], talk["speaker_b"]),
        turns=turns,
        questions=tuple(question for question in questions if question.gold),
    )


def _turns(talk: Mapping[str, Any]) -> Iterator[LocomoTurn]:
    numbers = sorted(int(match[1]) for key in talk if (match := _SESSION_KEY.fullmatch(key)))
    for number in numbers:
        said_at = datetime.strptime(talk[f"session_{number}_date_time"], _DATE_FORMAT).replace(tzinfo=UTC)
        for row in talk[f"session_{number}"]:
            yield LocomoTurn(row["dia_id"], number, row["speaker"], _text(row), said_at)


def _text(row: Mapping[str, Any]) -> str:
    said, caption = row["text"].strip(), (row.get("blip_caption") or "").strip()
    return f"{said} [image: {caption}]" if caption else said


def _question(question_id: str, row: Mapping[str, Any], known: Collection[str]) -> LocomoQuestion:
    return LocomoQuestion(
        id=question_id,
        text=row["question"],
        gold=repair_evidence(row.get("evidence") or (), known),
        category=Category(row["category"]),
        answer=str(row.get("answer", row.get("adversarial_answer", ""))),
    )
