"""The language of conditions: what holds, what does not, and what is no condition at all."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidInput
from app.learning.conditions import Condition, Met, Op, conditions_of, met

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
ORDERS = (Op.LT, Op.LTE, Op.GT, Op.GTE)


def holds(field: str, op: str, value: Any, context: dict[str, Any]) -> bool:
    return met(conditions_of({"conditions": [{"field": field, "op": op, "value": value}]}), context) is not None


@pytest.mark.parametrize(
    ("op", "value", "found", "is_met"),
    [
        ("eq", 1, 1.0, True), ("eq", 1, True, False), ("eq", "1", 1, False), ("eq", None, None, True), ("eq", 1, [1], False),
        ("ne", 1, 2, True), ("ne", 1, 1.0, False), ("ne", 1, "1", True), ("ne", 0, False, True),
        ("lt", 10, 9.5, True), ("lt", 10, 10, False), ("lte", 10, 10.0, True), ("gt", 10, 9, False), ("gte", 10, 11, True),
        ("lt", 10, "9", False), ("gt", 0, True, False), ("gt", "a", "b", True), ("lt", "10", "9", False), ("lt", 10, None, False),
        ("in", ["late", 2], "late", True), ("in", ["late", 2], 2.0, True), ("in", [1], True, False), ("in", [None], None, True),
        ("exists", True, None, True), ("exists", False, None, False),
    ],
)  # fmt: skip
def test_comparisons_are_typed(op: str, value: Any, found: Any, is_met: bool) -> None:
    """Numbers with numbers, texts with texts, and nothing with anything else."""
    assert holds("a", op, value, {"a": found}) is is_met


@pytest.mark.parametrize("context", [{}, {"a": 5}, {"a": {"c": 5}}, {"a": [{"b": 5}]}, {"a.b": 5}])
def test_a_missing_field_fulfils_nothing_but_its_absence(context: dict[str, Any]) -> None:
    """Neither an order, nor equality, nor its opposite."""
    ops = [("eq", 5), ("ne", 6), ("lt", 9), ("lte", 9), ("gt", 1), ("gte", 1), ("in", [5]), ("exists", True)]
    assert [holds("a.b", op, value, context) for op, value in ops] == [False] * 8
    assert holds("a.b", "exists", False, context)


def test_all_conditions_have_to_hold() -> None:
    """One that does not is enough; those that do are given with what was found."""
    stated = [
        {"field": "a.b", "op": "gt", "value": 3},
        {"field": "c", "op": "in", "value": ["x", "y"]},
        {"field": "d", "op": "exists"},
    ]
    conditions = conditions_of({"conditions": stated})
    assert conditions == (
        Condition("a.b", Op.GT, 3),
        Condition("c", Op.IN, ("x", "y")),
        Condition("d", Op.EXISTS, value=True),
    )
    fitting = {"a": {"b": 4}, "c": "y", "d": None}
    assert met(conditions, fitting) == tuple(Met(c, v) for c, v in zip(conditions, (4, "y", None), strict=True))
    assert met(conditions, fitting | {"c": "z"}) is None
    assert met((), {}) == ()


@pytest.mark.parametrize(
    ("stated", "refusal"),
    [
        ("a > 3", "content.conditions: must be a list of conditions"),
        ([{"field": "a", "op": "exists"}] * 21, "content.conditions: must have at most 20 conditions, has 21"),
        (["a > 3"], r"content.conditions\[0\]: must be an object"),
        ([{"field": "a", "op": "exists"}, {"op": "eq", "value": 1}], r"conditions\[1\].field: must be the path"),
        ([{"field": "a..b", "op": "eq", "value": 1}], r"conditions\[0\].field: must be the path"),
        ([{"field": "a" * 256, "op": "eq", "value": 1}], r"conditions\[0\].field: must have at most 255 characters, has 256"),
        ([{"field": "a", "op": "matches", "value": 1}], r"\[0\].op: must be one of eq, ne, lt, lte, gt, gte, in, exists"),
        ([{"field": "a", "op": ["eq"], "value": 1}], r"conditions\[0\].op: must be one of"),
        ([{"field": "a", "op": "eq"}], r"conditions\[0\].value: must be given for eq"),
        ([{"field": "a", "op": "lt", "value": True}], r"conditions\[0\].value: must be a number or a text for lt"),
        ([{"field": "a", "op": "in", "value": []}], r"conditions\[0\].value: must be a list of 1 to 100 values"),
        ([{"field": "a", "op": "in", "value": [[1]]}], r"\[0\].value\[0\]: must be a text, a number, true, false or null"),
        ([{"field": "a", "op": "eq", "value": {}}], r"conditions\[0\].value: must be a text"),
        ([{"field": "a", "op": "exists", "value": 1}], r"conditions\[0\].value: must be true or false"),
        ([{"field": "a", "op": "eq", "value": 1, "or": []}], r"conditions\[0\]: must have field, op and value, and nothing else"),
    ],
)  # fmt: skip
def test_what_is_no_condition_is_refused_by_place(stated: Any, refusal: str) -> None:
    """The refusal names where it stands and what may stand there."""
    with pytest.raises(InvalidInput, match=refusal):
        conditions_of({"conditions": stated})


@given(JSON, SCALARS.filter(lambda v: isinstance(v, str) or (isinstance(v, int | float) and not isinstance(v, bool))))
def test_an_order_has_three_cases_or_none(found: Any, value: Any) -> None:
    """Whatever the context holds: less, equal or more, exactly one of them; or none of the four comparisons holds."""
    lt, lte, gt, gte = (holds("a", op, value, {"a": found}) for op in ORDERS)
    equal = holds("a", "eq", value, {"a": found})
    assert (lte, gte) == (lt or (equal and lte), gt or (equal and gte))
    assert lt + gt + (equal and lte) in {0, 1}
    if not any((lt, lte, gt, gte)):
        assert not equal or (isinstance(found, float) and math.isnan(found))


@given(JSON, SCALARS)
def test_equal_and_unequal_exclude_each_other(found: Any, value: Any) -> None:
    """Of a field that is there, one of the two holds; `in` with one value is equality."""
    is_equal = holds("a", "eq", value, {"a": found})
    assert holds("a", "ne", value, {"a": found}) is not is_equal
    assert holds("a", "in", [value], {"a": found}) is is_equal


@given(JSON)
def test_anything_is_conditions_or_refused(stated: Any) -> None:
    """No JSON whatever makes reading conditions fail in another way."""
    refused: list[str] = []
    try:
        conditions_of({"conditions": stated})
    except InvalidInput as error:
        refused.append(error.field)
    assert all(field.startswith("content.conditions") for field in refused)
