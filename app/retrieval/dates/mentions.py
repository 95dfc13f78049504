"""Finds the dates that a text mentions on their own: "8 May 2023", "last summer", "two weeks ago", "yesterday" (pure).

A table of rules, the more telling first: a rule reads only what none before it has read. What is said around a mention
(`since`, `between … and`, `early`) is read in `around`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Final, TypeAlias

from app.retrieval.dates.spans import (
    DateRange, Occurs, Which, chosen, just_after, monthly, months, one_day, one_year,
    removed, shifted, unit_at, week, weekday_of, weekly, yearly,
)  # fmt: skip
from app.retrieval.dates.words import (
    AMOUNT, AMOUNTS, CLAUSE_END, COUNTED, DAY, HOLIDAY, HOLIDAYS, MONTH, MONTH_ABROAD, MONTHS, MONTHS_ABROAD,
    NAMES_AND_VERBS, NO_FIGURE_BEFORE, NUMBERED_YEAR, PERIOD_OF, QUARTERS, SEASON, SEASONS, UNIT, WEEKDAY, WEEKDAYS, YEAR,
    day_span, month_span,
)  # fmt: skip

Reading: TypeAlias = Callable[[date], DateRange]
"""The days that are meant, seen from a day. Raises ValueError or OverflowError when no calendar has them."""
_Match: TypeAlias = re.Match[str]


@dataclass(frozen=True, slots=True)
class Manner:
    """How the question speaks: of the future, of what happens again and again, and of whom."""

    is_ahead: bool = False
    is_habit: bool = False
    names: frozenset[str] = frozenset()
    """Words of the participants' names, casefolded."""


@dataclass(frozen=True, slots=True)
class Mention:
    """A place in the text and its readings: one, or two of an ambiguous date. `year` is the one that it states."""

    start: int
    end: int
    readings: tuple[Reading, ...]
    year: int | None = None


_Rule: TypeAlias = tuple[re.Pattern[str], Callable[[_Match, Manner], tuple[Reading, ...]]]

_WHICH: Final = r"\b(?P<which>last|previous|past|this|current|next|coming|upcoming)\s+"
_WHICH_ONE: Final = {
    "last": Which.LAST, "previous": Which.LAST, "past": Which.LAST, "this": Which.THIS, "current": Which.THIS,
    "next": Which.NEXT, "coming": Which.NEXT, "upcoming": Which.NEXT,
}  # fmt: skip
_OFFSETS: Final = {Which.LAST: -1, Which.THIS: 0, Which.NEXT: 1}
_DAY_WORDS: Final = {"yesterday": -1, "today": 0, "tonight": 0, "tomorrow": 1}
_WORD_BEFORE: Final = 60
"""Characters of text that are looked at in front of a word to see what it is."""


def mentions(text: str, manner: Manner) -> list[Mention]:
    """All mentions in the order of the text; none overlaps another."""
    taken: list[Mention] = []
    for pattern, read in _RULES:
        for match in pattern.finditer(text):
            if any(m.start < match.end() and match.start() < m.end for m in taken):
                continue
            if readings := read(match, manner):
                taken.append(Mention(match.start(), match.end(), readings, _stated_year(match)))
    return sorted(taken, key=lambda mention: mention.start)


def amount(match: _Match) -> tuple[int, int]:
    """The fewest and the most that the match's amount stands for; one where none is said."""
    words = (match["amount"] or "one").casefold().removesuffix("of").split()
    return (int(words[-1]),) * 2 if words[-1].isdigit() else AMOUNTS[words[-1]]


def before(match: _Match) -> str:
    """The text just in front of a match."""
    return match.string[max(0, match.start() - _WORD_BEFORE) : match.start()]


def _stated_year(match: _Match) -> int | None:
    stated = match.groupdict().get("year")
    return int(stated) if stated else None


def _year(match: _Match, today: date) -> int:
    if (stated := _stated_year(match)) is not None:
        return stated
    return today.year + _OFFSETS[_WHICH_ONE[match["relative_year"].casefold()]]


def _in_year(occurs: Occurs, match: _Match) -> tuple[Reading, ...]:
    return (lambda today: occurs(_year(match, today)),)


def _nearest(occurs: Occurs, which: Which) -> tuple[Reading, ...]:
    return (lambda today: chosen(yearly(occurs, today), today, which),)


def _bare(manner: Manner) -> Which:
    return Which.COMING if manner.is_ahead else Which.RECENT


