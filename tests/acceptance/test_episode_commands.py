"""Backfill and features from the command line, beside a running service and without one."""

from __future__ import annotations

from pathlib import Path

import pytest
from service_process import Home

GOOD = {"perception": {"backlog": 12}, "reasoning": {"why": "velocity"}, "action": {"decision": "plan nine"}}


@pytest.mark.slow
async def test_features_are_switched_for_the_running_service(tmp_path: Path) -> None:
    """What a command switches, the service and the next start follow; a misspelt switch is refused by name."""
    home = Home.at(tmp_path)
    async with home.served() as serving, home.client() as client:
        switched = await home.run("features", "episode_logging=off")
        skipped = (await client.post("/v1/episodes", params={"wait": "none"}, json=GOOD)).json()
        await serving.stop()
    shown = await home.run("features")
    bad = await home.run("features", "retrieval=maybe")
    assert [words(ended.stdout) for ended in (switched, shown)] == [
        ["features", "episode", "logging", "off", "retrieval", "on"]
    ] * 2  # fmt: skip
    assert (skipped["stored_in"], skipped["skipped"]) == (None, "episode-logging-disabled")
    assert bad.status != 0
    assert "retrieval=maybe: must be a feature and its state" in bad.stderr


@pytest.mark.slow
async def test_a_backfill_from_the_command_line(tmp_path: Path) -> None:
    """It embeds what waits, and tells what it did and what is left."""
    home = Home.at(tmp_path, MEMORY_CONSOLIDATION_INTERVAL_SECONDS="3600")
    async with home.served() as serving, home.client() as client:
        for _ in range(3):
            (await client.post("/v1/episodes", json=GOOD)).raise_for_status()
        done = await home.run("backfill", "--batch-size", "2", "--max-episodes", "10", "--rate", "1000")
        await serving.stop()
    assert (done.status, done.stderr) == (0, "")
    said = " ".join(words(done.stdout))
    assert "embedded 3 failed 0 postponed 0" in said
    assert said.endswith("left unscored 0 unembedded 0")


def words(stdout: str) -> list[str]:
    return stdout.split()
