"""The quality validator: what it takes off, and that it says why."""

from __future__ import annotations

from typing import Any

import pytest
from given import episode
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidInput
from app.learning.quality import (
    PARTS,
    PartWeights,
    Quality,
    QualityPolicy,
    QualityReason,
    assess,
    is_learnable,
)
from app.records import EpisodeKind
from app.records.quality import QualityCounts, summed, tenth_of

WHOLE: dict[str, Any] = {
    "perception": {"backlog": 12, "velocity": 9, "team": "alpha"},
    "reasoning": {"why": "the velocity of the last three sprints covers nine stories"},
    "action": {"decision": "plan nine stories"},
    "outcome": {"done": 8},
    "outcome_quality": 0.9,
}
POLICY = QualityPolicy()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
DOCUMENTS = st.dictionaries(st.text(max_size=8), JSON, max_size=5)


def judged(**fields: Any) -> Quality:
    return assess(episode(kind=EpisodeKind.DECISION, **(WHOLE | fields)), POLICY)


def lost(**fields: Any) -> list[tuple[str, str, float, str]]:
    return [(r.part, r.aspect, round(r.lost, 4), r.problem) for r in judged(**fields).reasons]


def test_an_episode_that_tells_everything_loses_nothing() -> None:
    """Four parts with fields that all hold something, and enough in them: the whole score, and no reason."""
    assert (judged().score, judged().reasons) == (1.0, ())


@pytest.mark.parametrize(("part", "share"), [("perception", 0.30), ("reasoning", 0.30), ("action", 0.25), ("outcome", 0.15)])
@pytest.mark.parametrize("nothing", [{}, {"a": None}, {"a": "", "b": [], "c": {}}, {"a": "n/a"}, {"x": {"y": [" TBD "]}}])
def test_a_part_that_says_nothing_costs_its_share(part: str, share: float, nothing: dict[str, Any]) -> None:
    """30 % for perception and reasoning, 25 % for the action, 15 % for the outcome, and one reason for all of it."""
    assert judged(**{part: nothing}).score == pytest.approx(1 - share)
    assert lost(**{part: nothing}) == [(part, "completeness", share, f"{part} says nothing")]


def test_an_outcome_that_is_not_known_costs_its_share() -> None:
    """A decision whose outcome is open may still be good."""
    assert (judged(outcome=None, outcome_quality=None).score, judged(outcome=None).score) == (0.85, 0.85)


def test_empty_fields_are_named() -> None:
    """Completeness is the share of fields with a value; three of the others are named."""
    fields = {"backlog": 12, "velocity": 9, "team": "alpha", "risk": None, "a": {"b": ""}, "c": "todo", "d": []}
    problem = "without a value: a.b, c, d …"
    assert lost(perception=fields) == [("perception", "completeness", round(0.3 * 4 / 7, 4), problem)]


def test_an_outcome_without_a_judgement_is_half_told() -> None:
    """Whoever says what came of it should say how good that was."""
    assert lost(outcome_quality=None) == [("outcome", "completeness", 0.075, "without a value: outcome_quality")]


@pytest.mark.parametrize(
    ("reasoning", "count"),
    [({"why": "habit"}, 2), ({"why": "habit habit Habit"}, 2), ({"why": "because of its length"}, 5), ({"理由": "速度"}, 4)],
)
def test_few_words_cost_substance(reasoning: dict[str, str], count: int) -> None:
    """Different words and numbers count, of names and values; repeating them does not help."""
    expected = (
        "reasoning",
        "substance",
        round(0.3 * (1 - count / 6), 4),
        f"reasoning has {count} of 6 different words or numbers",
    )
    assert lost(reasoning=reasoning) == [expected]


def test_neither_aspect_makes_up_for_the_other() -> None:
    """Half the fields empty and three quarters of the words there: three eighths of the part's points, and both reasons."""
    quality = judged(perception={"a": "", "bb": ""} | {"c": "d", "e": "d"})
    assert next((p.part, p.completeness, p.substance) for p in quality.parts) == ("perception", 0.5, 0.75)
    assert [r.aspect for r in quality.reasons] == ["completeness", "substance"]


@given(documents=st.tuples(DOCUMENTS, DOCUMENTS, DOCUMENTS, st.none() | DOCUMENTS), outcome_quality=st.none() | st.floats(0, 1))
def test_every_point_lost_has_a_reason(documents: tuple[Any, ...], outcome_quality: float | None) -> None:
    """Whatever JSON an episode holds, its score and the reasons' points add up to 1."""
    fields = dict(zip(PARTS, documents, strict=True)) | {"outcome_quality": outcome_quality}
    quality = assess(episode(**fields), POLICY)
    assert 0 <= quality.score <= 1
    assert quality.score + sum(reason.lost for reason in quality.reasons) == pytest.approx(1, abs=1e-5)


@given(document=DOCUMENTS)
def test_the_order_of_keys_does_not_matter(document: dict[str, Any]) -> None:
    """PostgreSQL keeps keys in an order of its own: the score stays."""
    backwards = dict(reversed(document.items()))
    assert judged(perception=document).score == judged(perception=backwards).score


def test_a_deep_document_is_judged() -> None:
    """Depth costs no recursion, and a document of a megabyte is looked at in part."""
    deep: Any = "bottom"
    for _ in range(5000):
        deep = {"d": deep}
    assert judged(perception=deep, action={"n": list(range(100_000))}).score < 1


def test_weights_and_threshold_are_settings() -> None:
    """Weights need not add up to 1; a part without weight costs nothing; the threshold itself is good enough."""
    policy = QualityPolicy(PartWeights(perception=1, reasoning=3, action=0, outcome=0), threshold=0.25)
    quality = assess(episode(perception=WHOLE["perception"]), policy)
    assert (quality.score, quality.reasons) == (
        0.25,
        (QualityReason("reasoning", "completeness", 0.75, "reasoning says nothing"),),
    )
    qualities = (None, 0.2499, 0.25, 1.0)
    assert [is_learnable(episode(quality=q), policy) for q in qualities] == [False, False, True, True]


@pytest.mark.parametrize("weights", [PartWeights(0, 0, 0, 0), PartWeights(perception=-0.1)])
def test_weights_that_leave_nothing_are_refused(weights: PartWeights) -> None:
    """A score needs something to be made of."""
    with pytest.raises(InvalidInput, match="quality weights: must not be negative, and at least one must be above 0"):
        QualityPolicy(weights=weights)


def test_counts_add_up() -> None:
    """Projects together, their mean and the share below the threshold; 1 belongs to the last tenth."""
    one = QualityCounts("a", (1, 0, 0, 0, 0, 0, 0, 0, 0, 1), 1.05, 1, 2)
    two = QualityCounts(None, (0, 0, 0, 0, 0, 0, 0, 2, 0, 0), 1.5, 0, 0)
    both = summed((one, two))
    assert both == QualityCounts(None, (1, 0, 0, 0, 0, 0, 0, 2, 0, 1), 2.55, 1, 2)
    assert (both.mean, both.share_below, summed(()).mean, summed(()).share_below) == (2.55 / 4, 0.25, None, None)
    assert [tenth_of(q) for q in (0.0, 0.0999, 0.1, 0.99, 1.0)] == [0, 0, 1, 9, 9]
