"""Queries about the outbox: what the vector index has yet to be told."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Select,
    Text,
    and_,
    bindparam,
    case,
    delete,
    func,
    literal,
    null,
    select,
    text,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, Insert, insert
from sqlalchemy.types import BigInteger, Boolean, DateTime, Integer, Uuid

from app.episodic import rows
from app.episodic.engine import Session
from app.episodic.generations import RENEWED
from app.episodic.tables import episodes, item_vectors, knowledge, messages, outbox
from app.ports import OutboxEntry, OutboxOp, OutboxQuery, OutboxState, Queued
from app.records import RecordKind, SessionKey

MAX_ERROR_CHARACTERS: Final = 2000
_MOMENT: Final = DateTime(timezone=True)
ENTRIES: Final = tuple(c for c in outbox.c if c.name not in {"leased_until", "created_at"})
RETURNED: Final = ", ".join(f"outbox.{c.name}" for c in ENTRIES)


def opening(records: Select[Any] | CompoundSelect[Any]) -> Insert:
    """Open an entry for each of `records` (op, kind, namespace, record_uid, next_attempt_at), or renew the open one.

    A renewed entry starts afresh, but keeps its lease: two workers on one record could write the older version
    last. Who holds the lease ends it, in `complete` or `release`, or it runs out.
    """
    statement = insert(outbox).from_select(["op", "kind", "namespace", "record_uid", "next_attempt_at"], records)
    new = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=[outbox.c.kind, outbox.c.record_uid],
        set_={
            "op": new.op,
            "namespace": new.namespace,
            "generation": outbox.c.generation + 1,
            "attempts": 0,
            "failures": 0,
            "next_attempt_at": new.next_attempt_at,
            "last_error": None,
            "is_dead": False,
        },
    )


_GIVEN: Final = (
    func.unnest(
        bindparam("ops", type_=ARRAY(Text)),
        bindparam("kinds", type_=ARRAY(Text)),
        bindparam("namespaces", type_=ARRAY(Text)),
        bindparam("uids", type_=ARRAY(Uuid)),
        bindparam("times", type_=ARRAY(_MOMENT)),
    )
    .table_valued("op", "kind", "namespace", "record_uid", "next_attempt_at")
    .render_derived()
)

_ENQUEUE: Final = opening(select(*_GIVEN.c))


async def enqueue(session: Session, entries: Sequence[OutboxEntry]) -> None:
    """The last of several entries for one record counts. They are worked on in the order given."""
    distinct = {(entry.kind, entry.record_uid): entry for entry in entries}.values()
    if not distinct:
        return
    arrays = {
        "ops": [entry.op.value for entry in distinct],
        "kinds": [entry.kind.value for entry in distinct],
        "namespaces": [entry.namespace for entry in distinct],
        "uids": [entry.record_uid for entry in distinct],
        "times": [entry.next_attempt_at for entry in distinct],
    }
    await session.run("enqueue", _ENQUEUE, arrays)


def _owed(kind: RecordKind, key: ColumnElement[Any], *conditions: ColumnElement[bool]) -> Select[Any]:
    """An upsert of each record of a kind that belongs into the index."""
    op, name = literal(OutboxOp.UPSERT.value, Text), literal(kind.value, Text)
    return select(op, name, key.table.c.namespace, key, null().cast(_MOMENT)).where(*conditions)


_ENQUEUE_EVERYTHING: Final = opening(
    union_all(
        _owed(RecordKind.MESSAGE, messages.c.uid, ~messages.c.is_archived),
        _owed(RecordKind.EPISODE, episodes.c.id, ~episodes.c.is_open, episodes.c.archived_at.is_(None)),
        _owed(RecordKind.KNOWLEDGE, knowledge.c.id, knowledge.c.is_active),
        _owed(RecordKind.ITEM, item_vectors.c.uid),
    )
)


async def enqueue_everything(session: Session) -> None:
    """Owe the index every record that belongs into it: what it has is not asked."""
    await session.run("enqueue_everything", _ENQUEUE_EVERYTHING)


_CLAIM: Final = (
    text(
        f"""
        WITH due AS MATERIALIZED (
            SELECT id FROM outbox
            WHERE NOT is_dead
              AND (next_attempt_at IS NULL OR next_attempt_at <= :now)
              AND (leased_until IS NULL OR leased_until <= :now)
            ORDER BY id
            LIMIT :limit
            FOR UPDATE SKIP LOCKED
        )
        UPDATE outbox SET attempts = attempts + 1, leased_until = :leased_until
        WHERE id = ANY (ARRAY(SELECT id FROM due))
        RETURNING {RETURNED}
        """  # noqa: S608 - column names of this module
    )
    .bindparams(bindparam("now", type_=_MOMENT), bindparam("leased_until", type_=_MOMENT), bindparam("limit", type_=BigInteger()))
    .columns(*ENTRIES)
)


async def claim(session: Session, limit: int, *, lease: timedelta, now: datetime) -> tuple[OutboxEntry, ...]:
    claimed = await session.run("claim_outbox", _CLAIM, {"limit": limit, "now": now, "leased_until": now + lease})
    return rows.readable(sorted(claimed, key=lambda row: row.id), rows.outbox_entry)


_CLAIM_RECORDS: Final = (
    text(
        f"""
        WITH free AS MATERIALIZED (
            SELECT id FROM outbox
            WHERE kind = :kind AND record_uid = ANY(:uids) AND NOT is_dead AND (leased_until IS NULL OR leased_until <= :now)
            ORDER BY id
            FOR UPDATE SKIP LOCKED
        )
        UPDATE outbox SET attempts = attempts + 1, leased_until = :leased_until
        WHERE id = ANY (ARRAY(SELECT id FROM free))
        RETURNING {RETURNED}
        """  # noqa: S608 - column names of this module
    )
    .bindparams(
        bindparam("kind", type_=Text()),
        bindparam("uids", type_=ARRAY(Uuid)),
        bindparam("now", type_=_MOMENT),
        bindparam("leased_until", type_=_MOMENT),
    )
    .columns(*ENTRIES)
)


async def claim_records(
    session: Session, kind: RecordKind, uids: Collection[UUID], *, lease: timedelta, now: datetime
) -> tuple[OutboxEntry, ...]:
    parameters = {"kind": kind.value, "uids": list(uids), "now": now, "leased_until": now + lease}
    claimed = await session.run("claim_records", _CLAIM_RECORDS, parameters)
    return rows.readable(sorted(claimed, key=lambda row: row.id), rows.outbox_entry)


# Whoever ends work on an entry that is not theirs any more (the lease ran out, and another worker took it and perhaps
# ended it) may have written to the index after the other: the record is opened again, for the truth to be written last.
# `attempts` says whether another worker claimed it since it was renewed; that one must not tick it off either.
_OVERTAKEN: Final = f"""
    INSERT INTO outbox (op, kind, namespace, record_uid)
    SELECT '{OutboxOp.UPSERT.value}', kind, namespace, record_uid FROM ended WHERE id NOT IN (SELECT id FROM held)
    ON CONFLICT (kind, record_uid) DO UPDATE SET
        leased_until = NULL,
        generation = outbox.generation + CASE WHEN outbox.attempts > 0 THEN 1 ELSE 0 END
