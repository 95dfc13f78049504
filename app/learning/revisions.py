"""What a change of a piece of knowledge comes to (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from enum import Enum
from typing import Any, Final
from uuid import UUID

from app.records import Json, Knowledge

FIELDS: Final = (
    "description", "content", "confidence", "origin", "is_active", "inactive_reason", "valid_from", "valid_to",
    "superseded_by", "supersedes", "times_applied", "success_count", "failure_count", "evidence_count", "pinned",
)  # fmt: skip
SIDES: Final = ("supporting_episodes", "contradicting_episodes")


def changes(before: Knowledge | None, after: Knowledge) -> Json:
    """The fields that are new or other than before, as `Revision.changes` has them; empty when nothing is."""
    if before is None:
        first = {name: _plain(getattr(after, name)) for name in FIELDS}
        return {name: value for name, value in first.items() if value is not None} | _sides(_without_episodes(after), after)
    changed = (name for name in FIELDS if getattr(before, name) != getattr(after, name))
    return {name: _plain(getattr(after, name)) for name in changed} | _sides(before, after)


def _without_episodes(knowledge: Knowledge) -> Knowledge:
    return replace(knowledge, supporting_episodes=(), contradicting_episodes=())


def _sides(before: Knowledge, after: Knowledge) -> dict[str, Any]:
    differences = {name: _difference(getattr(before, name), getattr(after, name)) for name in SIDES}
    return {name: difference for name, difference in differences.items() if difference}


def _difference(before: Sequence[UUID], after: Sequence[UUID]) -> dict[str, list[str]]:
    """Which episodes joined, and which went."""
    parts = {"added": set(after) - set(before), "removed": set(before) - set(after)}
    ordered = {"added": after, "removed": before}
    return {name: [str(i) for i in ordered[name] if i in ids] for name, ids in parts.items() if ids}


def _plain(value: Any) -> Any:
    """As JSON."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value
