"""Vectors, the space they belong to, and the points of an index."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from app.records.base import Json, Matrix, RecordKind, Scope, Vector
from app.standing import Standing


@dataclass(frozen=True, slots=True)
class Space:
    """An embedding space: vectors of different spaces never mix."""

    model: str
    dimension: int

    @property
    def name(self) -> str:
        """A name safe for collections, directories and keys: `all-minilm-l6-v2__384`."""
        safe = "".join(c if c.isalnum() or c in "-." else "-" for c in self.model.lower())
        return f"{safe}__{self.dimension}"


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors and the space they belong to. `vectors` is (n, dim) float32 with unit rows."""

    space: Space
    vectors: Matrix
    provider: str


@dataclass(frozen=True, slots=True)
class Point:
    """A record as the vector index holds it. `id` is the record's `uid`; `dense` has shape (dim,).

    `sparse_context` is a text whose words count as well, and how much they count (1 is as much as its own).
    It holds from `valid_from` on and until before `valid_to`; None is open.
    """

    id: UUID
    record_id: UUID
    kind: RecordKind
    scope: Scope
    text: str
    sparse_text: str
    dense: Vector
    created_at: datetime
    content_sha256: str
    role: str | None = None
    author: str | None = None
    sequence: int | None = None
    quality: float | None = None
    outcome_quality: float | None = None
    standing: Standing | None = None
    is_long: bool = False
    sparse_context: tuple[str, float] | None = None
    metadata: Json = field(default_factory=dict)
    valid_from: datetime | None = None
    valid_to: datetime | None = None
