"""Queries about the quality of episodes, and about those that lack one or are not embedded yet."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, bindparam, func, select, text, tuple_
from sqlalchemy.types import BigInteger, DateTime, Text

from app.episodic import rows
from app.episodic.engine import Session
from app.episodic.outbox import ENTRIES, RETURNED
from app.episodic.tables import episodes, outbox
from app.ports import EpisodePlace, OutboxEntry, OutboxOp
from app.records import BackfillPending, EpisodeKind, QualityCounts, RecordKind
from app.records.quality import TENTHS

_MOMENT: Final = DateTime(timezone=True)
_IS_JUDGED: Final = ~episodes.c.is_open & (episodes.c.kind != EpisodeKind.CONVERSATION.value)
"""Conversations are cut from messages: there is nothing in them that the quality validator could judge."""


async def count(session: Session, namespace: str | None, *, threshold: float) -> tuple[QualityCounts, ...]:
    quality = episodes.c.quality
    tenth = func.least(func.floor(quality * TENTHS), TENTHS - 1)  # which takes NULL for the largest
    statement = (
        select(
            episodes.c.project_id,
            *(func.count().filter(tenth == n, quality.is_not(None)).label(f"tenth_{n}") for n in range(TENTHS)),
            func.coalesce(func.sum(quality), 0.0).label("total"),
            func.count().filter(quality < threshold).label("below"),
            func.count().filter(quality.is_(None)).label("unscored"),
        )
        .where(_IS_JUDGED, *_in_namespace(episodes.c.namespace, namespace))
        .group_by(episodes.c.project_id)
        .order_by(episodes.c.project_id.nulls_first())
    )
    return tuple(_counts(row) for row in await session.run("count_quality", statement))


def _counts(row: Row[Any]) -> QualityCounts:
    tenths = tuple(int(getattr(row, f"tenth_{n}")) for n in range(TENTHS))
    return QualityCounts(row.project_id, tenths, float(row.total), row.below, row.unscored)


async def pending(session: Session, namespace: str | None) -> BackfillPending:
    unscored = select(func.count()).where(
        _IS_JUDGED, episodes.c.quality.is_(None), *_in_namespace(episodes.c.namespace, namespace)
    )
    unembedded = select(func.count()).where(
        outbox.c.kind == RecordKind.EPISODE.value,
        outbox.c.op == OutboxOp.UPSERT.value,
        *_in_namespace(outbox.c.namespace, namespace),
    )
    both = select(unscored.scalar_subquery().label("unscored"), unembedded.scalar_subquery().label("unembedded"))
    row = (await session.run("backfill_pending", both))[0]
    return BackfillPending(row.unscored, row.unembedded)


async def lock_unscored(
    session: Session, namespace: str | None, *, after: EpisodePlace | None, limit: int
) -> tuple[EpisodePlace, ...]:
    place = (episodes.c.ended_at, episodes.c.id)
    statement = select(*place).where(_IS_JUDGED, episodes.c.quality.is_(None), *_in_namespace(episodes.c.namespace, namespace))
    if after is not None:
        statement = statement.where(tuple_(*place) > tuple_(after.ended_at, after.id))
    locking = statement.order_by(*place).limit(limit).with_for_update(skip_locked=True)
    return tuple(EpisodePlace(row.ended_at, row.id) for row in await session.run("lock_unscored", locking))


def _in_namespace(column: ColumnElement[str], namespace: str | None) -> Sequence[ColumnElement[bool]]:
    return () if namespace is None else (column == namespace,)


_CLAIM: Final = (
    text(
        f"""
        WITH due AS MATERIALIZED (
            SELECT outbox.id FROM outbox JOIN episodes ON episodes.id = outbox.record_uid
            WHERE outbox.kind = '{RecordKind.EPISODE.value}' AND outbox.op = '{OutboxOp.UPSERT.value}'
              AND (outbox.next_attempt_at IS NULL OR outbox.next_attempt_at <= :attempted_before)
              AND (outbox.leased_until IS NULL OR outbox.leased_until <= :now)
              AND (CAST(:namespace AS text) IS NULL OR outbox.namespace = :namespace)
            ORDER BY date_trunc('day', episodes.ended_at, 'UTC'), episodes.quality DESC NULLS LAST, outbox.id
            LIMIT :limit
            FOR UPDATE OF outbox SKIP LOCKED
        )
        UPDATE outbox SET attempts = attempts + 1, leased_until = :leased_until, is_dead = false
        WHERE id = ANY (ARRAY(SELECT id FROM due))
        RETURNING {RETURNED}
        """  # noqa: S608 - names and constants of this project
    )
    .bindparams(
        bindparam("now", type_=_MOMENT),
        bindparam("attempted_before", type_=_MOMENT),
        bindparam("leased_until", type_=_MOMENT),
        bindparam("namespace", type_=Text()),
        bindparam("limit", type_=BigInteger()),
    )
    .columns(*ENTRIES)
)


async def claim(
    session: Session, namespace: str | None, limit: int, *, lease: timedelta, now: datetime, attempted_before: datetime
) -> tuple[OutboxEntry, ...]:
    parameters = {
        "namespace": namespace, "limit": limit, "now": now, "attempted_before": attempted_before, "leased_until": now + lease,
    }  # fmt: skip
    claimed = await session.run("claim_episodes", _CLAIM, parameters)
    return rows.readable(sorted(claimed, key=lambda row: row.id), rows.outbox_entry)
