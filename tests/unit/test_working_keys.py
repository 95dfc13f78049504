"""Key names: unambiguous, in one slot, the same for ever."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from app.records import SessionKey
from app.working.keys import (
    SessionKeys,
    index_key,
    match_namespace,
    partition_of,
    session_keys,
    session_of_key,
    session_of_listed,
    session_of_member,
)

NAMES = st.text(alphabet=st.one_of(st.sampled_from(":{}*?[]%/ .-_~ä☃\n"), st.characters(codec="utf-8")), max_size=20)
SESSIONS = st.builds(SessionKey, NAMES, NAMES)


def test_key_names_are_pinned() -> None:
    """Stored keys are found again by the next release."""
    assert session_keys(SessionKey("te:nant", "s 1")) == SessionKeys(
        messages="hm:{p04}:te%3Anant:s%201:messages",
        meta="hm:{p04}:te%3Anant:s%201:meta",
        ids="hm:{p04}:te%3Anant:s%201:ids",
        state="hm:{p04}:te%3Anant:s%201:state",
        scratch="hm:{p04}:te%3Anant:s%201:scratch",
        dirty="hm:{p04}:dirty",
        unreleased="hm:{p04}:unreleased",
        malformed="hm:{p04}:te%3Anant:s%201:malformed",
        malformed_counts="hm:{p04}:malformed",
        member="te%3Anant:s%201",
        index="hm:{ns:te%3Anant}:unindexed",
        listed="s%201",
    )


@given(SESSIONS)
def test_a_session_is_read_back_from_its_names(session: SessionKey) -> None:
    """Whatever the characters, key, member and index entry name the session they were made for."""
    keys = session_keys(session)
    assert session_of_key(keys.scratch) == session
    assert session_of_member(keys.member) == session
    assert session_of_listed(session.namespace, keys.listed) == session


@given(SESSIONS)
def test_all_keys_of_a_session_share_a_slot(session: SessionKey) -> None:
    """One script may touch them all, on a cluster too."""
    keys = session_keys(session)
    touched = (keys.messages, keys.meta, keys.ids, keys.state, keys.scratch, keys.dirty, keys.unreleased)
    assert {key_slot(key.encode()) for key in touched} == {key_slot(f"p{partition_of(session):02}".encode())}


@given(SESSIONS, SESSIONS)
def test_two_sessions_share_no_key(one: SessionKey, other: SessionKey) -> None:
    """Different sessions have different keys, different namespaces different indexes."""
    assert (session_keys(one).meta == session_keys(other).meta) == (one == other)
    assert (index_key(one.namespace) == index_key(other.namespace)) == (one.namespace == other.namespace)


@given(NAMES, SESSIONS)
def test_a_namespaces_pattern_matches_its_own_keys_only(namespace: str, session: SessionKey) -> None:
    """The pattern has two wildcards of its own, and no name adds one."""
    pattern = re.compile(".*".join(map(re.escape, match_namespace(namespace).split("*"))), re.DOTALL)
    assert bool(pattern.fullmatch(session_keys(session).meta)) == (namespace == session.namespace)


def test_sessions_spread_over_the_partitions() -> None:
    """A thousand sessions of one namespace use every partition."""
    assert {partition_of(SessionKey("default", str(n))) for n in range(1000)} == set(range(64))
