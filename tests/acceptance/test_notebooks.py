"""The notebooks run, and what is committed are their outputs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parents[2]
HERE: Final = ROOT / "notebooks"
QUICK: Final = ("01-quickstart", "04-from-embedded-to-servers")
SLOW: Final = ("02-retrieval-under-the-lens", "03-agent-with-and-without-memory")
LARGEST_BYTES: Final = 200_000


def code_cells(path: Path) -> Sequence[dict[str, Any]]:
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


def output_kinds(path: Path) -> Sequence[Sequence[str]]:
    """For each cell, which outputs it has: printed, shown, drawn. What they say may hang on the day and the machine."""
    return [[kind for output in cell["outputs"] for kind in _kinds(output)] for cell in code_cells(path)]


def _kinds(output: dict[str, Any]) -> Sequence[str]:
    return sorted(output["data"]) if "data" in output else [output.get("name", output["output_type"])]


def executed(name: str, directory: Path) -> Path:
    """A copy of the notebook, run by the script that `make notebooks` runs."""
    copy = directory / f"{name}.ipynb"
    shutil.copy(HERE / copy.name, copy)
    for cell in (notebook := json.loads(copy.read_text(encoding="utf-8")))["cells"]:
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
    copy.write_text(json.dumps(notebook), encoding="utf-8")
    done = subprocess.run([sys.executable, HERE / "execute.py", copy], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return copy


def test_each_notebook_is_tested() -> None:
    """One that is added is run, too."""
    assert sorted(path.stem for path in HERE.glob("*.ipynb")) == sorted(QUICK + SLOW)


@pytest.mark.parametrize("name", QUICK + SLOW)
def test_the_committed_outputs_are_whole_and_small(name: str) -> None:
    """Every cell was run, once and in order, without an error or a warning; no path or address of a machine is in it."""
    path = HERE / f"{name}.ipynb"
    cells = code_cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert any(cell["outputs"] for cell in cells)
    assert not {"error", "stderr"} & {kind for kinds in output_kinds(path) for kind in kinds}
    said = json.dumps([output for cell in cells for output in cell["outputs"]])
    assert not [trace for trace in ("/tmp/", "/home/", "/root/", "/Users/", "127.0.0.1") if trace in said]  # noqa: S108
    assert path.stat().st_size < LARGEST_BYTES


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_a_notebook_runs(name: str, tmp_path: Path) -> None:
    """From top to bottom without an error, with outputs of the kinds that are committed."""
    assert output_kinds(executed(name, tmp_path)) == output_kinds(HERE / f"{name}.ipynb")
