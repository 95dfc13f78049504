"""A backlog that drains by itself: the embedder was away, comes back, and nobody lends a hand."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from app.cli.child import free_port
from app.embedding.ollama import OllamaEmbedder
from app.errors import EmbedderUnavailable
from app.scheduler import open_memory
from app.service import HybridMemoryService
from app.settings import EmbedderChoice, Settings
from benchmarks.workload import Workload

OUTAGE_SECONDS: Final = 120.0
_POLL_SECONDS: Final = 0.5
_INTERVAL_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Drained:
    """`seconds` from the embedder's return until nothing waited; `first` of them until something was indexed again."""

    queued: int
    seconds: float
    first: float


@dataclass(frozen=True, slots=True)
class EmbeddingServer:
    """A port at which MiniLM answers for as long as `serving` lasts."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[OllamaEmbedder]:
        """The server in a process of its own, its model loaded."""
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "benchmarks.embedding_server", str(self.port))
        try:
            async with httpx.AsyncClient(trust_env=False) as client:
                embedder = OllamaEmbedder(client, self.url, "all-minilm")
                await _until_embedding(embedder)
                yield embedder
        finally:
            process.terminate()
            await process.wait()


def embedding_server() -> EmbeddingServer:
    """One that is not serving yet, at a free port."""
    return EmbeddingServer(free_port())


async def drain_after_outage(home: Path, server: EmbeddingServer, workload: Workload, *, outage_seconds: float) -> Drained:
    """Take the workload in while no embedder answers, wait, bring it back, and wait until the index has everything.

    Raises:
        RuntimeError: records were given up on.
    """
    settings = Settings.model_construct(
        data_dir=home, embedder=EmbedderChoice.OLLAMA, ollama_url=server.url, consolidation_interval_seconds=_INTERVAL_SECONDS
    )
    async with open_memory(settings) as service:
        began = time.perf_counter()
        for talk in workload.talks:
            await service.append_messages(talk.scope, talk.drafts)
        await asyncio.sleep(max(0.0, began + outage_seconds - time.perf_counter()))  # the outage is what is measured
        queued = (await service.status()).drift
        async with server.serving():
            return await _drained(service, workload, queued or 0)


async def _drained(service: HybridMemoryService, workload: Workload, queued: int) -> Drained:
    began, first = time.perf_counter(), 0.0
    while True:
        status = await service.status()
        seconds = time.perf_counter() - began
        first = first or (seconds if status.indexed_points else 0.0)
        if status.store is not None and status.store.dead_letters:
            raise RuntimeError(f"given up on {status.store.dead_letters} records")
        if status.drift == 0 and (status.indexed_points or 0) >= workload.messages:
            return Drained(queued, seconds, first)
        await asyncio.sleep(_POLL_SECONDS)


async def embed_all(embedder: OllamaEmbedder, texts: Sequence[str]) -> float:
    """Seconds for all of them, by the bare server."""
    began = time.perf_counter()
    await embedder.embed(texts)
    return time.perf_counter() - began


async def _until_embedding(embedder: OllamaEmbedder) -> None:
    while True:
        try:
            await embedder.embed(["is the model loaded?"])
        except EmbedderUnavailable:
            await asyncio.sleep(_POLL_SECONDS)
        else:
            return
