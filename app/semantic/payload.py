"""Record ↔ payload, the same for both engines: all that a hit needs, so that recall works with Postgres away (pure)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from app.ports import IndexedPoint, SparseEncoder
from app.ranking import Traits
from app.records import Candidate, Hit, Point, RecordKind, Role, Scope, Space, Standing, Tier, Vector
from app.semantic.filters import VALID_FROM, VALID_TO, metadata_terms
from app.semantic.fusion import Score

IDENTITY: Final = ("kind", "namespace", "content_sha256")
"""The fields that say which record a point was made from, and from which text."""


@dataclass(frozen=True, slots=True)
class PointRow:
    """A point ready to be written."""

    id: UUID
    dense: Vector
    bm25: Mapping[int, float]
    payload: dict[str, Any]


def row_of(point: Point, space: Space, encoder: SparseEncoder) -> PointRow:
    return PointRow(point.id, point.dense, _words_of(point, encoder), payload_of(point, space))


def _words_of(point: Point, encoder: SparseEncoder) -> Mapping[int, float]:
    words = dict(encoder.encode_document(point.sparse_text))
    if point.sparse_context is not None:
        text, weight = point.sparse_context
        for word, value in encoder.encode_document(text).items():
            words[word] = words.get(word, 0.0) + weight * value
    return words


def payload_of(point: Point, space: Space) -> dict[str, Any]:
    """The payload of `point`; absent values are left out.

    `metadata` is JSON text: the engines' own numbers end at 64 bits. Filters ask `metadata_terms`.
    """
    created_at = point.created_at.astimezone(UTC)
    payload = {
        "record_id": str(point.record_id),
        "kind": point.kind.value,
        "namespace": point.scope.namespace,
        "user_id": point.scope.user_id,
        "agent_id": point.scope.agent_id,
        "session_id": point.scope.session_id,
        "project_id": point.scope.project_id,
        "text": point.text,
        "role": point.role,
        "author": point.author,
        "sequence": point.sequence,
        "created_at": created_at.isoformat(),
        "day": created_at.year * 10_000 + created_at.month * 100 + created_at.day,
        "quality": point.quality,
        "outcome_quality": point.outcome_quality,
        "is_long": point.is_long or None,
        VALID_FROM: point.valid_from and point.valid_from.astimezone(UTC).isoformat(),
        VALID_TO: point.valid_to and point.valid_to.astimezone(UTC).isoformat(),
        "content_sha256": point.content_sha256,
        "model": space.model,
        "dimension": space.dimension,
        "metadata": json.dumps(dict(point.metadata)) if point.metadata else None,
        "metadata_terms": metadata_terms(point.metadata) or None,
        **({} if point.standing is None else standing_payload(point.standing)),
    }
    return {name: value for name, value in payload.items() if value is not None}


def standing_payload(standing: Standing) -> dict[str, Any]:
    """The part of a payload that says what callers make of the record."""
    as_of = standing.as_of.astimezone(UTC).isoformat()
    return {"standing": {"approval": standing.approval, "disapproval": standing.disapproval, "as_of": as_of}}


def indexed_point(point_id: UUID, payload: Mapping[str, Any]) -> IndexedPoint:
    """From a payload of which the fields `IDENTITY` were asked for. A hash that is not there equals no other."""
    kind = RecordKind(payload.get("kind", RecordKind.MESSAGE))
    return IndexedPoint(point_id, kind, payload.get("namespace", ""), payload.get("content_sha256", ""))


def following(point_id: UUID | None) -> UUID | None:
    """The id where a page begins that comes after `point_id`; the engines' offsets are inclusive."""
    return None if point_id is None else UUID(int=min(point_id.int + 1, _LAST_ID))


_LAST_ID: Final = 2**128 - 1
"""An id nobody draws: a page after it would begin with itself."""


def candidate_of(score: Score[Any], payload: Mapping[str, Any]) -> Candidate:
    """The point as it was found; its hit's components are the terms of the score."""
    return Candidate(_hit_of(payload, score.fused, score.terms), UUID(str(score.id)), score.dense, score.bm25, score.fused)


TRAITS: Final = ("author", "session_id", "day", "created_at", "quality", "is_long", "outcome_quality", "standing")
"""The fields of a payload that `traits_of` reads."""


def traits_of(payload: Mapping[str, Any]) -> Traits:
    """What ranking needs to know of a point; of one that vanished meanwhile (an empty payload) nothing."""
    return Traits(
        author=payload.get("author"),
        session=payload.get("session_id"),
        day=payload.get("day", 0),
        created_at=datetime.fromisoformat(payload["created_at"]).timestamp() if "created_at" in payload else 0.0,
        quality=payload.get("quality", 0.0),
        is_long_assistant=payload.get("is_long", False) and payload.get("author") == Role.ASSISTANT.value,
        outcome_quality=payload.get("outcome_quality"),
        standing=_standing_of(payload),
    )


def _standing_of(payload: Mapping[str, Any]) -> Standing | None:
    stored = payload.get("standing")
    if stored is None:
        return None
    return Standing(stored["approval"], stored["disapproval"], datetime.fromisoformat(stored["as_of"]))


def _hit_of(payload: Mapping[str, Any], score: float, components: Mapping[str, float]) -> Hit:
    return Hit(
        id=UUID(payload["record_id"]),
        kind=RecordKind(payload["kind"]),
        text=payload["text"],
        score=score,
        components=components,
        tier=Tier.SEMANTIC,
        scope=Scope(
            payload["namespace"],
            payload.get("user_id"),
            payload.get("agent_id"),
            payload.get("session_id"),
            payload.get("project_id"),
        ),
        created_at=datetime.fromisoformat(payload["created_at"]),
        metadata=json.loads(payload.get("metadata", "{}")),
        role=payload.get("role"),
        author=payload.get("author"),
        sequence=payload.get("sequence"),
        quality=payload.get("quality"),
        outcome_quality=payload.get("outcome_quality"),
    )
