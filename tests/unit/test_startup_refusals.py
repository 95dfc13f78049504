"""A start that cannot succeed ends at once: nothing is started for it, and nothing is waited for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from app.bootstrap import open_installation
from app.errors import ConfigurationError
from app.learning.quality import PARTS
from app.settings import Settings

_WHILE_A_MODEL_LOADS: Final = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
from app.cli import main

ThreadPoolExecutor(1).submit(threading.Event().wait)
sys.argv = ["hybrid-memory", "features", "foo=on"]
main()
"""


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"backfill_cron": "bad"}, "MEMORY_BACKFILL_CRON: Wrong number of fields; got 1, expected 5; write five fields"),
        ({"episode_template": "{foo}"}, "MEMORY_EPISODE_TEMPLATE: names foo; there are summary, kind, "),
        ({"language": "klingon"}, "MEMORY_LANGUAGE: 'klingon' is no language whose words can be stemmed"),
        ({"redis_url": "redis://127.0.0.1:no"}, "MEMORY_REDIS_URL: "),
        ({f"quality_weight_{part}": 0 for part in PARTS}, "MEMORY_QUALITY_WEIGHT_*: "),
    ],
)
async def test_what_cannot_be_read_is_told_before_an_engine_starts(given: dict[str, Any], said: str, tmp_path: Path) -> None:
    """The message names the variable, and there is not even a data directory."""
    settings = Settings(_env_file=None, data_dir=tmp_path / "data", **given)
    with pytest.raises(ConfigurationError) as refused:
        async with open_installation(settings):
            raise AssertionError("opened")
    assert str(refused.value)[: len(said)] == said
    assert made_in(tmp_path) == []


def made_in(directory: Path) -> list[Path]:
    return list(directory.iterdir())


def test_a_failed_command_waits_for_no_thread(tmp_path: Path) -> None:
    """A command ends with its message and status 1 though a thread would not end for another hour."""
    command = [sys.executable, "-c", _WHILE_A_MODEL_LOADS]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "error: foo=on: must name a feature: episode_logging or retrieval\n"
