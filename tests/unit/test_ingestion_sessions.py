"""Session state and scratchpads: kept where they are warm, found where they are archived."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from factories import Tiers, append, drain_of, tiers
from given import NOW, SESSION

from app.consolidation.drain import DrainPolicy
from app.errors import InvalidInput, NotFound, TierUnavailable, VersionMismatch
from app.ingestion.limits import Limits
from app.ingestion.sessions import SessionIngestion
from app.ports import SessionRecord
from app.records import SessionKey, SessionState, Tier
from app.testing.faults import away

STATE = SessionState(goal="move house", active_context={"city": "Porto"}, thoughts=("ask Rui",))
SAVED = replace(STATE, version=1)
SOLD = SessionState(goal="sell house")
NOW_MICROSECONDS = int(NOW.timestamp() * 1_000_000)
LIMITS = Limits(message_bytes=20, document_depth=2, label_length=10)
HOUR = timedelta(hours=1)


def sessions_of(tiers: Tiers) -> SessionIngestion:
    return SessionIngestion(tiers.working, tiers.episodic, limits=LIMITS, scratch_ttl=HOUR, clock=tiers.clock)


async def archived(tiers: Tiers) -> SessionRecord | None:
    async with tiers.episodic.reading() as reader:
        return await reader.session(SESSION)


async def test_a_state_is_warm_at_once_and_archived_by_the_drain() -> None:
    """What was saved is loaded at once, and the next drain brings it into Postgres."""
    given = tiers()
    assert await sessions_of(given).save_state(SESSION, STATE) == 1
    assert await sessions_of(given).load(SESSION) == SessionRecord(SESSION, SAVED, NOW, None, None)
    assert await archived(given) is None
    await drain_of(given).drain(SESSION)
    assert await archived(given) == SessionRecord(SESSION, SAVED, NOW, None, None)


async def test_the_archived_state_outlives_the_warm_one() -> None:
    """A session that Redis has forgotten is loaded from Postgres, with its times."""
    given = tiers()
    await append(given, "hello")
    await sessions_of(given).save_state(SESSION, STATE)
    await drain_of(given, DrainPolicy(ttl=HOUR)).drain(SESSION)
    given.clock.advance(2 * HOUR)
    assert await given.working.load_state(SESSION) is None
    assert await sessions_of(given).load(SESSION) == SessionRecord(SESSION, SAVED, NOW, NOW, None)


async def test_the_warm_state_is_newer_than_the_archived_one() -> None:
    """Between a save and the next drain the session's times come from Postgres and its state from Redis."""
    given = tiers()
    await sessions_of(given).save_state(SESSION, STATE)
    await drain_of(given).drain(SESSION)
    await sessions_of(given).save_state(SESSION, SOLD)
    given.clock.advance(HOUR)
    assert await sessions_of(given).load(SESSION) == SessionRecord(SESSION, replace(SOLD, version=2), NOW, None, None)


async def test_a_session_with_messages_alone_is_known() -> None:
    """A session whose first messages are not drained yet has an empty state, and is found."""
    given = tiers()
    await append(given, "hello")
    assert await sessions_of(given).load(SESSION) == SessionRecord(SESSION, SessionState(), NOW, None, None)


async def test_a_session_in_no_tier_is_not_found() -> None:
    """An unknown session is an error, not an empty state."""
    with pytest.raises(NotFound, match="no session 's1' in this namespace"):
        await sessions_of(tiers()).load(SESSION)


async def test_without_redis_the_state_goes_straight_to_postgres() -> None:
    """With Redis away a state is archived at once, numbered from the clock, and loaded from there."""
    given = tiers()
    without_redis = replace(given, working=away(given.working, Tier.WORKING))
    version = await sessions_of(without_redis).save_state(SESSION, STATE)
    assert version == NOW_MICROSECONDS + 1
    assert await sessions_of(without_redis).load(SESSION) == SessionRecord(
        SESSION, replace(STATE, version=version), NOW, None, None, degraded=("working",)
    )


