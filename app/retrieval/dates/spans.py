"""Spans of whole days and the arithmetic of the calendar (pure).

Every function raises ValueError or OverflowError for a day that no calendar has, or one outside the years 1 to 9999.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from enum import Enum, auto
from typing import Final, TypeAlias

_DAY: Final = timedelta(days=1)
_WEEK: Final = timedelta(days=7)
_MONTHS: Final = 12
_THIRDS: Final = 3
_WEEKEND_FROM: Final = 5
_LEAP_REACH_YEARS: Final = 8
"""How far the nearest 29 February can be: eight years around a century that has none."""
_PER_DAY: Final = {"hour": 24, "minute": 24 * 60}
_AROUND_DAYS: Final = 3
"""What "two weeks ago" or "around 8 May" leaves open to either side."""


@dataclass(frozen=True, slots=True, order=True)
class DateRange:
    """Days from `since` to `until`, both inside. `date.min` and `date.max` stand for an end that is open."""

    since: date
    until: date

    def __post_init__(self) -> None:
        if self.since > self.until:
            raise ValueError(f"{self.since} comes after {self.until}")


class Which(Enum):
    """Which of the occurrences of something that comes again and again."""

    LAST = auto()
    """The last one that is over."""
    RECENT = auto()
    """The last one that has begun."""
    THIS = auto()
    """The one that is going on, else the one of this year."""
    COMING = auto()
    """The first one that is not over."""
    NEXT = auto()
    """The first one that has not begun."""


Occurs: TypeAlias = Callable[[int], DateRange]
"""When something happens in a given year."""


def one_day(day: date) -> DateRange:
    return DateRange(day, day)


def month(year: int, number: int) -> DateRange:
    return DateRange(first := date(year, number, 1), _last_day(first))


def months(year: int, first: int, count: int) -> DateRange:
    """`count` months from month `first` of `year`, into the next year where they do not fit."""
    since = date(year, first, 1)
    return DateRange(since, _last_day(shifted_months(since, count - 1)))


def one_year(year: int) -> DateRange:
    return DateRange(date(year, 1, 1), date(year, 12, 31))


def week(day: date) -> DateRange:
    """Monday to Sunday."""
    monday = day - day.weekday() * _DAY
    return DateRange(monday, monday + 6 * _DAY)


def weekend(day: date) -> DateRange:
    """The Saturday and Sunday of the day's week."""
    monday = day - day.weekday() * _DAY
    return DateRange(monday + _WEEKEND_FROM * _DAY, monday + (_WEEKEND_FROM + 1) * _DAY)


def nearest_weekend(day: date) -> DateRange:
    """The weekend before a Monday or Tuesday, otherwise the one of the same week."""
    return weekend(day - 2 * _DAY)


