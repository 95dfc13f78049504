"""Tier 3: what the index promises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from app.ports.engines import Pingable
from app.ranking import DEFAULT_RANKING, NO_CUES, Cues, Ranking
from app.records import Candidate, FilterTerm, Mode, Point, Range, RecordKind, Scope, Space, Standing, Vector


@dataclass(frozen=True, slots=True)
class IndexQuery:
    """One question to the vector index. Without `dense` only the sparse leg runs, without `sparse_text` only dense.

    `scope`, `kinds`, `filter`, `ranges`, `since`, `until`, `valid_at` and `ids` (of points) are part of the engine's query on
    every leg. Points that say from when and until when they hold are found if they do at `valid_at`; None finds them all.
    """

    scope: Scope
    dense: Vector | None
    sparse_text: str | None
    limit: int
    kinds: tuple[RecordKind, ...]
    filter: tuple[FilterTerm, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    mode: Mode = Mode.HYBRID
    ranking: Ranking = DEFAULT_RANKING
    cues: Cues = NO_CUES
    ids: tuple[UUID, ...] | None = None
    ranges: tuple[Range, ...] = ()
    valid_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class IndexedPoint:
    """What a point says of the record it was made from; `uid` is the record's, and the point's own id."""

    uid: UUID
    kind: RecordKind
    namespace: str
    content_sha256: str


class SemanticMemory(Pingable, Protocol):
    """The vector index: one collection a space, named vectors `dense` and `bm25`, tenant-indexed payload.

    Every method may raise `TierUnavailable("semantic", …)`.
    """

    async def upsert(self, space: Space, points: Sequence[Point]) -> None:
        """Write points, making the space's collection on first use. Durable on return. Idempotent by point id.

        Raises:
            DimensionMismatch: a vector's size is not the space's.
        """
        ...

    async def delete(self, point_ids: Sequence[UUID], *, keep: Space | None = None) -> None:
        """Remove these points from every space, but for the space `keep`; absent ones are no error."""
        ...

    async def judge(self, point_id: UUID, standing: Standing) -> None:
        """Replace the standing of this point, in every space, and nothing else of it; an absent one is no error."""
        ...

    async def drop(self, space: Space) -> None:
        """Remove the space's collection with whatever is in it; an absent one is no error."""
        ...

    async def forget(self, scope: Scope) -> None:
        """Remove every point that `scope` admits, from every space."""
        ...

    async def search(self, space: Space, query: IndexQuery) -> tuple[Candidate, ...]:
        """The best `query.limit` candidates by falling `fused` score; ties by newest.

        `fused` is the score of `app.ranking`, from the candidate's own `dense` and `bm25`, both computed even if only one
        leg had found the point; the hit's `components` are its terms. Empty when the space has no collection.
        """
        ...

    async def spaces(self) -> tuple[Space, ...]:
        """The spaces that have a collection."""
        ...

    async def authors(self, space: Space, scope: Scope, limit: int) -> tuple[str, ...]:
        """Who wrote the messages that `scope` admits, the most frequent first, at most `limit`. Approximate counts."""
        ...

    async def count(self, space: Space | None = None, scope: Scope | None = None) -> int:
        """How many points there are, in one space or in all, within `scope` or at all."""
        ...

    async def present(self, point_ids: Sequence[UUID]) -> int:
        """How many of these points there are, over all spaces."""
        ...

    async def scroll(
        self, space: Space, *, after: UUID | None = None, limit: int = 1000, scope: Scope | None = None
    ) -> tuple[IndexedPoint, ...]:
        """The next points (that `scope` admits) by rising id, from after `after` on. Fewer than `limit` are the last."""
        ...

    async def lookup(self, space: Space, point_ids: Sequence[UUID]) -> tuple[IndexedPoint, ...]:
        """Those of these points that are there. Any order."""
        ...