# Dates in figures ------------------------------------------------------------------------------------------------------


def _figures(match: _Match, _: Manner) -> tuple[Reading, ...]:
    year, number, day = int(match["year"]), int(match["number"]), match["day"]
    occurs = day_span(number, int(day)) if day else month_span(number)
    return (lambda _: occurs(year),)


def _slashed(match: _Match, _: Manner) -> tuple[Reading, ...]:
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


# Dates in words --------------------------------------------------------------------------------------------------------


def _month_number(match: _Match) -> int:
    word = match["month"].casefold()
    return MONTHS.get(word) or MONTHS_ABROAD[word]


def _calendar_day(match: _Match, manner: Manner) -> tuple[Reading, ...]:
    occurs = day_span(_month_number(match), int(match["day"]))
    if match["year"] or match["relative_year"]:
        return _in_year(occurs, match)
    return _nearest(occurs, _bare(manner)) if match["ordinal"] or _is_surely_month(match) else ()


def _is_surely_month(match: _Match) -> bool:
    """`8 May` and `on may 8`, but not `8 may come` or `march 10 miles`."""
    return not (match["month"].islower() and match["month"] in NAMES_AND_VERBS) or bool(_ON.search(before(match)))


def _days_of_month(match: _Match, manner: Manner) -> tuple[Reading, ...]:
    number = _month_number(match)
    first, last = int(match["first_day"]), int(match["day"])

    def occurs(year: int) -> DateRange:
        return DateRange(date(year, number, first), date(year, number, last))

    is_dated = match["year"] or match["relative_year"]
    return _in_year(occurs, match) if is_dated else _nearest(occurs, _bare(manner))


def _month_of_year(match: _Match, _: Manner) -> tuple[Reading, ...]:
    return _in_year(month_span(_month_number(match)), match)


def _season_of_year(match: _Match, _: Manner) -> tuple[Reading, ...]:
    return _in_year(SEASONS[match["season"].casefold()], match)


def _holiday_of_year(match: _Match, _: Manner) -> tuple[Reading, ...]:
    return _in_year(HOLIDAYS[match["holiday"].casefold()], match)


def _quarter_of_year(match: _Match, _: Manner) -> tuple[Reading, ...]:
    number = QUARTERS[(match["quarter"] or match["nth"]).casefold()]
    return _in_year(lambda year: months(year, 3 * number - 2, 3), match)


# Seen from today -------------------------------------------------------------------------------------------------------


def _which_of_year(match: _Match, manner: Manner) -> tuple[Reading, ...]:
    word = match["name"].casefold()
    if word in manner.names:
        return ()
    return _nearest(_occurs(word), _WHICH_ONE[match["which"].casefold()])


def _occurs(word: str) -> Occurs:
    return month_span(MONTHS[word]) if word in MONTHS else (SEASONS.get(word) or HOLIDAYS[word])


def _which_weekday(match: _Match, manner: Manner) -> tuple[Reading, ...]:
    number, which = WEEKDAYS[match["weekday"].casefold()], _WHICH_ONE[match["which"].casefold()]
    if match["weekday"].casefold() in manner.names:
        return ()
    if which is Which.THIS:
        return (lambda today: weekday_of(week(today), number),)
    return (lambda today: chosen(weekly(number, today), today, which),)


def _weekday_of_week(match: _Match, _: Manner) -> tuple[Reading, ...]:
    number, offset = WEEKDAYS[match["weekday"].casefold()], _OFFSETS[_WHICH_ONE[match["which"].casefold()]]
    return (lambda today: weekday_of(unit_at(today, "week", offset), number),)


def _calendar_unit(match: _Match, _: Manner) -> tuple[Reading, ...]:
    unit, offset = match["calendar_unit"].casefold(), _OFFSETS[_WHICH_ONE[match["which"].casefold()]]
    if match["which"].casefold() == "past" and unit != "weekend":
        return (lambda today: DateRange(shifted(today, -1, unit), today),)
    return (lambda today: unit_at(today, unit, offset),)


def _part_of_day(match: _Match, _: Manner) -> tuple[Reading, ...]:
    offset = _OFFSETS[_WHICH_ONE[match["which"].casefold()]]
    return (lambda today: unit_at(today, "day", offset),)


def _ago(match: _Match, _: Manner) -> tuple[Reading, ...]:
    (fewest, most), unit = amount(match), match["unit"].casefold()
    return (lambda today: removed(today, -fewest, -most, unit),)


