"""Cutting conversations into episodes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from app.consolidation.segmentation import SegmentationPolicy, segment
from app.records import Episode, Message, Role, Scope

START = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
POLICY = SegmentationPolicy(idle_gap=timedelta(minutes=30), max_messages=3, max_tokens=10)


def said(sequence: int, minute: float, content: str = "hello", user_id: str | None = None) -> Message:
    scope = Scope("ns", session_id="s", user_id=user_id)
    return Message(UUID(int=sequence), scope, Role.USER, content, START + timedelta(minutes=minute), sequence=sequence)


def cut(*messages: Message, after: Episode | None = None) -> tuple[tuple[Episode, ...], tuple[UUID, ...]]:
    numbers = count(1)
    result = segment(after, messages, POLICY, lambda: UUID(int=1000 + next(numbers)))
    return result.episodes, result.episode_ids


def test_messages_close_together_form_one_open_episode() -> None:
    """A conversation without a pause is one episode, open because more may come."""
    episodes, episode_ids = cut(said(1, 0), said(2, 5))
    assert episode_ids == (UUID(int=1001), UUID(int=1001))
    (episode,) = episodes
    assert (episode.is_open, episode.message_count, episode.first_sequence, episode.last_sequence) == (True, 2, 1, 2)
    assert (episode.started_at, episode.ended_at) == (START, START + timedelta(minutes=5))


def test_a_pause_closes_the_episode() -> None:
    """After the idle gap a new episode begins and the one before it is closed."""
    episodes, episode_ids = cut(said(1, 0), said(2, 31))
    assert episode_ids == (UUID(int=1001), UUID(int=1002))
    assert [e.is_open for e in episodes] == [False, True]


def test_a_jump_back_in_time_is_a_pause_too() -> None:
    """Imported history need not arrive in order: what lies far apart is not one conversation."""
    _, episode_ids = cut(said(1, 60), said(2, 0))
    assert len(set(episode_ids)) == 2


def test_ceilings_close_the_episode() -> None:
    """Neither the number of messages nor the number of tokens of an episode exceeds its ceiling."""
    episodes, _ = cut(*(said(n, n) for n in range(1, 5)))
    assert [e.message_count for e in episodes] == [3, 1]
    episodes, _ = cut(said(1, 0, "one two three four five six"), said(2, 1, "one two three four five"))
    assert [e.token_count for e in episodes] == [6, 5]


def test_a_message_larger_than_the_ceiling_stands_alone() -> None:
    """A message over the token ceiling still lands in exactly one episode, its own."""
    long = "word " * 40
    episodes, episode_ids = cut(said(1, 0), said(2, 1, long), said(3, 2))
    assert len(set(episode_ids)) == 3
    assert [e.message_count for e in episodes] == [1, 1, 1]


def test_an_open_episode_is_gone_on_with() -> None:
    """The next batch extends the session's open episode instead of beginning another."""
    (first,), _ = cut(said(1, 0))
    episodes, episode_ids = cut(said(2, 5), after=first)
    assert episode_ids == (first.id,)
    assert (episodes[0].id, episodes[0].message_count, episodes[0].last_sequence) == (first.id, 2, 2)


def test_an_episode_of_several_people_is_nobodys_alone() -> None:
    """Where users differ, the episode keeps only what they share, so neither's scope admits it."""
    (episode,), _ = cut(said(1, 0, user_id="ana"), said(2, 1, user_id="ben"))
    assert episode.scope == Scope("ns", session_id="s")


@given(st.lists(st.tuples(st.floats(-500, 500), st.integers(0, 12)), max_size=40), st.integers(0, 40))
def test_batches_do_not_matter(turns: list[tuple[float, int]], split: int) -> None:
    """Drained in one batch or in two, messages end in episodes of the same shape, each in exactly one."""
    messages = [said(n, minute, "w " * words or "-") for n, (minute, words) in enumerate(turns, start=1)]
    numbers = count(1)
    whole = segment(None, messages, POLICY, lambda: UUID(int=1000 + next(numbers)))
    numbers = count(1)
    first = segment(None, messages[:split], POLICY, lambda: UUID(int=1000 + next(numbers)))
    last = first.episodes[-1] if first.episodes else None
    second = segment(last, messages[split:], POLICY, lambda: UUID(int=1000 + next(numbers)))
    assert (*first.episode_ids, *second.episode_ids) == whole.episode_ids
    assert sum(e.message_count for e in whole.episodes) == len(messages)
    assert [e.is_open for e in whole.episodes] == [False] * (len(whole.episodes) - 1) + [True] * bool(messages)
