"""What the exports of other memories come down to (pure): sessions, turns, facts, and what cannot be taken in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from app.records import Role, sha256_hex

Raw: TypeAlias = Mapping[str, Any]
Table: TypeAlias = Mapping[str, tuple[str, ...]]
"""Our field, and what it may be called in the export: the first that is there and not null counts."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A message. `key` is its id in the export, or else its place and its text: the same one in every export of it."""

    place: str
    session: str
    key: str
    role: Role
    content: str
    created_at: datetime | None = None
    name: str | None = None
    metadata: Raw = field(default_factory=dict)
    owner: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fact:
    """A piece of knowledge; `content` is what the export says besides."""

    place: str
    key: str
    text: str
    created_at: datetime | None = None
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    content: Raw = field(default_factory=dict)
    owner: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SessionOf:
    """What the export says about a session besides its messages."""

    place: str
    session: str
    created_at: datetime | None
    context: Raw


@dataclass(frozen=True, slots=True)
class Skip:
    """What is left out, and why."""

    place: str
    kind: str
    reason: str


Item: TypeAlias = Turn | Fact | SessionOf | Skip
Mapper: TypeAlias = Callable[[Any, str], Iterator[Item]]
"""Makes items of a whole document; the second argument names a session that the document does not name."""

ROLES: Final[Mapping[str, Role]] = {
    "user": Role.USER,
    "human": Role.USER,
    "assistant": Role.ASSISTANT,
    "ai": Role.ASSISTANT,
    "aimessagechunk": Role.ASSISTANT,
    "agent": Role.ASSISTANT,
    "model": Role.ASSISTANT,
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "tool": Role.TOOL,
    "function": Role.TOOL,
    "tool_result": Role.TOOL,
}
_OWNERS: Final = ("user_id", "agent_id", "session_id", "project_id")
_MILLISECONDS_FROM: Final = 1e11
"""As seconds this is the year 5138: a larger number counts milliseconds."""


class Odd(Exception):
    """Something in an export is not what it should be; says what."""


def fact(place: str, raw: object, table: Table, *, dropped: Sequence[str] = ()) -> Item:
    """The fact that an object of the export stands for; fields the table does not name go into its content."""
    try:
        values = _Values(raw, table)
        return Fact(
            place=place,
            key=values.text("key") or f"text:{values.required('text')}",
            text=values.required("text"),
            created_at=values.moment("created_at"),
            valid_from=values.moment("valid_from"),
            valid_to=values.moment("valid_to"),
            content=values.rest(dropped),
            owner=values.owner(),
        )
    except Odd as odd:
        return Skip(place, "knowledge", str(odd))


def turn(place: str, raw: object, table: Table, session: str, *, position: int, dropped: Sequence[str] = ()) -> Item:
    """The message that an object of the export stands for; fields the table does not name go into its metadata."""
    try:
        values = _Values(raw, table)
        content = _said(values)
        return Turn(
            place=place,
            session=session,
            key=values.text("key") or f"#{position}:{sha256_hex(content)[:16]}",
            role=role_of(values.required("role")),
            content=content,
            created_at=values.moment("created_at"),
            name=values.text("name"),
            metadata=values.rest(dropped),
            owner={name: value for name, value in values.owner().items() if name != "session_id"},
        )
    except Odd as odd:
        return Skip(place, "message", str(odd))


def role_of(name: str) -> Role:
    if name.lower() not in ROLES:
        raise Odd(f"role: {name!r} is none of {', '.join(ROLES)}")
    return ROLES[name.lower()]


def _said(values: _Values) -> str:
    """What was said, or else which tools were called: a message is never blank."""
    text = text_of(values.first("content"))
    return text if text.strip() else calls_as_text(values.first("calls"))


def text_of(content: object) -> str:
    """Text, or the text among parts; of a part that is none its type is named."""
    match content:
        case None:
            return ""
        case str():
            return content
        case Mapping():
            return _part(content)
        case list() | tuple():
            return "\n".join(filter(None, map(text_of, content)))
    raise Odd(f"content: must be text or a list of parts, is a {type(content).__name__}")


def _part(part: Raw) -> str:
    for name in ("text", "content", "refusal", "output_text"):
        if isinstance(part.get(name), str):
            return str(part[name])
    kind = str(part.get("type") or part.get("content_type") or "part")
    return "" if kind in {"tool_use", "tool_call", "function_call", "reasoning", "redacted_reasoning"} else f"[{kind}]"


def calls_as_text(calls: object) -> str:
    """`→ search({"q": "vet"})`, a line a call."""
    listed = calls if isinstance(calls, list) else [calls] if isinstance(calls, Mapping) else []
    return "\n".join(f"→ {_call(call)}" for call in listed if isinstance(call, Mapping))


def _call(call: Raw) -> str:
    function = call.get("function") if isinstance(call.get("function"), Mapping) else call
    assert isinstance(function, Mapping)  # noqa: S101 - one of two mappings
    arguments = function.get("arguments", function.get("args", {}))
    return f"{function.get('name', 'tool')}({arguments if isinstance(arguments, str) else as_json(arguments)})"


def as_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)


def moment(name: str, value: object) -> datetime | None:
    """A time in UTC: RFC 3339 (without an offset it is UTC), or seconds or milliseconds since 1970."""
    try:
        match value:
            case None | "":
                return None
            case bool():
                pass
            case int() | float():
                return datetime.fromtimestamp(value / 1000 if value > _MILLISECONDS_FROM else value, UTC)
            case str():
                found = datetime.fromisoformat(value.strip())
                return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        pass
    raise Odd(f"{name}: {str(value)[:40]!r} is no date and time")


def listed(document: object, *names: str) -> list[Any]:
    """The list that a document is, or has under one of these names."""
    if isinstance(document, list):
        return document
    if isinstance(document, Mapping):
        return next((document[name] for name in names if isinstance(document.get(name), list)), [])
    return []


class _Values:
    """An object of the export, read through a table."""

    def __init__(self, raw: object, table: Table) -> None:
        if not isinstance(raw, Mapping):
            raise Odd(f"must be an object, is a {type(raw).__name__}")
        self._raw = raw
        self._table = table

    def first(self, field_name: str) -> Any:
        names = self._table.get(field_name, ())
        return next((self._raw[name] for name in names if self._raw.get(name) is not None), None)

    def text(self, field_name: str) -> str | None:
        found = self.first(field_name)
        if found is None or isinstance(found, Mapping | list | bool):
            return None
        return str(found) or None

    def required(self, field_name: str) -> str:
        found = self.text(field_name)
        if found is None or not found.strip():
            raise Odd(f"has no {' or '.join(self._table.get(field_name, (field_name,)))}")
        return found

    def moment(self, field_name: str) -> datetime | None:
        return moment(field_name, self.first(field_name))

    def owner(self) -> dict[str, str]:
        return {name: found for name in _OWNERS if (found := self.text(name)) is not None}

    def rest(self, dropped: Sequence[str]) -> dict[str, Any]:
        """What the table does not name; the export's own metadata first."""
        named = {name for names in self._table.values() for name in names if name not in self._table.get("calls", ())}
        own = self._raw.get("metadata")
        given = dict(own) if isinstance(own, Mapping) else {}
        hidden = named.union(dropped, {"metadata"} if isinstance(own, Mapping) else ())
        return given | {n: v for n, v in self._raw.items() if n not in hidden and v not in (None, [], {}, "")}
