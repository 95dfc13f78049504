"""Putting the tiers' answers together: one entry a record, best first, and which of them are given (pure)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeAlias
from uuid import UUID

from app.records import Hit, Query, RecordKind, Scope

_SHARES: Final[Mapping[RecordKind, float]] = {RecordKind.EPISODE: 0.3, RecordKind.KNOWLEDGE: 0.5}
"""Of the places, where nothing else is asked for: a summary says what its messages say, and must not push them out."""

Record: TypeAlias = tuple[RecordKind, Scope, UUID]


def merge(hits: Iterable[Hit]) -> tuple[Hit, ...]:
    """By falling score, ties by newest; a record found twice counts once, at its better score."""
    best: dict[Record, Hit] = {}
    for hit in hits:
        known = best.get(record := record_of(hit))
        if known is None or hit.score > known.score:
            best[record] = hit
    return tuple(sorted(best.values(), key=_rank))


def select(hits: Iterable[Hit], query: Query) -> tuple[Hit, ...]:
    """The best `query.limit` hits within the limits of their kinds, exact repetitions collapsed.

    Limits that the query states are kept. Those that it does not only make room: places that nothing else takes are filled.
    """
    found = merge(hits)
    if query.is_collapsed:
        found = collapsed(found)
    within, beyond = _parted(found, _limits(query))
    kept = within[: query.limit]
    if not query.kind_limits:
        kept = sorted((*kept, *beyond[: query.limit - len(kept)]), key=_rank)
    return tuple(kept)


def is_enough(hits: Iterable[Hit], query: Query) -> bool:
    """Whether the limit is reached within the limits of the kinds."""
    found = merge(hits)
    return len(_parted(collapsed(found) if query.is_collapsed else found, _limits(query))[0]) >= query.limit


def collapsed(hits: Sequence[Hit]) -> tuple[Hit, ...]:
    """Of hits of one kind by one author with the same text the first stays, and names the others as its duplicates."""
    same: dict[tuple[RecordKind, str | None, str], list[Hit]] = {}
    for hit in hits:
        same.setdefault((hit.kind, hit.author, hit.text), []).append(hit)
    return tuple(
        replace(first, duplicates=tuple(other.id for other in others)) if others else first for first, *others in same.values()
    )


def grouped(hits: Sequence[Hit]) -> tuple[Hit, ...]:
    """Hits of the same episode side by side, each group where its best hit stands; an episode stands with its messages."""
    groups: dict[UUID, list[Hit]] = {}
    for hit in hits:
        groups.setdefault(hit.episode_id or hit.id, []).append(hit)
    return tuple(hit for group in groups.values() for hit in group)


def _rank(hit: Hit) -> tuple[float, float]:
    return -hit.score, -hit.created_at.timestamp()


def _limits(query: Query) -> Mapping[RecordKind, int]:
    if query.kind_limits:
        return dict(query.kind_limits)
    if RecordKind.MESSAGE not in query.kinds:
        return {}
    return {kind: math.ceil(share * query.limit) for kind, share in _SHARES.items()}


def _parted(hits: Sequence[Hit], limits: Mapping[RecordKind, int]) -> tuple[list[Hit], list[Hit]]:
    """Those within the limits of their kinds, and those beyond; both in order."""
    taken: Counter[RecordKind] = Counter()
    within: list[Hit] = []
    beyond: list[Hit] = []
    for hit in hits:
        taken[hit.kind] += 1
        (within if taken[hit.kind] <= limits.get(hit.kind, len(hits)) else beyond).append(hit)
    return within, beyond


def record_of(hit: Hit) -> Record:
    """Which record this is, in whatever tier it was found."""
    return hit.kind, Scope(namespace=hit.scope.namespace, session_id=hit.scope.session_id), hit.id
