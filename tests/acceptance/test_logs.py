"""Memories are nobody's but their owner's: not a word of them is in logs, metrics or errors."""

from __future__ import annotations

import os
import sys
import uuid
from asyncio.subprocess import PIPE, create_subprocess_exec
from pathlib import Path

import pytest
from service_process import Home, finished
from talking import SESSION

from app.cli.child import environment_of_child
from app.records import new_id

FAILING = """
import structlog
from app.observability import configure_logging, quiet_unless_configured

def remember(memory):
    raise KeyError("the store is broken")

{configuration}
try:
    remember("a memory of " + "mine")
except KeyError:
    structlog.get_logger("test").exception("remembering_failed")
"""


@pytest.mark.parametrize(
    "configuration", ["configure_logging('DEBUG', 'json')", "configure_logging('DEBUG', 'console')", "quiet_unless_configured()"]
)
async def test_a_logged_traceback_shows_no_variables(configuration: str) -> None:
    """A failure is logged with the lines it passed through, and without the values they worked on: by doors, and in a library."""
    program = (sys.executable, "-c", FAILING.format(configuration=configuration))
    variables = environment_of_child(os.environ, {})
    said = await finished(await create_subprocess_exec(*program, env=variables, stdout=PIPE, stderr=PIPE))
    assert "remembering_failed" in said.stderr
    assert "the store is broken" in said.stderr
    assert "a memory of mine" not in said.stderr + said.stdout


async def test_logs_and_metrics_hold_no_memories(tmp_path: Path) -> None:
    """Whatever is stored, searched, refused or fails, and however much is logged: not a word of it is in logs and metrics."""
    secret = uuid.uuid4().hex
    home = Home.at(tmp_path, MEMORY_LOG_LEVEL="DEBUG")
    async with home.served() as serving, home.client() as client:
        message = {"id": str(new_id()), "role": "user", "content": secret, "name": f"n{secret}", "metadata": {"k": secret}}
        for wait in ("none", "indexed"):
            await client.post(SESSION + "/messages", json={"messages": [message]}, params={"wait": wait})
        conflict = await client.post(SESSION + "/messages", json={"messages": [message | {"content": f"{secret}2"}]})
        refused = await client.post(SESSION + "/messages", json={"messages": [message | {"content": f"{secret}\x00"}]})
        broken = await client.post("/v1/search", content=f'{{"text": "{secret}"', headers={"content-type": "application/json"})
        found = await client.post("/v1/search", json={"text": secret})
        await client.put(SESSION, json={"goal": secret, "thoughts": [secret]})
        await client.put(f"{SESSION}/scratchpad/k", json={"value": secret})
        await client.post("/v1/episodes", json={"summary": secret, "perception": {"k": secret}})
        await client.post("/v1/knowledge", json={"description": secret})
        await client.post("/v1/admin/consolidate")
        metrics = (await client.get("/metrics")).text
        said_so = await serving.stop()
    assert [found.json()["hits"][0]["text"], conflict.status_code, refused.status_code, broken.status_code] == [
        secret, 409, 422, 400,
    ]  # fmt: skip
    assert secret not in conflict.text + refused.text + broken.text
    assert "consolidated" in said_so.stderr
    assert secret not in said_so.stderr + said_so.stdout + metrics
