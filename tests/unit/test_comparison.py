"""Comparing the truth with the index: exact, window by window, and fair to whoever is at work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from app.consolidation.comparison import Finding, Look, Row, Sides, Verdict, compare, confirm, reach, up_to
from app.ports import Indexable, IndexedPoint, OutboxEntry, OutboxOp
from app.records import FindingKind, RecordKind

HASHES = st.sampled_from(["a", "b"])


@dataclass(frozen=True, slots=True)
class World:
    """By number: the text each record has (None: one the store does not know), is indexed with, and lies astray with."""

    records: dict[int, str | None]
    points: dict[int, str]
    strays: tuple[dict[int, str], ...]

    @property
    def sides(self) -> Sides:
        strays = tuple(p for space in self.strays for p in points(space))
        return Sides(records(self.records), points(self.points), strays)


NUMBERS = st.integers(0, 40)
WORLDS = st.builds(
    World,
    st.dictionaries(NUMBERS, st.one_of(st.none(), HASHES)),
    st.dictionaries(NUMBERS, HASHES),
    st.lists(st.dictionaries(NUMBERS, HASHES), max_size=2).map(tuple),
)


def records(world: dict[int, str | None]) -> tuple[Indexable, ...]:
    return tuple(Indexable(UUID(int=n), RecordKind.MESSAGE, "acme", sha) for n, sha in sorted(world.items()))


def points(world: dict[int, str]) -> tuple[IndexedPoint, ...]:
    return tuple(IndexedPoint(UUID(int=n), RecordKind.MESSAGE, "acme", sha) for n, sha in sorted(world.items()))


def finding(kind: FindingKind, number: int) -> Finding:
    return Finding(kind, RecordKind.MESSAGE, "acme", UUID(int=number))


def expected(world: World) -> list[Finding]:
    """One record after the other, by the words of `FindingKind`."""
    astray = {number for space in world.strays for number in space}
    found = []
    for number in sorted({*world.records, *world.points, *astray}):
        if number not in world.records:
            found.append(finding(FindingKind.ORPHANED, number))
        elif number in astray:
            found.append(finding(FindingKind.WRONG_SPACE, number))
        elif number not in world.points:
            found.append(finding(FindingKind.MISSING, number))
        elif world.records[number] not in {None, world.points[number]}:
            found.append(finding(FindingKind.STALE, number))
    return found


@given(WORLDS)
def test_each_record_is_judged_by_what_all_sides_say(world: World) -> None:
    """Exactly what is wrong is found, each record once, by rising uid."""
    assert list(compare(world.sides)) == expected(world)


@given(WORLDS, st.integers(1, 7))
def test_windows_find_what_one_look_at_everything_finds(world: World, limit: int) -> None:
    """However small the pages, and however unevenly the sides lie, nothing is skipped and nothing is seen twice."""
    found: list[Finding] = []
    cursor: UUID | None = None
    while True:
        record_page, *pages = (page(side, cursor, limit) for side in all_sides(world))
        end = reach([record_page, *pages], limit)
        point_page, *stray_pages = (up_to(end, points_of(p)) for p in pages)
        strays = tuple(p for stray_page in stray_pages for p in stray_page)
        found.extend(compare(Sides(up_to(end, records_of(record_page)), point_page, strays)))
        if end is None:
            break
        assert cursor is None or end > cursor
        cursor = end
    assert found == expected(world)


def all_sides(world: World) -> list[Sequence[Row]]:
    return [records(world.records), points(world.points), *map(points, world.strays)]


def page(side: Sequence[Row], after: UUID | None, limit: int) -> list[Row]:
    return [row for row in side if after is None or row.uid > after][:limit]


def records_of(rows: Sequence[Row]) -> list[Indexable]:
    return [row for row in rows if isinstance(row, Indexable)]


def points_of(rows: Sequence[Row]) -> list[IndexedPoint]:
    return [row for row in rows if isinstance(row, IndexedPoint)]


def test_a_record_is_named_as_the_truth_names_it() -> None:
    """Kind and namespace of a finding are the record's; a point without a record is all there is to go by."""
    uid, other = UUID(int=1), UUID(int=2)
    sides = Sides(
        (Indexable(uid, RecordKind.EPISODE, "acme", "a"),),
        (IndexedPoint(uid, RecordKind.MESSAGE, "globex", "b"), IndexedPoint(other, RecordKind.KNOWLEDGE, "globex", "b")),
    )
    assert compare(sides) == (
        Finding(FindingKind.STALE, RecordKind.EPISODE, "acme", uid),
        Finding(FindingKind.ORPHANED, RecordKind.KNOWLEDGE, "globex", other),
    )


def test_two_records_that_share_an_id_share_a_point() -> None:
    """The index holds one of them, and is not called stale for the other's sake."""
    uid = UUID(int=1)
    both = (Indexable(uid, RecordKind.EPISODE, "acme", "a"), Indexable(uid, RecordKind.KNOWLEDGE, "acme", "b"))
    assert compare(Sides(both, (IndexedPoint(uid, RecordKind.KNOWLEDGE, "acme", "b"),))) == ()


# ── looking again ─────────────────────────────────────────────────────────────────────────────────────────────────


def queued(number: int, *, is_dead: bool = False) -> OutboxEntry:
    return OutboxEntry(OutboxOp.UPSERT, RecordKind.MESSAGE, "acme", UUID(int=number), is_dead=is_dead)


STEADY = Look(records({1: "a", 2: "a"}))
WRONG = Sides(STEADY.records, points({2: "b", 3: "a"}))
"""Record 1 is missing, 2 is stale, 3 is orphaned."""
ALL_THREE = (finding(FindingKind.MISSING, 1), finding(FindingKind.STALE, 2), finding(FindingKind.ORPHANED, 3))


def test_what_stays_wrong_is_a_finding() -> None:
    """Between two looks that agree, with nothing queued, every difference holds."""
    assert confirm(STEADY, WRONG, STEADY) == Verdict(ALL_THREE)


def test_what_is_queued_is_on_its_way() -> None:
    """A record with an entry at either look is pending, or a dead letter, and no finding."""
    before = replace(STEADY, entries=(queued(1),))
    after = replace(STEADY, entries=(queued(3, is_dead=True), queued(7)))
    assert confirm(before, WRONG, after) == Verdict(ALL_THREE[1:2], pending=1, dead_letters=1)


def test_what_changes_under_our_eyes_is_left_alone() -> None:
    """A record written, changed or deleted between the two looks is somebody's work, and not judged."""
    before = Look(records({2: "b", 3: "a"}))
    assert confirm(before, WRONG, STEADY) == Verdict()