def shifted_months(day: date, count: int) -> date:
    """The same day `count` months later, or the last day of a shorter month."""
    index = day.year * _MONTHS + day.month - 1 + count
    first = date(index // _MONTHS, index % _MONTHS + 1, 1)
    return first.replace(day=min(day.day, _last_day(first).day))


def shifted(day: date, count: int, unit: str) -> date:
    """`day` moved by `count` units, back when negative; hours and minutes move it by the days that they touch."""
    match unit:
        case "hour" | "minute":
            return day + count // _PER_DAY[unit] * _DAY
        case "month" | "year":
            return shifted_months(day, count * (_MONTHS if unit == "year" else 1))
        case "week" | "weekend":
            return day + count * _WEEK
        case _:
            return day + count * _DAY


def unit_at(day: date, unit: str, offset: int = 0) -> DateRange:
    """The calendar unit `offset` units from the one that holds `day`."""
    if unit == "quarter":
        day = shifted_months(day, 3 * offset)
        return months(day.year, day.month - (day.month - 1) % 3, 3)
    if unit == "decade":
        first = day.year - day.year % 10 + 10 * offset
        return DateRange(date(first, 1, 1), date(first + 9, 12, 31))
    there = shifted(day, offset, unit)
    whole = {"day": one_day, "week": week, "weekend": weekend}
    if unit in whole:
        return whole[unit](there)
    return month(there.year, there.month) if unit == "month" else one_year(there.year)


def removed(day: date, fewest: int, most: int, unit: str) -> DateRange:
    """What lies `fewest` to `most` units from `day`, before it when negative.

    As exact as people are: days are days, weeks leave three days to either side, months and years are calendar ones;
    hours end on one of two days.
    """
    near, far = sorted((fewest, most))
    if unit in _PER_DAY:
        return DateRange(day + near // _PER_DAY[unit] * _DAY, day - -far // _PER_DAY[unit] * _DAY)
    if unit == "week":
        return around(DateRange(day + near * _WEEK, day + far * _WEEK))
    return DateRange(unit_at(day, unit, near).since, unit_at(day, unit, far).until)


def around(span: DateRange) -> DateRange:
    return DateRange(span.since - _AROUND_DAYS * _DAY, span.until + _AROUND_DAYS * _DAY)


def just_before(span: DateRange, count: int, unit: str) -> DateRange:
    """The `count` units that end where `span` begins."""
    until = span.since - _DAY
    if unit == "weekend":
        return weekend(span.since - 6 * _DAY)
    return DateRange(shifted(span.since, -count, unit), until)


def just_after(span: DateRange, count: int, unit: str) -> DateRange:
    """The `count` units that begin where `span` ends."""
    if unit == "weekend":
        return weekend(span.until if span.until.weekday() < _WEEKEND_FROM else span.until + _WEEK)
    return DateRange(span.until + _DAY, shifted(span.until, count, unit))


def third(span: DateRange, number: int) -> DateRange:
    """The first, second or third (0, 1, 2) of a span: by months where they divide, otherwise by days."""
    if span.since.day == 1 and span.until == _last_day(span.until) and (count := _month_count(span)) % _THIRDS == 0:
        since = shifted_months(span.since, number * count // _THIRDS)
        return months(since.year, since.month, count // _THIRDS)
    days = (span.until - span.since).days + 1
    if days < _THIRDS:
        return span
    cuts = [span.since + timedelta(days=days * part // _THIRDS) for part in range(_THIRDS + 1)]
    return DateRange(cuts[number], cuts[number + 1] - _DAY)


def half(span: DateRange, number: int) -> DateRange:
    """The first or second half (0, 1) of a span."""
    if span == one_year(span.since.year):
        return months(span.since.year, 1 + 6 * number, 6)
    middle = span.since + (span.until - span.since) // 2
    return DateRange(span.since, middle) if number == 0 else DateRange(min(middle + _DAY, span.until), span.until)


def chosen(spans: Iterable[DateRange], today: date, which: Which) -> DateRange:
    """The one of `spans`, in order, that `which` means today."""
    found = _meant(list(spans), today, which)
    if not found:
        raise ValueError(f"none of them is {which.name} on {today}")
    return found[0]


def _meant(spans: Sequence[DateRange], today: date, which: Which) -> list[DateRange]:
    """Those of `spans` that `which` may mean today, the likeliest first."""
    match which:
        case Which.LAST:
            return [s for s in spans if s.until < today][-1:]
        case Which.RECENT:
            return [s for s in spans if s.since <= today][-1:]
        case Which.COMING:
            return [s for s in spans if s.until >= today]
        case Which.NEXT:
            return [s for s in spans if s.since > today]
        case Which.THIS:
            now = [s for s in spans if s.since <= today <= s.until]
            return now or [s for s in spans if s.since.year == today.year]


def yearly(occurs: Occurs, today: date) -> Iterator[DateRange]:
    """When something happened and will happen in the years around today, in order."""
    for year in range(today.year - _LEAP_REACH_YEARS, today.year + _LEAP_REACH_YEARS + 1):
        with suppress(ValueError, OverflowError):
            yield occurs(year)


def monthly(number: int, today: date) -> Iterator[DateRange]:
    """Every such day of a month in the years around today, in order."""
    for year in (today.year - 1, today.year, today.year + 1):
        for of_year in range(1, _MONTHS + 1):
            with suppress(ValueError):
                yield one_day(date(year, of_year, number))


def weekly(weekday: int, today: date) -> Iterator[DateRange]:
    """Every such weekday (Monday is 0) of the weeks around today, in order."""
    for offset in (-2, -1, 0, 1, 2):
        with suppress(ValueError, OverflowError):
            yield one_day(week(today + offset * _WEEK).since + weekday * _DAY)


def weekday_of(span: DateRange, weekday: int) -> DateRange:
    return one_day(week(span.since).since + weekday * _DAY)


def easter(year: int) -> date:
    """Easter Sunday in the Gregorian calendar (Meeus, Jones and Butcher; Nature 1876)."""
    a, b, c = year % 19, year // 100, year % 100
    h = (19 * a + b - b // 4 - (b - (b + 8) // 25 + 1) // 3 + 15) % 30
    rest = (32 + 2 * (b % 4) + 2 * (c // 4) - h - c % 4) % 7
    m = (a + 11 * h + 22 * rest) // 451
    number, day = divmod(h + rest - 7 * m + 114, 31)
    return date(year, number, day + 1)


def thanksgiving(year: int) -> date:
    """The fourth Thursday of November."""
    first = date(year, 11, 1)
    return first + ((3 - first.weekday()) % 7 + 21) * _DAY


def _last_day(of_month: date) -> date:
    return of_month.replace(day=monthrange(of_month.year, of_month.month)[1])


def _month_count(span: DateRange) -> int:
    return (span.until.year - span.since.year) * _MONTHS + span.until.month - span.since.month + 1
