"""The year, drawn: how each agent got on sprint by sprint, and what each seed says of the difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Values = NDArray[np.float64]
"""(seeds, sprints)."""
_COLOURS: Final = {
    "memory": "#c1272d",
    "memory, no strategies": "#d98a3d",
    "shuffled memory": "#1b4f8f",
    "yesterday's weather": "#2b8a6f",
    "no memory": "#6d6d6d",
}
_WINDOW: Final = 3


def draw(values: Mapping[str, Values], gains: Mapping[str, tuple[Sequence[float], float, float, float]], path: Path) -> None:
    """`gains` are, against each other agent, each seed's difference and its mean with bounds.

    The same values make the same file.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": "hybrid-memory", "font.size": 9.5}):
        figure = Figure(figsize=(9.2, 4.0), layout="constrained")
        year, difference = figure.subplots(1, 2, width_ratios=(3, 2))
        _draw_year(year, values)
        _draw_gains(difference, gains)
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)


def _draw_year(axes: Axes, values: Mapping[str, Values]) -> None:
    for name, by_seed in values.items():
        smooth = np.array([np.convolve(row, np.ones(_WINDOW) / _WINDOW, mode="valid") for row in by_seed])
        sprints = np.arange(_WINDOW, by_seed.shape[1] + 1)
        width = 2.2 if name == "memory" else 1.5
        axes.plot(sprints, smooth.mean(axis=0), label=name, color=_COLOURS[name], linewidth=width)
    axes.set_xlabel("sprint (moving mean of three)")
    axes.set_ylabel("value delivered, nominal = 1")
    seeds = len(next(iter(values.values())))
    axes.set_title(f"A year of sprints, mean of {seeds} companies", loc="left", fontsize=10.5)
    axes.legend(loc="upper left", frameon=False)
    _tidy(axes)


def _draw_gains(axes: Axes, gains: Mapping[str, tuple[Sequence[float], float, float, float]]) -> None:
    for place, (name, (seeds, mean, low, high)) in enumerate(gains.items()):
        spread = place + np.linspace(-0.16, 0.16, len(seeds))
        dots: dict[str, Any] = {"color": _COLOURS[name], "alpha": 0.35, "linewidth": 0}
        axes.scatter(seeds, spread, s=16, **dots)
        axes.errorbar(mean, place + 0.3, xerr=[[mean - low], [high - mean]], fmt="o", color="black", capsize=4, markersize=5)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(gains)), [f"against\n{name}" for name in gains])
    axes.set_ylim(len(gains) - 0.4, -0.5)
    axes.set_xlabel("gain of memory in the year's mean value")
    axes.set_title("Seed by seed; bars: mean, 95 %", loc="left", fontsize=10.5)
    _tidy(axes)


def _tidy(axes: Axes) -> None:
    axes.grid(color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
