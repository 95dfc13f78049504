"""Comparing the truth with the vector index, window by window (pure).

Records and points are read in pages by rising uid, from the same uid on. As far as every page reaches, nothing is missing
from any of them: that is a window, and within it each uid is looked at on all sides. The next window begins behind it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias, TypeVar
from uuid import UUID

from app.ports import Indexable, IndexedPoint, OutboxEntry
from app.records import FindingKind, RecordKind

Row: TypeAlias = Indexable | IndexedPoint
R = TypeVar("R", Indexable, IndexedPoint)


@dataclass(frozen=True, slots=True)
class Sides:
    """What is known of a range of uids: the records that belong into the index, and the points that are in it.

    `points` lie in the space that new vectors are meant for, `strays` in others.
    """

    records: tuple[Indexable, ...]
    points: tuple[IndexedPoint, ...]
    strays: tuple[IndexedPoint, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """The index is wrong about a record."""

    kind: FindingKind
    record_kind: RecordKind
    namespace: str
    uid: UUID


@dataclass(frozen=True, slots=True)
class Look:
    """What the truth said of some records: which of them belong into the index, and what is queued for any of them."""

    records: tuple[Indexable, ...] = ()
    entries: tuple[OutboxEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """`findings` hold; `pending` and `dead_letters` are differences that the outbox knows of."""

    findings: tuple[Finding, ...] = ()
    pending: int = 0
    dead_letters: int = 0


def reach(pages: Iterable[Sequence[Row]], limit: int) -> UUID | None:
    """How far all of these pages of at most `limit` rows reach; None when they reach to the end."""
    return min((page[-1].uid for page in pages if len(page) >= limit), default=None)


def up_to(end: UUID | None, page: Iterable[R]) -> tuple[R, ...]:
    """What of a page is not behind `end`; all of it when that is None."""
    return tuple(row for row in page if end is None or row.uid <= end)


def compare(sides: Sides) -> tuple[Finding, ...]:
    """What the index is wrong about, by rising uid; at most one finding a record."""
    records, points, strays = _by_uid(sides.records), _by_uid(sides.points), _by_uid(sides.strays)
    findings = []
    for uid in sorted(records.keys() | points.keys() | strays.keys()):
        kind = _judge(records[uid], points[uid], strays[uid])
        if kind is not None:
            known = next(chain[Row](records[uid], points[uid], strays[uid]))
            findings.append(Finding(kind, known.kind, known.namespace, uid))
    return tuple(findings)


def confirm(before: Look, sides: Sides, after: Look) -> Verdict:
    """Which findings of `sides`, looked up by uid between two looks at the truth, are not due to somebody's work just now.

    What is queued, or was when either look was taken, is on its way; what changed between them will be seen next time.
    """
    entries = {entry.record_uid: entry for look in (before, after) for entry in look.entries}
    steady = frozenset(after.records)
    changed = {record.uid for record in frozenset(before.records) ^ steady}
    suspects = [finding for finding in compare(sides) if finding.uid not in changed]
    queued = [entries[finding.uid] for finding in suspects if finding.uid in entries]
    return Verdict(
        findings=tuple(finding for finding in suspects if finding.uid not in entries),
        pending=sum(not entry.is_dead for entry in queued),
        dead_letters=sum(entry.is_dead for entry in queued),
    )


def _judge(records: Sequence[Indexable], points: Sequence[IndexedPoint], strays: Sequence[IndexedPoint]) -> FindingKind | None:
    if not records:
        return FindingKind.ORPHANED
    if strays:
        return FindingKind.WRONG_SPACE
    if not points:
        return FindingKind.MISSING
    # Two records of different kinds can share an id; their point can only be one of them.
    wanted = {record.content_sha256 for record in records}
    return None if None in wanted or points[0].content_sha256 in wanted else FindingKind.STALE


def _by_uid(rows: Iterable[R]) -> Mapping[UUID, Sequence[R]]:
    grouped: defaultdict[UUID, list[R]] = defaultdict(list)
    for row in rows:
        grouped[row.uid].append(row)
    return grouped
