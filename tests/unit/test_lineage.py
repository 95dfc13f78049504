"""Documents from older releases: brought up to date step by step, and refused by name where that cannot be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.episodic.upgrades import EPISODES, KNOWLEDGE, SESSIONS
from app.lineage import Damaged, Lineage, NewerVersion
from app.records import SCHEMA_VERSION, Json


def _mood_became_a_list(document: Json) -> Json:
    return {**document, "moods": [document["mood"]]}


def _mood_is_gone(document: Json) -> Json:
    return {name: value for name, value in document.items() if name != "mood"}


LINEAGE = Lineage({1: _mood_became_a_list, 2: _mood_is_gone})


def test_every_older_version_is_brought_up_to_date() -> None:
    """Each step is done in turn, from the version a document has to the current one, which is left as it is."""
    assert LINEAGE.current == 3
    assert LINEAGE.upgraded({"mood": "calm"}, 1) == {"moods": ["calm"]}
    assert LINEAGE.upgraded({"mood": "calm", "moods": ["calm"]}, 2) == {"moods": ["calm"]}
    assert LINEAGE.upgraded({"moods": ["calm"]}, 3) == {"moods": ["calm"]}


def test_a_newer_version_is_refused_by_name() -> None:
    """What a newer release wrote is not guessed at."""
    with pytest.raises(NewerVersion, match="schema version 4, this release reads up to 3"):
        LINEAGE.upgraded({}, 4)


def test_a_version_that_never_was_is_damage() -> None:
    """Versions count from 1."""
    with pytest.raises(Damaged, match="schema version 0, the first one was 1"):
        LINEAGE.upgraded({}, 0)


@given(st.integers(1, 3), st.text())
def test_upgrading_is_done_once(version: int, mood: str) -> None:
    """What is current already is not changed again."""
    current = LINEAGE.upgraded({"mood": mood, "moods": [mood]}, version)
    assert LINEAGE.upgraded(current, LINEAGE.current) == current


def test_every_lineage_leads_to_the_version_that_is_written() -> None:
    """Rows are written with `SCHEMA_VERSION`, so every document in them has to be of it."""
    assert {lineage.current for lineage in (EPISODES, KNOWLEDGE, SESSIONS)} == {SCHEMA_VERSION}


@pytest.mark.parametrize("lineage", [LINEAGE, EPISODES, KNOWLEDGE, SESSIONS])
def test_no_step_is_missing(lineage: Lineage) -> None:
    """There is a step from every version but the current."""
    assert sorted(lineage.steps) == list(range(1, lineage.current))
