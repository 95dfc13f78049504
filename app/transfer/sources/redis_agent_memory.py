"""Redis agent memory server: working memories of sessions, and long-term memories."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from app.transfer.sources.items import ROLES, Item, Odd, Raw, SessionOf, Skip, Table, fact, listed, moment, turn

_MESSAGE: Final[Table] = {
    "key": ("id",),
    "role": ("role",),
    "content": ("content",),
    "name": ("name",),
    "created_at": ("created_at",),
    "user_id": ("user_id",),
}
_MEMORY: Final[Table] = {
    "key": ("id", "id_"),
    "text": ("text",),
    "created_at": ("created_at",),
    "valid_from": ("event_date",),
    "user_id": ("user_id",),
    "session_id": ("session_id",),
}
_DROPPED: Final = (
    "memory_hash", "last_accessed", "updated_at", "persisted_at", "discrete_memory_extracted", "dist", "namespace", "pinned",
    "access_count", "score", "embedding",
)  # fmt: skip


def items(document: Any, session: str) -> Iterator[Item]:
    entries = [document] if _is_session(document) else listed(document, "memories", "sessions", "results", "working_memories")
    for number, raw in enumerate(entries):
        if _is_session(raw):
            yield from _session(f"sessions[{number}]", raw, session)
        else:
            yield _memory(f"memories[{number}]", raw, number)


def _is_session(raw: object) -> bool:
    return isinstance(raw, Mapping) and isinstance(raw.get("messages"), list)


def _session(place: str, raw: Raw, fallback: str) -> Iterator[Item]:
    session = str(raw.get("session_id") or fallback)
    context = {name: raw[name] for name in ("context", "data") if raw.get(name)}
    try:
        yield SessionOf(place, session, moment("created_at", raw.get("created_at")), context)
    except Odd as odd:
        yield Skip(place, "session", str(odd))
    owner = {"user_id": raw["user_id"]} if raw.get("user_id") else {}
    for position, said in enumerate(raw["messages"]):
        owned = {**owner, **said} if isinstance(said, Mapping) else said
        yield turn(f"{place}.messages[{position}]", owned, _MESSAGE, session, position=position, dropped=_DROPPED)
    for number, memory in enumerate(listed(raw.get("memories"))):
        placed = {**owner, "session_id": session, **memory} if isinstance(memory, Mapping) else memory
        yield _memory(f"{place}.memories[{number}]", placed, number)


def _memory(place: str, raw: Any, position: int) -> Item:
    """Long-term memory also keeps messages, as `role: text`; those are messages here, too."""
    if isinstance(raw, Mapping) and raw.get("memory_type") == "message" and raw.get("session_id"):
        role, _, content = str(raw.get("text", "")).partition(": ")
        if role.lower() in ROLES and content:
            said = {**raw, "role": role, "content": content}
            hidden = ("text", "memory_type", "session_id", *_DROPPED)
            return turn(place, said, _MESSAGE, str(raw["session_id"]), position=position, dropped=hidden)
    return fact(place, raw, _MEMORY, dropped=_DROPPED)
