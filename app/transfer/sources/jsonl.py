"""JSON Lines of anybody's: messages and facts with the names of our own HTTP API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from app.transfer.sources.items import Item, Skip, Table, fact, listed, turn

_OWNERS: Final[Table] = {"user_id": ("user_id",), "agent_id": ("agent_id",), "project_id": ("project_id",)}
_MESSAGE: Final[Table] = {
    "key": ("id",),
    "role": ("role",),
    "content": ("content", "text"),
    "calls": ("tool_calls",),
    "name": ("name", "author"),
    "created_at": ("created_at", "timestamp"),
    **_OWNERS,
}
_FACT: Final[Table] = {
    "key": ("id",),
    "text": ("description", "fact", "text", "memory"),
    "created_at": ("created_at", "timestamp"),
    "valid_from": ("valid_from", "valid_at"),
    "valid_to": ("valid_to", "invalid_at"),
    "session_id": ("session_id",),
    **_OWNERS,
}


def items(document: Any, session: str) -> Iterator[Item]:
    """A line with a role is a message, of its `session_id` or else of one session for all; any other is a fact."""
    positions: dict[str, int] = {}
    lines = [document] if isinstance(document, Mapping) else listed(document)
    for number, raw in enumerate(lines, 1):
        if not isinstance(raw, Mapping):
            yield Skip(f"line {number}", "message", "must be an object")
        elif "role" in raw:
            own = str(raw.get("session_id") or session)
            position = positions[own] = positions.get(own, -1) + 1
            yield turn(f"line {number}", raw, _MESSAGE, own, position=position, dropped=("session_id", "type", "namespace"))
        else:
            yield fact(f"line {number}", raw, _FACT, dropped=("type", "namespace"))
