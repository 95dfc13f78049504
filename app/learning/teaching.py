"""What was learned becomes knowledge, and stops being it, without touching what people and applications made of it.

Learning owns description, content and evidence of what it learned itself; its confidence rests on the evidence and on the
applications together. Counts of applications, pins, validity and links are others'. What was learned and does not hold any
more is not deleted: it is made inactive, with the reason, and active again when it holds again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final
from uuid import UUID

from app.learning.evidence import moved
from app.learning.revisions import changes
from app.ports import EpisodicWriter, OutboxEntry, OutboxOp
from app.records import Cause, Knowledge, Origin, RecordKind

WITHDRAWN: Final = "withdrawn: what happened since speaks against it"
_MOST_EPISODES: Final = 1000


async def teach(tx: EpisodicWriter, learned: Knowledge, now: datetime) -> Knowledge:
    """Store what was learned, or bring what is stored of it up to date; returns it. Unchanged, it is left alone."""
    stored = await tx.knowledge(learned.scope.namespace, learned.id)
    if stored is None:
        return await _save(tx, None, replace(learned, valid_from=now), Cause.STORED, now)
    if not is_ours(stored):
        return stored
    taught = _brought_up_to_date(stored, learned)
    if stored.inactive_reason == WITHDRAWN:
        taught = replace(taught, is_active=True, inactive_reason=None, applied_when_activated=stored.times_applied)
    return await _save(tx, stored, taught, Cause.EVIDENCE, now)


async def withdraw(tx: EpisodicWriter, learned: Knowledge, now: datetime) -> Knowledge | None:
    """What is stored of it does not hold any more; what somebody else retired stays retired for that reason."""
    stored = await tx.knowledge(learned.scope.namespace, learned.id)
    if stored is None or not is_ours(stored):
        return stored
    changed = _brought_up_to_date(stored, learned)
    if stored.is_active:
        changed = replace(changed, is_active=False, inactive_reason=WITHDRAWN)
    return await _save(tx, stored, changed, Cause.RETIRED if stored.is_active else Cause.EVIDENCE, now)


async def forget_taught(tx: EpisodicWriter, namespace: str, knowledge_id: UUID) -> None:
    """Delete what was learned from episodes of which none says so any more."""
    stored = await tx.knowledge(namespace, knowledge_id)
    if stored is not None and is_ours(stored):
        await tx.delete_records(RecordKind.KNOWLEDGE, namespace, [knowledge_id])


def is_ours(stored: Knowledge) -> bool:
    """Whether learning may change it: learned, and not replaced by something newer."""
    return stored.origin is Origin.LEARNED and stored.superseded_by is None


def _brought_up_to_date(stored: Knowledge, learned: Knowledge) -> Knowledge:
    supporting, contradicting = learned.supporting_episodes, learned.contradicting_episodes
    applied = stored if stored.times_applied else replace(stored, supporting_episodes=(), contradicting_episodes=())
    return replace(
        stored,
        description=learned.description,
        content=learned.content,
        confidence=moved(
            learned.confidence, learned.evidence_count, supporting=stored.success_count, contradicting=stored.failure_count
        ),
        evidence_count=learned.evidence_count + stored.times_applied,
        supporting_episodes=_joined(applied.supporting_episodes, supporting, contradicting),
        contradicting_episodes=_joined(applied.contradicting_episodes, contradicting, supporting),
    )


def _joined(known: Sequence[UUID], now: Sequence[UUID], against: Sequence[UUID]) -> tuple[UUID, ...]:
    """The evidence there is now, and before it what applications may have left, unless that is on the other side now."""
    others = [episode_id for episode_id in known if episode_id not in {*now, *against}]
    return tuple([*others, *now][-_MOST_EPISODES:])


async def _save(tx: EpisodicWriter, stored: Knowledge | None, changed: Knowledge, cause: Cause, now: datetime) -> Knowledge:
    """With its revision and its place in the outbox; nothing, if it is as it was."""
    if stored == changed:
        return changed
    saved = await tx.save_knowledge(changed)
    if different := changes(stored, changed):
        await tx.add_revision(saved.id, cause, different, now)
    await tx.enqueue([OutboxEntry(OutboxOp.UPSERT, RecordKind.KNOWLEDGE, saved.scope.namespace, saved.id)])
    return saved
