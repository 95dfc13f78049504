"""`.env.example` is a true copy of the settings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest

from app.settings import Settings

ROOT: Final = Path(__file__).parents[2]
EXAMPLE: Final = ROOT / ".env.example"
LINES: Final = EXAMPLE.read_text(encoding="utf-8").splitlines()
ASSIGNMENTS: Final = [line.partition("=")[::2] for line in LINES if line and not line.startswith("#")]
COMPOSE_ONLY: Final = {"POSTGRES_PASSWORD"}


@pytest.fixture(autouse=True)
def no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MEMORY_")]:
        monkeypatch.delenv(name)


def test_every_setting_is_there_exactly_once() -> None:
    """One line a field, in no other spelling, and nothing else but what compose needs."""
    expected = {f"MEMORY_{field.upper()}" for field in Settings.model_fields} | COMPOSE_ONLY
    assert sorted(name for name, _ in ASSIGNMENTS) == sorted(expected)


def test_every_value_is_the_default() -> None:
    """A `.env` copied without a change leaves every setting as it would be without the file."""
    assert Settings(_env_file=EXAMPLE) == Settings(_env_file=None)


def test_every_default_is_spelled_out() -> None:
    """Only a setting whose default is to have no value, and the password, are left empty."""
    without_default = {f"MEMORY_{name.upper()}" for name, field in Settings.model_fields.items() if field.default is None}
    assert {name for name, value in ASSIGNMENTS if not value} == without_default | COMPOSE_ONLY


def test_every_setting_is_explained_in_the_line_above() -> None:
    """Nobody has to open the source to learn what a variable does."""
    above = [LINES[number - 1] for number, line in enumerate(LINES) if line and not line.startswith("#")]
    assert [line for line in above if not line.startswith("# ") or line.startswith("# ──")] == []
