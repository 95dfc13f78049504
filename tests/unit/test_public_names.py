"""The public names: a promise, kept until a version says otherwise."""

from __future__ import annotations

import app


def test_the_public_names_are_these() -> None:
    """What `app` exports is exactly this; adding or removing a name is a decision, not an accident."""
    assert sorted(app.__all__) == [
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


def test_every_public_name_is_there() -> None:
    """Each exported name can be imported."""
    assert [name for name in app.__all__ if not hasattr(app, name)] == []
