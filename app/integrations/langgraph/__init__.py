"""What LangGraph needs of a memory. Imported when it is asked for: LangGraph is an extra."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from app.integrations.langgraph.background import open_store
    from app.integrations.langgraph.store import HybridMemoryStore

__all__ = ["HybridMemoryStore", "open_store"]

_HOMES: Final = {"HybridMemoryStore": "store", "open_store": "background"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
