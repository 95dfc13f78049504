"""Putting the tiers' answers together."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from given import NOW
from hypothesis import given
from hypothesis import strategies as st

from app.records import Hit, Query, RecordKind, Scope, Tier
from app.retrieval.fusion import collapsed, grouped, is_enough, merge, select

HERE = Scope("ns", user_id="ana", session_id="s")


def hit(number: int, score: float, minute: int = 0, **fields: Any) -> Hit:
    defaults: dict[str, Any] = {
        "kind": RecordKind.MESSAGE,
        "tier": Tier.SEMANTIC,
        "scope": HERE,
        "created_at": NOW + timedelta(minutes=minute),
    }
    text = fields.pop("text", f"text {number}")
    return Hit(UUID(int=number), text=text, score=score, components={"dense": score}, **(defaults | fields))


def test_the_best_come_first() -> None:
    """By falling score, ties by newest, at most the limit."""
    hits = [hit(1, 0.5, minute=1), hit(2, 0.9), hit(3, 0.5, minute=2), hit(4, 0.1)]
    assert [h.id.int for h in merge(hits)[:3]] == [2, 3, 1]


def test_a_record_found_twice_counts_once_at_its_better_score() -> None:
    """Found in buffer and index, a message is one hit: the one that ranks it higher."""
    indexed, buffered = hit(1, 0.4), hit(1, 0.6, tier=Tier.WORKING)
    assert merge([indexed, buffered]) == merge([buffered, indexed]) == (buffered,)


def test_who_said_it_does_not_make_it_another_record() -> None:
    """A message is the same one whether its copy names its user or not."""
    anonymous = hit(1, 0.4, scope=Scope("ns", session_id="s"))
    assert merge([anonymous, hit(1, 0.6)]) == (hit(1, 0.6),)


def test_equal_ids_of_other_kinds_or_sessions_are_other_records() -> None:
    """Ids are unique within a kind and a session, not beyond."""
    hits = [hit(1, 0.9), hit(1, 0.8, kind=RecordKind.EPISODE), hit(1, 0.7, scope=Scope("ns", session_id="t"))]
    assert merge(hits) == tuple(hits)


numbered_hits = st.builds(lambda n, score: hit(n, score, minute=n % 3), st.integers(1, 8), st.sampled_from([-0.1, 0.0, 0.3, 0.9]))
many_hits = st.lists(numbered_hits, max_size=20)


@given(many_hits, st.integers(1, 10))
def test_merging_orders_what_it_was_given(hits: list[Hit], limit: int) -> None:
    """The answer is a sorted choice of the hits, without repetition, and nothing left out beats anything kept."""
    merged = merge(hits)[:limit]
    assert set(map(id, merged)) <= set(map(id, hits))
    assert len({h.id for h in merged}) == len(merged) == min(limit, len({h.id for h in hits}))
    ranks = [(-h.score, -h.created_at.timestamp()) for h in merged]
    assert ranks == sorted(ranks)
    best = {h.id: max(o.score for o in hits if o.id == h.id) for h in hits}
    assert all(h.score == best[h.id] for h in merged)
    left_out = [score for key, score in best.items() if key not in {h.id for h in merged}]
    assert all(score <= merged[-1].score for score in left_out)


@given(many_hits, st.integers(0, 20), st.integers(1, 10))
def test_merging_in_parts_is_merging_at_once(hits: list[Hit], split: int, limit: int) -> None:
    """It does not matter whether a tier's answer was merged before the others came."""
    in_parts = merge((*merge(hits[:split])[:limit], *hits[split:]))[:limit]
    assert [(h.score, h.created_at) for h in in_parts] == [(h.score, h.created_at) for h in merge(hits)[:limit]]


def ask(limit: int, **fields: Any) -> Query:
    return Query("q", Scope("ns"), limit=limit, **fields)


def numbers(hits: Sequence[Hit]) -> list[int]:
    return [h.id.int for h in hits]


def test_summaries_leave_room_for_messages() -> None:
    """Unless told otherwise three in ten places are for episodes and five for knowledge, rounded up."""
    episodes = [hit(n, 1 - n / 100, kind=RecordKind.EPISODE) for n in range(1, 9)]
    messages = [hit(10 + n, 0.1) for n in range(9)]
    assert numbers(select([*episodes, *messages], ask(4))) == [1, 2, 10, 11]


def test_places_that_nothing_else_takes_are_filled() -> None:
    """Where there are no messages, or none are asked for, episodes take all places, in order."""
    episodes = [hit(n, 1 - n / 100, kind=RecordKind.EPISODE) for n in range(1, 9)]
    assert numbers(select([*episodes, hit(10, 0.945)], ask(4))) == [1, 2, 3, 10]
    assert numbers(select(episodes, ask(4, kinds=(RecordKind.EPISODE,)))) == [1, 2, 3, 4]


def test_limits_that_are_stated_are_kept() -> None:
    """A kind never gets more than the query allows it, were places left empty."""
    hits = [hit(1, 0.9, kind=RecordKind.EPISODE), hit(2, 0.8, kind=RecordKind.EPISODE), hit(3, 0.1)]
    assert numbers(select(hits, ask(4, kind_limits=((RecordKind.EPISODE, 1),)))) == [1, 3]
    assert numbers(select(hits, ask(4, kind_limits=((RecordKind.MESSAGE, 0),)))) == [1, 2]


def test_exact_repetitions_are_one_hit() -> None:
    """The best stands for all and names them; another author or kind says something else; on request nothing collapses."""
    hits = [
        hit(1, 0.9, text="hi", author="Ana"), hit(2, 0.8, text="hi", author="Ben"), hit(3, 0.7, text="hi", author="Ana"),
        hit(4, 0.6, text="hi", author="Ana", kind=RecordKind.EPISODE),
    ]  # fmt: skip
    found = select(hits, ask(10))
    assert [(h.id.int, numbers_of(h.duplicates)) for h in found] == [(1, [3]), (2, []), (4, [])]
    assert numbers(select(hits, ask(10, is_collapsed=False))) == [1, 2, 3, 4]
    assert collapsed(found) == found


def numbers_of(ids: Sequence[UUID]) -> list[int]:
    return [i.int for i in ids]


def test_enough_is_what_fills_the_places_within_the_limits() -> None:
    """Repetitions and hits beyond the limit of their kind fill no place."""
    hits = [hit(1, 0.9, text="hi"), hit(2, 0.8, text="hi"), hit(3, 0.7)]
    assert (is_enough(hits, ask(2)), is_enough(hits, ask(3)), is_enough(hits, ask(3, is_collapsed=False))) == (True, False, True)


def test_hits_of_an_episode_stand_together() -> None:
    """Each group stands where its best hit would; an episode stands with its messages."""
    one, two = UUID(int=100), UUID(int=200)
    hits = [
        hit(1, 0.9, episode_id=one), hit(2, 0.8, episode_id=two), hit(3, 0.7, episode_id=one), hit(4, 0.6),
        hit(200, 0.5, kind=RecordKind.EPISODE, episode_id=two),
    ]  # fmt: skip
    assert numbers(grouped(hits)) == [1, 3, 2, 200, 4]
