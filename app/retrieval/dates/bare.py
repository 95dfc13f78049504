"""Names of years, months, seasons, holidays and weekdays that stand alone, read where they can be nothing else (pure)."""

from __future__ import annotations

import re
from datetime import date
from typing import Final

from app.retrieval.dates.reading import (
    Found,
    Manner,
    Reading,
    Rule,
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
    monthly,
    one_year,
    weekly,
)
from app.retrieval.dates.words import (
    CLAUSE_END,
    COUNTED,
    DAY,
    HOLIDAY,
    MONTH,
    MONTHS,
    NAMES_AND_VERBS,
    NO_FIGURE_BEFORE,
    NO_PART,
    NUMBERED_YEAR,
    PERIOD_OF,
    SEASON,
    SEASONS,
    WEEKDAY,
    WEEKDAYS,
    month_span,
    unnamed,
)

_A_YEAR: Final = "(?:19|20)[0-9]{2}"
_SEASON_OR_HOLIDAY: Final = rf"(?P<name>{unnamed(SEASON)}|{unnamed(HOLIDAY)})"
_FIRST_OWNED_YEAR: Final = 1990
_THIS_CENTURY: Final = 20
_LAST_TENS_OF_OURS: Final = 20
"""`the 20s` are the 2020s, `the 30s` the 1930s."""
_LISTED: Final = r"\b(?:between|from|in|during)\s+\w+\s*(?:,|\s(?:and|to|or|until|till|through|-))\s+"
_SAYS_YEAR: Final = ends_with(
    r"\b(?:in|during|since|before|after|until|till|by|from|between|throughout|around|through|early|mid|late|year)[\s-]+"
    rf"(?:the\s+year\s+)?|\b{PERIOD_OF}\s+|\b[12][0-9]{{3}}\s*(?:to|and|or|until|through|-)\s*"
)
_BEFORE_DECADE: Final = ends_with(
    r"\b(?:in|during|throughout|since|before|after|until|by|from|of)\s+the\s+(?:(?:early|mid|late)[\s-]+)?"
)
_OWNS: Final = ends_with(r"\b(?:the|her|his|their|my|our|your)\s+|'s\s+")
_NOUN: Final = re.compile(r"\s+[a-z]{3}")
_BEFORE_MONTH: Final = ends_with(
    rf"{_LISTED}|\b(?:in|during|throughout|since|before|after|until|till|by|from|between|of|for|around|over|through"
    r"|early|mid|late|earlier|later)[\s-]+"
)
_ONLY_BEFORE_MONTH: Final = ends_with(rf"{_LISTED}|\b(?:in|during|throughout|between|early|mid|late)[\s-]+|\b{PERIOD_OF}\s+")
_BEFORE_MONTH_OR_PERSON: Final = ends_with(r"\b(?:since|before|after|until|till|from)\s+")
_PERSON_GOES_ON: Final = re.compile(r"'s\b|\s+[A-Z]|-\w")
_BEFORE_WEEKDAY: Final = ends_with(rf"{_LISTED}|\b(?:on|since|by|until|till|before|after|from|between|over)\s+(?:the\s+)?")
_BEFORE_LAST_WORD: Final = re.compile(
    r"\b(?!(?:every|each|a|an|the|any|(?<=is\s)called|(?<=was\s)called|named|titled|is|was|are|of|or|and|to|like|love|most"
    r"|my|her|his)\s)[a-z]+\s+$"
)
_BEFORE_SEASON: Final = ends_with(
    rf"{_LISTED}|\b(?:in|during|over|throughout|since|before|after|until|till|by|between|early|mid|late|{PERIOD_OF})[\s-]+"
    r"(?:the\s+)?"
)
_BEFORE_HOLIDAY: Final = ends_with(
    rf"{_LISTED}|\b(?:at|on|over|for|during|since|before|after|until|till|by|around|from|in|between|of)\s+"
)
_CLAUSE_END: Final = re.compile(CLAUSE_END, re.I)


