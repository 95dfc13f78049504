"""Messages, states and scratch values as bytes."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.records import Message, Role, Scope, SessionKey, SessionState
from app.working.codec import (
    decode_message,
    decode_scratch,
    decode_state,
    encode_message,
    encode_scratch,
    encode_state,
)

TEXT = st.text(alphabet=st.characters(codec="utf-8"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(TEXT, JSON, max_size=4)
MESSAGES = st.builds(
    Message,
    id=st.uuids(),
    scope=st.builds(Scope, TEXT, st.none() | TEXT, st.none() | TEXT, TEXT, st.none() | TEXT),
    role=st.sampled_from(Role),
    content=TEXT,
    created_at=st.datetimes(timezones=st.just(UTC)),
    name=st.none() | TEXT,
    metadata=OBJECTS,
    sequence=st.integers(1, 2**53),
)
STATES = st.builds(
    SessionState,
    goal=st.none() | TEXT,
    active_context=OBJECTS,
    thoughts=st.lists(TEXT, max_size=3).map(tuple),
    related_episodes=st.lists(st.uuids(), max_size=3).map(tuple),
)


@given(MESSAGES)
def test_a_message_comes_back_whole(message: Message) -> None:
    """Every field survives; namespace, session and sequence come from where the bytes are kept."""
    assert decode_message(message.session, message.sequence, encode_message(message)) == message


@given(STATES)
def test_a_state_comes_back_whole(state: SessionState) -> None:
    """Every field survives; the version comes from where it is counted."""
    assert decode_state(encode_state(state), version=state.version) == state


@given(JSON)
def test_a_scratch_value_comes_back_whole(value: object) -> None:
    """Any JSON value is kept as it is."""
    assert decode_scratch(encode_scratch(value)) == value


def test_the_layout_is_pinned() -> None:
    """Bytes that this release writes are what the next one has to read."""
    message = Message(
        UUID(int=1), Scope("n", "u", "a", "s", "p"), Role.USER, "text", datetime(2026, 1, 1, tzinfo=UTC), "Ana", {"k": 1}
    )
    assert orjson.loads(encode_message(message)) == {
        "v": 1,
        "id": "00000000-0000-0000-0000-000000000001",
        "role": "user",
        "content": "text",
        "created_at": "2026-01-01T00:00:00+00:00",
        "name": "Ana",
        "metadata": {"k": 1},
        "user_id": "u",
        "agent_id": "a",
        "project_id": "p",
    }


def test_bytes_of_another_layout_are_refused() -> None:
    """What a later release wrote is not guessed at."""
    with pytest.raises(ValueError, match="another release"):
        decode_message(SessionKey("n", "s"), 1, b'{"v":2}')