def _from_now(match: _Match, _: Manner) -> tuple[Reading, ...]:
    (fewest, most), unit = amount(match), match["unit"].casefold()
    return (lambda today: removed(today, fewest, most, unit),)


def _window(match: _Match, _: Manner) -> tuple[Reading, ...]:
    (_, most), unit = amount(match), match["unit"].casefold()
    if _WHICH_ONE[match["which"].casefold()] is Which.NEXT:
        return (lambda today: just_after(one_day(today), most, unit),)
    return (lambda today: DateRange(shifted(today, -most, unit), today),)


def _day_word(match: _Match, _: Manner) -> tuple[Reading, ...]:
    return (lambda today: unit_at(today, "day", _DAY_WORDS[match["word"].casefold()]),)


def _the_other_day(_: _Match, __: Manner) -> tuple[Reading, ...]:
    return (lambda today: removed(today, -1, -7, "day"),)


# Names that stand alone ------------------------------------------------------------------------------------------------



def _plain_year(match: _Match, _: Manner) -> tuple[Reading, ...]:
    """`in 2023`, and `the 2023 trip` from the years on that are seldom part of a title."""
    year, ahead = int(match["year"]), before(match)
    is_owned = year >= _FIRST_OWNED_YEAR and _OWNS.search(ahead) and _NOUN.match(match.string, match.end())
    return (lambda _: one_year(year),) if is_owned or _SAYS_YEAR.search(ahead) else ()


def _years(match: _Match, _: Manner) -> tuple[Reading, ...]:
    first, last = int(match["first_year"]), int(match["last_year"])
    return (lambda _: DateRange(date(first, 1, 1), date(last, 12, 31)),)


def _decade(match: _Match, _: Manner) -> tuple[Reading, ...]:
    tens = int(match["tens"])
    century = int(match["century"] or (_THIS_CENTURY if tens <= _LAST_TENS_OF_OURS else _THIS_CENTURY - 1))
    first = century * 100 + tens
    return (lambda _: DateRange(date(first, 1, 1), date(first + 9, 12, 31)),)


def _bare_month(match: _Match, manner: Manner) -> tuple[Reading, ...]:
    word = match["month"].casefold()
    if word in manner.names or not _is_month(word, match):
        return ()
    return _nearest(month_span(MONTHS[word]), _bare(manner))


def _is_month(word: str, match: _Match) -> bool:
    """Whether it stands where a month stands; a word that is a name or a verb as well has to prove more."""
    ahead, is_at_end = before(match), bool(_CLAUSE_END.match(match.string, match.end()))
    if word not in NAMES_AND_VERBS:
        return bool(_BEFORE_MONTH.search(ahead))
    if _PERSON_GOES_ON.match(match.string, match.end()):
        return False
    return bool(_ONLY_BEFORE_MONTH.search(ahead) or (is_at_end and _BEFORE_MONTH_OR_PERSON.search(ahead)))


def _bare_weekday(match: _Match, manner: Manner) -> tuple[Reading, ...]:
    number, ahead = WEEKDAYS[match["weekday"].casefold()], before(match)
    is_at_end = _CLAUSE_END.match(match.string, match.end())
    is_date = _BEFORE_WEEKDAY.search(ahead) or (is_at_end and _BEFORE_LAST_WORD.search(ahead))
    if manner.is_habit or match["weekday"].casefold() in manner.names or not is_date:
        return ()
    which = Which.COMING if manner.is_ahead else Which.LAST
    return (lambda today: chosen(weekly(number, today), today, which),)


def _bare_of_year(match: _Match, manner: Manner) -> tuple[Reading, ...]:
    word = match["name"].casefold()
    licence = _BEFORE_SEASON if word in SEASONS else _BEFORE_HOLIDAY
    if manner.is_habit or word in manner.names or not licence.search(before(match)):
        return ()
    return _nearest(_occurs(word), _bare(manner))


def _day_of_month(match: _Match, manner: Manner) -> tuple[Reading, ...]:
    number = int(match["day"])
    return (lambda today: chosen(monthly(number, today), today, _bare(manner)),)


def _ends_with(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?:{pattern})$", re.I)


