"""Which of what was learned helps in a situation: on the in-memory twins."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from factories import Tiers, indexer_of, recall_of, tiers
from given import NOW, SCOPE, knowledge, queued, stored, upsert

from app.errors import InvalidInput, TierUnavailable
from app.ingestion.limits import Limits
from app.learning.conditions import Condition, Met, Op
from app.learning.strategies import (
    LearnedStrategies,
    LearnedStrategy,
    Situation,
    Strategies,
    StrategyPolicy,
    as_text,
    matched,
    ranked,
)
from app.learning.success import estimate
from app.records import P_VALUE, Json, Knowledge, KnowledgeKind, Origin, Scope, Tier
from app.testing.faults import away

ACME = Scope("acme")
DAY = timedelta(days=1)


def strategy(description: str, *conditions: tuple[str, str, object], **fields: Any) -> Knowledge:
    stated = [{"field": field, "op": op, "value": value} for field, op, value in conditions]
    content = {"conditions": stated} if stated else {}
    return knowledge(description, **({"kind": KnowledgeKind.STRATEGY, "content": content} | fields))


async def known(*pieces: Knowledge) -> Tiers:
    """Tiers with these pieces stored and indexed."""
    given = tiers()
    await stored(given.episodic, *pieces)
    await queued(given.episodic, *map(upsert, pieces))
    await indexer_of(given).index_batch()
    return given


async def learned(given: Tiers, context: str | Json, **asked: Any) -> LearnedStrategies:
    recall = recall_of(given)
    return await Strategies(given.episodic, recall, limits=Limits(), clock=given.clock).learned(
        Situation(context, asked.pop("scope", ACME), **asked)
    )


def names(found: LearnedStrategies) -> list[str]:
    return [s.knowledge.description for s in found.strategies]


async def test_conditions_decide_what_applies() -> None:
    """All of them have to hold in the context; what states none is left to its meaning."""
    given = await known(
        strategy("split the sprint", ("backlog", "gt", 20)),
        strategy("add a person", ("backlog", "gt", 20), ("team.size", "lt", 3)),
        strategy("go on", ("backlog", "lte", 20)),
        strategy("was good once", ("backlog", "gt", 20), valid_to=NOW),
        strategy("is no good", ("backlog", "gt", 20), is_active=False),
        strategy("talk to each other"),
    )
    found = await learned(given, {"backlog": 25, "team": {"size": 2}})
    assert set(names(found)) == {"split the sprint", "add a person", "talk to each other"}
    assert names(found)[0] == "add a person"
    assert set(names(await learned(given, {"backlog": 5}))) == {"go on", "talk to each other"}


async def test_a_text_is_compared_in_meaning() -> None:
    """Nobody can hold conditions against a text: what is close comes first."""
    given = await known(strategy("call the plumber", ("pipe", "eq", "burst")), strategy("water the plants"))
    found = await learned(given, "which plumber do we call?")
    assert names(found)[0] == "call the plumber"
    assert found.strategies[0].matched_conditions == ()


async def test_what_does_not_come_into_question_is_left_out() -> None:
    """Facts, the inactive, the unsure, what is over or has not begun, and what is not in the scope."""
    given = await known(
        strategy("good advice"),
        strategy("retired advice", is_active=False),
        strategy("unsure advice", confidence=0.4),
        strategy("old advice", valid_to=NOW),
        strategy("later advice", valid_from=NOW + DAY),
        strategy("their advice", scope=Scope("rival")),
        strategy("ben's advice", scope=replace(SCOPE, user_id="ben")),
        knowledge("advice is cheap"),
    )
    assert names(await learned(given, "advice", scope=Scope("acme", user_id="ana"))) == ["good advice"]
    assert set(names(await learned(given, "advice", min_confidence=0.0))) == {"good advice", "unsure advice", "ben's advice"}
    assert set(names(await learned(given, "advice", as_of=NOW - DAY))) == {"good advice", "old advice", "ben's advice"}
    assert names(await learned(given, "advice", kinds=(KnowledgeKind.FACT,))) == ["advice is cheap"]
    assert len((await learned(given, "advice", limit=1)).strategies) == 1


async def test_conditions_are_found_without_the_index() -> None:
    """While the index is away it is named, and what the conditions say is still answered."""
    given = await known(strategy("split the sprint", ("backlog", "gt", 20)))
    gone = replace(given, semantic=away(given.semantic, Tier.SEMANTIC, "search", "spaces", "authors"),
                   episodic=away(given.episodic, Tier.EPISODIC, "search_text"))  # fmt: skip
    found = await learned(gone, {"backlog": 25})
    assert (names(found), found.degraded) == (["split the sprint"], ("semantic",))


async def test_without_postgres_there_is_no_answer() -> None:
    """The truth about knowledge is there alone: that it is away is said, not hidden."""
    given = await known(strategy("split the sprint", ("backlog", "gt", 20)))
    gone = replace(given, episodic=away(given.episodic, Tier.EPISODIC, "list_knowledge"))
    with pytest.raises(TierUnavailable):
        await learned(gone, {"backlog": 25})


@pytest.mark.parametrize(
    ("asked", "refusal"),
    [
        ({"context": " "}, "context: must not be blank"),
        ({"context": {}}, "context: must not be empty"),
        ({"context": {"a": float("nan")}}, "context: must hold finite numbers"),
        ({"min_confidence": 1.5}, "min_confidence: must be between 0 and 1, is 1.5"),
        ({"limit": 0}, "limit: must be between 1 and 1000, is 0"),
        ({"kinds": ()}, "kinds: must name at least one kind"),
        ({"scope": Scope("")}, "namespace: must not be blank"),
        ({"as_of": NOW.replace(tzinfo=None)}, "as_of: must carry a UTC offset"),
    ],
)
async def test_a_bad_question_is_refused_by_field(asked: dict[str, Any], refusal: str) -> None:
    """The refusal names the field and the limit."""
    with pytest.raises(InvalidInput, match=refusal):
        await learned(tiers(), **({"context": {"backlog": 1}} | asked))


async def test_each_answer_says_why() -> None:
    """The terms of the score, the conditions with what was found, and the same in words."""
    piece = strategy("split", ("backlog", "gt", 20), confidence=0.75, times_applied=4, success_count=3, failure_count=1,
                     supporting_episodes=(UUID(int=1),))  # fmt: skip
    (found,) = ranked([piece], Situation({"backlog": 25}, ACME), {piece.id: 0.5}, StrategyPolicy())
    components = {"conditions": 0.5, "meaning": 0.5, "comparison": 0.0, "success": 0.5 * 4 / 6, "confidence": 0.25 * 0.75}
    assert found == LearnedStrategy(
        piece, sum(components.values()), components, (Met(Condition("backlog", Op.GT, 20), 25),), estimate(3, 1),
        ("backlog gt 20: it is 25", "is close in meaning (0.50)", "succeeded in 3 of 4 applications",
         "confidence 0.75: 1 episodes support it, 0 contradict it"),
    )  # fmt: skip


def heuristic(p_value: object, **fields: Any) -> Knowledge:
    """What learning found by comparing, as it keeps it."""
    content = {"conditions": [{"field": "risk", "op": "eq", "value": "high"}], "action": "cut scope", P_VALUE: p_value}
    learned = {"kind": KnowledgeKind.HEURISTIC, "content": content, "confidence": 0.71, "origin": Origin.LEARNED}
    return knowledge("choose", **(learned | fields))


def test_an_interval_is_one_condition() -> None:
    """Both bounds of a field say one thing about a situation; two fields say two."""
    interval = strategy("within", ("backlog", "gte", 20), ("backlog", "lt", 50))
    fields = strategy("both", ("backlog", "gte", 20), ("risk", "eq", "high"))
    found = ranked([interval, fields], Situation({"backlog": 20, "risk": "high"}, ACME), {}, StrategyPolicy())
    assert [(s.knowledge.description, s.components["conditions"]) for s in found] == [("both", 2 / 3), ("within", 0.5)]


def test_what_was_compared_comes_before_what_only_occurred_together() -> None:
    """Of two that fit alike, a heuristic that just reached its level stands before a pattern that nothing contradicts."""
    pattern = strategy("ends well", ("team.size", "gte", 5), ("team.size", "lt", 10), kind=KnowledgeKind.PATTERN)
    given = Situation({"risk": "high", "team": {"size": 5}}, ACME)
    found = ranked([heuristic(0.05), pattern], given, {}, StrategyPolicy())
    assert [(s.knowledge.description, s.components["comparison"]) for s in found] == [("choose", 0.5 * 0.95), ("ends well", 0.0)]
    assert found[0].why == (
        "risk eq high: it is high", "went better than the other actions there (p = 0.05)", "was not applied yet",
        "confidence 0.71: 0 episodes support it, 0 contradict it",
    )  # fmt: skip
    assert len(found[1].why) == 4


@pytest.mark.parametrize(
    "claimed",
    [
        heuristic(0.01, origin=Origin.STATED),
        heuristic(0.01, kind=KnowledgeKind.PATTERN),
        *map(heuristic, ["0.01", True, None, -0.01, 1.01]),
    ],
)
def test_a_comparison_that_learning_did_not_make_counts_for_nothing(claimed: Knowledge) -> None:
    """What somebody states as a p-value may be that of anything; what is none is none."""
    (found,) = ranked([claimed], Situation("x", ACME), {}, StrategyPolicy())
    assert found.components["comparison"] == 0.0
    assert not any("p =" in reason for reason in found.why)


def test_what_works_comes_first() -> None:
    """Of pieces that apply alike: what succeeded before what was never tried, and that before what failed."""
    tried = {"bad": (0, 4), "new": (0, 0), "good": (9, 1)}
    pieces = [strategy(name, times_applied=sum(c), success_count=c[0], failure_count=c[1]) for name, c in tried.items()]
    found = ranked(pieces, Situation("x", ACME), {}, StrategyPolicy())
    assert [s.knowledge.description for s in found] == ["good", "new", "bad"]


def test_conditions_that_cannot_be_read_fulfil_nothing() -> None:
    """What an older release or a hand in the database wrote stops nobody."""
    assert matched(strategy("x", content={"conditions": [{"op": "runs"}]}), {"a": 1}) is None


def test_a_context_reads_as_a_line() -> None:
    """Keys and values in the context's own order; what is nested as compact JSON."""
    assert as_text({"team_size": 4, "mood": "good", "open": {"bugs": [1, 2]}}) == 'team size 4; mood good; open {"bugs":[1,2]}'
