"""A service as a child process: it keeps to the settings it is given, and says why it does not start."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from app.cli.child import environment_of_child, served, started
from app.client import MemoryClient
from app.errors import StartupError


def test_the_settings_of_whoever_measures_do_not_reach_the_service() -> None:
    """A measurement never touches the memory that the environment names; models it may name, and paths stay."""
    outer = {
        "MEMORY_REDIS_URL": "redis://production",
        "MEMORY_DATA_DIR": "mine",
        "MEMORY_LOCAL_MODEL": "a-model",
        "PATH": "/bin",
        "PYTHONPATH": "elsewhere",
    }
    root = str(Path(__file__).parents[2])
    assert environment_of_child(outer, {"MEMORY_DATA_DIR": "fresh"}) == {
        "MEMORY_DATA_DIR": "fresh",
        "MEMORY_LOCAL_MODEL": "a-model",
        "PATH": "/bin",
        "PYTHONPATH": f"{root}{os.pathsep}elsewhere",
    }


async def test_a_service_is_ready_when_its_address_is_known(tmp_path: Path) -> None:
    """The first request is answered, and when the context ends no process of it is left."""
    async with started(MEMORY_DATA_DIR=str(tmp_path), MEMORY_EMBEDDER="hashing") as child:
        family = [child.pid, *(member.pid for member in psutil.Process(child.pid).children(recursive=True))]
        async with MemoryClient(child.base_url) as client:
            assert (await client.search("anything")).hits == ()
    assert [pid for pid in family if psutil.pid_exists(pid)] == []


async def test_a_service_that_does_not_start_says_why(tmp_path: Path) -> None:
    """The end of what it wrote to stderr is part of the error."""
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(StartupError, match=r"ended with status 1; it said:\n(.*\n)*error: MEMORY_DATA_DIR") as failed:
        async with served(MEMORY_DATA_DIR=str(tmp_path / "file"), MEMORY_EMBEDDER="hashing"):
            pass
    assert "Traceback" not in str(failed.value)
