"""What the words around a mention make of it: `early`, `the week of`, `between … and`, `since`, `before` (pure)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Final, TypeAlias

from app.retrieval.dates.reading import Found, Mention, Reading, amount
from app.retrieval.dates.spans import (
    DateRange,
    Which,
    around,
    chosen,
    half,
    just_after,
    just_before,
    nearest_weekend,
    one_day,
    removed,
    third,
    week,
    weekly,
    yearly,
)
from app.retrieval.dates.words import AMOUNT, SEASON, SEASONS, UNIT, WEEKDAY, WEEKDAYS

_Change: TypeAlias = Callable[[Found, DateRange, date], DateRange]
"""What the words matched make of the span that follows them, today."""
_Modifier: TypeAlias = tuple[re.Pattern[str], _Change]

_DAY: Final = timedelta(days=1)
_WEEK_DAYS: Final = 7
_MOST_NESTED: Final = 3
_THIRDS: Final = {"early": 0, "beginning": 0, "start": 0, "mid": 1, "middle": 1, "late": 2, "end": 2}
_ORDINALS: Final = {"first": 0, "second": 1, "third": 2, "fourth": 3, "last": -1}
_TEXT_BEFORE: Final = 60


def narrowed(text: str, mention: Mention) -> Mention:
    """The mention with the words in front that pick a part of it, or a time beside it."""
    for _ in range(_MOST_NESTED):
        mention, before = _modified(text, mention, _NARROWING), mention
        if mention is before:
            break
    return mention


def joined(text: str, mentions: Sequence[Mention]) -> list[Mention]:
    """`from A to B` and `between A and B` as one mention; of `in June and August 2023` each in that year."""
    parts: list[Mention] = []
    for mention in mentions:
        if parts and (together := _together(text, parts[-1], mention)):
            parts[-1:] = together
        else:
            parts.append(mention)
    return parts


def opened(text: str, mention: Mention) -> Mention:
    """The mention with the word in front that opens it to one side: since, after, before, until."""
    if onwards := _ONWARDS.match(text, mention.end):
        return replace(mention, readings=tuple(_changed(r, onwards, lambda _, s, t: _since(s, t)) for r in mention.readings))
    return _modified(text, mention, _OPENING)


def _modified(text: str, mention: Mention, modifiers: Sequence[_Modifier]) -> Mention:
    front = text[max(0, mention.start - _TEXT_BEFORE) : mention.start]
    for pattern, change in modifiers:
        if match := pattern.search(front):
            start = mention.start - len(front) + match.start()
            return replace(mention, start=start, readings=tuple(_changed(r, match, change) for r in mention.readings))
    return mention


def _changed(reading: Reading, match: Found, change: _Change) -> Reading:
    return lambda today: change(match, reading(today), today)


# Between two mentions --------------------------------------------------------------------------------------------------


def _together(text: str, left: Mention, right: Mention) -> list[Mention]:
    gap, front = text[left.end : right.start], text[max(0, left.start - _TEXT_BEFORE) : left.start]
    opening = _FROM.search(front)
    is_range = _RANGE_GAP.fullmatch(gap) or (opening and opening["word"].casefold() == "between" and _AND_GAP.fullmatch(gap))
    if is_range:
        start = left.start - len(opening[0]) if opening else left.start
        pairs = zip(left.readings, right.readings, strict=False)
        return [Mention(start, right.end, tuple(_from_to(*pair) for pair in pairs), right.year)]
    if _AND_GAP.fullmatch(gap) and left.year is None and right.year is not None:
        at = date(right.year, 12, 31)
        return [replace(left, readings=tuple(_seen_from(at, r) for r in left.readings)), right]
    return []


def _from_to(left: Reading, right: Reading) -> Reading:
    """The left end is sought from the right one: `from October to March 2023` begins in 2022."""

    def both(today: date) -> DateRange:
        until = right(today)
        since = left(until.since)
        return DateRange(since.since, until.until)

    return both


def _seen_from(at: date, reading: Reading) -> Reading:
    return lambda _: reading(at)


# In front of one -------------------------------------------------------------------------------------------------------


def _part(match: Found, span: DateRange, _: date) -> DateRange:
    return third(span, _THIRDS[match["part"].casefold()])


def _half(match: Found, span: DateRange, _: date) -> DateRange:
    return half(span, _ORDINALS[match["nth"].casefold()])


def _earlier_or_later(match: Found, span: DateRange, today: date) -> DateRange:
    if match["when"].casefold() == "earlier":
        return DateRange(span.since, min(span.until, today))
    return DateRange(max(span.since, today), span.until)


def _nth(match: Found, span: DateRange, _: date) -> DateRange:
    nth, what = _ORDINALS[match["nth"].casefold()], match["what"].casefold()
    if what in ("day", "week"):
        return _nth_days(span, nth, 1 if what == "day" else _WEEK_DAYS)
    weekday, length = (5, 2) if what == "weekend" else (WEEKDAYS[what], 1)
    first = span.since + (weekday - span.since.weekday()) % _WEEK_DAYS * _DAY
    count = (span.until - first).days // _WEEK_DAYS + 1
    since = first + (nth % count if nth < 0 else nth) * _WEEK_DAYS * _DAY
    return DateRange(since, since + (length - 1) * _DAY)


def _nth_days(span: DateRange, nth: int, length: int) -> DateRange:
    since = span.until - (length - 1) * _DAY if nth < 0 else span.since + nth * length * _DAY
    return DateRange(since, since + (length - 1) * _DAY)


def _week_of(match: Found, span: DateRange, _: date) -> DateRange:
    if (span.until - span.since).days >= _WEEK_DAYS:
        return span
    return week(span.since) if match["what"].casefold() == "week" else nearest_weekend(span.since)


def _weekday_beside(match: Found, span: DateRange, _: date) -> DateRange:
    number = WEEKDAYS[match["weekday"].casefold()]
    if match["side"].casefold() == "before":
        return chosen(weekly(number, span.since), span.since, Which.LAST)
    return chosen(weekly(number, span.until), span.until, Which.NEXT)


def _season_beside(match: Found, span: DateRange, _: date) -> DateRange:
    occurs = SEASONS[match["season"].casefold()]
    if match["side"].casefold() == "before":
        return chosen(yearly(occurs, span.since), span.since, Which.LAST)
    return chosen(yearly(occurs, span.until), span.until, Which.NEXT)


def _units_beside(match: Found, span: DateRange, _: date) -> DateRange:
    beside = just_before if match["side"].casefold() == "before" else just_after
    return beside(span, amount(match)[1], match["unit"].casefold())


def _distance(match: Found, span: DateRange, _: date) -> DateRange:
    fewest, most = amount(match)
    unit = match["unit"].casefold()
    if match["side"].casefold() == "before":
        return removed(span.since, -fewest, -most, unit)
    return removed(span.until, fewest, most, unit)


def _as_it_is(_: Found, span: DateRange, __: date) -> DateRange:
    return span


def _about(_: Found, span: DateRange, __: date) -> DateRange:
    return around(span) if span.since == span.until else span


def _since(span: DateRange, today: date) -> DateRange:
    return DateRange(span.since, today if today >= span.since else date.max)


def _after(span: DateRange, today: date) -> DateRange:
    return _since(one_day(span.until + _DAY), today)


def _before(span: DateRange) -> DateRange:
    return DateRange(date.min, span.since - _DAY)


def _until(span: DateRange) -> DateRange:
    return DateRange(date.min, span.until)


def _modifier(pattern: str, change: _Change) -> _Modifier:
    return re.compile(rf"\b(?:{pattern})\s+(?:the\s+)?$", re.I), change


_SIDE: Final = r"(?P<side>before|after|following)"
_NTH: Final = r"(?P<nth>first|second|third|fourth|last)"
_NARROWING: Final[tuple[_Modifier, ...]] = (
    (re.compile(r"\b(?P<part>early|mid|late)(?:-|\s+(?:in\s+)?)(?:the\s+)?$", re.I), _part),
    _modifier(r"(?P<part>beginning|start|middle|end)\s+of", _part),
    _modifier(rf"{_NTH}\s+half\s+of", _half),
    _modifier(r"(?P<when>earlier|later)(?:\s+in)?", _earlier_or_later),
    _modifier(rf"{_NTH}\s+(?P<what>day|week|weekend|[a-z]+day)\s+(?:of|in)", _nth),
    _modifier(r"(?P<what>week|weekend)\s+of", _week_of),
    _modifier(rf"{WEEKDAY}\s+{_SIDE}", _weekday_beside),
    _modifier(rf"{SEASON}\s+{_SIDE}", _season_beside),
    _modifier(rf"how\s+(?:many\s+\w+|long|soon)\s+{_SIDE}", _as_it_is),
    _modifier(rf"the\s+(?:{AMOUNT}\s+)?{UNIT}\s+{_SIDE}", _units_beside),
    _modifier(rf"{AMOUNT}\s+{UNIT}\s+{_SIDE}", _distance),
    _modifier(rf"(?P<amount>(?!))?(?P<unit>day|week|weekend|month|year)\s+{_SIDE}", _units_beside),
    _modifier(r"around|about|circa|approximately", _about),
)
_OPENING: Final[tuple[_Modifier, ...]] = (
    _modifier(r"since", lambda _, span, today: _since(span, today)),
    _modifier(r"after", lambda _, span, today: _after(span, today)),
    _modifier(r"before", lambda _, span, __: _before(span)),
    _modifier(r"until|till|by|up\s+to", lambda _, span, __: _until(span)),
)
_FROM: Final = re.compile(r"\b(?P<word>between|from|since)\s+(?:the\s+)?$", re.I)
_RANGE_GAP: Final = re.compile(r"\s*(?:to|until|till|through|thru|-)\s*(?:the\s+)?", re.I)
_AND_GAP: Final = re.compile(r"\s*(?:,|,?\s(?:and|or))\s*(?:(?:in|the)\s+)?", re.I)
_ONWARDS: Final = re.compile(r"\s+(?:onwards?|on)\b(?=\s*(?:$|[?.!,]))", re.I)