async def test_what_was_saved_without_redis_is_the_newer_when_redis_is_back() -> None:
    """Redis's older copy neither hides nor overwrites it, drained or not, and the next save follows on it."""
    given = tiers()
    sessions, without_redis = sessions_of(given), replace(given, working=away(given.working, Tier.WORKING))
    await sessions.save_state(SESSION, STATE)
    newer = await sessions_of(without_redis).save_state(SESSION, SOLD)
    expected = SessionRecord(SESSION, replace(SOLD, version=newer), NOW, None, None)
    assert await sessions.load(SESSION) == expected
    await drain_of(given).drain(SESSION)
    assert await archived(given) == expected
    assert await sessions.load(SESSION) == expected
    assert await given.working.dirty_sessions(9) == ()
    assert await sessions.save_state(SESSION, STATE, expected_version=newer) == newer + 1
    assert (await sessions.load(SESSION)).state == replace(STATE, version=newer + 1)


async def test_what_was_saved_without_postgres_is_the_newer_when_postgres_is_back() -> None:
    """With Postgres away Redis takes the state, numbered from the clock: it wins over any that was archived before."""
    given = tiers()
    without_postgres = replace(given, episodic=away(given.episodic, Tier.EPISODIC))
    version = await sessions_of(without_postgres).save_state(SESSION, STATE)
    assert version == NOW_MICROSECONDS + 1
    await drain_of(given).drain(SESSION)
    assert await archived(given) == SessionRecord(SESSION, replace(STATE, version=version), NOW, None, None)


async def test_an_expected_version_is_told_from_redis_or_not_at_all() -> None:
    """With Postgres away a warm state's version is compared; a cold one's cannot be, which is no mismatch."""
    given = tiers()
    await sessions_of(given).save_state(SESSION, STATE)
    sessions = sessions_of(replace(given, episodic=away(given.episodic, Tier.EPISODIC)))
    assert await sessions.save_state(SESSION, SOLD, expected_version=1) == 2
    with pytest.raises(VersionMismatch):
        await sessions.save_state(SESSION, SOLD, expected_version=1)
    with pytest.raises(TierUnavailable, match="cannot be looked up"):
        await sessions.save_state(SessionKey("acme", "cold"), SOLD, expected_version=1)


async def test_a_version_survives_the_drain_and_the_cold() -> None:
    """Archived and forgotten by Redis, a state goes on from the version it had; an older expectation is refused."""
    given = tiers()
    sessions = sessions_of(given)
    await sessions.save_state(SESSION, STATE)
    await sessions.save_state(SESSION, SOLD)
    await drain_of(given, DrainPolicy(ttl=HOUR)).drain(SESSION)
    given.clock.advance(2 * HOUR)
    with pytest.raises(VersionMismatch, match="the state is at version 2: read it again and decide anew"):
        await sessions.save_state(SESSION, STATE, expected_version=1)
    assert await sessions.save_state(SESSION, STATE, expected_version=2) == 3


async def test_changes_at_once_are_all_made() -> None:
    """A change is made to the state as it is when it is saved: of twenty thoughts at once none is lost."""
    given = tiers()
    await sessions_of(given).save_state(SESSION, SessionState())
    changes = (sessions_of(given).change_state(SESSION, thinking(f"thought {n}")) for n in range(20))
    assert sorted(await asyncio.gather(*changes)) == list(range(2, 22))
    state = (await sessions_of(given).load(SESSION)).state
    assert (sorted(state.thoughts), state.version) == (sorted(f"thought {n}" for n in range(20)), 21)


def thinking(thought: str) -> Callable[[SessionState], SessionState]:
    return lambda state: replace(state, thoughts=(*state.thoughts, thought))


async def test_a_change_of_another_version_is_refused() -> None:
    """A change that expects a version is made to that one or not at all."""
    sessions = sessions_of(tiers())
    await sessions.save_state(SESSION, STATE)
    with pytest.raises(VersionMismatch, match="version: the state is at version 1"):
        await sessions.change_state(SESSION, lambda _: SOLD, expected_version=7)
    assert await sessions.change_state(SESSION, lambda _: SOLD, expected_version=1) == 2


async def test_without_postgres_a_warm_state_is_loaded() -> None:
    """With Postgres away the state in Redis is the answer, which says whom it could not ask; without one it fails."""
    given = tiers()
    without_postgres = replace(given, episodic=away(given.episodic, Tier.EPISODIC))
    with pytest.raises(TierUnavailable):
        await sessions_of(without_postgres).load(SESSION)
    await sessions_of(given).save_state(SESSION, STATE)
    loaded = await sessions_of(without_postgres).load(SESSION)
    assert loaded == SessionRecord(SESSION, replace(STATE, version=1), NOW, None, None, degraded=("episodic",))


