"""The façade: items."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from app.ingestion.items import check_item_query, check_label_query, check_labels, read_terms
from app.ingestion.limits import check_label
from app.records import FoundItem, Item, ItemDraft, ItemName, ItemQuery, LabelQuery
from app.service.parts import Side


class Items(Side):
    """Keep JSON values under labels and a key; find them by name, filter and meaning."""

    async def write_items(self, namespace: str, drafts: Sequence[ItemDraft]) -> None:
        """Save items, and delete those drafted without a value; all or none. Of several drafts for one name the last counts.

        On return they are read and found by every search; their texts are embedded in the background, or by the first search
        that has to compare them.
        """
        await self._parts.item_ingestion.write(namespace, drafts)

    async def get_items(
        self, namespace: str, names: Collection[ItemName], *, refreshed: Collection[ItemName] = ()
    ) -> Mapping[ItemName, Item]:
        """Those of these items that are there and have not expired; the `refreshed` among them live on for their TTL."""
        check_label("namespace", namespace, self._parts.limits)
        for name in names:
            check_labels(name.labels, self._parts.item_limits)
        return await self._parts.item_search.get(namespace, names, refreshed=refreshed)

    async def search_items(self, query: ItemQuery) -> tuple[FoundItem, ...]:
        """A page of items; the pages of a query together hold each item that matches once, as long as nothing changes.

        While the embedder or the index is away, a text is compared by words alone, and the log says so.
        """
        limits = self._parts.item_limits
        checked = check_item_query(query, limits)
        return await self._parts.item_search.search(checked, read_terms(query.filter, limits))

    async def list_labels(self, query: LabelQuery) -> tuple[tuple[str, ...], ...]:
        """The labels under which there are items, in order."""
        return await self._parts.item_search.labels(check_label_query(query, self._parts.item_limits))

    async def sweep_items(self) -> int:
        """Delete the items that have expired; returns how many. A job does it every minute."""
        return await self._parts.item_ingestion.sweep()
