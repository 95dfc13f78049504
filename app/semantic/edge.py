"""Tier 3 embedded: Qdrant Edge on this machine, no server. One directory, and one process of ours, a space."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Final
from uuid import UUID

from app.breakers import BreakerPolicy, Guard
from app.ports import IndexedPoint, IndexQuery, SparseEncoder
from app.records import Candidate, Point, Scope, Space, Standing, Tier
from app.semantic.edge_space import EdgeSpace, IndexingPolicy
from app.semantic.filters import Named, within_scope
from app.semantic.fusion import newest_first
from app.semantic.generations import Home, homes
from app.semantic.payload import PointRow, candidate_of, row_of, standing_payload
from app.semantic.plan import check_dimension, plan

_POINTS_A_WRITE: Final = 100
"""About 10 ms of the engine's time, for which a search may have to wait."""


class EdgeRepository:
    """Implements `SemanticMemory`. The directory belongs to one opener at a time."""

    def __init__(
        self, directory: Path, encoder: SparseEncoder, policy: IndexingPolicy, patience: timedelta, breaker: BreakerPolicy | None
    ) -> None:
        self._directory = directory
        self.guard: Final = Guard(Tier.SEMANTIC.value, self._ask_all, policy=breaker)
        self._encoder = encoder
        self._policy = policy
        self._patience = patience
        self._spaces: dict[str, EdgeSpace] = {}
        self._opening = asyncio.Lock()

    @classmethod
    async def open(
        cls,
        directory: Path,
        *,
        encoder: SparseEncoder,
        policy: IndexingPolicy | None = None,
        patience: timedelta = timedelta(seconds=10),
        breaker: BreakerPolicy | None = None,
    ) -> EdgeRepository:
        """Open all spaces in `directory`, which is made if need be. `patience` bounds each call to the engine.

        Raises:
            TierUnavailable: a space's files cannot be opened.
        """
        repository = cls(directory, encoder, policy or IndexingPolicy(), patience, breaker)
        try:
            for home in homes(directory):
                await repository._open(home)
        except BaseException:
            await repository.close()
            raise
        return repository

    async def close(self) -> None:
        """Finish what was asked and end the processes; an indexing under way is dropped, and begun anew some day."""
        await self.guard.close()
        await asyncio.gather(*(space.close() for space in self._spaces.values()))
        self._spaces.clear()

    async def ping(self) -> str:
        for space in self._spaces.values():
            await space.state()
        return f"qdrant-edge {version('qdrant-edge-py')}"

    async def upsert(self, space: Space, points: Sequence[Point]) -> None:
        for point in points:
            check_dimension(space, point.dense)
        if points:
            opened = self._spaces.get(space.name) or await self._make(space)
            await opened.write("upsert", self._batches(space, points))

    async def delete(self, point_ids: Sequence[UUID], *, keep: Space | None = None) -> None:
        if point_ids:
            await self._write_everywhere("delete", list(point_ids), keep=keep)

    async def judge(self, point_id: UUID, standing: Standing) -> None:
        await self._write_everywhere("judge", (point_id, standing_payload(standing)))

    async def drop(self, space: Space) -> None:
        async with self._opening:
            opened = self._spaces.pop(space.name, None)
            if opened is not None:
                await opened.close()
                await asyncio.to_thread(Home.of(self._directory, space).remove)

    async def forget(self, scope: Scope) -> None:
        await self._write_everywhere("forget", within_scope(scope))

    async def search(self, space: Space, query: IndexQuery) -> tuple[Candidate, ...]:
        search = plan(space, query, self._encoder)
        opened = self._spaces.get(space.name)
        found = await opened.search(search) if opened is not None else []
        return newest_first(
            search,
            [candidate_of(score, payload) for score, payload in found],
        )

    async def spaces(self) -> tuple[Space, ...]:
        return tuple(opened.space for _, opened in sorted(self._spaces.items()))

    async def authors(self, space: Space, scope: Scope, limit: int) -> tuple[str, ...]:
        opened = self._spaces.get(space.name)
        return tuple(await opened.read("authors", within_scope(scope), limit)) if opened is not None else ()

    async def count(self, space: Space | None = None, scope: Scope | None = None) -> int:
        asked = [opened for name, opened in self._spaces.items() if space is None or name == space.name]
        conditions = within_scope(scope) if scope is not None else ()
        return sum([await opened.read("count", conditions) for opened in asked])

    async def present(self, point_ids: Sequence[UUID]) -> int:
        named = (Named(tuple(point_ids)),)
        return sum([await opened.read("count", named) for opened in self._spaces.values()]) if point_ids else 0

    async def scroll(
        self, space: Space, *, after: UUID | None = None, limit: int = 1000, scope: Scope | None = None
    ) -> tuple[IndexedPoint, ...]:
        opened = self._spaces.get(space.name)
        conditions = within_scope(scope) if scope is not None else ()
        return tuple(await opened.read("scroll", after, limit, conditions)) if opened is not None else ()

    async def lookup(self, space: Space, point_ids: Sequence[UUID]) -> tuple[IndexedPoint, ...]:
        opened = self._spaces.get(space.name)
        return tuple(await opened.read("lookup", list(point_ids))) if opened is not None and point_ids else ()

    async def settled(self) -> None:
        """Wait until no space is being indexed."""
        for space in self._spaces.values():
            await space.settled()

    async def _make(self, space: Space) -> EdgeSpace:
        async with self._opening:
            return self._spaces.get(space.name) or await self._open(Home.of(self._directory, space))

    async def _open(self, home: Home) -> EdgeSpace:
        opened = await EdgeSpace.open(home, guard=self.guard, policy=self._policy, patience=self._patience)
        self._spaces[home.space.name] = opened
        return opened

    async def _ask_all(self) -> None:
        for space in list(self._spaces.values()):
            await space.ping()

    async def _write_everywhere(self, operation: str, batch: object, *, keep: Space | None = None) -> None:
        kept = None if keep is None else keep.name
        for name, opened in list(self._spaces.items()):
            if name != kept:
                await opened.write(operation, [batch])

    def _batches(self, space: Space, points: Sequence[Point]) -> Iterator[list[PointRow]]:
        """Rows are made batch by batch, while the engine writes the one before. Of points with one id the last counts."""
        distinct = list({point.id: point for point in points}.values())
        for start in range(0, len(distinct), _POINTS_A_WRITE):
            yield [row_of(point, space, self._encoder) for point in distinct[start : start + _POINTS_A_WRITE]]
