"""Reads conversations and questions in a plain JSON Lines format, described in `docs/recall.md`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias, TypeVar

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from app.errors import InvalidInput
from app.gold import GoldConversation, GoldMessage, GoldQuestion, end_of
from app.records import Role

T = TypeVar("T")


def _not_blank(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank", "must not be blank")
    return text


_Text = Annotated[str, AfterValidator(_not_blank)]
_Label = Annotated[_Text, Field(max_length=255)]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Message(_Row):
    id: _Label
    session: _Label
    role: Role
    name: _Label | None = None
    content: _Text
    created_at: AwareDatetime


class _Conversation(_Row):
    type: Literal["conversation"]
    id: _Label
    messages: Annotated[tuple[_Message, ...], Field(min_length=1)]


class _Question(_Row):
    type: Literal["question"]
    conversation: _Label
    id: _Label
    text: _Text
    gold: Annotated[tuple[_Label, ...], Field(min_length=1)]
    category: _Label
    now: AwareDatetime | None = None


_LINE: Final[TypeAdapter[_Conversation | _Question]] = TypeAdapter(
    Annotated[_Conversation | _Question, Field(discriminator="type")]
)
_Numbered: TypeAlias = Sequence[tuple[int, T]]
"""Lines with their numbers."""


def load_jsonl(path: Path) -> tuple[GoldConversation, ...]:
    """Read all conversations of a file, in its order, each with the questions about it.

    Raises:
        InvalidInput: a line is not in the format; names the line and the field.
        OSError: the file cannot be read.
    """
    try:
        lines = path.read_bytes().decode().split("\n")  # not splitlines: JSON strings may hold U+2028
    except UnicodeDecodeError as error:
        raise InvalidInput(path.name, "must be UTF-8") from error
    try:
        return _joined([(number, _parsed(number, line)) for number, line in enumerate(lines, 1) if line.strip()])
    except InvalidInput as error:
        raise InvalidInput(f"{path.name}, {error.field}", error.problem) from error


def _parsed(number: int, line: str) -> _Conversation | _Question:
    try:
        return _LINE.validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InvalidInput(_place(number, _path_of(first)), _problem_of(first)) from error


def _path_of(error: ErrorDetails) -> str:
    """`messages[2].role`; the first step of pydantic's own path is the type of the line."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in error["loc"][1:])
    return "".join(steps).removeprefix(".")


def _problem_of(error: ErrorDetails) -> str:
    message = error["msg"].replace("Input should be", "must be").replace("Field required", "is missing")
    return message.replace("Extra inputs are not permitted", "is no field of this line")


def _place(number: int, field: str) -> str:
    return f"line {number}, {field}" if field else f"line {number}"


def _joined(rows: _Numbered[_Conversation | _Question]) -> tuple[GoldConversation, ...]:
    conversations = [(number, row) for number, row in rows if isinstance(row, _Conversation)]
    questions = [(number, row) for number, row in rows if isinstance(row, _Question)]
    _check(conversations, questions)
    asked: dict[str, list[_Question]] = defaultdict(list)
    for _, question in questions:
        asked[question.conversation].append(question)
    return tuple(_conversation(row, asked[row.id]) for _, row in conversations)


def _check(conversations: _Numbered[_Conversation], questions: _Numbered[_Question]) -> None:
    _check_unique("id", ((number, row.id) for number, row in conversations))
    for number, row in conversations:
        _check_unique("messages", ((number, message.id) for message in row.messages))
    _check_unique("id", ((number, f"{row.conversation}/{row.id}") for number, row in questions))
    _check_gold({row.id: {message.id for message in row.messages} for _, row in conversations}, questions)


def _check_unique(field: str, ids: Iterable[tuple[int, str]]) -> None:
    seen: Counter[str] = Counter()
    for number, name in ids:
        seen[name] += 1
        if seen[name] > 1:
            raise InvalidInput(_place(number, field), f"{name!r} is there twice")


def _check_gold(known: Mapping[str, set[str]], questions: Iterable[tuple[int, _Question]]) -> None:
    for number, question in questions:
        if question.conversation not in known:
            raise InvalidInput(_place(number, "conversation"), f"{question.conversation!r} is no conversation of this file")
        for position, name in enumerate(question.gold):
            if name not in known[question.conversation]:
                raise InvalidInput(_place(number, f"gold[{position}]"), f"{name!r} is no message of that conversation")


def _conversation(row: _Conversation, questions: Iterable[_Question]) -> GoldConversation:
    messages = tuple(GoldMessage(**dict(message)) for message in row.messages)
    return GoldConversation(row.id, messages, tuple(_questions(messages, questions)))


def _questions(messages: tuple[GoldMessage, ...], questions: Iterable[_Question]) -> Iterator[GoldQuestion]:
    end = end_of(messages)
    for question in questions:
        gold = tuple(dict.fromkeys(question.gold))
        yield GoldQuestion(question.id, question.text, gold, question.category, question.now or end)
