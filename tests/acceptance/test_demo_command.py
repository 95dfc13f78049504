"""The demo as a newcomer runs it: a process, no network, nothing configured."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_SUMMARY = re.compile(r"(\d+) of (\d+) questions found their sentence at rank 1, (\d+) of \2 in the top 10\.")


@pytest.fixture
def outside() -> Iterator[socket.socket]:
    """Stands for the network: whatever a process is told to reach is here, and a connection made stays in its queue."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening


def test_the_demo_finds_its_sentences_and_asks_nobody_outside(outside: socket.socket, tmp_path: Path) -> None:
    """With Ollama and proxies in the environment, all answers come from this machine, and nothing is left behind."""
    shown = _run_demo(f"http://127.0.0.1:{outside.getsockname()[1]}", tmp_path)
    found = _SUMMARY.search(shown)
    assert found is not None, shown
    first, asked, top = (int(number) for number in found.groups())
    assert asked == 14
    assert top >= 12, shown
    assert shown.count("✓ ") == first + 1  # the sentence said a moment ago is found, too
    assert re.search(r"✓ Who has the spare key\?.*?working tier", shown, re.DOTALL)
    with pytest.raises(BlockingIOError):
        outside.accept()
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith("torchinductor")] == []  # which is torch's


def _run_demo(outside_url: str, directory: Path) -> str:
    names = ("MEMORY_OLLAMA_URL", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
    settings = {"MEMORY_EMBEDDER": "ollama", "MEMORY_OLLAMA_SUMMARY_MODEL": "any", "TMPDIR": str(directory)}
    environment = os.environ | dict.fromkeys(names, outside_url) | settings
    done = subprocess.run(
        [sys.executable, "-m", "app", "demo"], env=environment, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
