"""Who gets which variant."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from uuid import UUID

import pytest
from experimenting import CONTROL, FRESH, experiment

from app.learning.experiments.assignment import assigned
from app.ranking import DEFAULT_RANKING, Fusion
from app.records import Mode, Query, Scope, Stage, Unit, Variant

SUBJECTS = [f"session-{n}" for n in range(10_000)]
FIXED = UUID("01900000-0000-7000-8000-000000000001")


def names(of: str | None, **fields: object) -> Counter[str | None]:
    found = (assigned(experiment(**fields), subject) for subject in SUBJECTS)
    return Counter(None if variant is None else variant.name for variant in found)


def test_a_subject_stays_where_it_is() -> None:
    """The same subject gets the same variant in every process and release: these were assigned once and for all."""
    given = experiment(id=FIXED, traffic_share=0.9)
    again = [variant and variant.name for variant in (assigned(given, subject) for subject in SUBJECTS[:8])]
    assert again == ["control", "control", "fresh", "fresh", "control", "fresh", "control", "fresh"]


def test_shares_are_those_asked_for() -> None:
    """The traffic share takes part, divided by weight."""
    found = names(None, id=FIXED, traffic_share=0.5, variants=(CONTROL, replace(FRESH, weight=3.0)))
    assert found[None] == pytest.approx(5000, abs=150)
    assert found["fresh"] / (found["fresh"] + found["control"]) == pytest.approx(0.75, abs=0.02)


def test_more_traffic_moves_nobody() -> None:
    """Who is in stays in, with the same variant, when the share is raised."""
    small, large = experiment(id=FIXED, traffic_share=0.2), experiment(id=FIXED, traffic_share=0.8)
    before = {s: v.name for s in SUBJECTS if (v := assigned(small, s)) is not None}
    after = {s: v.name for s in SUBJECTS if (v := assigned(large, s)) is not None}
    assert before.items() <= after.items()
    assert len(after) > 3 * len(before)


def test_experiments_do_not_follow_each_other() -> None:
    """Who has the variant in one experiment has it in another one half of the time."""
    first, second = experiment(id=FIXED), experiment(id=UUID(int=FIXED.int + 1))
    both = sum(assigned(first, s) == assigned(second, s) for s in SUBJECTS)
    assert both == pytest.approx(5000, abs=200)


def test_a_variant_changes_what_it_names() -> None:
    """Settings that a variant names replace those of the search; the others stay as the search has them."""
    asked = Query("where?", Scope(), limit=7, ranking=replace(DEFAULT_RANKING, bm25=0.2))
    variant = Variant("x", ranking={"fusion": "rrf", "recency": 0.5}, mode=Mode.SPARSE, stages=(Stage.EXPAND,))
    changed = replace(asked.ranking, fusion=Fusion.RRF, recency=0.5)
    assert variant.applied_to(asked) == replace(asked, ranking=changed, mode=Mode.SPARSE, stages=(Stage.EXPAND,))
    assert Variant("same").applied_to(asked) == asked
    assert Variant("few", limit=3).applied_to(asked) == replace(asked, limit=3)


def test_a_scope_names_the_subject() -> None:
    """The session, user or agent of a scope is the subject of an experiment about them; a custom one is never named."""
    scope = Scope("acme", user_id="ana", agent_id="bot", session_id="s1")
    assert [unit.subject_in(scope) for unit in Unit] == ["s1", "ana", "bot", None]
