"""Reconcile with real processes: from the command line, killed for real, and when the model is another one."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from ollama_server import OllamaServer
from service_process import Home, engine, kill_all, running_in, until

SESSION = "/v1/sessions/s1/messages"
TEXTS = [
    f"the {colour} parcel waits for {name}"
    for colour, name in zip(("red", "green", "yellow", "purple", "orange"), ("Ana", "Ben", "Cem", "Dora", "Emil"), strict=True)
]


@pytest.fixture(autouse=True)
def nothing_keeps_running(tmp_path: Path) -> Iterator[None]:
    """After every test here, no process works in its directory any more."""
    yield
    left = running_in(tmp_path)
    kill_all(left)
    assert left == []


async def append(client: httpx.AsyncClient, *contents: str) -> None:
    messages = [{"role": "user", "content": content} for content in contents]
    (await client.post(SESSION, json={"messages": messages}, params={"wait": "indexed"})).raise_for_status()


async def found_first(client: httpx.AsyncClient, text: str) -> str:
    response = await client.post("/v1/search", json={"text": text, "limit": 3, "kinds": ["message"]})
    return str(response.raise_for_status().json()["hits"][0]["text"])


async def books(client: httpx.AsyncClient) -> tuple[int, int, int]:
    """Points where they belong, drift, and what waits."""
    status = (await client.get("/v1/admin/status")).raise_for_status().json()
    return status["indexed_points"], status["drift"], status["outbox"]["depth"]


async def reconciled(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    return list((await client.get("/v1/admin/reconcile")).raise_for_status().json()["runs"])


async def is_running(client: httpx.AsyncClient) -> bool:
    return [run["state"] for run in await reconciled(client)][:1] == ["running"]


async def lose_the_index(home: Home) -> None:
    """Tell a service five messages, stop it, and remove its index."""
    async with home.served() as serving, home.client() as client:
        await append(client, *TEXTS)
        await serving.stop()
    shutil.rmtree(home.data / "qdrant")


@pytest.mark.slow
async def test_the_command_line_repairs_a_lost_index(tmp_path: Path) -> None:
    """A dry run says what is missing and changes nothing; a repair queues it, and the service has it back."""
    home = Home.at(tmp_path, MEMORY_RECONCILE_INTERVAL_HOURS="0")
    await lose_the_index(home)
    alone = await home.run("reconcile")
    async with home.served() as serving, home.client() as client:
        lost = await books(client)
        beside = await home.run("reconcile", "--repair")
        await until(lambda: is_whole(client))
        again = await home.run("reconcile")
        first = await found_first(client, TEXTS[2])
        await serving.stop()
    assert [(ended.status, ended.stderr) for ended in (alone, beside, again)] == [(0, "")] * 3
    assert [says(ended.stdout) for ended in (alone, beside, again)] == [
        ("dry run", "5 wrong: `hybrid-memory reconcile --repair` queues them for the indexer"),
        ("repairing", "5 queued: a running service works them off by itself, `hybrid-memory consolidate` does so now"),
        ("dry run", "the index agrees with PostgreSQL"),
    ]
    assert (lost, first) == ((0, 5, 0), TEXTS[2])


async def is_whole(client: httpx.AsyncClient) -> bool:
    return await books(client) == (5, 0, 0)


def says(stdout: str) -> tuple[str, str]:
    """Which run it was, and what follows from it: the first two words of the table, and what comes after it."""
    lines = [line for line in stdout.splitlines() if line.strip()]
    end = next(n for n, line in enumerate(lines) if "dead letters" in line)
    return lines[0].split("  ")[0], " ".join(lines[end + 1 :])


async def test_a_run_survives_kill_9(tmp_path: Path) -> None:
    """Killed while it compares, it is gone on with at the next start, not begun anew, and ends what it was for."""
    home = Home.at(tmp_path, MEMORY_RECONCILE_INTERVAL_HOURS="0")
    await lose_the_index(home)
    async with home.served() as serving, home.client() as client:
        await append(client, "said after the loss")
        worker = engine(tmp_path, "app.semantic.worker")
        worker.suspend()  # the comparison now waits for the index
        asking = asyncio.create_task(client.post("/v1/admin/reconcile", json={"repair": True}))
        await until(lambda: is_running(client), unless=serving.ending)
        (begun,) = await reconciled(client)
        serving.process.kill()
        worker.send_signal(signal.SIGCONT)  # or it would never learn of it
        await serving.kill()
        await asyncio.gather(asking, return_exceptions=True)
    async with home.served() as serving, home.client() as client:
        resumed = (await client.post("/v1/admin/reconcile", json={"repair": True})).raise_for_status().json()
        await until(lambda: is_whole_and_one_more(client))
        await serving.stop()
    assert (resumed["id"], resumed["is_resumed"], resumed["state"]) == (begun["id"], True, "done")
    assert (resumed["checked"], resumed["findings"]["missing"]) == (6, 5)


async def is_whole_and_one_more(client: httpx.AsyncClient) -> bool:
    return await books(client) == (6, 0, 0)


@pytest.mark.slow
async def test_another_model_takes_over_by_itself(tmp_path: Path) -> None:
    """Restarted with another model, the service moves everything to a space of its own and drops the old one."""
    home = Home.at(tmp_path)
    ollama = OllamaServer()
    async with home.served() as serving, home.client() as client:
        await append(client, *TEXTS)
        await serving.stop()
    changed = home.with_(MEMORY_EMBEDDER="ollama", MEMORY_OLLAMA_URL=ollama.url)
    async with changed.served() as serving, changed.client() as client:
        before = await found_first(client, TEXTS[3])
        await until(lambda: is_whole(client))
        after = await found_first(client, TEXTS[3])
        await until(lambda: [path.name for path in (home.data / "qdrant").iterdir()] == ["all-minilm-l6-v2__384"])
        await serving.stop()
    ollama.stop()
    assert (before, after) == (TEXTS[3], TEXTS[3])
