"""Putting the tiers' answers together: one entry a record, best first (pure)."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from app.records import Hit, RecordKind, Scope


def merge(hits: Iterable[Hit], limit: int) -> tuple[Hit, ...]:
    """The best `limit` hits by falling score, ties by newest; a record found twice counts once, at its better score."""
    best: dict[tuple[RecordKind, Scope, UUID], Hit] = {}
    for hit in hits:
        known = best.get(identity := (hit.kind, _home(hit.scope), hit.id))
        if known is None or hit.score > known.score:
            best[identity] = hit
    return tuple(sorted(best.values(), key=lambda h: (-h.score, -h.created_at.timestamp()))[:limit])


def _home(scope: Scope) -> Scope:
    return Scope(namespace=scope.namespace, session_id=scope.session_id)
