"""Dates seen from the day of asking: `last May`, `two weeks ago`, `the past three months`, `yesterday` (pure)."""

from __future__ import annotations

from typing import Final

from app.retrieval.dates.reading import (
    OFFSETS,
    WHICH,
    WHICH_ONE,
    Found,
    Manner,
    Reading,
    Rule,
    amount,
    before,
    ends_with,
    nearest,
    occurs_of,
    rule,
    tense,
)
from app.retrieval.dates.spans import (
    DateRange,
    Which,
    chosen,
    just_after,
    months,
    one_day,
    removed,
    shifted,
    unit_at,
    week,
    weekday_of,
    weekly,
)
from app.retrieval.dates.words import (
    AMOUNT,
    HOLIDAY,
    MONTH,
    NO_PART,
    QUARTERS,
    SEASON,
    UNIT,
    WEEKDAY,
    WEEKDAYS,
    unnamed,
)

_NAME: Final = rf"\b(?P<name>{unnamed(MONTH)}|{unnamed(SEASON)}|{unnamed(HOLIDAY)})"
_THE: Final = ends_with(r"\b(?:in|over|during|within|for)\s+the\s+")
"""`over the last year` ends today, `last year` has ended."""
_DAY_WORDS: Final = {"yesterday": -1, "today": 0, "tonight": 0, "tomorrow": 1}


def _which_of_year(match: Found, manner: Manner) -> tuple[Reading, ...]:
    word = match["name"].casefold()
    if word in manner.names:
        return ()
    return nearest(occurs_of(word), WHICH_ONE[match["which"].casefold()])


def _which_weekday(match: Found, manner: Manner) -> tuple[Reading, ...]:
    number, which = WEEKDAYS[match["weekday"].casefold()], WHICH_ONE[match["which"].casefold()]
    if match["weekday"].casefold() in manner.names:
        return ()
    if which is Which.THIS:
        return (lambda today: weekday_of(week(today), number),)
    return (lambda today: chosen(weekly(number, today), today, which),)


def _weekday_of_week(match: Found, _: Manner) -> tuple[Reading, ...]:
    number, offset = WEEKDAYS[match["weekday"].casefold()], OFFSETS[WHICH_ONE[match["which"].casefold()]]
    return (lambda today: weekday_of(unit_at(today, "week", offset), number),)


def _calendar_unit(match: Found, _: Manner) -> tuple[Reading, ...]:
    unit, offset = match["calendar_unit"].casefold(), OFFSETS[WHICH_ONE[match["which"].casefold()]]
    is_window = match["which"].casefold() == "past" or (offset < 0 and _THE.search(before(match)))
    if is_window and unit in ("week", "month", "year"):
        return (lambda today: DateRange(shifted(today, -1, unit), today),)
    return (lambda today: unit_at(today, unit, offset),)


def _before_last(match: Found, _: Manner) -> tuple[Reading, ...]:
    return (lambda today: unit_at(today, match["unit"].casefold(), -2),)


def _quarter(match: Found, manner: Manner) -> tuple[Reading, ...]:
    number = QUARTERS[match["quarter"].casefold()]
    return nearest(lambda year: months(year, 3 * number - 2, 3), tense(manner))


def _part_of_day(match: Found, _: Manner) -> tuple[Reading, ...]:
    offset = OFFSETS[WHICH_ONE[match["which"].casefold()]]
    return (lambda today: unit_at(today, "day", offset),)


def _ago(match: Found, _: Manner) -> tuple[Reading, ...]:
    (fewest, most), unit = amount(match), match["unit"].casefold()
    return (lambda today: removed(today, -fewest, -most, unit),)


def _from_now(match: Found, _: Manner) -> tuple[Reading, ...]:
    (fewest, most), unit = amount(match), match["unit"].casefold()
    return (lambda today: removed(today, fewest, most, unit),)


def _window(match: Found, _: Manner) -> tuple[Reading, ...]:
    most, unit = amount(match)[1], match["unit"].casefold()
    if WHICH_ONE[match["which"].casefold()] is Which.NEXT:
        return (lambda today: just_after(one_day(today), most, unit),)
    return (lambda today: DateRange(shifted(today, -most, unit), today),)


def _day_word(match: Found, _: Manner) -> tuple[Reading, ...]:
    return (lambda today: unit_at(today, "day", _DAY_WORDS[match["word"].casefold()]),)


def _the_other_day(_: Found, __: Manner) -> tuple[Reading, ...]:
    return (lambda today: removed(today, -1, -7, "day"),)


RELATIVE: Final[tuple[Rule, ...]] = (
    rule(rf"{WHICH}{_NAME}", _which_of_year),
    rule(rf"{WEEKDAY}\s+(?:of\s+)?{WHICH}week\b", _weekday_of_week),
    rule(rf"{WHICH}week(?:\s+on)?\s+{WEEKDAY}", _weekday_of_week),
    rule(rf"{WHICH}{WEEKDAY}{NO_PART}", _which_weekday),
    rule(rf"{AMOUNT}\s+(?P<unit>day|week|weekend|month|year|hour|minute)s?\s+(?:ago|back)\b", _ago),
    rule(rf"{AMOUNT}\s+{UNIT}\s+from\s+(?:now|today)\b", _from_now),
    rule(rf"{WHICH}{AMOUNT}\s+(?P<unit>day|week|weekend|month|year|hour|minute)s?\b{NO_PART}", _window),
    rule(rf"\b{UNIT}\s+before\s+last\b", _before_last),
    rule(r"(?<=\bin\s)(?P<quarter>Q[1-4])\b", _quarter),
    rule(rf"{WHICH}(?P<calendar_unit>week|weekend|month|quarter|year|decade)\b{NO_PART}", _calendar_unit),
    rule(r"\b(?P<which>last|this)\s+(?:night|evening|morning|afternoon)\b", _part_of_day),
    rule(r"\b(?P<word>yesterday|today|tonight|tomorrow)\b", _day_word),
    rule(r"\bthe\s+other\s+day\b", _the_other_day),
)
