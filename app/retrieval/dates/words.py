"""The words that English dates are made of, as pieces of patterns, and what each means.

Patterns are matched without regard to case; digits are 0 to 9, the text is normalised (NFKC) before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Final

from app.retrieval.dates.spans import DateRange, Occurs, easter, month, months, one_day, thanksgiving

_ENGLISH_MONTHS: Final = (
    "january jan", "february feb", "march mar", "april apr", "may", "june jun",
    "july jul", "august aug", "september sept sep", "october oct", "november nov", "december dec",
)  # fmt: skip
_FOREIGN_MONTHS: Final = (
    "januar jänner janvier enero gennaio janeiro januari", "februar février febrero febbraio fevereiro februari",
    "märz mars marzo março maart", "avril abril aprile", "mai mayo maggio maio mei", "juni juin junio giugno junho",
    "juli juillet julio luglio julho", "août agosto augustus", "septembre septiembre settembre setembro",
    "oktober octobre octubre ottobre outubro", "novembre noviembre novembro", "dezember décembre diciembre dicembre dezembro",
)  # fmt: skip
"""German, French, Spanish, Italian, Portuguese and Dutch: read only where a year stands beside them."""


def _numbered(lines: tuple[str, ...]) -> dict[str, int]:
    return {word: number for number, line in enumerate(lines, 1) for word in line.split()}


def _any_of(words: Mapping[str, object]) -> str:
    return "(?:" + "|".join(sorted(words, key=len, reverse=True)) + ")"


MONTHS: Final = _numbered(_ENGLISH_MONTHS)
MONTHS_ABROAD: Final = _numbered(_FOREIGN_MONTHS)
NAMES_AND_VERBS: Final = frozenset({"may", "march", "mar", "april", "june", "august", "jan", "dec"})
"""Months that are also people or verbs: alone they are read only where nothing else can be meant."""
WEEKDAYS: Final = {
    word: number
    for number, line in enumerate(
        ("monday mon", "tuesday tues tue", "wednesday weds wed", "thursday thurs thu", "friday fri", "saturday", "sunday")
    )
    for word in line.split()
}
AMOUNTS: Final[Mapping[str, tuple[int, int]]] = {
    word: (number, number)
    for number, line in enumerate(
        ("a an one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"), 1
    )
    for word in line.split()
} | {"couple": (2, 3), "few": (2, 5), "several": (3, 7), "fifteen": (15, 15), "twenty": (20, 20), "thirty": (30, 30)}
"""The fewest and the most that an amount stands for."""


def _season(first_month: int) -> Occurs:
    return lambda year: months(year, first_month, 3)


def _fixed(number: int, day: int, more_days: int = 0) -> Occurs:
    return lambda year: DateRange(first := date(year, number, day), first + timedelta(days=more_days))


def _new_year(year: int) -> DateRange:
    """The turn into `year`."""
    return DateRange(date(year, 1, 1) - timedelta(days=1), date(year, 1, 1))


SEASONS: Final[Mapping[str, Occurs]] = {
    "spring": _season(3), "summer": _season(6), "autumn": _season(9), "fall": _season(9), "winter": _season(12),
}  # fmt: skip
"""Of the northern half of the world, by whole months. The winter of a year is the one that begins in it."""
HOLIDAYS: Final[Mapping[str, Occurs]] = {
    "christmas eve": _fixed(12, 24),
    "christmas day": _fixed(12, 25),
    "christmas": _fixed(12, 24, 2),
    "xmas": _fixed(12, 24, 2),
    "boxing day": _fixed(12, 26),
    "new year's eve": _fixed(12, 31),
    "new year's day": _fixed(1, 1),
    "new year's": _new_year,
    "valentine's day": _fixed(2, 14),
    "valentine's": _fixed(2, 14),
    "halloween": _fixed(10, 31),
    "thanksgiving": lambda year: one_day(thanksgiving(year)),
    "black friday": lambda year: one_day(thanksgiving(year) + timedelta(days=1)),
    "good friday": lambda year: one_day(easter(year) - timedelta(days=2)),
    "easter": lambda year: DateRange(easter(year) - timedelta(days=2), easter(year) + timedelta(days=1)),
}
"""Christmas is 24 to 26 December, Easter Friday to Monday, Thanksgiving the American one."""
QUARTERS: Final[Mapping[str, int]] = {"first": 1, "second": 2, "third": 3, "fourth": 4, "last": 4} | {
    f"q{n}": n for n in (1, 2, 3, 4)
}

MONTH: Final = rf"(?P<month>{_any_of(MONTHS)})\b\.?"
MONTH_ABROAD: Final = rf"(?P<month>{_any_of(MONTHS | MONTHS_ABROAD)})\b\.?"
WEEKDAY: Final = rf"\b(?P<weekday>{_any_of(WEEKDAYS)})\b"
SEASON: Final = rf"(?P<season>{_any_of(SEASONS)})\b"
HOLIDAY: Final = rf"(?P<holiday>{_any_of(HOLIDAYS)})(?!\w)"
AMOUNT: Final = rf"(?P<amount>\b[0-9]{{1,4}}|\b(?:a\s+)?(?:couple(?:\s+of)?|few)|\b{_any_of(AMOUNTS)})"
UNIT: Final = r"(?P<unit>day|week|weekend|month|year)s?\b"
DAY: Final = r"(?P<day>[0-3]?[0-9])(?P<ordinal>st|nd|rd|th)?"
NO_FIGURE_BEFORE: Final = r"(?<![\w.,:/$€£#-])"
NUMBERED_YEAR: Final = r"(?<![\w$€£#])(?<![0-9][.:/-])(?P<year>(?:19|20)[0-9][0-9])(?![\w%]|[.,:/][0-9])"
YEAR: Final = rf"(?:{NUMBERED_YEAR}|(?P<relative_year>last|this|next)\s+year\b)"
COUNTED: Final = (
    r"(?!\s+(?:years|weeks|days|months|hours|minutes|miles|km|kilomet|met(?:er|re)s|feet|steps|words|people|kids|children"
    r"|dollars|euros|pounds|kg|grams|calories|points|pages|pieces|copies|times|percent|%))"
)
"""What a number in front of it counts: then it is no day and no year."""
CLAUSE_END: Final = (
    r"(?=\s*(?:$|[?.!,;:)\]\"]|-\s|'s\s+end\b|(?:and|or|to|until|till|through|with|at|in|on|when|while|as|because|but|for|from"
    r"|by|that|which|who|this|last|next|of|the|did|was|were|is|are|before|after|since|morning|night|evening|afternoon)\b))"
)
"""Whatever comes after it, it is not a noun: `Christmas?`, not `Christmas tree`."""
NO_PART: Final = r"(?!\s+(?:of|before|after|following)\b)"
"""Not the beginning of "the last week of May" or "the Tuesday after Easter"."""
PERIOD_OF: Final = rf"(?:month|beginning|start|end|middle|course|rest|half|part|week|weekend|days?|{_any_of(WEEKDAYS)})\s+of"


def unnamed(pattern: str) -> str:
    """The pattern without names of groups, to stand in another one more than once."""
    return re.sub(r"\?P<\w+>", "?:", pattern)


def month_span(number: int) -> Occurs:
    return lambda year: month(year, number)


def day_span(number: int, day: int) -> Occurs:
    return lambda year: one_day(date(year, number, day))
