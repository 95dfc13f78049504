"""LangGraph's operations in this memory's words, and its items in LangGraph's (pure). Whatever is wrong is refused here."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeVar

from langgraph.store.base import (
    GetOp,
    IndexConfig,
    InvalidNamespaceError,
    ListNamespacesOp,
    MatchCondition,
    Op,
    PutOp,
    SearchItem,
    SearchOp,
)
from langgraph.store.base import Item as StoreItem

from app.errors import InvalidInput
from app.records import WHOLE_VALUE, FoundItem, Item, ItemDraft, ItemName, ItemQuery, LabelPattern, LabelQuery

T = TypeVar("T")

_LONGEST_TTL_MINUTES: Final = 52_560_000.0
"""A hundred years."""
_RESERVED_ROOT: Final = "langgraph"


class InvalidStoreInput(InvalidInput, ValueError):
    """An operation breaks a stated limit: `InvalidInput` for who knows this memory, `ValueError` for who knows stores."""


class InvalidLabels(InvalidInput, InvalidNamespaceError):
    """A namespace is none: see `InvalidStoreInput`."""


@dataclass(frozen=True, slots=True)
class Fields:
    """What is indexed of an item that does not say it itself; None: nothing is, of any item."""

    paths: tuple[str, ...] | None

    @classmethod
    def of(cls, config: IndexConfig | None) -> Fields:
        """
        Raises:
            InvalidStoreInput: it names an embedder, or fields that are no paths.
        """
        if config is None:
            return cls(None)
        foreign = [name for name in ("embed", "dims") if config.get(name) is not None]
        if foreign:
            problem = "must be left out: the memory embeds with the model of its own settings (MEMORY_EMBEDDER)"
            raise InvalidStoreInput(f"index.{foreign[0]}", problem)
        return cls(_paths("index.fields", config.get("fields") or [WHOLE_VALUE]))

    def of_put(self, op: PutOp) -> tuple[str, ...]:
        """With nothing indexed at all, what an item says is ignored, as LangGraph documents."""
        if self.paths is None or op.index is False:
            return ()
        return self.paths if op.index is None else _paths("index", op.index)


def _paths(field: str, paths: object) -> tuple[str, ...]:
    if not isinstance(paths, list | tuple) or not all(isinstance(path, str) for path in paths):
        raise InvalidStoreInput(field, "must be a list of paths such as title, a[*].b or $, or False")
    return tuple(paths)


@dataclass(frozen=True, slots=True)
class Plan:
    """A batch as this memory carries it out: reads by position, then writes."""

    gets: Mapping[int, ItemName]
    refreshed: frozenset[ItemName]
    searches: Mapping[int, ItemQuery]
    lists: Mapping[int, LabelQuery]
    writes: tuple[ItemDraft, ...]
    size: int


def plan_of(ops: Sequence[Op], namespace: str, fields: Fields) -> Plan:
    """
    Raises:
        InvalidStoreInput, InvalidLabels: one of the operations is refused, and so are all.
    """
    if not all(isinstance(op, GetOp | PutOp | SearchOp | ListNamespacesOp) for op in ops):
        raise InvalidStoreInput("ops", "must be GetOp, PutOp, SearchOp or ListNamespacesOp")
    gets = _by_position(ops, GetOp)
    names = {n: _name(op.namespace, op.key) for n, op in gets.items()}
    return Plan(
        gets=names,
        refreshed=frozenset(names[n] for n, op in gets.items() if op.refresh_ttl),
        searches={n: _query(op, namespace, fields) for n, op in _by_position(ops, SearchOp).items()},
        lists={n: _label_query(op, namespace) for n, op in _by_position(ops, ListNamespacesOp).items()},
        writes=tuple(_draft(op, fields) for op in _by_position(ops, PutOp).values()),
        size=len(ops),
    )


def _by_position(ops: Sequence[Op], kind: type[T]) -> dict[int, T]:
    return {n: op for n, op in enumerate(ops) if isinstance(op, kind)}


def _name(namespace: Sequence[str], key: object) -> ItemName:
    if not isinstance(key, str):
        raise InvalidStoreInput("key", f"must be a text, is a {type(key).__name__}")
    return ItemName(labels_of(namespace), key)


def labels_of(namespace: object, field: str = "namespace") -> tuple[str, ...]:
    """
    Raises:
        InvalidLabels: not a tuple, or a label is empty, no text, or holds a period or NUL.
    """
    if not isinstance(namespace, tuple | list):
        raise InvalidLabels(field, f"must be a tuple of labels, is a {type(namespace).__name__}")
    for label in namespace:
        if not isinstance(label, str) or not label or "." in label or "\x00" in label:
            raise InvalidLabels(field, f"holds {label!r}: a label is a text that is not empty, without periods and NUL")
    return tuple(namespace)


def _draft(op: PutOp, fields: Fields) -> ItemDraft:
    name = _name(op.namespace, op.key)
    if op.value is None:
        return ItemDraft(name, None)
    if not name.labels:
        raise InvalidLabels("namespace", "must not be empty")
    if name.labels[0] == _RESERVED_ROOT:
        raise InvalidLabels("namespace", f"must not begin with {_RESERVED_ROOT!r}, which is LangGraph's own")
    return ItemDraft(name, op.value, fields.of_put(op), ttl_of("ttl", op.ttl))


def ttl_of(field: str, minutes: object) -> timedelta | None:
    """
    Raises:
        InvalidStoreInput: not a number of minutes above 0.
    """
    if minutes is None:
        return None
    if isinstance(minutes, bool) or not isinstance(minutes, int | float) or not 0 < minutes <= _LONGEST_TTL_MINUTES:
        raise InvalidStoreInput(field, f"must be minutes above 0 and at most {_LONGEST_TTL_MINUTES:.0f}, is {minutes!r}")
    return max(timedelta(minutes=minutes), timedelta(microseconds=1))


def _query(op: SearchOp, namespace: str, fields: Fields) -> ItemQuery:
    if op.query is not None and not isinstance(op.query, str):
        raise InvalidStoreInput("query", f"must be a text, is a {type(op.query).__name__}")
    if op.query and fields.paths is None:
        raise InvalidStoreInput("query", "cannot be answered: this store was made with index=None, so it compares no meanings")
    return ItemQuery(
        namespace,
        labels_of(op.namespace_prefix, "namespace_prefix"),
        text=op.query,
        filter={} if op.filter is None else op.filter,
        limit=_count("limit", op.limit),
        offset=_count("offset", op.offset),
        is_refreshing=bool(op.refresh_ttl),
    )


def _label_query(op: ListNamespacesOp, namespace: str) -> LabelQuery:
    return LabelQuery(
        namespace,
        tuple(_pattern(condition) for condition in op.match_conditions or ()),
        max_depth=None if op.max_depth is None else _count("max_depth", op.max_depth),
        limit=_count("limit", op.limit),
        offset=_count("offset", op.offset),
    )


def _pattern(condition: MatchCondition) -> LabelPattern:
    if condition.match_type not in {"prefix", "suffix"}:
        raise InvalidStoreInput("match_type", f"must be prefix or suffix, is {condition.match_type!r}")
    return LabelPattern(labels_of(condition.path, condition.match_type), is_suffix=condition.match_type == "suffix")


def _count(field: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidStoreInput(field, f"must be a whole number, is {value!r}")
    return value


def store_item(item: Item) -> StoreItem:
    """The value is the caller's own."""
    return StoreItem(
        value=copy.deepcopy(dict(item.value)),
        key=item.name.key,
        namespace=item.name.labels,
        created_at=item.created_at,
        updated_at=item.updated_at,
    )


def search_item(found: FoundItem) -> SearchItem:
    item = found.item
    return SearchItem(
        item.name.labels, item.name.key, copy.deepcopy(dict(item.value)), item.created_at, item.updated_at, found.score
    )


@contextmanager
def refusing() -> Iterator[None]:
    """Give the memory's refusals the types that users of stores know."""
    try:
        yield
    except (InvalidStoreInput, InvalidLabels):
        raise
    except InvalidInput as error:
        if error.field == "labels":
            raise InvalidLabels("namespace", error.problem) from None
        raise InvalidStoreInput(error.field, error.problem) from None
