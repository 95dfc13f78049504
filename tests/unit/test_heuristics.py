"""Heuristics: what is found where something tells good from bad, and that nothing is found where nothing does."""

from __future__ import annotations

from random import Random
from uuid import UUID

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import fisher_exact

from app.chat import OllamaChat
from app.learning.cases import Case, meets
from app.learning.clusters import clusters_of
from app.learning.conditions import Condition, Op
from app.learning.heuristics import Heuristic, HeuristicPolicy, corrected_level, fisher_p, heuristics_in
from app.learning.phrasing import OllamaPhraser, says_all


def sprint(random: Random, *, effect: bool) -> Case:
    """A sprint; with `effect`, cutting scope helps small teams with a large backlog, and nothing else matters."""
    facts: dict[str, str | int | float | bool] = {
        "backlog_size": random.randrange(5, 60), "team_size": random.randrange(2, 10),
        "risk": random.choice(["low", "high"]), "day": random.choice(["monday", "friday"]), "morale": round(random.random(), 2),
    }  # fmt: skip
    action = random.choice(["cut scope", "hire"])
    is_tight = int(facts["backlog_size"]) >= 20 and int(facts["team_size"]) <= 5
    chance = (0.95 if action == "cut scope" else 0.2) if effect and is_tight else 0.5
    return Case(UUID(int=random.getrandbits(128)), facts, action, action.title(), random.random() < chance)


def found(cases: list[Case]) -> tuple[Heuristic, ...]:
    return heuristics_in(cases, clusters_of(cases), HeuristicPolicy())


def test_what_tells_good_from_bad_is_found_and_counted() -> None:
    """One heuristic with both conditions near where they are, its counts those of the cases that meet them."""
    random = Random(7)
    cases = [sprint(random, effect=True) for _ in range(240)]
    (heuristic,) = found(cases)
    backlog, team = heuristic.conditions
    assert [(c.field, c.op) for c in (backlog, team)] == [("backlog_size", Op.GTE), ("team_size", Op.LTE)]
    assert backlog.value in range(12, 29)
    assert team.value in range(4, 7)
    taken = [c for c in cases if meets(c, heuristic.conditions) and c.action == "cut scope"]
    assert set(heuristic.supporting) == {c.episode_id for c in taken if c.went_well}
    assert set(heuristic.contradicting) == {c.episode_id for c in taken if not c.went_well}
    assert (heuristic.called, heuristic.tried) == ("Cut Scope", len(taken))


def test_chance_alone_is_seldom_taken_for_more() -> None:
    """Where no action is better, fewer than one run in ten finds a heuristic (the level is one in twenty)."""
    runs = 40
    false = sum(bool(found([sprint(random, effect=False) for _ in range(60)])) for random in map(Random, range(runs)))
    assert false <= runs // 10


def test_it_reads_like_a_sentence() -> None:
    """Conditions, action, and both counts."""
    conditions = (Condition("backlog_size", Op.GTE, 20), Condition("team_size", Op.LTE, 5))
    rule = Heuristic(conditions, "cut scope", "cut scope", 9, 10, 3, 8, 0.04, 0.001, (), ())
    assert str(rule) == (
        "When backlog_size >= 20 and team_size <= 5, choose 'cut scope': 9 of 10 went well, against 3 of 8 otherwise."
    )
    assert rule.confidence == pytest.approx(10 / 12)


@given(*[st.integers(min_value=0, max_value=30)] * 4)
def test_the_test_is_fishers(well: int, badly: int, others_well: int, others_badly: int) -> None:
    """The same p-value as the library's."""
    expected = fisher_exact([[well, badly], [others_well, others_badly]], alternative="greater").pvalue
    assert fisher_p(well, well + badly, others_well, others_well + others_badly) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("least", "level"), [([], 0.05), ([0.5] * 99, 0.05), ([0.001] * 4, 0.0125), ([0.001, 0.02, 0.04], 0.025)]
)
def test_only_tests_that_could_tell_are_counted(least: list[float], level: float) -> None:
    """The level is divided by how many could reach it, not by how many there were."""
    assert corrected_level(least, 0.05) == pytest.approx(level)


def test_few_cases_have_no_clusters() -> None:
    """Below what two clusters need, nothing is clustered, and nothing heavy is imported for it."""
    random = Random(1)
    assert clusters_of([sprint(random, effect=True) for _ in range(11)]) == []


def test_clusters_gather_what_is_alike() -> None:
    """Situations of two sorts share no cluster, and nobody is in two."""
    sorts = [{"kind": "outage", "system": "billing"}, {"kind": "hiring", "role": "designer"}]
    cases = [Case(UUID(int=i), {**sorts[i % 2], "week": f"w{i // 2 % 3}"}, "act", "act", True) for i in range(40)]
    clusters = clusters_of(cases)
    assert {frozenset(c.facts["kind"] for c in members) for members in clusters} == {frozenset({"outage"}), frozenset({"hiring"})}
    ids = [c.episode_id for members in clusters for c in members]
    assert len(ids) == len(set(ids))


RULE = Heuristic((Condition("risk", Op.EQ, "high"),), "cut scope", "cut scope", 9, 10, 3, 8, 0.04, 0.001, (), ())
GOOD = "If risk is high, cut scope: that worked in 9 of 10 cases, other choices in 3 of 8."


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (GOOD, GOOD),
        (f'  "{GOOD}" \n', GOOD),
        ("If risk is high, cut scope: that mostly worked.", str(RULE)),
        (f"{GOOD} Trust me, 100%.", str(RULE)),
        ("Ignore the rule.", str(RULE)),
    ],
)
async def test_a_wording_keeps_what_was_counted(answer: str, expected: str) -> None:
    """A model's sentence is taken if all numbers and names are in it, and no others; else the plain one stays."""
    reply = httpx.Response(200, json={"message": {"content": answer}})
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: reply)) as client:
        assert await OllamaPhraser(OllamaChat(client, "http://ollama", "model", stage="phrase")).phrase(RULE) == expected


async def test_without_a_model_that_answers_it_stays_as_it_is() -> None:
    """Failing to phrase changes nothing."""
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(500))) as client:
        assert await OllamaPhraser(OllamaChat(client, "http://ollama", "model", stage="phrase")).phrase(RULE) == str(RULE)


def test_a_wording_may_not_go_on_for_ever() -> None:
    """However complete it is."""
    assert says_all(GOOD, str(RULE), ["cut scope"])
    assert not says_all(GOOD + " and so on" * 100, str(RULE), ["cut scope"])
