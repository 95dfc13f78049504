"""A session's messages across the seam between Redis and Postgres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from factories import Tiers, append, drain_of, tiers
from given import SESSION, message
from hypothesis import given
from hypothesis import strategies as st

from app.consolidation.drain import DrainPolicy
from app.errors import TierUnavailable
from app.records import Message, ReadPreference, RecentContext, Role, Tier
from app.retrieval.recent import SessionReader, within_budget
from app.testing.faults import away
from app.tokens import estimate_tokens


def reader_of(tiers: Tiers, preference: ReadPreference = ReadPreference.REDIS_FIRST) -> SessionReader:
    return SessionReader(tiers.working, tiers.episodic, preference=preference)


def summed_up(context: RecentContext) -> tuple[list[str], Tier, tuple[str, ...]]:
    return [m.content for m in context.messages], context.tier, context.degraded


async def drop(tiers: Tiers, retain: int) -> None:
    """Drain, release, and keep only the newest `retain` in Redis."""
    await drain_of(tiers, DrainPolicy(retain=retain)).drain(SESSION)
    await tiers.working.release(SESSION, through=10**12, retain=retain)


async def drained_and_not() -> Tiers:
    """Messages a to c only in Postgres, d in both tiers, e and f only in Redis."""
    given = tiers()
    await append(given, "a", "b", "c", "d")
    await drop(given, retain=1)
    await append(given, "e", "f")
    return given


async def test_redis_answers_alone_when_it_has_enough() -> None:
    """While the buffer holds what is asked for, Postgres is not asked."""
    given = await drained_and_not()
    dark = replace(given, episodic=away(given.episodic, Tier.EPISODIC))
    assert summed_up(await reader_of(dark).recent(SESSION, 3)) == (["d", "e", "f"], Tier.WORKING, ())


async def test_a_whole_short_session_is_complete_in_redis() -> None:
    """A session shorter than what is asked for, and never trimmed, needs no Postgres either."""
    given = tiers()
    await append(given, "a", "b")
    dark = replace(given, episodic=away(given.episodic, Tier.EPISODIC))
    assert summed_up(await reader_of(dark).recent(SESSION, 50)) == (["a", "b"], Tier.WORKING, ())


async def test_older_messages_come_from_postgres() -> None:
    """Beyond what Redis retains the window is completed from Postgres, in order, each message once."""
    given = await drained_and_not()
    assert summed_up(await reader_of(given).recent(SESSION, 5)) == (["b", "c", "d", "e", "f"], Tier.EPISODIC, ())


async def test_without_postgres_the_rest_is_named() -> None:
    """When older messages cannot be fetched, what Redis has is returned and Postgres is named."""
    given = await drained_and_not()
    dark = replace(given, episodic=away(given.episodic, Tier.EPISODIC))
    assert summed_up(await reader_of(dark).recent(SESSION, 5)) == (["d", "e", "f"], Tier.WORKING, ("episodic",))


async def test_without_redis_postgres_answers() -> None:
    """With Redis away, what is drained is returned and Redis is named."""
    given = await drained_and_not()
    dark = replace(given, working=away(given.working, Tier.WORKING))
    assert summed_up(await reader_of(dark).recent(SESSION, 2)) == (["c", "d"], Tier.EPISODIC, ("working",))


async def test_with_both_away_there_is_an_error() -> None:
    """An outage is not an empty conversation."""
    given = await drained_and_not()
    dark = replace(given, working=away(given.working, Tier.WORKING), episodic=away(given.episodic, Tier.EPISODIC))
    with pytest.raises(TierUnavailable):
        await reader_of(dark).recent(SESSION, 2)


async def test_a_preference_for_postgres_leaves_redis_alone() -> None:
    """Postgres only: what is drained, and nothing is missing that was asked for."""
    given = await drained_and_not()
    dark = replace(given, working=away(given.working, Tier.WORKING))
    reader = reader_of(dark, ReadPreference.POSTGRES_ONLY)
    assert summed_up(await reader.recent(SESSION, 2)) == (["c", "d"], Tier.EPISODIC, ())


async def test_a_preference_for_redis_leaves_postgres_alone() -> None:
    """Redis only: what it retains, however little; with Redis away, an error."""
    given = await drained_and_not()
    dark = replace(given, episodic=away(given.episodic, Tier.EPISODIC))
    reader = reader_of(dark, ReadPreference.REDIS_ONLY)
    assert summed_up(await reader.recent(SESSION, 5)) == (["d", "e", "f"], Tier.WORKING, ())
    darker = replace(given, working=away(given.working, Tier.WORKING))
    with pytest.raises(TierUnavailable):
        await reader_of(darker, ReadPreference.REDIS_ONLY).recent(SESSION, 5)


async def test_an_expired_session_is_read_from_postgres() -> None:
    """When Redis has forgotten a session, its newest messages come from Postgres."""
    given = tiers()
    await append(given, "a", "b")
    await drain_of(given, DrainPolicy(ttl=timedelta(hours=1))).drain(SESSION)
    given.clock.advance(timedelta(hours=2))
    assert summed_up(await reader_of(given).recent(SESSION, 1)) == (["b"], Tier.EPISODIC, ())


async def test_a_budget_cuts_the_oldest() -> None:
    """With a budget of tokens the newest messages that fit are returned."""
    given = await drained_and_not()
    assert summed_up(await reader_of(given).recent(SESSION, 5, budget_tokens=2)) == (["e", "f"], Tier.EPISODIC, ())


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_the_history_pages_across_the_seam(limit: int) -> None:
    """Page by page, the whole history comes in order and each message once, drained or not."""
    given = await drained_and_not()
    seen: list[Message] = []
    while page := (await reader_of(given).history(SESSION, after=seen[-1].sequence if seen else 0, limit=limit))[0]:
        assert len(page) <= limit
        seen += page
    assert [(m.content, m.sequence) for m in seen] == list(zip("abcdef", range(1, 7), strict=True))


async def test_a_history_without_one_tier_is_named() -> None:
    """With one tier away the other's part is returned and the missing one named; with neither there is an error."""
    given = await drained_and_not()
    dark = replace(given, working=away(given.working, Tier.WORKING))
    messages, degraded = await reader_of(dark).history(SESSION, after=0, limit=10)
    assert ([m.content for m in messages], degraded) == (["a", "b", "c", "d"], ("working",))
    without_truth = replace(given, episodic=away(given.episodic, Tier.EPISODIC))
    messages, degraded = await reader_of(without_truth).history(SESSION, after=0, limit=10)
    assert ([m.content for m in messages], degraded) == (["d", "e", "f"], ("episodic",))
    with pytest.raises(TierUnavailable):
        await reader_of(replace(dark, episodic=without_truth.episodic)).history(SESSION, after=0, limit=10)


