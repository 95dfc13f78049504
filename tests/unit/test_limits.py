"""What may enter, and what is said about the rest."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.episodic.tables import ID_CHARACTERS
from app.errors import Conflict, InvalidInput
from app.ingestion.limits import Limits, admit_messages, check_document, check_query
from app.records import Draft, FilterTerm, Message, Query, RecordKind, Role, Scope

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LIMITS = Limits(message_bytes=20, messages_per_call=3, metadata_bytes=40, metadata_depth=2, label_length=10)
SCOPE = Scope("ns", session_id="s")


def admit(*drafts: Draft, scope: Scope = SCOPE) -> tuple[Message, ...]:
    return admit_messages(scope, drafts, LIMITS, NOW)


def test_what_is_left_out_is_filled_in() -> None:
    """A draft without id and time gets a fresh UUIDv7 and the time of admission."""
    (message,) = admit(Draft(Role.USER, "hello"))
    assert (message.id.version, message.created_at, message.metadata, message.sequence) == (7, NOW, {}, 0)


def test_times_are_kept_in_utc() -> None:
    """A time with any offset is the same moment in UTC."""
    moment = datetime(2026, 3, 1, 10, 0, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    (message,) = admit(Draft(Role.USER, "hello", created_at=moment))
    assert message.created_at == datetime(2026, 3, 1, 4, 30, tzinfo=UTC)
    assert message.created_at.tzinfo is UTC


@pytest.mark.parametrize(
    ("draft", "field", "problem"),
    [
        (Draft(Role.USER, "  "), "messages[0].content", "must not be blank"),
        (Draft(Role.USER, "é" * 11), "messages[0].content", "must have at most 20 bytes, has 22"),
        (Draft(Role.USER, "a\x00b"), "messages[0].content", "must not contain NUL characters"),
        (Draft(Role.USER, "a\ud800"), "messages[0].content", "must not contain lone surrogate characters"),
        (Draft(Role.USER, "a", name="x" * 11), "messages[0].name", "must have at most 10 characters, has 11"),
        (Draft(Role.USER, "a", name="a\nb"), "messages[0].name", "must not contain control characters"),
        (Draft(Role.USER, "a", created_at=NOW + timedelta(seconds=61)), "messages[0].created_at",
         "must not be more than 60 s in the future"),
        (Draft(Role.USER, "a", created_at=NOW.replace(tzinfo=None)), "messages[0].created_at",
         "must carry a UTC offset, such as 2026-03-01T09:30:00Z"),
        (Draft(Role.USER, "a", created_at=datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))),
         "messages[0].created_at", "must not be before 1900-01-01"),
        (Draft(Role.USER, "a", metadata={"k": "v" * 40}), "messages[0].metadata",
         "must have at most 40 bytes as JSON, has 48"),
        (Draft(Role.USER, "a", metadata={"a": {"b": {}}}), "messages[0].metadata", "must be nested at most 2 levels deep"),
        (Draft(Role.USER, "a", metadata={"a": float("nan")}), "messages[0].metadata", "must hold finite numbers"),
        (Draft(Role.USER, "a", metadata={"a": 2**63}), "messages[0].metadata", "must hold integers of at most 64 bits"),
        (Draft(Role.USER, "a", metadata={"a\x00": 1}), "messages[0].metadata",
         "must not contain NUL or lone surrogate characters"),
        (Draft(Role.USER, "a", metadata={"a": {1, 2}}), "messages[0].metadata", "must be JSON, holds a set"),
    ],
)  # fmt: skip
def test_a_bad_message_is_refused_by_field_and_limit(draft: Draft, field: str, problem: str) -> None:
    """The refusal names the field by its path and the limit it breaks."""
    with pytest.raises(InvalidInput) as refused:
        admit(draft)
    assert (refused.value.field, refused.value.problem) == (field, problem)


@pytest.mark.parametrize("count", [0, 4])
def test_calls_are_bounded(count: int) -> None:
    """A call holds at least one message and at most the limit."""
    with pytest.raises(InvalidInput, match=f"messages: must be between 1 and 3, is {count}"):
        admit(*[Draft(Role.USER, "a")] * count)


def test_labels_fit_the_tables() -> None:
    """What is admitted can be stored: a longer id would be acknowledged, and its session never drained."""
    assert Limits().label_length == ID_CHARACTERS


def test_a_query_is_asked_at_a_time_in_utc() -> None:
    """The time that anchors relative dates is held to what other times are."""
    query = check_query(Query("q", SCOPE, now=NOW.astimezone(timezone(timedelta(hours=2)))), LIMITS)
    assert (query.now, query.now and query.now.tzinfo) == (NOW, UTC)
    with pytest.raises(InvalidInput, match="now: must carry a UTC offset"):
        check_query(Query("q", SCOPE, now=NOW.replace(tzinfo=None)), LIMITS)


def test_a_session_must_be_named() -> None:
    """Messages belong to a session; without one they are refused."""
    with pytest.raises(InvalidInput, match="session_id: must be given"):
        admit(Draft(Role.USER, "a"), scope=Scope("ns"))


def test_one_id_for_two_contents_is_a_conflict() -> None:
    """An id repeated in a call with the same content is the same message, with other content a conflict."""
    one = UUID(int=1)
    first, second = admit(Draft(Role.USER, "a", id=one), Draft(Role.USER, "a", id=one))
    assert first == second
    with pytest.raises(Conflict, match=r"messages\[1\].id"):
        admit(Draft(Role.USER, "a", id=one), Draft(Role.USER, "b", id=one))


@pytest.mark.parametrize(
    ("query", "field"),
    [
        (Query("", SCOPE), "text"),
        (Query("q", SCOPE, limit=0), "limit"),
        (Query("q", SCOPE, limit=10**9), "limit"),
        (Query("q", SCOPE, kinds=()), "kinds"),
        (Query("q", SCOPE, filter=(FilterTerm("colour", ("red",)),)), "filter.colour"),
        (Query("q", SCOPE, filter=(FilterTerm("metadata.", ("red",)),)), "filter.metadata."),
        (Query("q", SCOPE, filter=(FilterTerm("author", ()),)), "filter.author values"),
        (Query("q", SCOPE, since=NOW, until=NOW - timedelta(days=1)), "since"),
        (Query("q", Scope("")), "namespace"),
    ],
)
def test_a_bad_query_is_refused_by_field(query: Query, field: str) -> None:
    """Limits, kinds, filters and times of a query are checked before any tier is asked."""
    with pytest.raises(InvalidInput) as refused:
        check_query(query, LIMITS)
    assert refused.value.field == field


def test_a_good_query_passes_unchanged() -> None:
    """A query within its limits is what the tiers get."""
    query = Query("q", SCOPE, (RecordKind.MESSAGE,), (FilterTerm("metadata.x", (1, "a")),), NOW, NOW, limit=5)
    assert check_query(query, LIMITS) == query


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters()), inner, max_size=3),
    max_leaves=20,
)


@given(json_values)
def test_any_json_is_admitted_or_refused_never_worse(value: object) -> None:
    """Whatever JSON arrives, the answer is yes or InvalidInput."""
    with suppress(InvalidInput):
        check_document("value", value, max_bytes=1000, max_depth=4)
