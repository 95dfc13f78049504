"""Putting the tiers' answers together: one entry a record, best first (pure)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias
from uuid import UUID

from app.records import Hit, RecordKind, Scope

Record: TypeAlias = tuple[RecordKind, Scope, UUID]


def merge(hits: Iterable[Hit], limit: int) -> tuple[Hit, ...]:
    """The best `limit` hits by falling score, ties by newest; a record found twice counts once, at its better score."""
    best: dict[Record, Hit] = {}
    for hit in hits:
        known = best.get(record := record_of(hit))
        if known is None or hit.score > known.score:
            best[record] = hit
    return tuple(sorted(best.values(), key=lambda h: (-h.score, -h.created_at.timestamp()))[:limit])


def record_of(hit: Hit) -> Record:
    """Which record this is, in whatever tier it was found."""
    return hit.kind, Scope(namespace=hit.scope.namespace, session_id=hit.scope.session_id), hit.id
