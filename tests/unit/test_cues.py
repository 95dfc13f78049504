"""What a question says about its answer."""

from __future__ import annotations

from dataclasses import replace

import pytest
from given import NOW

from app.ranking import Cues, Ranking
from app.records import Query, Scope
from app.retrieval.cues import read_cues
from app.retrieval.people import People

PEOPLE = People(("Ana", "Ben", "May"))


@pytest.mark.parametrize(
    ("question", "author", "days"),
    [
        ("What did Ana cook?", "Ana", ()),
        ("What did Ana cook for Ben?", None, ()),
        ("What did Ana cook on 2 May 2026?", "Ana", ((20260502, 20260504),)),
        ("What did May say?", "May", ()),
        ("What was cooked?", None, ()),
    ],
)
def test_who_and_when(question: str, author: str | None, days: tuple[tuple[int, int], ...]) -> None:
    """The one person named, and the days, with a little room for telling of them later."""
    assert read_cues(Query(question, Scope()), PEOPLE, NOW) == Cues(author, days, NOW.timestamp())


def test_the_query_may_bring_its_own_now_and_no_interest_in_dates() -> None:
    """A given now wins over the clock; without a weight for dates none are read."""
    asked = Query("What did Ana cook on 2 May 2026?", Scope(), now=NOW, ranking=Ranking(date=0.0))
    assert read_cues(asked, PEOPLE, NOW.replace(year=2030)) == Cues("Ana", (), NOW.timestamp())
    yesterday = replace(asked, text="What did Ana cook yesterday?", ranking=Ranking())
    assert read_cues(yesterday, PEOPLE, NOW.replace(year=2030)).days == ((20260503, 20260505),)
