"""Dates with a day or a year of their own: `2023-05-08`, `8 May`, `the summer of 2022`, `Q2 2023` (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Final

from app.retrieval.dates.reading import (
    Found,
    Manner,
    Reading,
    Rule,
    before,
    ends_with,
    in_year,
    month_number,
    nearest,
    rule,
    tense,
)
from app.retrieval.dates.spans import (
    DateRange,
    months,
    one_day,
)
from app.retrieval.dates.words import (
    COUNTED,
    DAY,
    HOLIDAY,
    HOLIDAYS,
    MONTH,
    MONTH_ABROAD,
    NAMES_AND_VERBS,
    NO_FIGURE_BEFORE,
    QUARTERS,
    SEASON,
    SEASONS,
    WEEKDAY,
    YEAR,
    day_span,
    month_span,
)

_ON: Final = ends_with(r"\b(?:on|since|before|after|until|till|by|from|around|between)\s+")
_IN: Final = r"(?:,\s*|\s+)(?:(?:of|in)\s+)?"
_TO: Final = r"\s*(?:to|until|till|through|-)\s*(?:the\s+)?"
_OWN_YEAR: Final = rf"(?:{_IN}{YEAR})?"
_ABROAD_YEAR: Final = rf"(?:,\s*|\s+(?:(?:of|in|de|del)\s+)?){YEAR}"
_FIRST_DAY: Final = r"(?P<first_day>[0-3]?[0-9])(?:st|nd|rd|th)?"
_ON_WEEKDAY: Final = rf"(?:{WEEKDAY},?\s+(?:the\s+)?)?"


def _figures(match: Found, _: Manner) -> tuple[Reading, ...]:
    year, number, day = int(match["year"]), int(match["number"]), match["day"]
    occurs = day_span(number, int(day)) if day else month_span(number)
    return (lambda _: occurs(year),)


def _slashed(match: Found, _: Manner) -> tuple[Reading, ...]:
    """Day first and, where that is a date as well, month first; with dots only day first."""
    first, second, year = int(match["first"]), int(match["second"]), int(match["full_year"])
    year += 2000 if year < 100 else 0  # noqa: PLR2004 - two digits are of this century
    pairs = [(second, first)] if match["sign"] == "." else [(second, first), (first, second)]
    return tuple(_always(one_day(day)) for day in dict.fromkeys(_valid(year, pairs)))


def _always(span: DateRange) -> Reading:
    return lambda _: span


def _valid(year: int, pairs: list[tuple[int, int]]) -> Iterator[date]:
    for number, day in pairs:
        try:
            yield date(year, number, day)
        except ValueError:
            continue


def _calendar_day(match: Found, manner: Manner) -> tuple[Reading, ...]:
    occurs = day_span(month_number(match), int(match["day"]))
    if match["year"] or match["relative_year"]:
        return in_year(occurs, match)
    return nearest(occurs, tense(manner)) if match["ordinal"] or _is_surely_month(match) else ()


def _is_surely_month(match: Found) -> bool:
    """`8 May` and `on may 8`, but not `8 may come` or `march 10 miles`."""
    return not (match["month"].islower() and match["month"] in NAMES_AND_VERBS) or bool(_ON.search(before(match)))


def _days_of_month(match: Found, manner: Manner) -> tuple[Reading, ...]:
    number = month_number(match)
    first, last = int(match["first_day"]), int(match["day"])

    def occurs(year: int) -> DateRange:
        return DateRange(date(year, number, first), date(year, number, last))

    is_dated = match["year"] or match["relative_year"]
    return in_year(occurs, match) if is_dated else nearest(occurs, tense(manner))


def _month_of_year(match: Found, _: Manner) -> tuple[Reading, ...]:
    return in_year(month_span(month_number(match)), match)


def _season_of_year(match: Found, _: Manner) -> tuple[Reading, ...]:
    return in_year(SEASONS[match["season"].casefold()], match)


def _holiday_of_year(match: Found, _: Manner) -> tuple[Reading, ...]:
    return in_year(HOLIDAYS[match["holiday"].casefold()], match)


def _quarter_of_year(match: Found, _: Manner) -> tuple[Reading, ...]:
    number = QUARTERS[(match["quarter"] or match["nth"]).casefold()]
    return in_year(lambda year: months(year, 3 * number - 2, 3), match)


DATED: Final[tuple[Rule, ...]] = (
    rule(rf"{NO_FIGURE_BEFORE}(?P<year>[0-9]{{4}})([-/.])(?P<number>[01][0-9])(?:\2(?P<day>[0-3][0-9]))?(?![0-9/-])", _figures),
    rule(r"(?P<year>[0-9]{4})\s?[年년]\s?(?P<number>[0-9]{1,2})\s?[月월](?:\s?(?P<day>[0-9]{1,2})\s?[日号號일])?", _figures),
    rule(
        rf"{NO_FIGURE_BEFORE}(?P<first>[0-3]?[0-9])(?P<sign>[/.-])(?P<second>[0-3]?[0-9])(?P=sign)"
        r"(?P<full_year>(?:19|20)?[0-9]{2})(?![\w/-]|\.[0-9])",
        _slashed,
    ),
    rule(rf"(?<=\bbetween\s){_FIRST_DAY}\s+and\s+(?:the\s+)?{DAY}\s+(?:of\s+)?{MONTH}{_OWN_YEAR}", _days_of_month),
    rule(rf"{NO_FIGURE_BEFORE}{_FIRST_DAY}{_TO}{DAY}\s+(?:of\s+)?{MONTH}{_OWN_YEAR}", _days_of_month),
    rule(rf"\b{MONTH}\s+{_FIRST_DAY}{_TO}{DAY}(?![\w:]){COUNTED}{_OWN_YEAR}", _days_of_month),
    rule(rf"{_ON_WEEKDAY}{NO_FIGURE_BEFORE}{DAY}\.?\s+(?:of\s+|de\s+)?{MONTH_ABROAD}{_ABROAD_YEAR}", _calendar_day),
    rule(rf"{_ON_WEEKDAY}{NO_FIGURE_BEFORE}{DAY}\s+(?:of\s+)?{MONTH}{_OWN_YEAR}", _calendar_day),
    rule(rf"{_ON_WEEKDAY}\b{MONTH}\s+(?:the\s+)?{DAY}(?![\w:]){COUNTED}{_OWN_YEAR}", _calendar_day),
    rule(rf"\b{MONTH_ABROAD}{_ABROAD_YEAR}", _month_of_year),
    rule(rf"\b{SEASON}{_IN}{YEAR}", _season_of_year),
    rule(rf"\b{HOLIDAY}{_IN}{YEAR}", _holiday_of_year),
    rule(rf"\b(?:(?P<quarter>Q[1-4])|(?P<nth>first|second|third|fourth|last)\s+quarter){_IN}{YEAR}", _quarter_of_year),
    rule(rf"\b(?P<relative_year>last|this|next)\s+year\s+in\s+{MONTH}", _month_of_year),
)
