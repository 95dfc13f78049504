"""Conditions are built once, for every engine, and fail closed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from given import NOW, SCOPE
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidInput
from app.records import FilterTerm, RecordKind, Scope
from app.semantic.filters import OneOf, Within, between, matching, metadata_terms, of_kinds, within_scope

SCALARS = st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text())


@given(st.builds(Scope, st.text(), *[st.none() | st.text()] * 4))
def test_the_namespace_is_always_the_first_condition(scope: Scope) -> None:
    """No scope, however empty, leaves the wall between tenants out."""
    assert within_scope(scope)[0] == OneOf("namespace", (scope.namespace,))


def test_a_scope_becomes_one_condition_a_field() -> None:
    """What is named narrows, what is not does not."""
    assert within_scope(replace(SCOPE, agent_id=None)) == (
        OneOf("namespace", ("acme",)),
        OneOf("user_id", ("ana",)),
        OneOf("session_id", ("s1",)),
        OneOf("project_id", ("move",)),
    )


def test_all_kinds_need_no_condition() -> None:
    """Every kind is no narrowing, no kind admits nothing."""
    assert (of_kinds(tuple(RecordKind)), of_kinds(())) == ((), (OneOf("kind", ()),))


def test_bounds_become_one_condition() -> None:
    """Both bounds travel as text with their time zone, an open one as None."""
    until = NOW + timedelta(hours=1)
    expected = Within("created_at", None, "2026-05-04T13:00:00+00:00")
    assert (between(None, None), between(None, until)) == ((), (expected,))


def test_values_that_are_no_texts_match_no_field() -> None:
    """Fields other than metadata are texts: a number among the values finds nothing."""
    assert matching([FilterTerm("author", (1, "Ana"))]) == (OneOf("author", ("Ana",)),)


def test_an_unknown_field_is_refused() -> None:
    """The error names the field and those there are."""
    with pytest.raises(InvalidInput, match="'colour' is none of kind, role"):
        matching([FilterTerm("colour", ("red",))])


@given(SCALARS, SCALARS)
def test_terms_are_equal_when_json_values_are(one: str | float, other: str | float) -> None:
    """1 and 1.0 share a term; 1, "1" and true each have their own."""
    same = isinstance(one, bool) == isinstance(other, bool) and one == other
    assert (metadata_terms({"k": one}) == metadata_terms({"k": other})) == same


@given(st.text(), st.text(), st.text(), st.text())
def test_terms_of_different_keys_never_meet(key: str, value: str, other_key: str, other_value: str) -> None:
    """Whatever characters keys and values are made of, one pair cannot pose as another."""
    assert (metadata_terms({key: value}) == metadata_terms({other_key: other_value})) == (
        (key, value) == (other_key, other_value)
    )


def test_only_scalars_can_be_found_by() -> None:
    """Lists, objects and null have no term."""
    assert metadata_terms({"a": [1], "b": {"c": 1}, "d": None, "e": 2}) == ['"e"=2']


def test_a_long_term_is_a_digest() -> None:
    """However long the value, its term is short, and equal on both sides."""
    (stored,) = metadata_terms({"k": "x" * 1000})
    assert matching([FilterTerm("metadata.k", ("x" * 1000,))]) == (OneOf("metadata_terms", (stored,)),)
    assert len(stored) == 64
