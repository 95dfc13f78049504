"""Episodes like a situation: what is asked, what is kept of the answer for how long, and why each was chosen."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from factories import Tiers, consolidation_of, forgetting_of, recall_of, tiers
from given import NOW, episode, queued, stored, upsert
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from app.errors import InvalidInput, TierUnavailable
from app.ingestion.limits import Limits, check_query, check_situation
from app.ranking import SITUATION_RANKING, Ranking
from app.records import (
    Episode,
    EpisodeKind,
    FilterTerm,
    Hit,
    OutcomeAsked,
    Query,
    Range,
    Recollection,
    RecordKind,
    Scope,
    SituationQuery,
    Tier,
    new_id,
)
from app.retrieval.reasons import reasons
from app.retrieval.rendering import render
from app.retrieval.situation_cache import CachePolicy, SituationCache
from app.retrieval.situations import Situations, query_of
from app.testing.faults import Fault, Hang, away, troubled

ACME = Scope("acme")
ASKED = query_of(SituationQuery("a backlog of twelve", ACME))
PLENTY = timedelta(seconds=30)


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def situations_of(tiers: Tiers, cache: SituationCache | None = None) -> Situations:
    return Situations(recall_of(tiers), tiers.episodic, cache or SituationCache(CachePolicy()), deadline=PLENTY)


async def decided(tiers: Tiers, decision: str, **fields: Any) -> Episode:
    """A decision about a backlog, stored and indexed."""
    made = episode(kind=EpisodeKind.DECISION, summary=f"a backlog of twelve: {decision}", **{"scope": ACME, **fields})
    await stored(tiers.episodic, made)
    await queued(tiers.episodic, upsert(made))
    await consolidation_of(tiers).run()
    return made


def ids(found: Recollection) -> list[UUID]:
    return [hit.id for hit in found.hits]


# ── what is answered ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_hit_holds_the_episode_as_it_is_stored() -> None:
    """Whoever acts on it has what was perceived, done and came of it; without Postgres the hit alone, and that is said."""
    given = tiers()
    made = await decided(given, "hire", perception={"backlog": 12}, action={"choice": "hire"}, outcome={"done": True})
    found = await situations_of(given).similar(ASKED)
    async with given.episodic.reading() as reader:
        assert [hit.episode for hit in found.hits] == list(await reader.episodes_by_uid([made.id]))
    dark = replace(given, episodic=away(given.episodic, Tier.EPISODIC))
    without = await situations_of(dark).similar(ASKED)
    assert ([hit.episode for hit in without.hits], "episodes" in without.degraded) == ([None], True)


# ── asking ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_situation_becomes_a_search_for_episodes() -> None:
    """Every field arrives: kinds and bounds are conditions of the search, and who asks for failures wants no mild ones."""
    asked = SituationQuery(
        {"b": 1, "a": "x"}, ACME, limit=3, kind=EpisodeKind.TASK, outcome=OutcomeAsked.BAD, min_quality=0.7,
        min_outcome_quality=0.1, filter=(FilterTerm("agent_id", ("bot",)),), since=NOW, until=NOW, now=NOW,
    )  # fmt: skip
    assert query_of(asked) == Query(
        "a x\nb 1", ACME, (RecordKind.EPISODE,), (FilterTerm("agent_id", ("bot",)), FilterTerm("metadata.kind", ("task",))),
        NOW, NOW, NOW, 3, ranking=replace(SITUATION_RANKING, outcome=0.0), is_collapsed=False,
        ranges=(
            Range("quality", at_least=0.7), Range("outcome_quality", at_least=0.1), Range("outcome_quality", below=0.5),
        ),
    )  # fmt: skip
    assert query_of(SituationQuery("x", ACME, outcome=OutcomeAsked.GOOD)).ranges == (Range("outcome_quality", at_least=0.5),)


@pytest.mark.parametrize(
    ("context", "text"),
    [
        ("as it is\n", "as it is\n"),
        ({"team": {"size": 5, "lead": None}, "open_items": ["a", 2]}, "open items a, 2\nteam lead null\nteam size 5"),
        ({"stories": [{"points": 3}, {"points": 5}], "ok": True}, "ok true\nstories points 3\nstories points 5"),
        ({"a": [[1, 2], 3], "b": {}, "c": []}, "a 1, 2\na 3\nc"),
    ],
)
def test_a_context_is_rendered(context: Any, text: str) -> None:
    """Text stays as it is; of an object each value is a line after its keys, in the order of the keys."""
    assert render(context) == text


SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text()


@given(st.recursive(SCALARS, lambda values: st.lists(values) | st.dictionaries(st.text(), values)))
def test_rendering_does_not_depend_on_the_order_of_keys(value: Any) -> None:
    """Whatever the JSON, the same object is the same text however its keys were written down."""
    assert render({"a": value, "b": 1}) == render({"b": 1, "a": value})


@pytest.mark.parametrize(
    ("terms", "refusal"),
    [
        ({"context": " "}, "context: must not be blank"),
        ({"context": {}}, "context: must not be empty"),
        ({"context": {"a": object()}}, "context: must be JSON, holds a object"),
        ({"min_quality": 1.5}, "min_quality: must be between 0 and 1, is 1.5"),
        ({"min_outcome_quality": float("nan")}, "min_outcome_quality: must be between 0 and 1, is nan"),
        ({"deadline": timedelta()}, "deadline_ms: must be between 1 and 30000"),
        ({"deadline": timedelta(minutes=1)}, "deadline_ms: must be between 1 and 30000"),
        ({"limit": 0}, "limit: must be between 1 and 1000, is 0"),
        ({"ranking": Ranking(outcome=11.0)}, "ranking.outcome: must be between 0 and 10"),
        ({"ranking": Ranking(feedback=-1.0)}, "ranking.feedback: must be between 0 and 10"),
    ],
)
def test_a_bad_situation_is_refused_by_field(terms: dict[str, Any], refusal: str) -> None:
    """The refusal names the field and its limit."""
    fields: dict[str, Any] = {"context": "x", "scope": ACME}
    asked = SituationQuery(**(fields | terms))

    def check() -> None:
        check_situation(asked, Limits())
        check_query(query_of(asked), Limits())

    with pytest.raises(InvalidInput) as refused:
        check()
    assert str(refused.value) == refusal


# ── reasons ───────────────────────────────────────────────────────────────────────────────────────────────────────


def hit(**components: float) -> Hit:
    score = sum(components.values())
    return Hit(new_id(), RecordKind.EPISODE, "x", score, components, Tier.SEMANTIC, ACME, NOW, quality=0.8, outcome_quality=0.1)


def test_reasons_are_the_terms_of_the_score_in_words() -> None:
    """The weightiest first, with what each gave or took; a term that gave nothing is no reason."""
    chosen = hit(bm25=0.25, dense=0.71, outcome=-0.12, quality=0.04, feedback=-0.1, recency=0.0, late_interaction=0.3)
    assert reasons(chosen) == (
        "means much the same (+0.71)",
        "late interaction (+0.30)",
        "shares words with it (+0.25)",
        "turned out badly: outcome quality 0.10 (-0.12)",
        "callers found it wrong, outdated or harmful (-0.10)",
        "was logged well: quality 0.80 (+0.04)",
    )
    assert reasons(hit(dense=0.4)) == ("is about something similar (+0.40)",)
    assert reasons(hit(text=0.5)) == ("shares words with it, by full text (+0.50)",)


# ── the cache ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_same_question_gets_the_same_answer() -> None:
    """Until an episode is indexed; another question or another namespace is another matter."""
    given = tiers()
    first, situations = await decided(given, "nine"), situations_of(given)
    fresh, again = await situations.similar(ASKED), await situations.similar(ASKED)
    assert (ids(fresh), fresh.is_cached, fresh.hits[0].why != ()) == ([first.id], False, True)
    assert (again.hits, again.is_cached) == (fresh.hits, True)
    others = [replace(ASKED, limit=6), replace(ASKED, scope=Scope("rival")), replace(ASKED, scope=Scope("acme", user_id="ana"))]
    assert [(await situations.similar(other)).is_cached for other in others] == [False, False, False]
    second = await decided(given, "eight")
    after = await situations.similar(ASKED)
    assert (set(ids(after)), after.is_cached) == ({first.id, second.id}, False)


async def test_a_judged_hit_moves_at_once() -> None:
    """What callers say about an episode ends the answers it is in."""
    given = tiers()
    await decided(given, "nine")
    situations = situations_of(given)
    await situations.similar(ASKED)
    async with given.episodic.writing() as tx:
        await tx.renew_episode_generation("acme")
    assert (await situations.similar(ASKED)).is_cached is False


async def test_no_answer_survives_a_forget_in_another_process() -> None:
    """Whoever kept an answer without being told finds that its generation is over."""
    given = tiers()
    await decided(given, "nine")
    situations = situations_of(given)
    assert (await situations.similar(ASKED)).hits
    await forgetting_of(given).forget(ACME)  # its `on_forgotten` reaches nobody
    after = await situations.similar(ASKED)
    assert (after.hits, after.is_cached) == ((), False)


async def test_an_answer_made_while_forgetting_is_not_kept() -> None:
    """Between the rows' going and the points' a recall still finds them: it must not be given again afterwards."""
    given = tiers()
    made = await decided(given, "nine")
    situations, caught = situations_of(given), list[Recollection]()

    async def ask_meanwhile(call: str) -> None:
        if call == "forget":
            caught.append(await situations.similar(ASKED))

    slow = replace(given, semantic=troubled(given.semantic, ask_meanwhile))
    await forgetting_of(slow).forget(ACME)
    after = await situations.similar(ASKED)
    assert [ids(found) for found in caught] == [[made.id]]
    assert (after.hits, after.is_cached) == ((), False)


async def test_a_degraded_answer_is_not_kept() -> None:
    """The next one may be whole."""
    given = tiers()
    await decided(given, "nine")
    fault = Fault(TierUnavailable(Tier.SEMANTIC, "away"), "search")
    situations = situations_of(replace(given, semantic=troubled(given.semantic, fault)))
    degraded = await situations.similar(ASKED)
    fault.is_on = False
    whole, again = await situations.similar(ASKED), await situations.similar(ASKED)
    assert (degraded.degraded, degraded.is_cached) == (("semantic",), False)
    assert [(found.degraded, found.is_cached) for found in (whole, again)] == [((), False), ((), True)]


@pytest.mark.parametrize(
    ("trouble", "missing"),
    [(Fault(TierUnavailable(Tier.EPISODIC, "away")), ("episodes",)), (Hang("episode_generation"), ())],
    ids=["away", "hangs"],
)
async def test_without_postgres_nothing_is_kept_and_all_is_found(trouble: Any, missing: tuple[str, ...]) -> None:
    """Who cannot know whether an answer still holds makes a new one."""
    given = tiers()
    made = await decided(given, "nine")
    dark = replace(given, episodic=troubled(given.episodic, trouble))
    situations = Situations(recall_of(given), dark.episodic, SituationCache(CachePolicy()), deadline=timedelta(milliseconds=500))
    answers = [await situations.similar(ASKED, PLENTY if isinstance(trouble, Fault) else None) for _ in range(2)]
    assert [(ids(found), found.degraded, found.is_cached) for found in answers] == [([made.id], missing, False)] * 2


async def test_where_nobody_answers_nothing_found_is_not_said() -> None:
    """With index and Postgres away, the call fails."""
    given = tiers()
    dark = replace(given, semantic=away(given.semantic, Tier.SEMANTIC), episodic=away(given.episodic, Tier.EPISODIC))
    with pytest.raises(TierUnavailable):
        await situations_of(dark).similar(ASKED)


def test_answers_are_kept_for_a_moment() -> None:
    """No longer than their time to live, not beyond their number, and none that is too large."""
    clock, one = Clock(), Recollection((hit(dense=1.0),))
    cache = SituationCache(CachePolicy(ttl=timedelta(seconds=60), entries=2, characters=1), monotonic=clock)
    asked = [replace(ASKED, limit=n) for n in (1, 2, 3)]
    for query in asked:
        cache.put(query, None, one)
    assert [cache.get(query, None) for query in asked] == [None, one, one]
    assert REGISTRY.get_sample_value("memory_cache_entries", {"cache": "situations"}) == 2
    clock.seconds = 60.0
    assert [cache.get(query, None) for query in asked] == [None, None, None]
    cache.put(ASKED, None, Recollection((replace(hit(dense=1.0), text="xx"),)))
    assert cache.get(ASKED, None) is None
    assert SituationCache(CachePolicy(ttl=timedelta())).is_on is False


def test_an_answer_belongs_to_its_generation() -> None:
    """Nor does it come back when a later generation is over; what is forgotten leaves memory."""
    cache, one = SituationCache(CachePolicy()), Recollection((hit(dense=1.0),))
    first, second = new_id(), new_id()
    cache.put(ASKED, first, one)
    assert [cache.get(ASKED, generation) for generation in (first, second, first)] == [one, None, None]
    cache.put(ASKED, second, one)
    cache.forget("rival")
    assert cache.get(ASKED, second) == one
    cache.forget("acme")
    assert cache.get(ASKED, second) is None


def test_questions_that_differ_in_json_differ() -> None:
    """To Python 1 and true are equal; an answer to the one must not be given to the other."""
    cache, one = SituationCache(CachePolicy()), Recollection((hit(dense=1.0),))
    number, truth = [replace(ASKED, filter=(FilterTerm("metadata.n", (value,)),)) for value in (1, True)]
    assert number == truth
    cache.put(number, None, one)
    assert (cache.get(number, None), cache.get(truth, None)) == (one, None)


def test_hits_and_misses_are_counted() -> None:
    """The hit rate of the cache is in the metrics."""

    def counted() -> list[float]:
        results = ({"cache": "situations", "result": result} for result in ("hit", "miss"))
        return [REGISTRY.get_sample_value("memory_cache_requests_total", labels) or 0.0 for labels in results]

    before, cache = counted(), SituationCache(CachePolicy())
    cache.get(ASKED, None)
    cache.put(ASKED, None, Recollection(()))
    cache.get(ASKED, None)
    assert [now - then for now, then in zip(counted(), before, strict=True)] == [1.0, 1.0]
