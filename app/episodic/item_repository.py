"""The sides of a read and of a write session that are about items; see `ItemReader` and `ItemWriter`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from app.episodic import items
from app.episodic.engine import Session
from app.ports import FiledItem, ItemSelection
from app.records import Item, ItemName, ItemText, LabelQuery


class ItemReads:
    _session: Session

    async def items(self, namespace: str, names: Collection[ItemName], *, now: datetime) -> Mapping[ItemName, Item]:
        return await items.named(self._session, namespace, names, now=now)

    async def select_items(
        self, selection: ItemSelection, *, limit: int, offset: int = 0, text: str | None = None, but: Collection[UUID] = ()
    ) -> tuple[Item, ...]:
        return await items.selected(self._session, selection, limit=limit, offset=offset, question=text, but=but)

    async def selected_texts(self, selection: ItemSelection, *, after: UUID | None, limit: int) -> tuple[ItemText, ...]:
        return await items.selected_texts(self._session, selection, after=after, limit=limit)

    async def selected_among(self, selection: ItemSelection, uids: Collection[UUID]) -> Mapping[UUID, ItemText]:
        return await items.selected_among(self._session, selection, uids)

    async def unindexed_texts(self, selection: ItemSelection) -> tuple[ItemText, ...]:
        return await items.unindexed_texts(self._session, selection)

    async def item_texts(self, uids: Sequence[UUID]) -> tuple[ItemText, ...]:
        return await items.texts(self._session, uids)

    async def labels(self, query: LabelQuery, *, now: datetime) -> tuple[tuple[str, ...], ...]:
        return await items.labels(self._session, query, now=now)

    async def list_items(self, namespace: str, *, after: UUID | None, limit: int) -> tuple[FiledItem, ...]:
        return await items.page(self._session, namespace, after=after, limit=limit)


class ItemWrites:
    _session: Session

    async def save_items(self, filed: Sequence[FiledItem]) -> None:
        await items.save(self._session, filed)

    async def delete_items(self, namespace: str, names: Collection[ItemName]) -> int:
        return await items.delete_named(self._session, namespace, names)

    async def refresh_items(self, uids: Collection[UUID], *, now: datetime) -> None:
        await items.refresh(self._session, uids, now=now)

    async def delete_expired_items(self, now: datetime, limit: int) -> int:
        return await items.delete_expired(self._session, now, limit)
