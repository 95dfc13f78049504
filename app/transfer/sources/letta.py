"""Letta: an agent file (`.af`): memory blocks, messages, and archival passages where they are exported with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from app.transfer.sources.items import Fact, Item, Odd, Raw, Skip, Table, fact, listed, moment, turn

_MESSAGE: Final[Table] = {
    "key": ("id",),
    "role": ("role",),
    "content": ("content", "text"),
    "calls": ("tool_calls",),
    "name": ("name",),
    "created_at": ("created_at", "date"),
}
_PASSAGE: Final[Table] = {"key": ("id",), "text": ("text",), "created_at": ("created_at",), "agent_id": ("agent_id",)}
_DROPPED: Final = ("embedding", "embedding_config", "organization_id", "otid", "batch_item_id", "group_id")
_PASSAGES: Final = ("archival_passages", "passages", "archival_memory")
_EVENTS: Final = frozenset({"heartbeat", "login", "system_alert"})


def items(document: Any, session: str) -> Iterator[Item]:
    """Each agent is a session of its own, named after it."""
    agents = listed(document.get("agents")) if isinstance(document, Mapping) and "agents" in document else [document]
    for number, agent in enumerate(agents):
        if not isinstance(agent, Mapping):
            yield Skip(f"agents[{number}]", "session", "must be an object")
            continue
        yield from _agent(f"agents[{number}]." if len(agents) > 1 else "", agent, session)
    if isinstance(document, Mapping) and "agents" in document:
        yield from _blocks("blocks", document.get("blocks"), None)
        yield from _passages(document, None)


def _agent(place: str, agent: Raw, session: str) -> Iterator[Item]:
    name = str(agent.get("name") or agent.get("id") or session)
    yield from _blocks(f"{place}core_memory", agent.get("core_memory", agent.get("blocks")), name)
    yield from _passages(agent, name)
    for position, raw in enumerate(listed(agent.get("messages"))):
        named = f"{place}messages[{position}]"
        event = _event(raw)
        if event is not None:
            yield Skip(named, "message", f"is a {event} of the agent's own, nothing that was said")
        else:
            yield turn(named, _unpacked(raw), _MESSAGE, name, position=position, dropped=_DROPPED)


def _blocks(place: str, blocks: Any, agent: str | None) -> Iterator[Item]:
    """A memory block, such as `human` or `persona`, is one fact."""
    for number, raw in enumerate(listed(blocks)):
        label, value = (raw.get("label"), raw.get("value")) if isinstance(raw, Mapping) else (None, None)
        if not (label and isinstance(value, str) and value.strip()):
            yield Skip(f"{place}[{number}]", "knowledge", "has no label and value")
            continue
        yield _block(f"{place}[{number}]", raw, agent)


def _block(place: str, raw: Raw, agent: str | None) -> Item:
    kept = ("label", "description", "limit", "is_template", "read_only")
    try:
        created_at = moment("created_at", raw.get("created_at"))
    except Odd as odd:
        return Skip(place, "knowledge", str(odd))
    content = {name: raw[name] for name in kept if raw.get(name) is not None}
    key = str(raw.get("id") or f"{agent}:{raw['label']}")
    return Fact(place, f"block:{key}", str(raw["value"]), created_at, content=content, owner={"agent_id": agent} if agent else {})


def _passages(raw: Raw, agent: str | None) -> Iterator[Item]:
    for name in _PASSAGES:
        for number, passage in enumerate(listed(raw.get(name))):
            owned = {"agent_id": agent, **passage} if isinstance(passage, Mapping) and agent else passage
            yield fact(f"{name}[{number}]", owned, _PASSAGE, dropped=_DROPPED)


def _event(raw: Any) -> str | None:
    packed = _packed(raw)
    kind = packed.get("type") if packed else None
    return kind if kind in _EVENTS else None


def _unpacked(raw: Any) -> Any:
    """What was said itself: users' words come packed in JSON, the agent's as the argument of `send_message`."""
    packed, sent = _packed(raw), _sent(raw)
    if packed is not None and packed.get("type") == "user_message" and isinstance(packed.get("message"), str):
        return {**raw, "content": packed["message"]}
    return raw if sent is None else {**{n: v for n, v in raw.items() if n != "tool_calls"}, "content": sent}


def _packed(raw: Any) -> Raw | None:
    content = raw.get("content", raw.get("text")) if isinstance(raw, Mapping) else None
    if isinstance(content, list) and len(content) == 1 and isinstance(content[0], Mapping):
        content = content[0].get("text")
    return _object(content) if isinstance(raw, Mapping) and raw.get("role") == "user" else None


def _sent(raw: Any) -> str | None:
    calls = listed(raw.get("tool_calls")) if isinstance(raw, Mapping) else []
    for call in calls:
        function = call.get("function") if isinstance(call, Mapping) else None
        if isinstance(function, Mapping) and function.get("name") == "send_message":
            arguments = _object(function.get("arguments"))
            message = arguments.get("message") if arguments else None
            return message if isinstance(message, str) else None
    return None


def _object(text: object) -> Raw | None:
    if not (isinstance(text, str) and text.lstrip().startswith("{")):
        return None
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, Mapping) else None
