"""The memory that agents keep: Redis for now, PostgreSQL for the truth, Qdrant for meaning, behind one façade."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from app.errors import (
        AccessError,
        ConfigurationError,
        Conflict,
        DataDirectoryInUse,
        DimensionMismatch,
        EmbedderUnavailable,
        Forbidden,
        HybridMemoryError,
        InvalidInput,
        NewerRelease,
        NotFound,
        StartupError,
        TierUnavailable,
        Unauthenticated,
        Unreadable,
    )
    from app.records import (
        Draft,
        Episode,
        EpisodeKind,
        FilterTerm,
        Hit,
        Knowledge,
        KnowledgeKind,
        Message,
        Mode,
        Query,
        Recollection,
        RecordKind,
        Role,
        Scope,
        Selection,
        SessionState,
        Wait,
        new_id,
    )
    from app.scheduler import open_memory
    from app.service import HybridMemoryService
    from app.settings import Settings

__all__ = [
    "AccessError",
    "ConfigurationError",
    "Conflict",
    "DataDirectoryInUse",
    "DimensionMismatch",
    "Draft",
    "EmbedderUnavailable",
    "Episode",
    "EpisodeKind",
    "FilterTerm",
    "Forbidden",
    "Hit",
    "HybridMemoryError",
    "HybridMemoryService",
    "InvalidInput",
    "Knowledge",
    "KnowledgeKind",
    "Message",
    "Mode",
    "NewerRelease",
    "NotFound",
    "Query",
    "Recollection",
    "RecordKind",
    "Role",
    "Scope",
    "Selection",
    "SessionState",
    "Settings",
    "StartupError",
    "TierUnavailable",
    "Unauthenticated",
    "Unreadable",
    "Wait",
    "new_id",
    "open_memory",
]

_ELSEWHERE: Final = {"open_memory": "app.scheduler", "HybridMemoryService": "app.service", "Settings": "app.settings"}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for: `import app` and every part of it stay quick."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _ELSEWHERE:
        return getattr(import_module(_ELSEWHERE[name]), name)
    home = "app.errors" if hasattr(import_module("app.errors"), name) else "app.records"
    return getattr(import_module(home), name)
