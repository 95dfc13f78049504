"""Queries about items: which are meant is decided in `item_conditions`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    Text,
    and_,
    bindparam,
    delete,
    func,
    select,
    text,
    update,
)
from sqlalchemy.types import DateTime

from app.episodic import outbox, rows
from app.episodic.engine import Session, dump_json
from app.episodic.forgetting import among, delete_kind
from app.episodic.item_conditions import is_labelled, is_selected, is_there, matched_part
from app.episodic.search import any_word_of
from app.episodic.tables import item_vectors, items
from app.episodic.tables import outbox as queue
from app.ports import FiledItem, ItemSelection, OutboxEntry, OutboxOp
from app.records import Item, ItemName, ItemText, LabelQuery, RecordKind, Scope

_ITEM: Final = tuple(c for c in items.c if c.name != "search")
_TEXT: Final = (
    item_vectors.c.uid,
    items.c.namespace,
    items.c.labels,
    items.c.key,
    item_vectors.c.field,
    item_vectors.c.element,
    item_vectors.c.text,
    items.c.updated_at,
)


async def named(session: Session, namespace: str, names: Collection[ItemName], *, now: datetime) -> Mapping[ItemName, Item]:
    uids = [name.uid(namespace) for name in names]
    found = await session.run("items", select(*_ITEM).where(among(items.c.id, uids), is_there(now)))
    return {item.name: item for item in rows.readable(found, _item)}


async def selected(
    session: Session, selection: ItemSelection, *, limit: int, offset: int, question: str | None, but: Collection[UUID]
) -> tuple[Item, ...]:
    order: list[ColumnElement[Any]] = [items.c.updated_at.desc(), items.c.id]
    if question is not None:
        order.insert(0, _shared_words(question).desc())
    statement = select(*_ITEM).where(is_selected(selection)).order_by(*order).limit(limit).offset(offset)
    if but:
        statement = statement.where(~among(items.c.id, but))
    return rows.readable(await session.run("select_items", statement), _item)


def _shared_words(question: str) -> ColumnElement[Any]:
    return func.ts_rank(items.c.search, any_word_of(question))


async def selected_texts(session: Session, selection: ItemSelection, *, after: UUID | None, limit: int) -> tuple[ItemText, ...]:
    statement = _of_items().where(is_selected(selection)).order_by(item_vectors.c.uid).limit(limit)
    if after is not None:
        statement = statement.where(item_vectors.c.uid > after)
    return await _texts(session, "selected_texts", statement)


async def selected_among(session: Session, selection: ItemSelection, uids: Collection[UUID]) -> Mapping[UUID, ItemText]:
    named = _of_items(items.c.value, items.c.expires_at).where(among(item_vectors.c.uid, uids))
    return {found.uid: found for found in await _selected_of("selected_among", session, selection, named)}


async def unindexed_texts(session: Session, selection: ItemSelection) -> tuple[ItemText, ...]:
    is_of_items = and_(queue.c.kind == RecordKind.ITEM.value, queue.c.record_uid == item_vectors.c.uid)
    is_owed = and_(queue.c.op == OutboxOp.UPSERT.value, queue.c.namespace == selection.namespace)
    queued = _of_items(items.c.value, items.c.expires_at).join(queue, is_of_items).where(is_owed)
    return await _selected_of("unindexed_texts", session, selection, queued)


async def _selected_of(operation: str, session: Session, selection: ItemSelection, few: Select[Any]) -> tuple[ItemText, ...]:
    """Those of a few texts whose items are selected: found first, whatever the planner thinks of the labels."""
    found = few.cte("few").prefix_with("MATERIALIZED", dialect="postgresql")
    statement = select(*(found.c[column.name] for column in _TEXT)).where(is_selected(selection, found))
    return await _texts(session, operation, statement)


async def texts(session: Session, uids: Sequence[UUID]) -> tuple[ItemText, ...]:
    return await _texts(session, "item_texts", _of_items().where(among(item_vectors.c.uid, uids)))


def _of_items(*further: ColumnElement[Any]) -> Select[Any]:
    return select(*_TEXT, *further).join_from(item_vectors, items, item_vectors.c.item_id == items.c.id)


async def _texts(session: Session, operation: str, statement: Select[Any]) -> tuple[ItemText, ...]:
    return rows.readable(await session.run(operation, statement), _text)


async def labels(session: Session, query: LabelQuery, *, now: datetime) -> tuple[tuple[str, ...], ...]:
    part = matched_part(query).label("part")
    conditions = (items.c.namespace == query.namespace, is_there(now), *map(is_labelled, query.patterns))
    statement = select(part).where(*conditions).distinct().order_by(part).limit(query.limit).offset(query.offset)
    return tuple(tuple(row.part) for row in await session.run("item_labels", statement))


async def page(session: Session, namespace: str, *, after: UUID | None, limit: int) -> tuple[FiledItem, ...]:
    statement = select(*_ITEM).where(items.c.namespace == namespace).order_by(items.c.id).limit(limit)
    if after is not None:
        statement = statement.where(items.c.id > after)
    found = rows.readable(await session.run("list_items", statement), _item)
    held = await _texts(session, "texts_of_items", _of_items().where(among(items.c.id, [item.uid for item in found])))
    by_item: dict[ItemName, list[ItemText]] = {item.name: [] for item in found}
    for text_ in sorted(held, key=lambda t: (t.field, t.element)):
        by_item[text_.name].append(text_)
    return tuple(FiledItem(item, tuple(by_item[item.name])) for item in found)


# A name may be free again before what was under it has been swept away: what comes then is new.
_SAVE: Final = text(
    """
    INSERT INTO items (id, namespace, labels, key, value, ttl, expires_at, created_at, updated_at)
    SELECT id, namespace, labels, key, value, make_interval(secs => ttl_seconds), expires_at, created_at, updated_at
    FROM json_to_recordset(CAST(:rows AS json)) AS r (
        id uuid, namespace text, labels text[], key text, value jsonb, ttl_seconds double precision,
        expires_at timestamptz, created_at timestamptz, updated_at timestamptz
    )
    ORDER BY id
    ON CONFLICT (id) DO UPDATE SET
        value = excluded.value, ttl = excluded.ttl, expires_at = excluded.expires_at, updated_at = excluded.updated_at,
        created_at = CASE WHEN items.expires_at <= excluded.updated_at THEN excluded.created_at ELSE items.created_at END
    """
).bindparams(bindparam("rows", type_=Text()))

_SAVE_TEXTS: Final = (
    text(
        """
        INSERT INTO item_vectors (uid, item_id, namespace, field, element, text, content_sha256)
        SELECT uid, item_id, namespace, field, element, text, content_sha256
        FROM json_to_recordset(CAST(:rows AS json)) AS r (
            uid uuid, item_id uuid, namespace text, field text, element integer, text text, content_sha256 text
        )
        ON CONFLICT (uid) DO UPDATE SET text = excluded.text, content_sha256 = excluded.content_sha256
        WHERE item_vectors.content_sha256 <> excluded.content_sha256
        RETURNING uid, namespace
        """
    )
    .bindparams(bindparam("rows", type_=Text()))
    .columns(item_vectors.c.uid, item_vectors.c.namespace)
)


async def save(session: Session, filed: Sequence[FiledItem]) -> None:
    if not filed:
        return
    await session.run("save_items", _SAVE, {"rows": dump_json([_item_values(each.item) for each in filed])})
    kept = [held for each in filed for held in each.texts]
    is_left_over = among(item_vectors.c.item_id, [each.item.uid for each in filed]) & ~among(
        item_vectors.c.uid, [held.uid for held in kept]
    )
    await delete_kind(session, RecordKind.ITEM, is_left_over)
    changed = await session.run("save_item_texts", _SAVE_TEXTS, {"rows": dump_json([_text_values(held) for held in kept])})
    await outbox.enqueue(session, [OutboxEntry(OutboxOp.UPSERT, RecordKind.ITEM, row.namespace, row.uid) for row in changed])


async def delete_named(session: Session, namespace: str, names: Collection[ItemName]) -> int:
    return await _delete(session, among(items.c.id, [name.uid(namespace) for name in names]))


async def forget(session: Session, scope: Scope) -> int:
    """Delete all items of the namespace; none, where `scope` is narrower: items have no other owner."""
    return await _delete(session, items.c.namespace == scope.namespace) if scope == Scope(scope.namespace) else 0


async def delete_expired(session: Session, now: datetime, limit: int) -> int:
    return await _delete(session, items.c.expires_at <= now, limit=limit)


async def _delete(session: Session, condition: ColumnElement[bool], *, limit: int | None = None) -> int:
    """Items are locked in one order, and before their texts, as by whoever saves them.

    A limit is for whoever cleans up: they leave alone what others are at.
    """
    locked = select(items.c.id).where(condition).order_by(items.c.id).with_for_update(skip_locked=limit is not None)
    going = [row.id for row in await session.run("lock_items", locked if limit is None else locked.limit(limit))]
    if going:
        await delete_kind(session, RecordKind.ITEM, among(item_vectors.c.item_id, going))
        await session.run("delete_items", delete(items).where(among(items.c.id, going)))
    return len(going)


async def refresh(session: Session, uids: Collection[UUID], *, now: datetime) -> None:
    locked = select(items.c.id).where(among(items.c.id, uids), items.c.expires_at > now).order_by(items.c.id).with_for_update()
    living = [row.id for row in await session.run("lock_items", locked)]
    moment = bindparam("now", now, DateTime(timezone=True))
    await session.run("refresh_items", update(items).where(among(items.c.id, living)).values(expires_at=moment + items.c.ttl))


def _item(row: Row[Any]) -> Item:
    name = ItemName(tuple(row.labels), row.key)
    value = rows.document_of(row, "value")
    return Item(row.namespace, name, value, row.created_at, row.updated_at, row.ttl, row.expires_at)


def _text(row: Row[Any]) -> ItemText:
    return ItemText(row.namespace, ItemName(tuple(row.labels), row.key), row.field, row.element, row.text, row.updated_at)


def _item_values(item: Item) -> dict[str, Any]:
    """The inverse of `_item`, for JSON."""
    return {
        "id": str(item.uid),
        "namespace": item.namespace,
        "labels": list(item.name.labels),
        "key": item.name.key,
        "value": item.value,
        "ttl_seconds": None if item.ttl is None else item.ttl.total_seconds(),
        "expires_at": None if item.expires_at is None else item.expires_at.isoformat(),
        "created_at": item.created_at.isoformat(),
        "updated_at": item.updated_at.isoformat(),
    }


def _text_values(held: ItemText) -> dict[str, Any]:
    return {
        "uid": str(held.uid),
        "item_id": str(held.item_uid),
        "namespace": held.namespace,
        "field": held.field,
        "element": held.element,
        "text": held.text,
        "content_sha256": held.content_sha256,
    }
