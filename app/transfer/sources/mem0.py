"""mem0: what `get_all()` answers, a memory export, or a list of memories."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from app.transfer.sources.items import Fact, Item, Skip, Table, fact, listed

_MEMORY: Final[Table] = {
    "key": ("id", "memory_id"),
    "text": ("memory", "text", "data"),
    "created_at": ("created_at",),
    "valid_to": ("expiration_date",),
    "user_id": ("user_id", "userId"),
    "agent_id": ("agent_id", "agentId"),
    "session_id": ("run_id", "runId"),
    "project_id": ("app_id", "appId", "project_id"),
}
_DROPPED: Final = ("hash", "score", "embedding", "vector")
_ENDS: Final = (("source",), ("relationship", "relation"), ("target", "destination"))


def items(document: Any, _session: str) -> Iterator[Item]:
    for number, raw in enumerate(listed(document, "results", "memories")):
        yield fact(f"results[{number}]", raw, _MEMORY, dropped=_DROPPED)
    relations = document.get("relations") if isinstance(document, Mapping) else None
    for number, raw in enumerate(relations if isinstance(relations, list) else ()):
        yield _relation(f"relations[{number}]", raw)


def _relation(place: str, raw: Any) -> Item:
    """An edge of the graph memory as a sentence of three words."""
    parts = [next((str(raw[n]) for n in names if raw.get(n)), "") for names in _ENDS] if isinstance(raw, Mapping) else [""]
    if not all(parts):
        return Skip(place, "knowledge", "has no source, relationship and target")
    return Fact(place, f"relation:{'|'.join(parts)}", " ".join(part.replace("_", " ") for part in parts), content=dict(raw))
