"""Items: JSON values under labels and a key, as stores of agents' frameworks keep them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Any, Final
from uuid import UUID

from app.records.asking import METADATA_PREFIX, FilterTerm
from app.records.base import Json, Scope, derived_uuid, sha256_hex

WHOLE_VALUE: Final = "$"
"""The field that stands for an item's whole value, as JSON."""
ANY_LABEL: Final = "*"
"""In a pattern: one label, whichever."""


@dataclass(frozen=True, slots=True, order=True)
class ItemName:
    """Where an item is within a namespace: labels from the root on, and its key."""

    labels: tuple[str, ...]
    key: str

    def uid(self, namespace: str) -> UUID:
        """The same for the same name in the same namespace."""
        return derived_uuid("item", namespace, *self.labels, self.key)


@dataclass(frozen=True, slots=True)
class ItemDraft:
    """What is to be under a name: a value, or None for nothing.

    Each text found at one of `fields` (paths such as `title`, `a[*].b`, or `$` for the whole value) gets a vector of its
    own. `ttl` counts from the last write, and from the last read that refreshes it.
    """

    name: ItemName
    value: Json | None
    fields: tuple[str, ...] = (WHOLE_VALUE,)
    ttl: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """A value under a name. It is gone from `expires_at` on, also before it is swept away."""

    namespace: str
    name: ItemName
    value: Json
    created_at: datetime
    updated_at: datetime
    ttl: timedelta | None = None
    expires_at: datetime | None = None

    @property
    def uid(self) -> UUID:
        return self.name.uid(self.namespace)

    def is_expired(self, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now


@dataclass(frozen=True)
class ItemText:
    """One text of an item, which the vector index has as a point; `element` counts the texts found at `field`."""

    namespace: str
    name: ItemName
    field: str
    element: int
    text: str
    updated_at: datetime

    @cached_property
    def item_uid(self) -> UUID:
        return self.name.uid(self.namespace)

    @cached_property
    def uid(self) -> UUID:
        return derived_uuid("item text", str(self.item_uid), self.field, str(self.element))

    @cached_property
    def content_sha256(self) -> str:
        return sha256_hex(self.text)

    @property
    def scope(self) -> Scope:
        return Scope(self.namespace)


class Operator(StrEnum):
    """How a filter compares; `OBJECT` asks that there is an object, whatever is in it."""

    EQ = "$eq"
    NE = "$ne"
    GT = "$gt"
    GTE = "$gte"
    LT = "$lt"
    LTE = "$lte"
    OBJECT = "object"


ORDERING: Final = frozenset({Operator.GT, Operator.GTE, Operator.LT, Operator.LTE})


@dataclass(frozen=True, slots=True)
class ItemTerm:
    """One condition on what is at `path` in a value (keys from the outermost on).

    Equality is JSON's: 1 is 1.0, not "1" and not true; what is missing reads as null; `$ne` is the opposite of `$eq`. An
    ordering compares numbers with numbers and texts with texts (by code points); anything else, or nothing, never matches.
    """

    path: tuple[str, ...]
    comparison: Operator
    operand: Any = None


@dataclass(frozen=True, slots=True)
class ItemQuery:
    """A question for items whose labels begin with `labels`, in pages.

    With `text` by meaning: best first, then those without a vector. Without, the newest first. `filter` maps keys of the
    value to what they must equal, or to `{"$gt": 3, …}`. `is_refreshing`: what is found lives on for its TTL.
    """

    namespace: str
    labels: tuple[str, ...] = ()
    text: str | None = None
    filter: Mapping[str, Any] = field(default_factory=dict)
    limit: int = 10
    offset: int = 0
    is_refreshing: bool = True


@dataclass(frozen=True, slots=True)
class FoundItem:
    """An item and how near it is to the question: the best cosine similarity of its texts; None without a comparison."""

    item: Item
    score: float | None = None


@dataclass(frozen=True, slots=True)
class LabelPattern:
    """What labels must begin with, or end with; `*` is any one label."""

    labels: tuple[str, ...]
    is_suffix: bool = False

    def matches(self, labels: tuple[str, ...]) -> bool:
        if len(labels) < len(self.labels):
            return False
        part = labels[len(labels) - len(self.labels) :] if self.is_suffix else labels[: len(self.labels)]
        return all(wanted in {ANY_LABEL, label} for wanted, label in zip(self.labels, part, strict=True))


@dataclass(frozen=True, slots=True)
class LabelQuery:
    """A question for the labels under which there are items, in order, in pages; cut to `max_depth`, each once."""

    namespace: str
    patterns: tuple[LabelPattern, ...] = ()
    max_depth: int | None = None
    limit: int = 100
    offset: int = 0


def label_metadata(labels: tuple[str, ...]) -> Json:
    """What a point says of its item's labels: all that they begin with, so that a filter can ask for it."""
    return {f"labels.{depth}": _joined(labels[:depth]) for depth in range(1, len(labels) + 1)}


def under_labels(labels: tuple[str, ...]) -> tuple[FilterTerm, ...]:
    """The filter that the points pass whose items' labels begin so."""
    return (FilterTerm(f"{METADATA_PREFIX}labels.{len(labels)}", (_joined(labels),)),) if labels else ()


def _joined(labels: tuple[str, ...]) -> str:
    return "\x00".join(labels)  # which no label holds