_FIRST_OWNED_YEAR: Final = 1990
_THIS_CENTURY: Final = 20
_LAST_TENS_OF_OURS: Final = 20
"""`the 20s` are the 2020s, `the 30s` the 1930s."""
_ON: Final = _ends_with(r"\b(?:on|since|before|after|until|till|by|from|around|between)\s+")
_LISTED: Final = r"\b(?:between|from|in|during)\s+\w+\s*(?:,|\s(?:and|to|or|until|till|through|-))\s+"
_SAYS_YEAR: Final = _ends_with(
    r"\b(?:in|during|since|before|after|until|till|by|from|between|throughout|around|through|early|mid|late|year)[\s-]+"
    rf"(?:the\s+year\s+)?|\b{PERIOD_OF}\s+|\b[12][0-9]{{3}}\s*(?:to|and|or|until|through|-)\s*"
)
_OWNS: Final = _ends_with(r"\b(?:the|her|his|their|my|our|your)\s+|'s\s+")
_NOUN: Final = re.compile(r"\s+[a-z]{3}")
_BEFORE_MONTH: Final = _ends_with(
    rf"{_LISTED}|\b(?:in|during|throughout|since|before|after|until|till|by|from|between|of|for|around|over|through"
    r"|early|mid|late|earlier|later)[\s-]+"
)
_ONLY_BEFORE_MONTH: Final = _ends_with(
    rf"{_LISTED}|\b(?:in|during|throughout|between|early|mid|late)[\s-]+|\b{PERIOD_OF}\s+"
)
_BEFORE_MONTH_OR_PERSON: Final = _ends_with(r"\b(?:since|before|after|until|till|from)\s+")
_PERSON_GOES_ON: Final = re.compile(r"'s\b|\s+[A-Z]|-\w")
_BEFORE_WEEKDAY: Final = _ends_with(
    rf"{_LISTED}|\b(?:on|since|by|until|till|before|after|from|between|over)\s+(?:the\s+)?"
)
_BEFORE_LAST_WORD: Final = re.compile(
    r"\b(?!(?:every|each|a|an|the|any|(?<=is\s)called|(?<=was\s)called|named|titled|is|was|are|of|or|and|to|like|love|most|my|her|his)\s)[a-z]+\s+$"
)
_BEFORE_SEASON: Final = _ends_with(
    rf"{_LISTED}|\b(?:in|during|over|throughout|since|before|after|until|till|by|between|early|mid|late|{PERIOD_OF})[\s-]+(?:the\s+)?"
)
_BEFORE_HOLIDAY: Final = _ends_with(
    rf"{_LISTED}|\b(?:at|on|over|for|during|since|before|after|until|till|by|around|from|in|between|of)\s+"
)
_CLAUSE_END: Final = re.compile(CLAUSE_END, re.I)


def _rule(pattern: str, read: Callable[[_Match, Manner], tuple[Reading, ...]]) -> _Rule:
    return re.compile(pattern, re.I), read


def _unnamed(pattern: str) -> str:
    return re.sub(r"\?P<\w+>", "?:", pattern)


