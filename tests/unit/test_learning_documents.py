"""Reading what agents write into episodes, and the conditions that follow from it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from app.learning.conditions import Condition, Op
from app.learning.documents import action_of, error_of, facts_of, normal, tool_of
from app.learning.evidence import confidence_from
from app.learning.perceived import around, circumstances
from app.learning.signatures import part_similarity

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
KEYS = st.sampled_from(["tool", "action", "name", "type", "error", "result", "status", "tool_calls", "function", "input", "x"])


@pytest.mark.parametrize(
    ("step", "tool"),
    [
        ({"tool": "search"}, "search"),
        ({"tool_name": "search", "name": "Ana"}, "search"),
        ({"type": "tool_call", "name": "web_search"}, "web_search"),
        ({"tool_calls": [{"function": {"name": "search", "arguments": "{}"}}]}, "search"),
        ({"action": {"type": "click"}}, "click"),
        ({"type": "deploy"}, "deploy"),
        ({"type": "message", "content": "hello"}, None),
        ({"tool": "a name\nof two lines"}, None),
        ({"tool": 7, "content": "x"}, None),
        ({}, None),
    ],
)
def test_a_step_names_its_tool(step: dict[str, Any], tool: str | None) -> None:
    """The usual shapes are understood; what names nothing has no tool."""
    assert tool_of(step) == tool


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ({"error": "TimeoutError: 12 s"}, "TimeoutError"),
        ({"error": {"code": "quota", "message": "no"}}, "quota"),
        ({"error": True}, "error"),
        ({"exception": "file /tmp/x17 not found"}, "file … not found"),
        ({"status": "failed", "message": "job 31 died"}, "job … died"),
        ({"success": False}, "failed"),
        ({"result": {"ok": False, "message": "refused"}}, "refused"),
        ({"output": "Error: no such table"}, "Error: no such table"),
        ({"error": None, "result": "fine"}, None),
        ({"status": "ok", "error": ""}, None),
    ],
)
def test_a_step_tells_what_went_wrong(step: dict[str, Any], error: str | None) -> None:
    """Errors are told apart by their kind, not by the number in them."""
    assert error_of(step) == error


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(KEYS, ANY_JSON, max_size=5))
def test_any_json_can_be_read(document: dict[str, Any]) -> None:
    """Whatever stands in a step, an action or a perception, reading it fails at nothing."""
    assert isinstance(tool_of(document), str | None)
    assert isinstance(error_of(document), str | None)
    assert isinstance(action_of(document), str | None)
    assert len(circumstances(document)) == len(facts_of(document, 16)) <= 16


@pytest.mark.parametrize(
    ("action", "name"),
    [
        ({"choice": "cut scope", "by": "2 days"}, "cut scope"),
        ({"tool": {"name": "deploy"}}, "deploy"),
        ({"what": "cut scope", "days": 2}, "cut scope"),
        ({"first": "this", "second": "that"}, None),
        ({}, None),
    ],
)
def test_an_action_has_one_name(action: dict[str, Any], name: str | None) -> None:
    """The key that says what was chosen, or the only text there is."""
    assert action_of(action) == name


def test_facts_are_short_values_by_their_paths() -> None:
    """Nested values are named by their path; prose, lists and what is no number are no facts."""
    document = {
        "team": {"size": 5, "lead": " Ana "}, "is_late": True, "notes": "a\nb", "tags": ["x"], "rate": float("nan"),
        "prose": "x" * 61,
    }  # fmt: skip
    assert facts_of(document, 16) == {"is_late": True, "team.lead": "Ana", "team.size": 5}
    assert facts_of(document, 1) == {"is_late": True}


@example(999_999_999_999.998)
@given(st.floats(min_value=1e-6, max_value=1e12) | st.integers(min_value=4, max_value=10**12))
def test_a_number_lies_in_its_interval(value: float) -> None:
    """The bounds are two neighbours of 1, 2, 5, 10 …; a negative number lies in the mirrored ones."""
    low, high = around("x", value)
    assert (low.op, high.op) == (Op.GTE, Op.LT)
    assert bound(low) <= value < bound(high)
    assert bound(high) / bound(low) == pytest.approx(2) or bound(high) / bound(low) == pytest.approx(2.5)
    assert [(c.op, -bound(c)) for c in around("x", -value)] == [(Op.GT, bound(high)), (Op.LTE, bound(low))]


def bound(condition: Condition) -> float:
    assert isinstance(condition.value, int | float)
    return condition.value


@pytest.mark.parametrize("value", ["high", True, 0, 3, -1])
def test_categories_and_small_numbers_are_equal_or_not(value: object) -> None:
    """What has few values is compared as it is."""
    assert around("x", value) == (Condition("x", Op.EQ, value),)  # type: ignore[arg-type] # the parameters are scalars


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("cut the scope", "cutting scope", True),
        ("release", "releasing", True),
        ("web search", "search web", True),
        ("cut scope", "do not cut scope", False),
        ("backlog 20", "backlog 50", False),
        ("scale up the web servers now", "scale down the web servers now", False),
        ("high", "low", False),
    ],
)
def test_other_words_for_the_same(left: str, right: str, same: bool) -> None:
    """Endings, order and articles make no difference; a number, a negation, another word do."""
    assert (part_similarity(left, right) >= 0.75) is same


@pytest.mark.parametrize("name", ["web_search", "webSearch", "Web  Search", "WEB-SEARCH"])
def test_spellings_are_one_name(name: str) -> None:
    """How a name is written does not matter."""
    assert normal(name) == "web search"


@pytest.mark.parametrize(("supporters", "contradictors", "expected"), [(0, 0, 0.5), (3, 0, 0.8), (3, 1, 2 / 3), (7, 2, 8 / 11)])
def test_confidence_is_laplaces_rule(supporters: int, contradictors: int, expected: float) -> None:
    """The mean of the posterior under a uniform prior."""
    assert confidence_from(supporters, contradictors) == pytest.approx(expected)
