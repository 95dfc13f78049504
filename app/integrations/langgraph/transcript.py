"""A graph's messages as memory keeps them (pure).

What people, models and tools said is kept; system messages are not: they are the program's words, and the context that
memory itself put in is one of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final
from uuid import UUID

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

from app.ingestion.limits import CONTROL, UNSTORABLE
from app.records import Draft, Role, derived_uuid, sha256_hex

_ROLES: Final = {"human": Role.USER, "ai": Role.ASSISTANT, "tool": Role.TOOL}
_MOST_BYTES: Final = 60_000
"""Of a message's text: a tool may answer with a whole file; below the service's own default of 65,536."""
_MOST_CALLS_BYTES: Final = 6000
"""Of the tool calls that a message's metadata names; the service's own default for all metadata is 8192."""
_LONGEST_LABEL: Final = 255
_LONGEST_QUESTION: Final = 4000
"""Characters: what an embedding model reads of a question is shorter still."""


def drafts_of(messages: Sequence[BaseMessage]) -> list[Draft]:
    """The messages that are worth keeping, in order, each under an id that is the same whenever it is asked for.

    The id follows from the message's own id and what it says, so that a graph that is resumed or retried records nothing
    twice, and a message that was edited is another one. A message without an id goes by all that was said up to it.
    """
    return [_draft(message, key) for message, key in _keyed(messages) if _text(message).strip()]


def latest_request(messages: Sequence[BaseMessage]) -> str:
    """What the user said last, its beginning if that was long; blank when nobody said anything."""
    return next((_text(m)[:_LONGEST_QUESTION] for m in reversed(messages) if m.type == "human"), "")


def _keyed(messages: Sequence[BaseMessage]) -> Iterator[tuple[BaseMessage, str]]:
    said_so_far = ""
    for message in messages:
        if message.type not in _ROLES:
            continue
        said_so_far = sha256_hex(f"{said_so_far}{message.type}:{_text(message)}")
        yield message, message.id or said_so_far


def _draft(message: BaseMessage, key: str) -> Draft:
    role, text = _ROLES[message.type], _text(message)
    return Draft(role, text, _label(message.name), _id_of(key, role, text), metadata=_metadata(message))


def _id_of(key: str, role: Role, text: str) -> UUID:
    return derived_uuid("langchain", key.encode(errors="replace").decode(), role.value, text)


def _text(message: BaseMessage) -> str:
    parts = [_content(message.content)]
    if isinstance(message, AIMessage):
        parts += [f"{call['name']}({_json(call['args'])})" for call in message.tool_calls]
    return _bounded(UNSTORABLE.sub("\ufffd", "\n".join(filter(None, parts))))


def _content(content: str | list[str | dict[str, Any]]) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(filter(None, map(_block, content)))


def _block(block: str | dict[str, Any]) -> str:
    """A block's text; of an image or a file only that there was one. Tool calls stand beside the content."""
    if isinstance(block, str):
        return block
    kind = str(block.get("type", "block"))
    if kind in {"text", "text-plain"}:
        return str(block.get("text", ""))
    return "" if kind in _NOT_SAID else f"[{kind}]"


_NOT_SAID: Final = frozenset({"tool_use", "tool_call", "tool_call_chunk", "reasoning", "thinking", "redacted_thinking"})


def _metadata(message: BaseMessage) -> dict[str, Any]:
    """Which call belongs to which result."""
    match message:
        case AIMessage() if message.tool_calls:
            return {"tool_calls": list(_calls(message))}
        case ToolMessage():
            return {"tool_call_id": _label(message.tool_call_id), "status": message.status}
        case _:
            return {}


def _calls(message: AIMessage) -> Iterator[dict[str, str | None]]:
    """Id and name of each call, for as long as there is room."""
    size = 0
    for call in message.tool_calls:
        told = {"id": _label(call["id"]), "name": _label(call["name"])}
        size += len(_json(told).encode())
        if size > _MOST_CALLS_BYTES:
            return
        yield told


def _label(text: str | None) -> str | None:
    cleaned = CONTROL.sub(" ", text or "").strip()[:_LONGEST_LABEL]
    return cleaned or None


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)  # models invent numbers of any size, which orjson refuses


def _bounded(text: str) -> str:
    encoded = text.encode()
    if len(encoded) <= _MOST_BYTES:
        return text
    kept = encoded[:_MOST_BYTES].decode(errors="ignore")
    return f"{kept} … [{len(encoded) - len(kept.encode())} more bytes]"
