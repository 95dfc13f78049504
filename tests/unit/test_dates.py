"""The dates a question asks about."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.retrieval.dates import DateRange, dates_asked, days

WEDNESDAY = datetime(2023, 7, 19, 15, 0, tzinfo=UTC)


def asked(question: str, *names: str, now: datetime = WEDNESDAY) -> list[str]:
    """The ranges as text: `2023-05-08` for a day, `2023-05-01..2023-05-31` for more, nothing at an open end."""
    return [_shown(span) for span in dates_asked(question, now, names)]


def _shown(span: DateRange) -> str:
    if span.since == span.until:
        return str(span.since)
    return f"{span.since if span.since > date.min else ''}..{span.until if span.until < date.max else ''}"


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        # in figures
        ("What was said on 2023-05-08?", "2023-05-08"),
        ("What was said on 2023/05/08?", "2023-05-08"),
        ("What was said in 2023-05?", "2023-05-01..2023-05-31"),
        ("What was said on 2023-05-08T10:00:00Z?", "2023-05-08"),
        ("What was said on 13/5/2023?", "2023-05-13"),
        ("What was said on 5/13/2023?", "2023-05-13"),
        ("What was said on 8.5.2023?", "2023-05-08"),
        ("What was said on 08.05.23?", "2023-05-08"),
        ("What was said on 5/5/2023?", "2023-05-05"),
        ("What was said on ２０２３-05-08?", "2023-05-08"),
        ("2023年5月8日に何をしましたか", "2023-05-08"),
        # days in words
        ("What did Ana do on 8 May, 2023?", "2023-05-08"),
        ("What did Ana do on May 8, 2022?", "2022-05-08"),
        ("What did Ana do on May 8,2022?", "2022-05-08"),
        ("What did Ana do on May 8th 2023?", "2023-05-08"),
        ("What did Ana do on the 8th of May 2023?", "2023-05-08"),
        ("What did Ana do on Monday, 8 May 2023?", "2023-05-08"),
        ("What did Ana do on Monday, May the 8th?", "2023-05-08"),
        ("What did Ana do on May 8th?", "2023-05-08"),
        ("What did Ana do on Sept. 9?", "2022-09-09"),
        ("What did Ana do on 19 July?", "2023-07-19"),
        ("What did Ana do on 20 July?", "2022-07-20"),
        ("what did ana do on may 8", "2023-05-08"),
        ("What did Ana do on 29 February?", "2020-02-29"),
        ("What did Ana do on 8 May last year?", "2022-05-08"),
        ("What did Ana do on the 8th?", "2023-07-08"),
        ("What did Ana do on the 28th?", "2023-06-28"),
        ("What did Ana's 8 May speech cover?", "2023-05-08"),
        # days in six other languages
        ("Was hat Ana am 8. Mai 2023 gemacht?", "2023-05-08"),
        ("Qu'a fait Ana le 8 août 2022 ?", "2022-08-08"),
        ("¿Qué hizo Ana el 8 de mayo de 2023?", "2023-05-08"),
        ("O que Ana fez em março de 2023?", "2023-03-01..2023-03-31"),
        # months, quarters, years, decades
        ("Where was Ben in May 2023?", "2023-05-01..2023-05-31"),
        ("Where was Ben in May?", "2023-05-01..2023-05-31"),
        ("Where was Ben in July?", "2023-07-01..2023-07-31"),
        ("Where was Ben in October?", "2022-10-01..2022-10-31"),
        ("Where was Ben last May?", "2023-05-01..2023-05-31"),
        ("Where was Ben last July?", "2022-07-01..2022-07-31"),
        ("Where was Ben in May last year?", "2022-05-01..2022-05-31"),
        ("Where was Ben last year in May?", "2022-05-01..2022-05-31"),
        ("Where was Ben this June?", "2023-06-01..2023-06-30"),
        ("Where will Ben be next May?", "2024-05-01..2024-05-31"),
        ("Where did Ben plan to be in October?", "2022-10-01..2022-10-31"),
        ("Where will Ben be in May?", "2024-05-01..2024-05-31"),
        ("Will Ben travel in October?", "2023-10-01..2023-10-31"),
        ("What did Ana finish in Q2 2023?", "2023-04-01..2023-06-30"),
        ("What did Ana finish in the last quarter of 2022?", "2022-10-01..2022-12-31"),
        ("What did Ana paint in 2023?", "2023-01-01..2023-12-31"),
        ("What did Ana win on her 2022 trip?", "2022-01-01..2022-12-31"),
        ("What did Ana buy in the 1990s?", "1990-01-01..1999-12-31"),
        ("What did Ana buy in the 90s?", "1990-01-01..1999-12-31"),
        ("What did Ana buy in the late 1990s?", "1996-09-01..1999-12-31"),
        ("What has Ana bought since the 90s?", "1990-01-01..2023-07-19"),
        # parts of them
        ("What did Ana start in early 2023?", "2023-01-01..2023-04-30"),
        ("What did Ana start in mid-2023?", "2023-05-01..2023-08-31"),
        ("What did Ana start in late 2022?", "2022-09-01..2022-12-31"),
        ("What did Ana start in late May?", "2023-05-21..2023-05-31"),
        ("What did Ana start in mid June 2023?", "2023-06-11..2023-06-20"),
        ("What did Ana start at the beginning of June?", "2023-06-01..2023-06-10"),
        ("What did Ana start in the first half of 2022?", "2022-01-01..2022-06-30"),
        ("What did Ana start earlier this year?", "2023-01-01..2023-07-19"),
        ("What did Ana do in the first week of May 2023?", "2023-05-01..2023-05-07"),
        ("What did Ana do in the last week of May?", "2023-05-25..2023-05-31"),
        ("What did Ana do on the first weekend of August 2023?", "2023-08-05..2023-08-06"),
        ("What did Ana do on the second Tuesday of June?", "2023-06-13"),
        ("What did Ana do on the last Friday of June?", "2023-06-30"),
        # seasons and holidays
        ("Where did they go this summer?", "2023-06-01..2023-08-31"),
        ("Where did they go last summer?", "2022-06-01..2022-08-31"),
        ("Where did they go in the summer of 2022?", "2022-06-01..2022-08-31"),
        ("Where did they go in the winter of 2022?", "2022-12-01..2023-02-28"),
        ("Where did they go in the fall?", "2022-09-01..2022-11-30"),
        ("Where did they go in early spring 2023?", "2023-03-01..2023-03-31"),
        ("What did Ana get for Christmas 2022?", "2022-12-24..2022-12-26"),
        ("What did Ana get for Christmas?", "2022-12-24..2022-12-26"),
        ("Who came last Thanksgiving?", "2022-11-24"),
        ("Who came at Easter?", "2023-04-07..2023-04-10"),
        ("Who came on New Year’s Eve?", "2022-12-31"),
        ("What was Ana's costume for Halloween in 2021?", "2021-10-31"),
        # seen from today
        ("What did I eat yesterday?", "2023-07-18"),
        ("What did I eat today?", "2023-07-19"),
        ("What did I eat last night?", "2023-07-18"),
        ("What is planned for tomorrow?", "2023-07-20"),
        ("What did I eat the day before yesterday?", "2023-07-17"),
        ("What will I eat the day after tomorrow?", "2023-07-21"),
        ("What did Ana mention the other day?", "2023-07-12..2023-07-18"),
        ("Who called on Tuesday?", "2023-07-18"),
        ("Who called on Wednesday?", "2023-07-12"),
        ("Who called Monday night?", "2023-07-17"),
        ("Who called last Friday?", "2023-07-14"),
        ("Who called this Monday?", "2023-07-17"),
        ("Who will call on Friday?", "2023-07-21"),
        ("What is planned for next Tuesday?", "2023-07-25"),
        ("Who called on Tuesday of last week?", "2023-07-11"),
        ("What did we decide last week?", "2023-07-10..2023-07-16"),
        ("What did we decide this week?", "2023-07-17..2023-07-23"),
        ("What did we decide last weekend?", "2023-07-15..2023-07-16"),
        ("What did we decide last month?", "2023-06-01..2023-06-30"),
        ("What did we decide last quarter?", "2023-04-01..2023-06-30"),
        ("What did we decide last year?", "2022-01-01..2022-12-31"),
        ("What is to be decided next month?", "2023-08-01..2023-08-31"),
        ("What did he buy 3 days ago?", "2023-07-16"),
        ("What did we discuss two weeks ago?", "2023-07-02..2023-07-08"),
        ("What did we discuss two weekends ago?", "2023-07-08..2023-07-09"),
        ("Where did Ben travel a month ago?", "2023-06-01..2023-06-30"),
        ("Where did Ben travel a few months ago?", "2023-02-01..2023-05-31"),
        ("Where did Ben travel a couple of days ago?", "2023-07-16..2023-07-17"),
        ("Where did Ben travel five years ago?", "2018-01-01..2018-12-31"),
        ("What did I say 5 hours ago?", "2023-07-18..2023-07-19"),
        ("What did I cook in the past three months?", "2023-04-19..2023-07-19"),
        ("What did I cook in the last few days?", "2023-07-14..2023-07-19"),
        ("What did I cook over the past week?", "2023-07-12..2023-07-19"),
        ("What will I cook in the next two weeks?", "2023-07-20..2023-08-02"),
        ("What happens two weeks from now?", "2023-07-30..2023-08-05"),
        ("What did I cook this past month?", "2023-06-19..2023-07-19"),
        ("What did I cook over the last year?", "2022-07-19..2023-07-19"),
        ("What did I cook in the last 24 hours?", "2023-07-18..2023-07-19"),
        ("What did I cook the weekend before last?", "2023-07-08..2023-07-09"),
        ("What did we sell in Q4?", "2022-10-01..2022-12-31"),
        # ranges
        ("What happened between June and August 2022?", "2022-06-01..2022-08-31"),
        ("What happened between June and August?", "2022-06-01..2022-08-31"),
        ("What happened from October to March 2023?", "2022-10-01..2023-03-31"),
        ("What did Ben do from 3 to 7 March?", "2023-03-03..2023-03-07"),
        ("What did Ben do between 3 and 7 March 2022?", "2022-03-03..2022-03-07"),
        ("What did Ben do on May 8-10, 2023?", "2023-05-08..2023-05-10"),
        ("What did Ben do on 8–10 May 2023?", "2023-05-08..2023-05-10"),
        ("What did Ben do from 28 May to 3 June 2023?", "2023-05-28..2023-06-03"),
        ("What did Ben do between 2019 and 2021?", "2019-01-01..2021-12-31"),
        ("What did Ben do from 2019-2021?", "2019-01-01..2021-12-31"),
        ("What did Ben do from Monday to Friday?", "2023-07-10..2023-07-14"),
        ("What did Ben do between Christmas and Easter?", "2022-12-24..2023-04-10"),
        # beside a date
        ("Who came the weekend of 8 May 2023?", "2023-05-06..2023-05-07"),
        ("Who came the week of 10 May 2023?", "2023-05-08..2023-05-14"),
        ("Who came the week before 8 May 2023?", "2023-05-01..2023-05-07"),
        ("Who came the weekend after 8 May 2023?", "2023-05-13..2023-05-14"),
        ("Who came the Friday before 15 July 2023?", "2023-07-14"),
        ("Who came the Sunday after 15 July 2023?", "2023-07-16"),
        ("Who came the summer after 2021?", "2022-06-01..2022-08-31"),
        ("Who came the winter before 2021?", "2019-12-01..2020-02-29"),
        ("Who came two days before Christmas?", "2022-12-22"),
        ("Who came a week after 8 May 2023?", "2023-05-12..2023-05-18"),
        ("Who came around 8 May 2023?", "2023-05-05..2023-05-11"),
        ("How many days before 8 May 2023 did Ana call?", "2023-05-08"),
        # open to one side: until today, or without an end
        ("What has Ana read since last October?", "2022-10-01..2023-07-19"),
        ("What has Ana read since 2021?", "2021-01-01..2023-07-19"),
        ("What has Ana read since Monday?", "2023-07-17..2023-07-19"),
        ("What has Ana read from 8 May onwards?", "2023-05-08..2023-07-19"),
        ("Where did Ana live after 2020?", "2021-01-01..2023-07-19"),
        ("Where will Ana live after 2024?", "2025-01-01.."),
        ("Where did Ana live before 2021?", "..2020-12-31"),
        ("Where did Ana live until June 2022?", "..2022-06-30"),
        ("What had Ana read by the end of May?", "..2023-05-31"),
        ("What did Ana read before last week?", "..2023-07-09"),
    ],
)
def test_a_date_is_read(question: str, expected: str) -> None:
    """Asked on Wednesday, 19 July 2023: the days that the question means, and no others."""
    assert asked(question) == [expected]


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("What was said on 8/5/2023?", ["2023-05-08", "2023-08-05"]),
        ("What was said on 08-05-2023?", ["2023-05-08", "2023-08-05"]),
        ("Compare yesterday with last week.", ["2023-07-18", "2023-07-10..2023-07-16"]),
        ("Where was Ben in June and August 2022?", ["2022-06-01..2022-06-30", "2022-08-01..2022-08-31"]),
        ("Was it on 8 May 2023 or on 9 May 2023?", ["2023-05-08", "2023-05-09"]),
        ("Was it on 8 May 2023 or 2023-05-08?", ["2023-05-08"]),
    ],
)
def test_several_dates_are_read_in_order(question: str, expected: list[str]) -> None:
    """Each range once; figures that can be day and month both ways round are both."""
    assert asked(question) == expected


@pytest.mark.parametrize(
    "question",
    [
        "What did May say?", "When did April move?", "Who is August?", "What did June tell Ben?", "What did Ana say to May?",
        "What did Ana give to June for her birthday?", "What is in April's garden?", "Which play by August Wilson did Ana see?",
        "What did Ana do before June left?", "What did Jan borrow from Mark?", "Has Ana met Summer?", "What did Will cook?",
        "Is Wednesday a good series?", "What may happen to Ana?", "How many of the 8 may come?", "Where did they march?",
        "Did they march 10 miles?", "Who may 5 friends bring?", "How many weeks did it take?", "When did Ana paint the fence?",
        "Will it rain?", "What is the second book?", "Did it take a minute?", "Does Ana like the sun?", "Who sat in the sun?",
        "Who has 2 kids?", "Is Ana in her 20s?", "Does Ana like 90s music?",
        "Has Ana read 1984?", "What did Ana fall over?", "Was Ana hurt by the fall of the tree?",
        "Did they spring a leak?", "How long have they been married?", "What did Ana buy for 20 dollars?", "What cost $2000?",
        "Did Ana run 2000 meters?", "Did Ana sell 2023 pieces in 2000 days?", "Which movie did they watch for the second time?",
        "How many times a week does Ana run?", "What does Ana do every Sunday?", "What does Ana do on Sundays?",
        "What does Ana do on Sunday?",
        "What does Ana do in the summer?", "What does Ana usually eat at Christmas?", "Where is the Christmas tree?",
        "What is at 5 Main Street?", "Is version 1.2.3 out?", "Is 10.0.0.1 up?", "What scored 3/4?", "Does the shop open 24/7?",
        "What is Ana's number, 555-01-2023?", "When is the last day of school?", "What happened the last time?",
        "Which day suits Ana?", "What year was it?", "Who won in 99999?", "What happened on 31 June 2023?", "What is 2023-13-45?",
        "What happened on 30 February?", "What happened 9999 years ago?", "What is planned in 99999 years?", "How old is Ana?",
        "What did Ana do for the first time?", "What was Ana doing at 8:30?", "Who came 3rd?", "Which floor, on the 2nd floor?",
        "Is Good Morning America on?", "Where did Ana march on?", "Which song is called Friday?", "", "   ", "?", "🎉🎄",
        "Что делала Ана в мае?",
    ],
)  # fmt: skip
def test_no_date_is_read(question: str) -> None:
    """Names, verbs, counts and habits are no dates, and what no calendar has is none either."""
    assert asked(question) == []


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("What happened in May?", []),
        ("What did last May bring?", []),
        ("What happened before May?", []),
        ("What happened in May 2023?", ["2023-05-01..2023-05-31"]),
        ("What happened on May 8th?", ["2023-05-08"]),
        ("What did we do in summer?", []),
        ("Was it on Sunday?", []),
        ("Will Will come in October?", ["2022-10-01..2022-10-31"]),
        ("What happened in June?", ["2023-06-01..2023-06-30"]),
    ],
)
def test_a_participant_is_not_a_date(question: str, expected: list[str]) -> None:
    """A word that names a participant is a date only with a day or a year beside it."""
    assert asked(question, "May Li", "Summer", "Sunday", "Will") == expected


def test_the_day_is_that_of_the_asking() -> None:
    """The same question asked on another day means other days."""
    new_year = datetime(2024, 1, 1, tzinfo=UTC)
    assert asked("What happened yesterday?", now=new_year) == ["2023-12-31"]
    assert asked("What happened last week?", now=new_year) == ["2023-12-25..2023-12-31"]
    assert asked("What happened last summer?", now=new_year) == ["2023-06-01..2023-08-31"]
    assert asked("What happened this winter?", now=new_year) == ["2023-12-01..2024-02-29"]
    assert asked("What happened a month ago?", now=datetime(2024, 3, 31, tzinfo=UTC)) == ["2024-02-01..2024-02-29"]


def test_days_are_numbers_with_slack_after() -> None:
    """Both bounds as YYYYMMDD; what is told later lies within the slack, which ends where the calendar does."""
    may = DateRange(date(2023, 5, 8), date(2023, 5, 30))
    assert days(may) == (20230508, 20230601)
    assert days(may, slack_days_after=0) == (20230508, 20230530)
    assert days(DateRange(date.min, date.max), slack_days_after=7) == (10101, 99991231)


def test_a_range_does_not_end_before_it_begins() -> None:
    """An impossible range cannot be made."""
    with pytest.raises(ValueError, match="2023-05-09 comes after 2023-05-08"):
        DateRange(date(2023, 5, 9), date(2023, 5, 8))


def test_a_long_text_is_read_from_its_beginning() -> None:
    """Ten thousand words are no question: only its first part is read, and only so many dates."""
    assert asked("yesterday " + "word " * 10_000 + "last week") == ["2023-07-18"]
    many = " ".join(f"2023-05-{day:02}" for day in range(1, 32))
    assert asked(many) == [f"2023-05-{day:02}" for day in range(1, 17)]


WORDS = re.findall(
    r"\S+",
    "last this next past since before after until between and to from the of in on a an early late mid week weekend day days"
    " month year years quarter decade ago may May june summer winter christmas easter new year's eve monday sunday tuesday"
    " yesterday tomorrow 1 2 8th 29 31 99 9999 2023 1900 2099 99999 0000-00-00 9999-12-31 0001-01-01 31/12/9999 1/1/0001 Q4"
    " first second last half few couple several hours minutes from now , - – ? 's de Mai août 年 5月 İ ſunday ① will does",
)
pieces = st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join)
moments = st.datetimes(timezones=st.just(UTC)) | st.sampled_from(
    [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC), WEDNESDAY]
)


@settings(deadline=None)
@given(st.text(max_size=200) | pieces, moments, st.lists(st.text(max_size=12), max_size=3))
def test_whatever_is_asked_whenever_there_is_an_answer(question: str, now: datetime, names: list[str]) -> None:
    """Nothing raises, at the ends of the calendar either; ranges are whole, distinct and in the index's numbers."""
    spans = dates_asked(question, now, names)
    assert len(set(spans)) == len(spans) <= 16
    assert all(s.since <= s.until for s in spans)
    assert all(10101 <= first <= last <= 99991231 for first, last in map(days, spans))


@settings(deadline=None)
@given(
    st.dates(date(1900, 1, 1), date(2099, 12, 31)),
    moments,
    st.sampled_from(["%Y-%m-%d", "%d %B %Y", "%B %d, %Y", "%A, %d %b %Y"]),
)
def test_a_full_date_is_itself(day: date, now: datetime, form: str) -> None:
    """A date with its year means that day, whenever it is asked and however it is written."""
    assert dates_asked(f"What happened on {day.strftime(form)}?", now) == (DateRange(day, day),)


@settings(deadline=None)
@given(st.dates(date(1, 2, 1), date(9999, 11, 30)), st.sampled_from(["May", "October", "29 February", "Christmas", "Tuesday"]))
def test_the_past_is_asked_about_in_the_past(today: date, name: str) -> None:
    """Without a year, a question in the past tense never means what has yet to begin."""
    now = datetime(today.year, today.month, today.day, tzinfo=UTC)
    assert all(s.since <= today for s in dates_asked(f"What happened on {name}?", now))