"""  # noqa: S608 - a constant of ours
_ENDED: Final = """
    ended AS (
        SELECT * FROM unnest(:ids, :generations, :kinds, :namespaces, :uids)
            AS e (id, generation, kind, namespace, record_uid)
    )
"""
_IDENTITIES: Final = (
    bindparam("ids", type_=ARRAY(BigInteger)),
    bindparam("generations", type_=ARRAY(BigInteger)),
    bindparam("kinds", type_=ARRAY(Text)),
    bindparam("namespaces", type_=ARRAY(Text)),
    bindparam("uids", type_=ARRAY(Uuid)),
)

_COMPLETE: Final = text(
    f"""
    WITH {_ENDED},
    held AS (
        DELETE FROM outbox USING ended WHERE outbox.id = ended.id AND outbox.generation = ended.generation
        RETURNING outbox.id
    ),
    {RENEWED}
    {_OVERTAKEN}
    """  # noqa: S608 - parts of this module
).bindparams(*_IDENTITIES)


async def complete(session: Session, entries: Sequence[OutboxEntry]) -> None:
    await session.run("complete_outbox", _COMPLETE, _identified(entries))


_RELEASE: Final = text(
    f"""
    WITH {_ENDED},
    held AS (
        UPDATE outbox SET leased_until = NULL, last_error = :error, next_attempt_at = :next_attempt_at, is_dead = :is_dead,
                          failures = failures + :own
        FROM ended WHERE outbox.id = ended.id AND outbox.generation = ended.generation
        RETURNING outbox.id
    ),
    {RENEWED}
    {_OVERTAKEN}
    """  # noqa: S608 - parts of this module
).bindparams(
    *_IDENTITIES,
    bindparam("error", type_=Text()),
    bindparam("next_attempt_at", type_=_MOMENT),
    bindparam("is_dead", type_=Boolean()),
    bindparam("own", type_=Integer()),
)


async def release(
    session: Session, entries: Sequence[OutboxEntry], *, error: str, next_attempt_at: datetime, is_dead: bool
) -> None:
    await _give_back(session, entries, error=error, next_attempt_at=next_attempt_at, is_dead=is_dead, own=1)


async def delay(session: Session, entries: Sequence[OutboxEntry], *, error: str, next_attempt_at: datetime) -> None:
    await _give_back(session, entries, error=error, next_attempt_at=next_attempt_at, is_dead=False, own=0)


async def _give_back(session: Session, entries: Sequence[OutboxEntry], *, error: str, **verdict: object) -> None:
    parameters = _identified(entries) | verdict | {"error": error[:MAX_ERROR_CHARACTERS]}
    await session.run("release_outbox", _RELEASE, parameters)


def _identified(entries: Sequence[OutboxEntry]) -> dict[str, Any]:
    return {
        "ids": [entry.id for entry in entries],
        "generations": [entry.generation for entry in entries],
        "kinds": [entry.kind.value for entry in entries],
        "namespaces": [entry.namespace for entry in entries],
        "uids": [entry.record_uid for entry in entries],
    }


async def void_leases(session: Session) -> None:
    await session.run("void_leases", update(outbox).where(outbox.c.leased_until.is_not(None)).values(leased_until=None))


async def retry_dead(session: Session, ids: Sequence[int] | None, now: datetime, *, namespace: str | None) -> int:
    revived = {"is_dead": False, "attempts": 0, "failures": 0, "next_attempt_at": now}
    statement = update(outbox).where(*_dead(ids, namespace)).values(revived)
    return len(await session.run("retry_dead", statement.returning(outbox.c.id)))


async def drop_dead(session: Session, ids: Sequence[int], *, namespace: str | None) -> int:
    statement = delete(outbox).where(*_dead(ids, namespace))
    return len(await session.run("drop_dead", statement.returning(outbox.c.id)))


def _dead(ids: Sequence[int] | None, namespace: str | None) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [outbox.c.is_dead]
    if ids is not None:
        conditions.append(outbox.c.id == func.any(bindparam("ids", list(ids), ARRAY(BigInteger))))
    if namespace is not None:
        conditions.append(outbox.c.namespace == namespace)
    return conditions


async def page(session: Session, query: OutboxQuery, *, now: datetime) -> tuple[Queued, ...]:
    state = _state(now)
    statement = select(*ENTRIES, state.label("state"), outbox.c.created_at).where(outbox.c.id > query.after)
    if query.states:
        statement = statement.where(state.in_([wanted.value for wanted in query.states]))
    if query.namespace is not None:
        statement = statement.where(outbox.c.namespace == query.namespace)
    return rows.readable(await session.run("list_outbox", statement.order_by(outbox.c.id).limit(query.limit)), rows.queued)


def _state(now: datetime) -> ColumnElement[str]:
    return case(
        (outbox.c.is_dead, OutboxState.DEAD.value),
        (outbox.c.leased_until > now, OutboxState.LEASED.value),
        (outbox.c.next_attempt_at > now, OutboxState.WAITING.value),
        else_=OutboxState.DUE.value,
    )


async def of_records(session: Session, uids: Sequence[UUID]) -> tuple[OutboxEntry, ...]:
    return rows.readable(await session.run("outbox_entries", select(*ENTRIES).where(_about(uids))), rows.outbox_entry)


async def next_at(session: Session) -> datetime | None:
    due_at = func.greatest(func.coalesce(outbox.c.next_attempt_at, outbox.c.created_at), outbox.c.leased_until)
    statement = select(func.min(due_at, type_=_MOMENT)).where(~outbox.c.is_dead)
    earliest: datetime | None = (await session.run("next_outbox_at", statement))[0][0]
    return earliest


async def owed_deletions(session: Session, kind: RecordKind, namespace: str, limit: int) -> tuple[UUID, ...]:
    is_owed = and_(outbox.c.op == OutboxOp.DELETE.value, outbox.c.kind == kind.value, outbox.c.namespace == namespace)
    statement = select(outbox.c.record_uid).where(is_owed).order_by(outbox.c.id.desc()).limit(limit)
    return tuple(row.record_uid for row in await session.run("owed_deletions", statement))


async def open_count(session: Session, uids: Sequence[UUID]) -> int:
    return await _count(session, "open_entries", _about(uids), ~outbox.c.is_dead)


async def dead_count(session: Session, uids: Sequence[UUID]) -> int:
    return await _count(session, "dead_letters", _about(uids), outbox.c.is_dead)


async def _count(session: Session, operation: str, *conditions: ColumnElement[bool]) -> int:
    return int((await session.run(operation, select(func.count()).where(*conditions)))[0][0])


def _about(uids: Sequence[UUID]) -> ColumnElement[bool]:
    """The kinds are named so that the unique index on (kind, record_uid) is of use."""
    is_asked = outbox.c.record_uid == func.any(bindparam("uids", list(uids), ARRAY(Uuid)))
    return and_(outbox.c.kind.in_([kind.value for kind in RecordKind]), is_asked)


_INDEXED_THROUGH: Final = text(
    """
    WITH asked AS (SELECT * FROM unnest(:namespaces, :session_ids) AS s (namespace, session_id)),
    waiting AS (
        SELECT m.namespace, m.session_id, min(m.sequence) AS sequence
        FROM asked
        JOIN messages AS m USING (namespace, session_id)
        JOIN outbox AS o ON o.kind = 'message' AND o.record_uid = m.uid AND NOT o.is_dead
        GROUP BY m.namespace, m.session_id
    )
    SELECT asked.namespace, asked.session_id, coalesce(
        waiting.sequence - 1,
        (SELECT max(m.sequence) FROM messages AS m
         WHERE m.namespace = asked.namespace AND m.session_id = asked.session_id),
        0
    ) AS sequence
    FROM asked LEFT JOIN waiting USING (namespace, session_id)
    """
).bindparams(bindparam("namespaces", type_=ARRAY(Text)), bindparam("session_ids", type_=ARRAY(Text)))


async def indexed_through(session: Session, keys: Sequence[SessionKey]) -> Mapping[SessionKey, int]:
    arrays = {"namespaces": [key.namespace for key in keys], "session_ids": [key.session_id for key in keys]}
    found = await session.run("indexed_through", _INDEXED_THROUGH, arrays)
    return {SessionKey(row.namespace, row.session_id): row.sequence for row in found}
