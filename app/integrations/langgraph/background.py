"""A memory in a thread of its own, for programs that have no event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread

from langgraph.store.base import IndexConfig, TTLConfig

from app.integrations.langgraph.store import WHOLE_ITEM, HybridMemoryStore
from app.records import DEFAULT_NAMESPACE
from app.scheduler import open_memory
from app.service import HybridMemoryService
from app.settings import Settings


@dataclass(frozen=True, slots=True)
class _Opened:
    service: HybridMemoryService
    loop: asyncio.AbstractEventLoop
    is_over: asyncio.Event


@contextmanager
def open_store(
    settings: Settings | None = None,
    *,
    namespace: str = DEFAULT_NAMESPACE,
    index: IndexConfig | None = WHOLE_ITEM,
    ttl: TTLConfig | None = None,
) -> Iterator[HybridMemoryStore]:
    """Open a memory with its jobs, and a store on it: `with open_store() as store: …`. Arguments as of the store.

    Without `settings` the environment is read.

    Raises:
        StartupError: what to change is in the message; nothing is left running.
    """
    opening: Future[_Opened] = Future()
    thread = Thread(target=_run, args=(settings, opening), name="hybrid-memory-store")
    thread.start()
    try:
        opened = opening.result()
        try:
            yield HybridMemoryStore(opened.service, namespace=namespace, index=index, ttl=ttl, loop=opened.loop)
        finally:
            opened.loop.call_soon_threadsafe(opened.is_over.set)
    finally:
        thread.join()


def _run(settings: Settings | None, opening: Future[_Opened]) -> None:
    try:
        asyncio.run(_hold_open(settings, opening))
    except BaseException as error:
        if opening.done():
            raise
        opening.set_exception(error)


async def _hold_open(settings: Settings | None, opening: Future[_Opened]) -> None:
    async with open_memory(settings) as service:
        is_over = asyncio.Event()
        opening.set_result(_Opened(service, asyncio.get_running_loop(), is_over))
        await is_over.wait()