_IN: Final = r",?\s+(?:(?:of|in)\s+)?"
_TO: Final = r"\s*(?:to|until|till|through|-)\s*(?:the\s+)?"
_OWN_YEAR: Final = rf"(?:{_IN}{YEAR})?"
_ABROAD_YEAR: Final = rf"(?:,|\s+(?:of|in|de|del))?\s+{YEAR}"
_A_YEAR: Final = "(?:19|20)[0-9]{2}"
_FIRST_DAY: Final = r"(?P<first_day>[0-3]?[0-9])(?:st|nd|rd|th)?"
_ON_WEEKDAY: Final = rf"(?:{WEEKDAY},?\s+(?:the\s+)?)?"
_SEASON_OR_HOLIDAY: Final = rf"(?P<name>{_unnamed(SEASON)}|{_unnamed(HOLIDAY)})"
_NAME: Final = rf"\b(?P<name>{_unnamed(MONTH)}|{_unnamed(SEASON)}|{_unnamed(HOLIDAY)})"
_NO_PART: Final = r"(?!\s+(?:of|before|after|following)\b)"
_RULES: Final[tuple[_Rule, ...]] = (
    _rule(rf"{NO_FIGURE_BEFORE}(?P<year>[0-9]{{4}})([-/.])(?P<number>[01][0-9])(?:\2(?P<day>[0-3][0-9]))?(?![0-9/-])", _figures),
    _rule(r"(?P<year>[0-9]{4})\s?[年년]\s?(?P<number>[0-9]{1,2})\s?[月월](?:\s?(?P<day>[0-9]{1,2})\s?[日号號일])?", _figures),
    _rule(
        rf"{NO_FIGURE_BEFORE}(?P<first>[0-3]?[0-9])(?P<sign>[/.-])(?P<second>[0-3]?[0-9])(?P=sign)"
        r"(?P<full_year>(?:19|20)?[0-9]{2})(?![\w/-]|\.[0-9])",
        _slashed,
    ),
    _rule(rf"(?<=\bbetween\s){_FIRST_DAY}\s+and\s+(?:the\s+)?{DAY}\s+(?:of\s+)?{MONTH}{_OWN_YEAR}", _days_of_month),
    _rule(rf"{NO_FIGURE_BEFORE}{_FIRST_DAY}{_TO}{DAY}\s+(?:of\s+)?{MONTH}{_OWN_YEAR}", _days_of_month),
    _rule(rf"\b{MONTH}\s+{_FIRST_DAY}{_TO}{DAY}(?![\w:]){COUNTED}{_OWN_YEAR}", _days_of_month),
    _rule(rf"{_ON_WEEKDAY}{NO_FIGURE_BEFORE}{DAY}\.?\s+(?:of\s+|de\s+)?{MONTH_ABROAD}{_ABROAD_YEAR}", _calendar_day),
    _rule(rf"{_ON_WEEKDAY}{NO_FIGURE_BEFORE}{DAY}\s+(?:of\s+)?{MONTH}{_OWN_YEAR}", _calendar_day),
    _rule(rf"{_ON_WEEKDAY}\b{MONTH}\s+(?:the\s+)?{DAY}(?![\w:]){COUNTED}{_OWN_YEAR}", _calendar_day),
    _rule(rf"\b{MONTH_ABROAD}{_ABROAD_YEAR}", _month_of_year),
    _rule(rf"\b{SEASON}{_IN}{YEAR}", _season_of_year),
    _rule(rf"\b{HOLIDAY}{_IN}{YEAR}", _holiday_of_year),
    _rule(rf"\b(?:(?P<quarter>Q[1-4])|(?P<nth>first|second|third|fourth|last)\s+quarter){_IN}{YEAR}", _quarter_of_year),
    _rule(rf"\b(?P<relative_year>last|this|next)\s+year\s+in\s+{MONTH}", _month_of_year),
    _rule(rf"{_WHICH}{_NAME}", _which_of_year),
    _rule(rf"{WEEKDAY}\s+(?:of\s+)?{_WHICH}week\b", _weekday_of_week),
    _rule(rf"{_WHICH}week(?:\s+on)?\s+{WEEKDAY}", _weekday_of_week),
    _rule(rf"{_WHICH}{WEEKDAY}{_NO_PART}", _which_weekday),
    _rule(rf"{AMOUNT}\s+(?P<unit>day|week|weekend|month|year|hour|minute)s?\s+(?:ago|back)\b", _ago),
    _rule(rf"{AMOUNT}\s+{UNIT}\s+from\s+(?:now|today)\b", _from_now),
    _rule(rf"{_WHICH}{AMOUNT}\s+{UNIT}{_NO_PART}", _window),
    _rule(rf"{_WHICH}(?P<calendar_unit>week|weekend|month|quarter|year|decade)\b{_NO_PART}", _calendar_unit),
    _rule(r"\b(?P<which>last|this)\s+(?:night|evening|morning|afternoon)\b", _part_of_day),
    _rule(r"\b(?P<word>yesterday|today|tonight|tomorrow)\b", _day_word),
    _rule(r"\bthe\s+other\s+day\b", _the_other_day),
    _rule(rf"{NO_FIGURE_BEFORE}(?P<first_year>{_A_YEAR})\s?-\s?(?P<last_year>{_A_YEAR})(?![\w-])", _years),
    _rule(rf"{NUMBERED_YEAR}{COUNTED}", _plain_year),
    _rule(r"\b(?:in|during|since|of|from)\s+the\s+(?:early\s+|late\s+|mid-?\s*)?'?(?P<century>19|20)?(?P<tens>[0-9]0)'?s\b", _decade),
    _rule(rf"\b{MONTH}", _bare_month),
    _rule(rf"{WEEKDAY}(?!'){_NO_PART}", _bare_weekday),
    _rule(rf"\b{_SEASON_OR_HOLIDAY}{_NO_PART}{CLAUSE_END}", _bare_of_year),
    _rule(rf"(?<=\bon\sthe\s){DAY}(?<=[a-z]){CLAUSE_END}", _day_of_month),
)
