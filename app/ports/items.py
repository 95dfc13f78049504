"""Tier 2: what it promises about items."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from app.records import Item, ItemName, ItemTerm, ItemText, LabelQuery


@dataclass(frozen=True, slots=True)
class ItemSelection:
    """Which items are meant: of a namespace, under labels that begin so, matching every term, and not expired at `now`."""

    namespace: str
    labels: tuple[str, ...]
    now: datetime
    terms: tuple[ItemTerm, ...] = ()


@dataclass(frozen=True, slots=True)
class FiledItem:
    """An item with the texts that the vector index has of it."""

    item: Item
    texts: tuple[ItemText, ...]


class ItemReader(Protocol):
    async def items(self, namespace: str, names: Collection[ItemName], *, now: datetime) -> Mapping[ItemName, Item]:
        """Those of these items that are there and not expired."""
        ...

    async def select_items(
        self, selection: ItemSelection, *, limit: int, offset: int = 0, text: str | None = None, but: Collection[UUID] = ()
    ) -> tuple[Item, ...]:
        """A page of the selected items, but for those with these uids; newest first, ties in an order that stays.

        With `text`, those that share words with it come first, the more the better.
        """
        ...

    async def selected_texts(self, selection: ItemSelection, *, after: UUID | None, limit: int) -> tuple[ItemText, ...]:
        """Texts of the selected items by rising uid above `after`, at most `limit`."""
        ...

    async def selected_among(self, selection: ItemSelection, uids: Collection[UUID]) -> Mapping[UUID, ItemText]:
        """Those of these texts (by uid) whose items are selected."""
        ...

    async def unindexed_texts(self, selection: ItemSelection) -> tuple[ItemText, ...]:
        """Texts of the selected items that the vector index may not have as they are now: they have an outbox entry."""
        ...

    async def item_texts(self, uids: Sequence[UUID]) -> tuple[ItemText, ...]:
        """The texts with these uids that are there. Any order."""
        ...

    async def labels(self, query: LabelQuery, *, now: datetime) -> tuple[tuple[str, ...], ...]:
        """The labels under which there is an item that is not expired, in order."""
        ...

    async def list_items(self, namespace: str, *, after: UUID | None, limit: int) -> tuple[FiledItem, ...]:
        """A namespace's items, expired ones too, by rising uid above `after`."""
        ...


class ItemWriter(ItemReader, Protocol):
    async def save_items(self, filed: Sequence[FiledItem]) -> None:
        """Insert, or replace all but `created_at` of an item that is not expired; no two of one name.

        What changed of their texts is queued for the index, also that one is gone.
        """
        ...

    async def delete_items(self, namespace: str, names: Collection[ItemName]) -> int:
        """Delete these items, which the index is told; returns how many there were."""
        ...

    async def refresh_items(self, uids: Collection[UUID], *, now: datetime) -> None:
        """Let those of these items that have a TTL, and are not expired, live for it from `now` on."""
        ...

    async def delete_expired_items(self, now: datetime, limit: int) -> int:
        """Delete up to `limit` expired items, which the index is told; returns how many. What another deletes is skipped."""
        ...
