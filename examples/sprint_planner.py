"""A small agent that plans sprints, for a simulated year, with and without memory: does it help?

    python -m examples.sprint_planner --plot sprint-planner.svg

No model is needed and nothing is kept: the engines run in a temporary directory. What is simulated, and what comes out:
docs/worked-agent.md.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from app import HybridMemoryService, Settings, open_memory
from app.metrics import bootstrap_intervals
from app.settings import EmbedderChoice
from examples.planning.agents import Agent, Confused, Forgetful, Remembering, WithoutStrategies, YesterdaysWeather
from examples.planning.plot import Values, draw
from examples.planning.world import Company

YEAR = 26
SEEDS = 24


async def planned_year(agent: Agent, company: Company, sprints: int) -> list[float]:
    """The value delivered in each sprint, the mean of its teams."""
    values = []
    for sprint in range(sprints):
        situations = company.situations(sprint)
        plans = [await agent.plan(situation) for situation in situations]
        results = [company.carry_out(s, p) for s, p in zip(situations, plans, strict=True)]
        await agent.learn(list(zip(situations, plans, results, strict=True)))
        values.append(sum(r.value for r in results) / len(results))
    return values


async def agents(memory: HybridMemoryService, seed: int) -> Mapping[str, Agent]:
    keeping = {
        "memory": Remembering(memory, f"memory-{seed}"),
        "memory, no strategies": WithoutStrategies(memory, f"no-strategies-{seed}"),
        "shuffled memory": Confused(memory, f"shuffled-{seed}", seed),
    }
    for agent in keeping.values():
        await agent.open()
    return {
        **keeping,
        "yesterday's weather": YesterdaysWeather(),
        "no memory": Forgetful(),
    }


async def simulate(seeds: int, sprints: int, embedder: EmbedderChoice) -> Mapping[str, Values]:
    """Each agent's values, (seeds, sprints): all plan the same companies in the same years."""
    years: dict[str, list[list[float]]] = {}
    with tempfile.TemporaryDirectory(prefix="sprint-planner-") as home:
        # The agents consolidate when a sprint is over, so that the same seed is the same year on any machine.
        settings = Settings(
            _env_file=None, data_dir=Path(home), embedder=embedder, consolidation_interval_seconds=86_400.0,
            recall_deadline_ms=10_000.0,
        )  # fmt: skip
        async with open_memory(settings) as memory:
            for seed in range(seeds):
                for name, agent in (await agents(memory, seed)).items():
                    years.setdefault(name, []).append(await planned_year(agent, Company(seed), sprints))
    return {name: np.array(values) for name, values in years.items()}


def gains(values: Mapping[str, Values]) -> Mapping[str, tuple[Sequence[float], float, float, float]]:
    """Memory against each other agent, seed by seed: the differences of the year's means, their mean and its 95 % bounds."""
    means = {name: by_seed.mean(axis=1) for name, by_seed in values.items()}
    others = {name: (means["memory"] - mean).tolist() for name, mean in means.items() if name != "memory"}
    intervals = bootstrap_intervals(list(others.values()))
    return {name: (others[name], i.mean, i.low, i.high) for name, i in zip(others, intervals, strict=True)}


def report(values: Mapping[str, Values]) -> str:
    half = next(iter(values.values())).shape[1] // 2
    lines = [f"{'agent':<22} {'year':>5} {'first half':>12} {'second half':>13}"]
    lines += [f"{n:<22} {v.mean():5.3f} {v[:, :half].mean():12.3f} {v[:, half:].mean():13.3f}" for n, v in values.items()]
    lines += ["", "gain of memory in the year's mean value, 95 % interval over seeds"]
    lines += [
        f"against {name:<22} {mean:+.3f}  ({low:+.3f} to {high:+.3f})" for name, (_, mean, low, high) in gains(values).items()
    ]
    return "\n".join(lines)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--seeds", type=int, default=SEEDS, help="how many companies")
    asked.add_argument("--sprints", type=int, default=YEAR, help="how many sprints of two weeks")
    asked.add_argument("--embedder", type=EmbedderChoice, default=EmbedderChoice.HASHING, help="hashing needs no model; or local")
    asked.add_argument("--plot", type=Path, help="where to draw it, .svg or .png")
    chosen = asked.parse_args()
    values = asyncio.run(simulate(chosen.seeds, chosen.sprints, chosen.embedder))
    print(report(values))
    if chosen.plot is not None:
        draw(values, gains(values), chosen.plot)


if __name__ == "__main__":
    main()
