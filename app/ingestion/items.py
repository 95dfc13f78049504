"""Items: what may enter, which texts of them are indexed, and how they are written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

import orjson

from app.errors import InvalidInput
from app.ingestion.limits import UNSTORABLE, Limits, check_count, check_document, check_label, check_text
from app.ingestion.paths import texts_at
from app.ports import Clock, EpisodicMemory, FiledItem
from app.records import ORDERING, Item, ItemDraft, ItemName, ItemQuery, ItemTerm, ItemText, LabelQuery, Operator

_OPERATORS: Final = {comparison.value: comparison for comparison in Operator if comparison is not Operator.OBJECT}


@dataclass(frozen=True, slots=True)
class ItemLimits:
    """Bounds on items; sizes are bytes of UTF-8, lengths are characters."""

    labels: int = 32
    labels_bytes: int = 1000
    key_length: int = 1000
    value_bytes: int = 1_048_576
    value_depth: int = 32
    fields: int = 100
    texts: int = 1000
    text_bytes: int = 1_048_576
    terms: int = 50
    results: int = 10_000
    offset: int = 100_000_000
    writes: int = 10_000
    ttl: timedelta = timedelta(days=36_500)


class ItemIngestion:
    """Writes items, all of a call or none."""

    def __init__(self, episodic: EpisodicMemory, *, limits: ItemLimits, clock: Clock) -> None:
        self._episodic = episodic
        self._limits = limits
        self._clock = clock

    async def write(self, namespace: str, drafts: Sequence[ItemDraft]) -> None:
        """Write items in one transaction; of several drafts for one name the last counts.

        Raises:
            InvalidInput: names what breaks a limit; nothing was written.
        """
        filed, gone = admit_items(namespace, drafts, self._limits, self._clock())
        if not filed and not gone:
            return
        async with self._episodic.writing() as tx:
            if gone:
                await tx.delete_items(namespace, gone)
            await tx.save_items(filed)

    async def sweep(self, batch: int = 1000) -> int:
        """Delete what has expired, some at a time; returns how many items."""
        swept = 0
        while True:
            async with self._episodic.writing() as tx:
                gone = await tx.delete_expired_items(self._clock(), batch)
            swept += gone
            if gone < batch:
                return swept


def admit_items(
    namespace: str, drafts: Sequence[ItemDraft], limits: ItemLimits, now: datetime
) -> tuple[list[FiledItem], list[ItemName]]:
    """What is to be saved, and what is to be deleted.

    Raises:
        InvalidInput: the first field found to break a limit.
    """
    check_label("namespace", namespace, Limits())
    check_count("ops", len(drafts), limits.writes, least=0)
    last = {draft.name: draft for draft in drafts}
    for draft in drafts:
        _check_draft(draft, limits)
    filed = [_file(namespace, draft, draft.value, limits, now) for draft in last.values() if draft.value is not None]
    return filed, [name for name, draft in last.items() if draft.value is None]


def _check_draft(draft: ItemDraft, limits: ItemLimits) -> None:
    check_name(draft.name, limits)
    if draft.value is not None:
        _check_value(draft.value, limits)
        check_count("index", len(draft.fields), limits.fields, least=0)
        _check_ttl(draft.ttl, limits)


def _check_value(value: object, limits: ItemLimits) -> None:
    if not isinstance(value, Mapping):
        raise InvalidInput("value", f"must be a JSON object, is a {type(value).__name__}")
    check_document("value", value, max_bytes=limits.value_bytes, max_depth=limits.value_depth)


def _check_ttl(ttl: timedelta | None, limits: ItemLimits) -> None:
    if ttl is not None and not timedelta() < ttl <= limits.ttl:
        raise InvalidInput("ttl", f"must be more than 0 and at most {limits.ttl.days} days")


def check_name(name: ItemName, limits: ItemLimits) -> None:
    if not name.labels:
        raise InvalidInput("labels", "must not be empty")
    check_labels(name.labels, limits)
    if len(name.key) > limits.key_length or UNSTORABLE.search(name.key):
        problem = f"must have at most {limits.key_length} characters, none of them NUL or a lone surrogate"
        raise InvalidInput("key", problem)


def check_labels(labels: Sequence[str], limits: ItemLimits) -> None:
    check_count("labels", len(labels), limits.labels, least=0)
    if any(not label or UNSTORABLE.search(label) for label in labels):
        raise InvalidInput("labels", "must not hold an empty label, NUL or a lone surrogate")
    size = sum(len(label.encode()) for label in labels)
    if size > limits.labels_bytes:
        raise InvalidInput("labels", f"must have at most {limits.labels_bytes} bytes together, have {size}")


def _file(namespace: str, draft: ItemDraft, value: Mapping[str, Any], limits: ItemLimits, now: datetime) -> FiledItem:
    """The value is the item's own: what the caller does with theirs later does not change it."""
    own = orjson.loads(orjson.dumps(value, default=dict))
    item = Item(namespace, draft.name, own, now, now, draft.ttl, None if draft.ttl is None else now + draft.ttl)
    return file_item(item, draft.fields, limits)


