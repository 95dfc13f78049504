"""The truth as a whole, table by table; the keys of callers; and what is switched on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol
from uuid import UUID

from app.records import ApiKey, Feature


class TableSnapshot(Protocol):
    """Every table of tier 2 at one moment."""

    @property
    def revision(self) -> str:
        """The revision of the schema, which rows have to be filled in at."""
        ...

    @property
    def tables(self) -> tuple[str, ...]:
        """What is carried: all but what can be derived, each table after those it refers to."""
        ...

    def rows(self, table: str) -> AsyncIterator[Sequence[str]]:
        """Every row as a JSON object in one line, in pages, in bounded memory."""
        ...


class TableFilling(Protocol):
    """An empty tier 2 that nobody else sees before it is filled."""

    async def insert(self, table: str, rows: Sequence[str]) -> None:
        """Insert rows as `TableSnapshot.rows` gave them.

        Raises:
            InvalidInput: the revision has no such table, or the table cannot hold a row.
            Conflict: two rows cannot stand together, or one refers to a row that is not there.
        """
        ...


class TableStore(Protocol):
    """Tier 2 as a whole, as backups carry it. Errors of the driver arrive as `TierUnavailable("episodic", …)`."""

    def snapshot(self) -> AbstractAsyncContextManager[TableSnapshot]: ...

    def filling(self, revision: str) -> AbstractAsyncContextManager[TableFilling]:
        """Fill with rows of that revision: all of it is there when the context ends, or after an error nothing.

        What was filled in is brought to this program's revision, and every record is owed to the vector index. What the
        store has only noted of its own running (usage, runs of jobs) gives way to it.

        Raises:
            Conflict: something is there already.
            InvalidInput: this program does not know the revision.
        """
        ...


class KeyStore(Protocol):
    """Where API keys are kept. Errors of the driver arrive as `TierUnavailable("episodic", …)`."""

    async def find(self, key_sha256: bytes) -> ApiKey | None: ...

    async def list(self) -> tuple[ApiKey, ...]:
        """All keys, oldest first, revoked and expired ones too."""
        ...

    async def save(self, key: ApiKey) -> None: ...

    async def revoke(self, key_id: UUID, at: datetime) -> bool:
        """False when there is no such key."""
        ...


class FeatureStore(Protocol):
    """Where it is kept what was switched on or off. Errors of the driver arrive as `TierUnavailable("episodic", …)`."""

    async def load(self) -> Mapping[Feature, bool]:
        """What was switched; a feature that never was is left out, and so is one that this release does not know."""
        ...

    async def save(self, features: Mapping[Feature, bool], at: datetime) -> None: ...
