"""LangGraph: items of a store, states of threads (or checkpoints) with their messages, or LangChain messages alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from app.transfer.sources.items import Fact, Item, Odd, Raw, Skip, Table, as_json, listed, moment, turn

_MESSAGE: Final[Table] = {
    "key": ("id",),
    "role": ("type", "role"),
    "content": ("content",),
    "calls": ("tool_calls",),
    "name": ("name",),
    "created_at": ("created_at", "timestamp"),
}
_TEXTS: Final = ("content", "text", "memory", "data", "value", "summary")
_DROPPED: Final = ("example", "lc", "invalid_tool_calls")
_CLASSES: Final = {
    "HumanMessage": "human",
    "AIMessage": "ai",
    "AIMessageChunk": "ai",
    "SystemMessage": "system",
    "ToolMessage": "tool",
    "FunctionMessage": "function",
    "ChatMessage": "user",
}
_LISTS: Final = ("items", "results", "states", "threads", "checkpoints", "messages", "data")


def items(document: Any, session: str) -> Iterator[Item]:
    entries = listed(document, *_LISTS) if not _is_state(document) else [document]
    states, position = [], 0
    for number, raw in enumerate(entries):
        if _is_state(raw):
            states.append((number, raw))
        elif isinstance(raw, Mapping) and "key" in raw and "value" in raw:
            yield _stored(f"items[{number}]", raw)
        else:
            yield turn(f"messages[{number}]", _flat(raw), _MESSAGE, session, position=position, dropped=_DROPPED)
            position += 1
    # A history lists the newest state first, and each holds the messages of those before it.
    for number, state in sorted(states, key=lambda numbered: str(_created(numbered[1]))):
        yield from _messages(f"states[{number}]", state, session)


def _messages(place: str, state: Raw, fallback: str) -> Iterator[Item]:
    session = _thread(state) or fallback
    for position, raw in enumerate(_values(state).get("messages", ())):
        named = f"{place}.messages[{position}]"
        yield turn(named, _flat(raw), _MESSAGE, session, position=position, dropped=_DROPPED)


def _is_state(raw: object) -> bool:
    return isinstance(raw, Mapping) and isinstance(_values(raw).get("messages"), list)


def _values(state: Raw) -> Raw:
    """The channels of a state, a checkpoint, or a checkpoint with its config."""
    checkpoint = state.get("checkpoint")
    for found in (state.get("values"), state.get("channel_values"), _in(checkpoint, "channel_values")):
        if isinstance(found, Mapping):
            return found
    return {}


def _thread(state: Raw) -> str | None:
    configurable = _in(state.get("config"), "configurable")
    found = (state.get("thread_id"), _in(configurable, "thread_id"), _in(state.get("checkpoint"), "thread_id"))
    return next((str(thread) for thread in (*found, _in(state.get("metadata"), "thread_id")) if thread), None)


def _created(state: Raw) -> object:
    return state.get("created_at") or state.get("ts") or _in(state.get("checkpoint"), "ts") or ""


def _in(raw: object, name: str) -> Any:
    return raw.get(name) if isinstance(raw, Mapping) else None


def _flat(raw: Any) -> Any:
    """A message as one object: `messages_to_dict` keeps it in `data`, a dump in `kwargs` beside the name of its class."""
    if not isinstance(raw, Mapping):
        return raw
    data, kwargs = raw.get("data"), raw.get("kwargs")
    if isinstance(data, Mapping):
        return {**data, "type": data.get("type") or raw.get("type")}
    if isinstance(kwargs, Mapping) and isinstance(raw.get("id"), list):
        return {**kwargs, "type": kwargs.get("type") or _CLASSES.get(str(raw["id"][-1]))}
    return raw


def _stored(place: str, raw: Raw) -> Item:
    """An item of a store: its text if it has one, or else its value as JSON."""
    namespace = raw.get("namespace", raw.get("prefix", ()))
    labels = namespace.split(".") if isinstance(namespace, str) else [str(label) for label in namespace or ()]
    value = raw["value"]
    try:
        return Fact(
            place=place,
            key=as_json([labels, str(raw["key"])]),
            text=_text(value),
            created_at=moment("created_at", raw.get("created_at")),
            content={"namespace": labels, "key": str(raw["key"]), "value": value},
        )
    except Odd as odd:
        return Skip(place, "knowledge", str(odd))


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return next((str(value[name]) for name in _TEXTS if isinstance(value.get(name), str) and value[name]), as_json(value))
    if value is None:
        raise Odd("value: is null")
    return value if isinstance(value, str) else as_json(value)
