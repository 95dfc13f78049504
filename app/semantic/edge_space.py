"""One space of the embedded index: a shard that serves, and now and then a successor that takes over from it.

Indexing holds an interpreter for seconds (see `app.semantic.shard`), so it happens aside: a second process gets a copy
of the directory, indexes it, is told what was written meanwhile, and takes over. Searches never wait for it; writes
only while the copy is made and while the last of them are handed on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeAlias

import structlog

from app.breakers import Guard
from app.errors import HybridMemoryError
from app.faultpoints import FaultPoint, reached
from app.observability import BACKGROUND_ERRORS
from app.records import Space
from app.semantic.generations import Home, copy_shard
from app.semantic.lane import SearchLane
from app.semantic.plan import Search
from app.semantic.process import ShardProcess
from app.semantic.shard import Found, ShardState

log = structlog.get_logger(__name__)

_AHEAD: Final = 1
"""Writes sent before the one before is acknowledged: the next is prepared while the engine works, and a search that
comes in between waits for no more than these."""
_Journal: TypeAlias = deque[tuple[str, object]]


@dataclass(frozen=True, slots=True)
class IndexingPolicy:
    """When points are indexed: at `least_points` that are not yet, or at `share` of all, whichever is more.

    Until then they are searched by a plain scan, 0.15 ms per 1,000 points of 384 dimensions; indexing takes 0.3 ms a
    point on one core.
    """

    least_points: int = 2_000
    share: float = 0.1

    def is_due(self, state: ShardState, unindexable: int) -> bool:
        """`unindexable` is what the last indexing left over: small segments stay as they are."""
        waiting = state.unindexed - unindexable
        return waiting >= max(self.least_points, self.share * state.points)


class EdgeSpace:
    """The operations of a `Shard`, from the event loop. A shard's process that died is started again by the next call."""

    def __init__(self, home: Home, serving: ShardProcess, *, guard: Guard, policy: IndexingPolicy, patience: timedelta) -> None:
        self._home = home
        self._serving = serving
        self._guard = guard
        self._policy = policy
        self._patience = patience
        self._writing = asyncio.Lock()
        self._restarting: asyncio.Task[None] | None = None
        self._journal: _Journal | None = None
        self._indexing: asyncio.Task[None] | None = None
        self._unindexable = 0
        self._lane: SearchLane[Search, list[Found]] = SearchLane(self._search_together)

    @classmethod
    async def open(cls, home: Home, *, guard: Guard, policy: IndexingPolicy, patience: timedelta) -> EdgeSpace:
        """Start serving what lies in `home`, or an empty shard.

        Raises:
            TierUnavailable: the engine could not open it.
        """
        await asyncio.to_thread(home.sweep)
        generation = home.current or home.fresh()
        serving = await ShardProcess.start(generation, home.space.dimension)
        if home.current is None:
            home.promote(generation)
        opened = cls(home, serving, guard=guard, policy=policy, patience=patience)
        await opened._index_when_due()
        return opened

    @property
    def space(self) -> Space:
        return self._home.space

    async def search(self, search: Search) -> list[Found]:
        return await self._lane.put(search)

    async def read(self, operation: str, *arguments: object) -> Any:
        engine = await self._engine()  # before the guard: one that is being started again does not hang
        async with self._guard.calling():
            return await engine.call(operation, *arguments, patience=self._patience)

    async def ping(self) -> None:
        """Ask the process for its state, past the guard; one that died is started again first."""
        engine = await self._engine()
        await engine.call("state", patience=self._patience)

    async def state(self) -> ShardState:
        state: ShardState = await self.read("state")
        return state

    async def write(self, operation: str, batches: Iterable[object]) -> None:
        """Do `operation` with each of `batches`, in order. Those before a failure stay written."""
        async with self._writing:
            await self._write_all(operation, batches)
        await self._index_when_due()

    async def settled(self) -> None:
        """Wait until no indexing is under way."""
        while self._indexing is not None:
            await asyncio.wait([self._indexing])

    async def close(self) -> None:
        for task in (self._indexing, self._restarting):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError, HybridMemoryError):
                    await task
        await self._serving.close()

    async def _search_together(self, searches: Sequence[Search]) -> list[list[Found]]:
        found: list[list[Found]] = await self.read("search", searches)
        return found

    async def _engine(self) -> ShardProcess:
        if not self._serving.is_alive:
            if self._restarting is None or self._restarting.done():
                self._restarting = asyncio.create_task(self._restart())
            await asyncio.shield(self._restarting)  # whoever has a deadline goes; the start goes on
        return self._serving

    async def _restart(self) -> None:
        if self._home.current is not None:
            log.warning("index_process_restarted", space=self.space.name)
            self._serving = await ShardProcess.start(self._home.current, self.space.dimension)

    async def _write_all(self, operation: str, batches: Iterable[object]) -> None:
        engine = await self._engine()
        sent: deque[tuple[object, asyncio.Future[Any]]] = deque()
        try:
            for batch in batches:
                sent.append((batch, engine.submit(operation, batch)))
                if len(sent) > _AHEAD:
                    await self._acknowledged(engine, operation, *sent.popleft())
            while sent:
                await self._acknowledged(engine, operation, *sent.popleft())
        finally:
            for _, answer in sent:
                answer.cancel()

    async def _acknowledged(self, engine: ShardProcess, operation: str, batch: object, answer: asyncio.Future[Any]) -> None:
        async with self._guard.calling():
            await engine.result(operation, answer, self._patience)
        if self._journal is not None:
            self._journal.append((operation, batch))

    async def _index_when_due(self) -> None:
        is_due = self._indexing is None and await self._is_indexing_due()
        if is_due and self._indexing is None:  # else another write was faster
            self._indexing = asyncio.create_task(self._index_aside())

    async def _is_indexing_due(self) -> bool:
        return self._policy.is_due(await self.state(), self._unindexable)

    async def _index_aside(self) -> None:
        try:
            while await self._is_indexing_due():
                await self._hand_over(self._home.fresh())
        except (HybridMemoryError, OSError):
            # The shard serves on as it is; `sweep` removes what the successor left at the next chance.
            BACKGROUND_ERRORS.labels("index_aside").inc()
            log.exception("indexing_aside_failed", space=self.space.name)
        finally:
            self._journal = None
            self._indexing = None

    async def _hand_over(self, generation: Path) -> None:
        journal = await self._copy_to(generation)
        await reached(FaultPoint.EDGE_COPIED)
        successor = await ShardProcess.start(generation, self.space.dimension)
        try:
            await successor.call("optimize")
            self._unindexable = (await successor.call("state")).unindexed
            await reached(FaultPoint.EDGE_INDEXED)
            await _replay(successor, journal)
            async with self._writing:
                await _replay(successor, journal)
                await reached(FaultPoint.EDGE_CAUGHT_UP)
                predecessor = self._serving
                self._home.promote(generation)
                self._serving, self._journal = successor, None
        except BaseException:
            await successor.kill()
            raise
        await reached(FaultPoint.EDGE_HANDED_OVER)
        log.info("indexed_aside", space=self.space.name)
        await predecessor.close()
        await asyncio.to_thread(self._home.sweep)

    async def _copy_to(self, generation: Path) -> _Journal:
        """Copy the shard's files as they are between two writes; from then on writes are also kept in the journal."""
        async with self._writing:
            state = await self.state()  # answered once all that was ever sent is written, also what nobody waits for
            self._unindexable = state.unindexed  # should this fail, it is tried again when as many have come again
            await asyncio.to_thread(copy_shard, self._home.current or generation, generation)
            self._journal = deque()
            return self._journal


async def _replay(engine: ShardProcess, journal: _Journal) -> None:
    """Write what the journal holds now."""
    for _ in range(len(journal)):
        operation, batch = journal.popleft()
        await engine.call(operation, batch)
