"""What a mention is, and what all rules share: whom and when the question speaks of, which year, how many (pure)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Final, TypeAlias

from app.retrieval.dates.spans import DateRange, Occurs, Which, chosen, yearly
from app.retrieval.dates.words import AMOUNTS, HOLIDAYS, MONTHS, MONTHS_ABROAD, SEASONS, month_span

Found: TypeAlias = re.Match[str]
Reading: TypeAlias = Callable[[date], DateRange]
"""The days that are meant, seen from a day. Raises ValueError or OverflowError when no calendar has them."""


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


Read: TypeAlias = Callable[[Found, Manner], tuple[Reading, ...]]
"""The readings of what a pattern found; none when it is no date after all."""
Rule: TypeAlias = tuple[re.Pattern[str], Read]

WHICH: Final = r"\b(?P<which>last|previous|past|this|current|next|coming|upcoming)\s+"
WHICH_ONE: Final = {
    "last": Which.LAST, "previous": Which.LAST, "past": Which.LAST, "this": Which.THIS, "current": Which.THIS,
    "next": Which.NEXT, "coming": Which.NEXT, "upcoming": Which.NEXT,
}  # fmt: skip
OFFSETS: Final = {Which.LAST: -1, Which.THIS: 0, Which.NEXT: 1}
_WORD_BEFORE: Final = 60
"""Characters of text that are looked at in front of a word to see what it is."""


def rule(pattern: str, read: Read) -> Rule:
    return re.compile(pattern, re.I), read


def ends_with(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?:{pattern})$", re.I)


def amount(match: Found) -> tuple[int, int]:
    """The fewest and the most that the match's amount stands for; one where none is said."""
    words = (match["amount"] or "one").casefold().removesuffix("of").split()
    return (int(words[-1]),) * 2 if words[-1].isdigit() else AMOUNTS[words[-1]]


def before(match: Found) -> str:
    """The text just in front of a match."""
    return match.string[max(0, match.start() - _WORD_BEFORE) : match.start()]


def stated_year(match: Found) -> int | None:
    stated = match.groupdict().get("year")
    return int(stated) if stated else None


def year_of(match: Found, today: date) -> int:
    if (stated := stated_year(match)) is not None:
        return stated
    return today.year + OFFSETS[WHICH_ONE[match["relative_year"].casefold()]]


def in_year(occurs: Occurs, match: Found) -> tuple[Reading, ...]:
    return (lambda today: occurs(year_of(match, today)),)


def nearest(occurs: Occurs, which: Which) -> tuple[Reading, ...]:
    return (lambda today: chosen(yearly(occurs, today), today, which),)


def tense(manner: Manner) -> Which:
    return Which.COMING if manner.is_ahead else Which.RECENT


def month_number(match: Found) -> int:
    word = match["month"].casefold()
    return MONTHS.get(word) or MONTHS_ABROAD[word]


def occurs_of(word: str) -> Occurs:
    return month_span(MONTHS[word]) if word in MONTHS else (SEASONS.get(word) or HOLIDAYS[word])
