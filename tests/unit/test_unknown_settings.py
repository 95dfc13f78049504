"""A misspelt setting changes nothing, and is not passed over in silence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from app.cli.commands import app
from app.settings import unknown_variables


@pytest.fixture(autouse=True)
def bare_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting in the environment, and a directory without `.env`."""
    for name in [name for name in os.environ if name.upper().startswith("MEMORY_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_what_nobody_reads_is_found_with_what_it_may_have_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the environment and in `.env`; settings, in whatever case, and what commands read are known."""
    for name in ("MEMORY_PROT", "MEMORY_QQQ", "memory_host", "MEMORY_URL", "MEMORY_API_KEY", "OTHER_PROT"):
        monkeypatch.setenv(name, "1")
    (tmp_path / ".env").write_text("MEMORY_LOGLEVEL=DEBUG\nMEMORY_LOG_FORMAT=json\nPOSTGRES_PASSWORD=x\n", encoding="utf-8")
    assert unknown_variables() == {
        "MEMORY_LOGLEVEL": "MEMORY_LOG_LEVEL",
        "MEMORY_PROT": "MEMORY_PORT",
        "MEMORY_QQQ": None,
    }


def test_every_setting_is_known() -> None:
    """Whoever copies `.env.example` is warned of nothing."""
    Path(".env").write_text((Path(__file__).parents[2] / ".env.example").read_text(encoding="utf-8"), encoding="utf-8")
    assert unknown_variables() == {}


def test_a_command_warns_of_it_once_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line that names the variable and the nearest there is; the command does what it would have done."""
    monkeypatch.setenv("MEMORY_PROT", "1")
    monkeypatch.setattr("app.cli.configuring.configure_logging", lambda *_: None)
    with capture_logs() as logged:
        ended = CliRunner().invoke(app, ["features", "foo=on"])
    assert str(ended.exception) == "foo=on: must name a feature: episode_logging or retrieval"
    assert logged == [
        {"event": "setting_unknown", "log_level": "warning", "variable": "MEMORY_PROT", "did_you_mean": "MEMORY_PORT"}
    ]