def _plain_year(match: Found, _: Manner) -> tuple[Reading, ...]:
    """`in 2023`, and `the 2023 trip` from the years on that are seldom part of a title."""
    year, ahead = int(match["year"]), before(match)
    is_owned = year >= _FIRST_OWNED_YEAR and _OWNS.search(ahead) and _NOUN.match(match.string, match.end())
    return (lambda _: one_year(year),) if is_owned or _SAYS_YEAR.search(ahead) else ()


def _years(match: Found, _: Manner) -> tuple[Reading, ...]:
    first, last = int(match["first_year"]), int(match["last_year"])
    return (lambda _: DateRange(date(first, 1, 1), date(last, 12, 31)),)


def _decade(match: Found, _: Manner) -> tuple[Reading, ...]:
    if not _BEFORE_DECADE.search(before(match)):
        return ()
    tens = int(match["tens"])
    century = int(match["century"] or (_THIS_CENTURY if tens <= _LAST_TENS_OF_OURS else _THIS_CENTURY - 1))
    first = century * 100 + tens
    return (lambda _: DateRange(date(first, 1, 1), date(first + 9, 12, 31)),)


def _bare_month(match: Found, manner: Manner) -> tuple[Reading, ...]:
    word = match["month"].casefold()
    if word in manner.names or not _is_month(word, match):
        return ()
    return nearest(month_span(MONTHS[word]), tense(manner))


def _is_month(word: str, match: Found) -> bool:
    """Whether it stands where a month stands; a word that is a name or a verb as well has to prove more."""
    ahead, is_at_end = before(match), bool(_CLAUSE_END.match(match.string, match.end()))
    if word not in NAMES_AND_VERBS:
        return bool(_BEFORE_MONTH.search(ahead))
    if _PERSON_GOES_ON.match(match.string, match.end()):
        return False
    return bool(_ONLY_BEFORE_MONTH.search(ahead) or (is_at_end and _BEFORE_MONTH_OR_PERSON.search(ahead)))


def _bare_weekday(match: Found, manner: Manner) -> tuple[Reading, ...]:
    number, ahead = WEEKDAYS[match["weekday"].casefold()], before(match)
    is_at_end = _CLAUSE_END.match(match.string, match.end())
    is_date = _BEFORE_WEEKDAY.search(ahead) or (is_at_end and _BEFORE_LAST_WORD.search(ahead))
    if manner.is_habit or match["weekday"].casefold() in manner.names or not is_date:
        return ()
    which = Which.COMING if manner.is_ahead else Which.LAST
    return (lambda today: chosen(weekly(number, today), today, which),)


def _bare_of_year(match: Found, manner: Manner) -> tuple[Reading, ...]:
    word = match["name"].casefold()
    licence = _BEFORE_SEASON if word in SEASONS else _BEFORE_HOLIDAY
    if manner.is_habit or word in manner.names or not licence.search(before(match)):
        return ()
    return nearest(occurs_of(word), tense(manner))


def _day_of_month(match: Found, manner: Manner) -> tuple[Reading, ...]:
    number = int(match["day"])
    return (lambda today: chosen(monthly(number, today), today, tense(manner)),)


BARE: Final[tuple[Rule, ...]] = (
    rule(rf"{NO_FIGURE_BEFORE}(?P<first_year>{_A_YEAR})\s?-\s?(?P<last_year>{_A_YEAR})(?![\w-])", _years),
    rule(rf"{NUMBERED_YEAR}{COUNTED}", _plain_year),
    rule(r"(?<![\w$€£#.,:/-])'?(?P<century>19|20)?(?P<tens>[0-9]0)'?s\b", _decade),
    rule(rf"\b{MONTH}", _bare_month),
    rule(rf"{WEEKDAY}(?!'){NO_PART}", _bare_weekday),
    rule(rf"\b{_SEASON_OR_HOLIDAY}{NO_PART}{CLAUSE_END}", _bare_of_year),
    rule(rf"(?<=\bon\sthe\s){DAY}(?<=[a-z]){CLAUSE_END}", _day_of_month),
)
