"""Whether a buffered message answers to a query's conditions."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from given import NOW, SCOPE, message
from hypothesis import given
from hypothesis import strategies as st

from app.records import FilterTerm, Query, RecordKind, Role, Scope
from app.retrieval.matching import admits

MOMENT = timedelta(microseconds=1)
SAID = message(created_at=NOW, role=Role.USER, name="Ana", metadata={"n": 1, "ok": True, "tags": ["a"], "none": None})


def query(scope: Scope = SCOPE, **conditions: Any) -> Query:
    return Query("any", scope, **conditions)


def where(field: str, *values: str | float) -> Query:
    return query(filter=(FilterTerm(field, values),))


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (query(), True),
        (query(Scope("acme")), True),
        (query(Scope("other")), False),
        (query(Scope("acme", user_id="ben")), False),
        (query(Scope("acme", project_id="move", agent_id="bot")), True),
        (query(kinds=(RecordKind.MESSAGE,)), True),
        (query(kinds=(RecordKind.EPISODE, RecordKind.KNOWLEDGE)), False),
        (query(since=NOW, until=NOW), True),
        (query(since=NOW + MOMENT), False),
        (query(until=NOW - MOMENT), False),
        (where("kind", "message"), True),
        (where("kind", "episode"), False),
        (where("role", "assistant", "user"), True),
        (where("author", "Ana"), True),
        (where("author", "user"), False),
        (where("user_id", "ana"), True),
        (where("agent_id", "ana"), False),
        (where("session_id", "s1"), True),
        (where("project_id", "move"), True),
        (where("metadata.n", 1), True),
        (where("metadata.n", 1.0), True),
        (where("metadata.n", "1"), False),
        (where("metadata.n", True), False),
        (where("metadata.ok", True), True),
        (where("metadata.ok", 1), False),
        (where("metadata.tags", "a"), False),
        (where("metadata.none", "None"), False),
        (where("metadata.absent", ""), False),
        (where("metadata.n"), False),
        (query(filter=(FilterTerm("role", ("user",)), FilterTerm("author", ("Ben",)))), False),
    ],
)  # fmt: skip
def test_every_condition_must_hold(asked: Query, expected: bool) -> None:
    """Scope, kinds, times and filter each can refuse; a missing field and another type of value never match."""
    assert admits(asked, SAID) is expected


def test_a_message_without_a_name_has_its_role_for_an_author() -> None:
    """The author is the name, or else the role."""
    assert admits(where("author", "tool"), message(name=None, role=Role.TOOL))


def test_a_scope_field_that_is_not_set_never_matches() -> None:
    """Nobody's message is not found by filtering for somebody, nor for nothing."""
    nobodys = message(scope=Scope("acme", session_id="s1"))
    assert not admits(query(Scope("acme"), filter=(FilterTerm("user_id", ("ana", "", "None")),)), nobodys)


names = st.sampled_from([None, "a", "b"])
scopes = st.builds(Scope, st.sampled_from(["ns", "other"]), names, names, st.sampled_from(["s", "t"]), names)


@given(scopes, scopes)
def test_no_filter_widens_a_scope(asking: Scope, home: Scope) -> None:
    """Whatever is asked, a message outside the namespace or a narrower field of the scope is refused."""
    is_admitted = admits(query(asking), message(scope=home))
    pairs = [(asking.user_id, home.user_id), (asking.agent_id, home.agent_id), (asking.project_id, home.project_id)]
    narrowed = all(mine in {None, theirs} for mine, theirs in [*pairs, (asking.session_id, home.session_id)])
    assert is_admitted == (asking.namespace == home.namespace and narrowed)
