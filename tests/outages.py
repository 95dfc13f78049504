"""A memory on real engines that can be taken away: killed, so that they refuse, or stopped, so that they hang."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
from ollama_server import Behaviour, OllamaServer
from service_process import until

from app.bootstrap import open_installation
from app.embedded import EmbeddedServer, start_postgres, start_valkey
from app.episodic.engine import create_engine
from app.episodic.migrations.running import upgrade
from app.service import HybridMemoryService
from app.settings import EmbedderChoice, Settings

TIERS = {"Redis": "working", "PostgreSQL": "episodic", "Qdrant": "semantic", "embedder": "embedder"}


class Engines:
    """Every engine of a memory, each a process of its own but the embedder, which is a server in this one."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._ollama = OllamaServer()
        self._servers: dict[str, EmbeddedServer] = {}
        self._start: dict[str, Callable[[], EmbeddedServer]] = {
            "Redis": lambda: start_valkey(home / "redis", fsync="everysec"),
            "PostgreSQL": lambda: start_postgres(home / "postgres" / "cluster"),
        }

    @asynccontextmanager
    async def opened(self, **settings: Any) -> AsyncIterator[HybridMemoryService]:
        """Start everything, open a memory on it without jobs, and end everything."""
        async with AsyncExitStack() as stack:
            stack.callback(self._ollama.stop)
            stack.callback(self._stop)
            for name in self._start:
                await self._begin(name)
            await self._migrate()
            installation = await stack.enter_async_context(open_installation(self._settings(settings)))
            yield installation.service

    @asynccontextmanager
    async def hanging(self, *names: str) -> AsyncIterator[None]:
        """Have these accept everything and answer nothing, until the end of the block."""
        stopped = [process for name in names for process in self._processes(name)]
        for process in stopped:
            process.suspend()
        if "embedder" in names:
            self._ollama.behaviour = Behaviour.HANG
        try:
            yield
        finally:
            for process in stopped:
                process.resume()
            self._ollama.behaviour = Behaviour.OK

    @asynccontextmanager
    async def killed(self, *names: str) -> AsyncIterator[None]:
        """Kill these; they are started again at the end of the block."""
        for name in names:
            await asyncio.to_thread(self._kill, name)
        try:
            yield
        finally:
            for name in names:
                await self._begin(name)

    async def until_back(self, service: HybridMemoryService) -> None:
        """Wait until every engine answers and no breaker is open: nobody lends a hand."""

        async def is_back() -> bool:
            return all(tier.is_up and tier.breaker == "closed" for tier in await service.health())

        await until(is_back)

    async def _begin(self, name: str) -> None:
        if name == "embedder":
            self._ollama.start()
        else:
            self._servers[name] = await asyncio.to_thread(self._start[name])

    def _kill(self, name: str) -> None:
        if name == "embedder":
            self._ollama.stop()
            return
        processes = self._processes(name)
        for process in processes:
            process.kill()
        psutil.wait_procs(processes)
        self._servers[name].process.wait()

    def _stop(self) -> None:
        for server in self._servers.values():
            server.stop()

    def _processes(self, name: str) -> Sequence[psutil.Process]:
        """The engine's processes, head first: a head that is stopped starts no more of them."""
        if name == "Qdrant":
            children = psutil.Process().children(recursive=True)
            return [process for process in children if "app.semantic.worker" in process.cmdline()]
        if name == "embedder":
            return []
        head = psutil.Process(self._servers[name].process.pid)
        return [head, *head.children(recursive=True)]

    async def _migrate(self) -> None:
        engine = create_engine(self._servers["PostgreSQL"].url)
        await upgrade(engine)
        await engine.dispose()

    def _settings(self, further: dict[str, Any]) -> Settings:
        defaults: dict[str, Any] = {
            "data_dir": self._home / "data",
            "redis_url": self._servers["Redis"].url,
            "postgres_url": self._servers["PostgreSQL"].url,
            "embedder": EmbedderChoice.OLLAMA,
            "ollama_url": self._ollama.url,
            "recall_deadline_ms": 20_000.0,  # a busy machine must not change an answer
        }
        return Settings(_env_file=None, **(defaults | further))
