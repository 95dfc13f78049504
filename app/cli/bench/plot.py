"""Recall at every cutoff, drawn. matplotlib is imported here alone, and only when a plot is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from app.cli.bench.systems import DEFAULT
from app.errors import ConfigurationError, InvalidInput

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SUFFIXES: Final = (".svg", ".png")
_TICKS: Final = (1, 2, 5, 10, 20, 50)
_OURS: Final = {"color": "#c1272d", "linewidth": 2.4, "zorder": 3}
_OTHERS: Final = ("#1b4f8f", "#2b8a6f", "#8a6d1b", "#6b4c9a", "#4d4d4d", "#a0522d", "#2f7fb5", "#7a7a7a", "#b07aa1")
_STYLES: Final = ("--", "-.", ":")


def check_plot(path: Path) -> None:
    """Find out before the measurement what would fail after it.

    Raises:
        InvalidInput: the file's name is that of no picture.
        ConfigurationError: matplotlib is not installed.
    """
    if path.suffix not in _SUFFIXES:
        raise InvalidInput("--plot", f"must end in {' or '.join(_SUFFIXES)}")
    if find_spec("matplotlib") is None:
        raise ConfigurationError("--plot needs matplotlib: pip install matplotlib")


def draw_curves(curves: Mapping[str, Sequence[float]], title: str, path: Path) -> None:
    """Draw each system's mean recall at 1, 2, …, best at 10 first in the legend; the same values make the same file."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": "hybrid-memory", "font.size": 10}):
        figure = Figure(figsize=(7, 4.4), layout="constrained")
        axes = figure.add_subplot()
        for place, (name, curve) in enumerate(_best_first(curves)):
            style = _OURS if name == DEFAULT else _style(place)
            axes.plot(range(1, len(curve) + 1), [value * 100 for value in curve], label=name, **style)
        _dress(axes, title)
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)


def _best_first(curves: Mapping[str, Sequence[float]]) -> list[tuple[str, Sequence[float]]]:
    return sorted(curves.items(), key=lambda curve: -curve[1][_TICKS[3] - 1])


def _style(place: int) -> dict[str, Any]:
    return {"color": _OTHERS[place % len(_OTHERS)], "linestyle": _STYLES[place % len(_STYLES)], "linewidth": 1.6}


def _dress(axes: Axes, title: str) -> None:
    axes.set_xscale("log")
    axes.set_xticks(_TICKS, [str(tick) for tick in _TICKS])
    axes.set_xticks([], minor=True)
    axes.set_xlim(_TICKS[0], _TICKS[-1])
    axes.set_ylim(0, 100)
    axes.set_xlabel("k: how many hits are looked at")
    axes.set_ylabel("Recall@k in percent")
    axes.set_title(title, loc="left", fontsize=11)
    axes.grid(color="#dddddd", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False)
