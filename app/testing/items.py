"""The in-memory twin of what tier 2 promises about items."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from functools import reduce
from operator import ge, gt, le, lt
from typing import Any, Final, TypeVar
from uuid import UUID

from app.ports import FiledItem, ItemSelection, OutboxOp
from app.records import Item, ItemName, ItemTerm, ItemText, LabelQuery, Operator, RecordKind
from app.testing.episodic_books import Books

_Answer = TypeVar("_Answer")
_ORDER: Final[Mapping[Operator, Callable[[Any, Any], bool]]] = {
    Operator.GT: gt,
    Operator.GTE: ge,
    Operator.LT: lt,
    Operator.LTE: le,
}


class InMemoryItemReads:
    """See `ItemReader`."""

    @property
    def _books(self) -> Books:
        raise NotImplementedError

    async def items(self, namespace: str, names: Collection[ItemName], *, now: datetime) -> Mapping[ItemName, Item]:
        wanted = {name.uid(namespace) for name in names}
        return {item.name: item for uid, item in self._books.items.items() if uid in wanted and not item.is_expired(now)}

    async def select_items(
        self, selection: ItemSelection, *, limit: int, offset: int = 0, text: str | None = None, but: Collection[UUID] = ()
    ) -> tuple[Item, ...]:
        found = [item for item in self._selected(selection) if item.uid not in set(but)]
        found.sort(key=lambda item: (-_shared_words(item, text), -item.updated_at.timestamp(), item.uid))
        return tuple(found[offset : offset + limit])

    async def selected_texts(self, selection: ItemSelection, *, after: UUID | None, limit: int) -> tuple[ItemText, ...]:
        following = (text for text in self._texts_of(selection) if after is None or text.uid > after)
        return tuple(sorted(following, key=lambda text: text.uid)[:limit])

    async def selected_among(self, selection: ItemSelection, uids: Collection[UUID]) -> Mapping[UUID, ItemText]:
        return {text.uid: text for text in self._texts_of(selection) if text.uid in set(uids)}

    async def unindexed_texts(self, selection: ItemSelection) -> tuple[ItemText, ...]:
        queued = {uid for (kind, uid), kept in self._books.outbox.items() if _is_upsert(kind, kept.entry.op)}
        return tuple(text for text in self._texts_of(selection) if text.uid in queued)

    async def item_texts(self, uids: Sequence[UUID]) -> tuple[ItemText, ...]:
        return tuple(text for text in self._books.item_texts.values() if text.uid in set(uids))

    async def labels(self, query: LabelQuery, *, now: datetime) -> tuple[tuple[str, ...], ...]:
        mine = (item for item in self._books.items.values() if item.namespace == query.namespace and not item.is_expired(now))
        wanted = (item.name.labels for item in mine if all(p.matches(item.name.labels) for p in query.patterns))
        parts = sorted({labels[: query.max_depth] for labels in wanted})
        return tuple(parts[query.offset : query.offset + query.limit])

    async def list_items(self, namespace: str, *, after: UUID | None, limit: int) -> tuple[FiledItem, ...]:
        mine = sorted((i for i in self._books.items.values() if i.namespace == namespace), key=lambda i: i.uid)
        following = [item for item in mine if after is None or item.uid > after][:limit]
        return tuple(FiledItem(item, tuple(self._books.texts_of_item(item.uid))) for item in following)

    def _selected(self, selection: ItemSelection) -> Iterator[Item]:
        return (item for item in self._books.items.values() if _is_selected(item, selection))

    def _texts_of(self, selection: ItemSelection) -> Iterator[ItemText]:
        selected = {item.uid: item for item in self._selected(selection)}
        return (text for text in self._books.item_texts.values() if text.item_uid in selected)


class InMemoryItemWrites:
    """See `ItemWriter`."""

    def _change(self, change: Callable[[Books], _Answer]) -> _Answer:
        raise NotImplementedError

    async def save_items(self, filed: Sequence[FiledItem]) -> None:
        self._change(lambda books: books.save_items(filed))

    async def delete_items(self, namespace: str, names: Collection[ItemName]) -> int:
        return self._change(lambda books: books.delete_items([name.uid(namespace) for name in names]))

    async def refresh_items(self, uids: Collection[UUID], *, now: datetime) -> None:
        self._change(lambda books: books.refresh_items(uids, now))

    async def delete_expired_items(self, now: datetime, limit: int) -> int:
        def delete(books: Books) -> int:
            return books.delete_items([uid for uid, item in books.items.items() if item.is_expired(now)][:limit])

        return self._change(delete)


def _is_upsert(kind: RecordKind, op: OutboxOp) -> bool:
    return kind is RecordKind.ITEM and op is OutboxOp.UPSERT


def _is_selected(item: Item, selection: ItemSelection) -> bool:
    return (
        item.namespace == selection.namespace
        and item.name.labels[: len(selection.labels)] == selection.labels
        and not item.is_expired(selection.now)
        and all(_matches(item, term) for term in selection.terms)
    )


def _shared_words(item: Item, text: str | None) -> int:
    return 0 if text is None else len(set(text.lower().split()) & set(str(item.value).lower().replace("'", " ").split()))


def _matches(item: Item, term: ItemTerm) -> bool:
    value = reduce(_at, term.path, item.value)
    match term.comparison:
        case Operator.EQ:
            return _is_same(value, term.operand)
        case Operator.NE:
            return not _is_same(value, term.operand)
        case Operator.OBJECT:
            return isinstance(value, Mapping)
        case ordering:
            return _is_comparable(value, term.operand) and _ORDER[ordering](value, term.operand)


def _at(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, Mapping) else None


def _is_comparable(value: object, operand: object) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, str) if isinstance(operand, str) else isinstance(value, int | float)


def _is_same(one: Any, other: Any) -> bool:
    """Equality as JSON has it, all the way down: true is not 1."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_is_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_is_same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)
