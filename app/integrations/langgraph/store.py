"""`HybridMemoryStore`: LangGraph's `BaseStore` over this memory. Items are in Postgres, their meanings in the index."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from langgraph.store.base import BaseStore, IndexConfig, Op, Result, TTLConfig

from app.integrations.langgraph.operations import Fields, Plan, plan_of, refusing, search_item, store_item, ttl_of
from app.records import DEFAULT_NAMESPACE, WHOLE_VALUE
from app.service import HybridMemoryService

T = TypeVar("T")

WHOLE_ITEM: Final = IndexConfig(fields=[WHOLE_VALUE])


class HybridMemoryStore(BaseStore):
    """Items of one tenant of a memory, as LangGraph's graphs, agents and tools keep them.

    `namespace` is the memory's: the wall between tenants. LangGraph's namespaces are labels within it. `index` names the
    fields that are indexed where an item does not say so (the whole value, if left out); with None nothing is, and a query
    is refused. `ttl` is LangGraph's, in minutes: `default_ttl` and `refresh_on_read` are heeded, expired items are never
    seen, and a job of the memory sweeps them.

    Its methods may be called from any event loop and any thread, but not the blocking ones from the thread of the memory's
    own loop (`loop`; the running one, if left out), which they would wait for.
    """

    supports_ttl = True

    def __init__(
        self,
        service: HybridMemoryService,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        index: IndexConfig | None = WHOLE_ITEM,
        ttl: TTLConfig | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        ttl_of("ttl.default_ttl", (ttl or {}).get("default_ttl"))
        self._service = service
        self._namespace = namespace
        self._fields = Fields.of(index)
        self._loop = loop or asyncio.get_running_loop()
        self.index_config = index
        self.ttl_config = ttl

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Carry out all of `ops`, the reads before the writes, from a thread that may wait.

        Raises:
            InvalidStoreInput, InvalidLabels: an operation is refused; nothing was written.
            asyncio.InvalidStateError: this is the thread that would have to carry it out: await `abatch` instead.
            TierUnavailable: Postgres is away; nothing was written.
        """
        return self._wait_for(self._carry_out(ops))

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Like `batch`, from any event loop. Reads see what was there before the batch; of several puts the last counts."""
        return await self._away_from_others(self._carry_out(ops))

    async def sweep_ttl(self) -> int:
        """Delete the items of all tenants that have expired; returns how many. The memory's jobs do so every minute."""
        return await self._away_from_others(self._service.sweep_items())

    async def _carry_out(self, ops: Iterable[Op]) -> list[Result]:
        with refusing():
            plan = plan_of(tuple(ops), self._namespace, self._fields)
            results = await self._read(plan)
            if plan.writes:
                await self._service.write_items(self._namespace, plan.writes)
            return results

    async def _read(self, plan: Plan) -> list[Result]:
        results: list[Result] = [None] * plan.size
        if plan.gets:
            found = await self._service.get_items(self._namespace, set(plan.gets.values()), refreshed=plan.refreshed)
            results = [store_item(found[plan.gets[n]]) if plan.gets.get(n) in found else None for n in range(plan.size)]
        for place, query in plan.searches.items():
            results[place] = [search_item(each) for each in await self._service.search_items(query)]
        for place, asked in plan.lists.items():
            results[place] = list(await self._service.list_labels(asked))
        return results

    def _wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        if _running_loop() is self._loop:
            work.close()
            raise asyncio.InvalidStateError(
                "Blocking calls to HybridMemoryStore from the thread of its own event loop would wait for themselves: "
                "use the async ones (`await store.aget(...)`), or call from another thread."
            )
        return self._submitted(work).result()

    async def _away_from_others(self, work: Coroutine[Any, Any, T]) -> T:
        """The memory's connections belong to its own loop: whoever runs in another one waits for that."""
        if _running_loop() is self._loop:
            return await work
        return await asyncio.wrap_future(self._submitted(work))

    def _submitted(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        if not self._loop.is_running():
            work.close()
            raise RuntimeError("The memory behind this HybridMemoryStore is closed: its event loop does not run.")
        return asyncio.run_coroutine_threadsafe(work, self._loop)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