def file_item(item: Item, fields: Iterable[str], limits: ItemLimits) -> FiledItem:
    """The item with the texts that are indexed of it.

    Raises:
        InvalidInput: a field is no path, or there are too many texts.
    """
    return FiledItem(item, tuple(_texts(item, fields, limits)))


def check_item(item: Item, fields: Sequence[str], limits: ItemLimits) -> None:
    """
    Raises:
        InvalidInput: the first field found to break a limit.
    """
    _check_draft(ItemDraft(item.name, item.value, tuple(fields), item.ttl), limits)
    if (item.ttl is None) != (item.expires_at is None):
        raise InvalidInput("expires_at", "must be given with a TTL, and only then")
    file_item(item, fields, limits)


def _texts(item: Item, fields: Iterable[str], limits: ItemLimits) -> list[ItemText]:
    found = [
        ItemText(item.namespace, item.name, field, element, text, item.updated_at)
        for field in dict.fromkeys(fields)
        for element, text in enumerate(texts_at(item.value, field))
    ]
    check_count("index", len(found), limits.texts, least=0)
    if sum(len(text.text.encode()) for text in found) > limits.text_bytes + limits.value_bytes:
        raise InvalidInput("index", f"must name texts of at most {limits.text_bytes + limits.value_bytes} bytes together")
    return found


def check_item_query(query: ItemQuery, limits: ItemLimits) -> ItemQuery:
    """Return the query; one with a blank text asks for nothing in particular."""
    check_label("namespace", query.namespace, Limits())
    check_labels(query.labels, limits)
    check_count("limit", query.limit, limits.results, least=0)
    check_count("offset", query.offset, limits.offset, least=0)
    if query.text is None or not query.text.strip():
        return replace(query, text=None)
    check_text("query", query.text, Limits().query_bytes)
    return query


def check_label_query(query: LabelQuery, limits: ItemLimits) -> LabelQuery:
    check_label("namespace", query.namespace, Limits())
    for pattern in query.patterns:
        check_labels(pattern.labels, limits)
    if query.max_depth is not None:
        check_count("max_depth", query.max_depth, limits.results)
    check_count("limit", query.limit, limits.results, least=0)
    check_count("offset", query.offset, limits.offset, least=0)
    return query


def read_terms(wanted: Mapping[str, Any], limits: ItemLimits) -> tuple[ItemTerm, ...]:
    """The terms of a filter: `{"a": 1, "b": {"$gt": 2}, "c": {"d": "x"}}`. An object without operators asks of its keys.

    Raises:
        InvalidInput: an unknown operator, an operand that cannot be ordered, or a value that is not JSON.
    """
    if not isinstance(wanted, Mapping):
        raise InvalidInput("filter", f"must be an object, is a {type(wanted).__name__}")
    check_document("filter", wanted, max_bytes=Limits().query_bytes, max_depth=Limits().metadata_depth)
    terms = tuple(term for key, value in wanted.items() for term in _terms_at((key,), value))
    check_count("filter", len(terms), limits.terms, least=0)
    return terms


def _terms_at(path: tuple[str, ...], wanted: Any) -> list[ItemTerm]:
    if not isinstance(wanted, Mapping):
        return [ItemTerm(path, Operator.EQ, wanted)]
    if any(key.startswith("$") for key in wanted):
        return [_term(path, operator, operand) for operator, operand in wanted.items()]
    inner = [term for key, value in wanted.items() for term in _terms_at((*path, key), value)]
    return [ItemTerm(path, Operator.OBJECT), *inner]


def _term(path: tuple[str, ...], operator: str, operand: Any) -> ItemTerm:
    field = ".".join(("filter", *path))
    if operator not in _OPERATORS:
        raise InvalidInput(field, f"has the unknown operator {operator!r}: use one of {', '.join(_OPERATORS)}")
    comparison = _OPERATORS[operator]
    is_orderable = isinstance(operand, str | int | float) and not isinstance(operand, bool)
    if comparison in ORDERING and not is_orderable:
        raise InvalidInput(field, f"{operator} compares with a number or a text, not with a {type(operand).__name__}")
    return ItemTerm(path, comparison, operand)
