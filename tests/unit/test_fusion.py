"""Putting the tiers' answers together."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from given import NOW
from hypothesis import given
from hypothesis import strategies as st

from app.records import Hit, RecordKind, Scope, Tier
from app.retrieval.fusion import merge

HERE = Scope("ns", user_id="ana", session_id="s")


def hit(number: int, score: float, minute: int = 0, **fields: Any) -> Hit:
    defaults: dict[str, Any] = {
        "kind": RecordKind.MESSAGE,
        "tier": Tier.SEMANTIC,
        "scope": HERE,
        "created_at": NOW + timedelta(minutes=minute),
    }
    return Hit(UUID(int=number), text="", score=score, components={"dense": score}, **(defaults | fields))


def test_the_best_come_first() -> None:
    """By falling score, ties by newest, at most the limit."""
    hits = [hit(1, 0.5, minute=1), hit(2, 0.9), hit(3, 0.5, minute=2), hit(4, 0.1)]
    assert [h.id.int for h in merge(hits, 3)] == [2, 3, 1]


def test_a_record_found_twice_counts_once_at_its_better_score() -> None:
    """Found in buffer and index, a message is one hit: the one that ranks it higher."""
    indexed, buffered = hit(1, 0.4), hit(1, 0.6, tier=Tier.WORKING)
    assert merge([indexed, buffered], 10) == merge([buffered, indexed], 10) == (buffered,)


def test_who_said_it_does_not_make_it_another_record() -> None:
    """A message is the same one whether its copy names its user or not."""
    anonymous = hit(1, 0.4, scope=Scope("ns", session_id="s"))
    assert merge([anonymous, hit(1, 0.6)], 10) == (hit(1, 0.6),)


def test_equal_ids_of_other_kinds_or_sessions_are_other_records() -> None:
    """Ids are unique within a kind and a session, not beyond."""
    hits = [hit(1, 0.9), hit(1, 0.8, kind=RecordKind.EPISODE), hit(1, 0.7, scope=Scope("ns", session_id="t"))]
    assert merge(hits, 10) == tuple(hits)


numbered_hits = st.builds(lambda n, score: hit(n, score, minute=n % 3), st.integers(1, 8), st.sampled_from([-0.1, 0.0, 0.3, 0.9]))
many_hits = st.lists(numbered_hits, max_size=20)


@given(many_hits, st.integers(1, 10))
def test_merging_orders_what_it_was_given(hits: list[Hit], limit: int) -> None:
    """The answer is a sorted choice of the hits, without repetition, and nothing left out beats anything kept."""
    merged = merge(hits, limit)
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
    in_parts = merge((*merge(hits[:split], limit), *hits[split:]), limit)
    assert [(h.score, h.created_at) for h in in_parts] == [(h.score, h.created_at) for h in merge(hits, limit)]