async def test_without_both_tiers_saving_fails() -> None:
    """With neither tier there is an error, and when both are back there is no trace of the call."""
    given = tiers()
    dark = replace(given, working=away(given.working, Tier.WORKING), episodic=away(given.episodic, Tier.EPISODIC))
    with pytest.raises(TierUnavailable):
        await sessions_of(dark).save_state(SESSION, STATE)
    assert (await given.working.load_state(SESSION), await archived(given)) == (None, None)


@pytest.mark.parametrize(
    ("state", "refusal"),
    [
        (SessionState(goal=" "), "goal: must not be blank"),
        (SessionState(thoughts=("fine", "x" * 21)), r"thoughts\[1\]: must have at most 20 bytes, has 21"),
        (SessionState(active_context={"a": {"b": {}}}), "active_context: must be nested at most 2 levels deep"),
    ],
)
async def test_a_bad_state_is_refused_by_field(state: SessionState, refusal: str) -> None:
    """Goal, thoughts and context are bounded; nothing of a refused state is kept."""
    given = tiers()
    with pytest.raises(InvalidInput, match=refusal):
        await sessions_of(given).save_state(SESSION, state)
    assert await given.working.load_state(SESSION) is None


async def test_a_scratchpad_keeps_values_for_its_ttl() -> None:
    """Any JSON value is kept under its key, until the pad has been quiet for the TTL."""
    given = tiers()
    sessions = sessions_of(given)
    await sessions.write_scratch(SESSION, "plan", ["pack", 1])
    await sessions.write_scratch(SESSION, "done", False)
    assert await sessions.read_scratch(SESSION) == {"plan": ["pack", 1], "done": False}
    given.clock.advance(HOUR)
    assert await sessions.read_scratch(SESSION) == {}


async def test_a_scratchpad_key_is_deleted_once() -> None:
    """A deleted key is gone; deleting it again says that there is none."""
    sessions = sessions_of(tiers())
    await sessions.write_scratch(SESSION, "plan", "pack")
    await sessions.delete_scratch(SESSION, "plan")
    assert await sessions.read_scratch(SESSION) == {}
    with pytest.raises(NotFound, match="no scratchpad key 'plan' in this namespace"):
        await sessions.delete_scratch(SESSION, "plan")


async def test_a_bad_scratch_value_is_refused() -> None:
    """Key and value are bounded like everything else."""
    sessions = sessions_of(tiers())
    with pytest.raises(InvalidInput, match="key: must not contain control characters"):
        await sessions.write_scratch(SESSION, "a\nb", 1)
    with pytest.raises(InvalidInput, match="value: must have at most 20 bytes as JSON, has 32"):
        await sessions.write_scratch(SESSION, "key", "x" * 30)
    assert await sessions.read_scratch(SESSION) == {}


@pytest.mark.parametrize(
    "use",
    [
        lambda sessions: sessions.write_scratch(SESSION, "key", 1),
        lambda sessions: sessions.read_scratch(SESSION),
        lambda sessions: sessions.delete_scratch(SESSION, "key"),
    ],
)
async def test_scratchpads_live_in_redis_alone(use: Callable[[SessionIngestion], Awaitable[object]]) -> None:
    """With Redis away a scratchpad is unavailable, which is not the same as empty."""
    given = tiers()
    without_redis = replace(given, working=away(given.working, Tier.WORKING))
    with pytest.raises(TierUnavailable):
        await use(sessions_of(without_redis))


@pytest.mark.parametrize("session", [SessionKey("", "s"), SessionKey("ns", " "), SessionKey("ns", "x" * 11)])
async def test_a_session_needs_sane_names(session: SessionKey) -> None:
    """Namespace and session id are checked before any tier is asked."""
    dark = tiers()
    dark = replace(dark, working=away(dark.working, Tier.WORKING), episodic=away(dark.episodic, Tier.EPISODIC))
    with pytest.raises(InvalidInput):
        await sessions_of(dark).load(session)