async def test_an_unknown_session_is_empty() -> None:
    """A session nobody wrote to has no messages, and nothing is degraded."""
    assert await reader_of(tiers()).history(SESSION, after=0, limit=10) == ((), ())
    assert summed_up(await reader_of(tiers()).recent(SESSION, 10)) == ([], Tier.WORKING, ())


def turns(*said: tuple[str, Role]) -> list[Message]:
    return [message(n, content, role=role) for n, (content, role) in enumerate(said, start=1)]


def test_a_tools_answer_does_not_stay_alone() -> None:
    """Where the cut would leave a tool's answer without what came before it, the answer goes, too."""
    said = turns(("call " * 9, Role.ASSISTANT), ("one", Role.TOOL), ("two", Role.TOOL), ("thanks", Role.USER))
    assert [m.content for m in within_budget(said, 6)] == ["thanks"]


roles = st.sampled_from([Role.USER, Role.ASSISTANT, Role.TOOL])


@given(st.lists(st.tuples(st.sampled_from(["", "a", "a b c", "a b c d e f"]), roles), max_size=12), st.integers(0, 20))
def test_the_budget_is_never_exceeded(said: Sequence[tuple[str, Role]], budget_tokens: int) -> None:
    """What is kept is the end of the conversation, fits, and does not begin with a tool's answer."""
    messages = turns(*said)
    kept = within_budget(messages, budget_tokens)
    assert list(kept) == messages[len(messages) - len(kept) :]
    assert sum(estimate_tokens(m.content) for m in kept) <= budget_tokens
    assert not kept or kept[0].role is not Role.TOOL
