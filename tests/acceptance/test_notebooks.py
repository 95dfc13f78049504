"""The notebooks run, and what is committed are their outputs."""

from __future__ import annotations

import json
import re
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
    """For each cell, which outputs it has: printed, shown, drawn."""
    return [[kind for output in cell["outputs"] for kind in _kinds(output)] for cell in code_cells(path)]


def _kinds(output: dict[str, Any]) -> Sequence[str]:
    return sorted(output["data"]) if "data" in output else [output.get("name", output["output_type"])]


def said(path: Path) -> str:
    """What all cells printed or showed as text, without the day on which they ran."""
    outputs = [output for cell in code_cells(path) for output in cell["outputs"]]
    texts = ["".join(o["text"] if "text" in o else o["data"].get("text/plain", "")) for o in outputs]
    return re.sub(r"\[\d\d \w{3} \d{4}\]", "[day]", "\n".join(texts))


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
    assert not [trace for trace in ("/tmp/", "/home/", "/root/", "/Users/", "127.0.0.1") if trace in said(path)]  # noqa: S108
    assert path.stat().st_size < LARGEST_BYTES


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", [QUICK[0], *(pytest.param(name, marks=pytest.mark.slow) for name in QUICK[1:])])
def test_a_quick_notebook_says_what_is_committed(name: str, tmp_path: Path) -> None:
    """From top to bottom without an error, and to the letter what a reader of the committed file sees."""
    copy = executed(name, tmp_path)
    assert said(copy) == said(HERE / copy.name)
    assert output_kinds(copy) == output_kinds(HERE / copy.name)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", SLOW)
def test_a_slow_notebook_runs(name: str, tmp_path: Path) -> None:
    """The same, but for figures: their last digits, and what is drawn of them, are the machine's."""
    copy = executed(name, tmp_path)
    assert output_kinds(copy) == output_kinds(HERE / copy.name)
