"""From a question to the days it asks about (pure).

A grammar of our own, for English, with dates in figures and `8 mai 2023` in six more languages; why no library:
docs/decisions/0011-dates.md. It prefers silence to a wrong date: a word that is a name or a verb as well (May, march)
is read only where nothing else can stand, and never when it names a participant.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable
from datetime import date, datetime, timedelta
from typing import Final

from app.retrieval.dates.mentions import mentions
from app.retrieval.dates.modifiers import joined, narrowed, opened
from app.retrieval.dates.reading import Manner, Mention
from app.retrieval.dates.spans import DateRange
from app.retrieval.dates.words import HOLIDAY, MONTH, SEASON, WEEKDAY, unnamed

SLACK_DAYS_AFTER: Final = 2
"""Days after an event on which it is still told. Measured on public conversations with gold evidence, for ranges of up to a
week: the range holds a gold turn for 75 % of the questions, with one day more for 83 %, with two for 90 % (and 4 % of all
turns), with seven for 92 % (7 %). Longer ranges neither gain nor lose."""
_LONGEST_QUESTION: Final = 1_000
"""Characters that are read: what is longer is no question, and reading it would keep others waiting."""
_MOST_RANGES: Final = 16
_SAME: Final = str.maketrans({"’": "'", "‘": "'", "`": "'", "–": "-", "—": "-", "‐": "-", "‑": "-", "İ": "I", "ı": "i"})
_WORD: Final = re.compile(r"[^\W\d_]+")
_MAY_HOLD_DATE: Final = re.compile(
    rf"[0-9]|\b(?:(?:day|week|weekend|month|year|quarter|decade)s?\b|ago\b|yesterday|today|tonight|tomorrow"
    rf"|(?:last|this)\s+(?:night|evening|morning|afternoon)|{unnamed('|'.join((MONTH, WEEKDAY, SEASON, HOLIDAY)))})",
    re.I,
)
"""A cheap look: most questions hold none of these and are answered at once."""
_IS_PAST: Final = re.compile(r"\b(?:did|didn't|was|were|had|went|has|have|happened)\b", re.I)
_IS_AHEAD: Final = re.compile(r"\b(?:(?-i:will)|'ll|shall|going\s+to|gonna|upcoming|plan(?:s|ning|ned)?)\b|^Will\b", re.I)
_IS_HABIT: Final = re.compile(r"\b(?:usually|often|always|typically|normally|every|each|annual(?:ly)?)\b", re.I)
_IS_PRESENT: Final = re.compile(r"\b(?:do|does|is|are)\b", re.I)


def dates_asked(question: str, now: datetime, names: Collection[str] = ()) -> tuple[DateRange, ...]:
    """The ranges of days that `question` names, in its order, each once, at most 16; empty when it names none.

    `now` gives the day of asking, by its own clock. `names` are participants': their words are no dates unless a day or a
    year stands beside them. `date.min` and `date.max` are open ends. Dates that no calendar has are left out; nothing raises.
    """
    text = unicodedata.normalize("NFKC", question[:_LONGEST_QUESTION])[:_LONGEST_QUESTION].translate(_SAME)
    if not _MAY_HOLD_DATE.search(text):
        return ()
    found = joined(text, [narrowed(text, m) for m in mentions(text, _manner(text, names))])
    spans = _resolved((opened(text, mention) for mention in found), now.date())
    return tuple(dict.fromkeys(spans))[:_MOST_RANGES]


def days(asked: DateRange, slack_days_after: int = SLACK_DAYS_AFTER) -> tuple[int, int]:
    """First and last day as numbers YYYYMMDD, the last one moved by the slack as far as the calendar goes."""
    slack = min(timedelta(days=slack_days_after), date.max - asked.until)
    return _number(asked.since), _number(asked.until + slack)


def _resolved(found: Iterable[Mention], today: date) -> list[DateRange]:
    spans = []
    for reading in (reading for mention in found for reading in mention.readings):
        try:
            spans.append(reading(today))
        except (ValueError, OverflowError):
            continue
    return spans


def _manner(text: str, names: Collection[str]) -> Manner:
    words = frozenset(word.casefold() for name in names for word in _WORD.findall(name))
    is_past = bool(_IS_PAST.search(text))
    starts_with_will = text[:4] == "Will" and "will" in words
    is_ahead = not is_past and not starts_with_will and bool(_IS_AHEAD.search(text))
    is_habit = bool(_IS_HABIT.search(text)) or not (is_past or is_ahead or not _IS_PRESENT.search(text))
    return Manner(is_ahead, is_habit, words)


def _number(day: date) -> int:
    return day.year * 10_000 + day.month * 100 + day.day
