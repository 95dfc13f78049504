"""What each extractor sees in an episode, and that none of them stops the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from given import episode
from prometheus_client import REGISTRY

from app.learning.extractors import EXTRACTORS, Extracted, extract
from app.learning.extractors.decision_points import DecisionPoints
from app.learning.extractors.error_recoveries import ErrorRecoveries
from app.learning.extractors.outcomes import ContextOutcomes
from app.learning.extractors.tool_sequences import ToolSequences
from app.records import Episode, EpisodeKind, Json, Pattern, PatternKind, Scope


def task(**fields: Any) -> Episode:
    return episode(kind=EpisodeKind.TASK, **fields)


def said(patterns: Sequence[Pattern]) -> set[str]:
    return {p.description for p in patterns}


def test_a_pattern_is_supported_by_its_episode() -> None:
    """Whole, as it comes out: its scope is the namespace and the project, its evidence the one episode."""
    event = task(perception={"risk": "High"}, action={"choice": "Cut_scope"})
    (found,) = DecisionPoints().extract(event, ())
    again = DecisionPoints().extract(task(perception={"risk": "high"}, action={"choice": "cut scope"}), ())[0]
    assert found == Pattern(
        id=again.id,
        kind=PatternKind.DECISION_POINT,
        scope=Scope("acme", project_id="move"),
        family=again.family,
        gist=again.gist,
        premise=("risk", "eq", '"high"'),
        conclusion=("cut scope",),
        description="When risk is 'High', 'Cut_scope' is chosen.",
        first_seen_at=event.ended_at,
        content={"conditions": [{"field": "risk", "op": "eq", "value": "High"}], "action": "Cut_scope"},
        confidence=2 / 3,
        supporting_episodes=(event.id,),
        supporters=1,
    )


def test_rivals_are_of_one_family() -> None:
    """What may follow from the same premise shares its family; another premise, kind or project does not."""
    ids = {
        name: DecisionPoints().extract(task(perception={"risk": risk}, action={"choice": choice}, scope=scope), ())[0].family
        for name, risk, choice, scope in (
            ("one", "high", "ship", Scope("acme")),
            ("rival", "high", "wait", Scope("acme")),
            ("other premise", "low", "ship", Scope("acme")),
            ("other project", "high", "ship", Scope("acme", project_id="move")),
        )
    }
    assert ids["one"] == ids["rival"]
    assert len(set(ids.values())) == 3


def test_sequences_leave_failures_and_repetitions_out() -> None:
    """A tool used twice on end counts once, and a step that failed is no part of how it is done."""
    steps = [{"tool": "a"}, {"tool": "a"}, {"tool": "x", "error": "no"}, {"tool": "b"}, {"say": "hm"}, {"tool": "c"}]
    found = ToolSequences().extract(task(), steps)
    assert {tuple(p.content["tools"]) for p in found} == {("a", "b"), ("b", "c"), ("a", "b", "c")}


def test_of_many_sequences_the_frequent_are_taken() -> None:
    """An episode of a thousand steps brings no more patterns than are asked for."""
    steps = [{"tool": f"t{i}"} for i in range(500)] + [{"tool": "a"}, {"tool": "b"}] * 250
    found = ToolSequences(most=4).extract(task(), steps)
    assert {tuple(p.content["tools"]) for p in found} == {("a", "b"), ("b", "a"), ("a", "b", "a"), ("b", "a", "b")}


@pytest.mark.parametrize(
    ("after", "recovery"),
    [
        ([{"tool": "deploy", "input": 1}], ["the same again"]),
        ([{"tool": "deploy", "input": 2}], ["the same with another input"]),
        ([{"tool": "restart"}, {"tool": "deploy"}], ["restart", "deploy"]),
        ([{"tool": "deploy", "input": 1, "error": "no"}, {"tool": "ask"}], ["ask"]),
        ([{"tool": "ask", "error": "nobody"}], []),
        ([], []),
    ],
)
def test_recoveries_lead_to_the_first_success(after: list[Json], recovery: list[str]) -> None:
    """The way out is the steps up to the first success of the same tool, else of any; or there was none."""
    steps = [{"tool": "deploy", "input": 1, "error": "TimeoutError: 3"}, *after]
    found = ErrorRecoveries().extract(task(), steps)[0]
    assert found.content == {"tool": "deploy", "error": "TimeoutError", "recovery": recovery}


def test_outcomes_need_a_quality() -> None:
    """Before its outcome is judged an episode says nothing about how it ends."""
    event = {"perception": {"backlog": 23, "risk": "high"}, "action": {"choice": "ship"}}
    assert ContextOutcomes().extract(task(**event), ()) == ()
    assert said(ContextOutcomes().extract(task(**event, outcome_quality=0.5), ())) == {
        "When backlog >= 20 and backlog < 50, 'ship' ends well.",
        "When risk is 'high', 'ship' ends well.",
    }
    assert "When risk is 'high', 'ship' ends badly." in said(ContextOutcomes().extract(task(**event, outcome_quality=0.4), ()))


def test_one_that_fails_stops_no_other() -> None:
    """The others' patterns are there, and the failure is named and counted."""

    class Fails:
        name = "fails"

        def extract(self, episode: Episode, steps: Sequence[Json]) -> tuple[Pattern, ...]:
            raise RuntimeError(f"a shape nobody foresaw in {episode.id} of {len(steps)} steps")

    before = REGISTRY.get_sample_value("memory_background_errors_total", {"job": "extract_fails"}) or 0.0
    event = task(perception={"risk": "high"}, action={"choice": "ship"})
    assert extract((Fails(), *EXTRACTORS), event, ()) == Extracted(DecisionPoints().extract(event, ()), ("fails",))
    assert REGISTRY.get_sample_value("memory_background_errors_total", {"job": "extract_fails"}) == before + 1
