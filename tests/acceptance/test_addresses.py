"""Which service a command talks to: the one named on the command line, in the environment or in `.env`."""

from __future__ import annotations

import asyncio
from pathlib import Path

from service_process import Finished, Home


def nobody(address: str) -> Finished:
    return Finished(1, "", f"error: service tier unavailable: nobody listens at {address}: All connection attempts failed\n")


async def test_every_command_goes_where_it_is_sent(tmp_path: Path) -> None:
    """Also those that write: never to another service that happens to run here. The command line wins over `.env`."""
    named = Home.at(tmp_path / "named", MEMORY_URL="http://127.0.0.1:9")
    filed = Home.at(tmp_path / "filed")
    (filed.path / ".env").write_text("MEMORY_URL=http://127.0.0.1:7\n")
    said = await asyncio.gather(
        named.run("stats"),
        named.run("knowledge", "supersede", "01a1fee7-0000-7000-8000-000000000000", "something else"),
        filed.run("knowledge", "list"),
        filed.run("stats", "--url", "http://127.0.0.1:1"),
    )
    assert list(said) == [nobody(f"http://127.0.0.1:{port}") for port in (9, 9, 7, 1)]


async def test_the_key_is_read_from_a_file_too(tmp_path: Path) -> None:
    """As any other setting."""
    home = Home.at(tmp_path)
    _, secret = (await home.run("keys", "create", "agent")).stdout.splitlines()
    async with home.served() as serving:
        without = await home.run("search", "vet")
        (home.path / ".env").write_text(f"MEMORY_API_KEY={secret}\n")
        with_key = await home.run("search", "vet")
        await serving.stop()
    assert (without.status, "MEMORY_API_KEY" in without.stderr) == (1, True)
    assert (with_key.status, with_key.stderr) == (0, "")
