"""The worked agent of docs/worked-agent.md, in a short version."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.settings import EmbedderChoice
from examples.planning.agents import Tried, choose, decide
from examples.planning.plot import draw
from examples.planning.world import NOMINAL_POINTS_A_DAY, PRACTICES, Company, Plan, Result, Situation
from examples.sprint_planner import gains, report, simulate

SITUATION = Situation(sprint=3, team="mobile", work="research", person_days=50)


@pytest.mark.slow
async def test_memory_helps_in_a_short_year(tmp_path: Path) -> None:
    """Two companies, six sprints: every agent plans them all, memory comes out ahead, and the plot is drawn."""
    values = await simulate(2, 6, EmbedderChoice.HASHING)
    assert {name: by_seed.shape for name, by_seed in values.items()} == dict.fromkeys(
        ["memory", "memory, no strategies", "shuffled memory", "yesterday's weather", "no memory"], (2, 6)
    )
    assert gains(values)["no memory"][1] > 0
    assert gains(values)["shuffled memory"][1] > 0
    assert report(values).splitlines()[1].startswith("memory ")
    draw(values, gains(values), tmp_path / "year.svg")
    assert (tmp_path / "year.svg").read_text().startswith("<?xml")


def test_a_company_is_the_same_for_everybody() -> None:
    """The same seed brings the same situations and the same luck, whoever plans and whatever was planned before."""
    first, second = Company(7), Company(7)
    plan = Plan(30.0, "pairing")
    first.carry_out(SITUATION, Plan(99.0, "spike first"))
    assert first.situations(5) == second.situations(5)
    assert first.carry_out(SITUATION, plan) == second.carry_out(SITUATION, plan)
    assert first.carry_out(SITUATION, plan).possible != Company(8).carry_out(SITUATION, plan).possible


def test_the_nominal_speed_is_the_middle_of_all_companies() -> None:
    """The agent without memory is not handicapped: what it assumes is true on the whole."""
    results = [Company(seed).carry_out(SITUATION, Plan(30.0, PRACTICES[0])) for seed in range(2000)]
    assert sorted(r.points_a_day for r in results)[1000] == pytest.approx(NOMINAL_POINTS_A_DAY, rel=0.05)


def test_a_result_is_judged_by_what_was_possible() -> None:
    """Promising too much costs what was not delivered, promising too little what could have been."""
    results = [Result(promised, 40.0, 50) for promised in (40.0, 20.0, 80.0)]
    assert [(result.quality, result.value) for result in results] == [(1.0, 1.0), (0.5, 0.5), (0.5, 0.0)]


def test_one_policy_plans_with_and_without_memory() -> None:
    """Nothing remembered means the nominal speed and the first practice; what is remembered draws both away from there."""
    nominal = Plan(NOMINAL_POINTS_A_DAY * 50, "pairing")
    assert decide(SITUATION, "pairing", ()) == nominal
    assert NOMINAL_POINTS_A_DAY * 50 < decide(SITUATION, "pairing", (1.6,)).points < 1.6 * 50
    assert decide(SITUATION, "pairing", (1.6,) * 99).points == pytest.approx(1.6 * 50, rel=0.02)
    assert choose([Tried(practice) for practice in PRACTICES]) == PRACTICES[0]
    assert choose([Tried("plain planning", 1, 4), Tried("pairing", 4, 1)]) == "pairing"
    assert choose([Tried("plain planning", 5, 5), Tried("pairing")]) == "pairing"
