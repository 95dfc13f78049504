"""The record of dependencies names what `pyproject.toml` names."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
RECORD: Final = (ROOT / "docs/decisions/0002-dependencies.md").read_text(encoding="utf-8")


def packages(requirements: list[str]) -> set[str]:
    names = {re.split(r"[\[<>=;\s]", requirement, maxsplit=1)[0] for requirement in requirements}
    return names - {PROJECT["name"]}


def recorded(heading: str) -> list[str]:
    section = RECORD.partition(f"### {heading}\n")[2].partition("\n#")[0]
    return [name for name in re.findall(r"^\| ([\w-]+) \|", section, re.MULTILINE) if name != "package"]


def test_every_runtime_dependency_has_its_reason() -> None:
    """One line for each, and none for what is not installed."""
    assert sorted(recorded("Runtime")) == sorted(packages(PROJECT["dependencies"]))


def test_every_extra_has_its_reason() -> None:
    """What the extras for users bring stands in a table of its own."""
    extras = [name for extra, names in PROJECT["optional-dependencies"].items() if extra != "dev" for name in names]
    assert sorted(recorded("Extras")) == sorted(packages(extras))


def test_every_development_dependency_has_its_reason() -> None:
    """Tools are dependencies too."""
    assert sorted(recorded("Development")) == sorted(packages(PROJECT["optional-dependencies"]["dev"]))
