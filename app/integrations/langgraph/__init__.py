"""What LangGraph needs of a memory. Imported when it is asked for: LangGraph is an extra."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from app.integrations.langgraph.background import open_store
    from app.integrations.langgraph.nodes import consolidate_node, recall_node, remember_node
    from app.integrations.langgraph.scoping import scope_of
    from app.integrations.langgraph.store import HybridMemoryStore
    from app.integrations.langgraph.wiring import add_memory, with_memory

__all__ = [
    "HybridMemoryStore",
    "add_memory",
    "consolidate_node",
    "open_store",
    "recall_node",
    "remember_node",
    "scope_of",
    "with_memory",
]

_HOMES: Final = {
    "HybridMemoryStore": "store",
    "add_memory": "wiring",
    "consolidate_node": "nodes",
    "open_store": "background",
    "recall_node": "nodes",
    "remember_node": "nodes",
    "scope_of": "scoping",
    "with_memory": "wiring",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
