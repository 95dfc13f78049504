"""What was learned becomes knowledge, and stops being it, without touching what people and applications made of it.

Learned knowledge says so in its content (`origin: learned`). Learning owns its description, content, confidence and
evidence; counts of applications, pins and validity are others'. What was learned and does not hold any more is not deleted:
it is not valid from then on (`valid_to`), which learning itself takes back when it holds again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final
from uuid import UUID

from app.ports import EpisodicWriter, OutboxEntry, OutboxOp
from app.records import Knowledge, RecordKind

ORIGIN: Final = "origin"
LEARNED: Final = "learned"
WITHDRAWN: Final = "withdrawn"
_MOST_EPISODES: Final = 1000


async def teach(tx: EpisodicWriter, learned: Knowledge, now: datetime) -> Knowledge:
    """Store what was learned, or bring what is stored of it up to date; returns it. Unchanged, it is left alone."""
    stored = await tx.knowledge(learned.scope.namespace, learned.id)
    if stored is None:
        return await _save(tx, replace(learned, content=_marked(learned), valid_from=now))
    if not is_ours(stored):
        return stored
    is_back = WITHDRAWN in stored.content
    taught = _brought_up_to_date(stored, learned, _marked(learned))
    return await _save_if_changed(tx, stored, replace(taught, valid_to=None) if is_back else taught)


async def withdraw(tx: EpisodicWriter, learned: Knowledge, now: datetime) -> Knowledge | None:
    """What is stored of it does not hold any more; why, its evidence says."""
    stored = await tx.knowledge(learned.scope.namespace, learned.id)
    if stored is None or not is_ours(stored) or WITHDRAWN in stored.content:
        return stored
    if stored.valid_to is not None:  # somebody else ended it, and may let it hold again
        return await _save_if_changed(tx, stored, _brought_up_to_date(stored, learned, _marked(learned)))
    content = {**_marked(learned), WITHDRAWN: now.isoformat()}
    ended = _brought_up_to_date(stored, learned, content)
    return await _save_if_changed(tx, stored, replace(ended, valid_to=max(now, stored.valid_from or now)))


async def forget_taught(tx: EpisodicWriter, namespace: str, knowledge_id: UUID) -> None:
    """Delete what was learned from episodes that are all gone."""
    stored = await tx.knowledge(namespace, knowledge_id)
    if stored is not None and is_ours(stored):
        await tx.delete_records(RecordKind.KNOWLEDGE, namespace, [knowledge_id])


def is_ours(stored: Knowledge) -> bool:
    """Whether learning may change it: learned, and not replaced by something newer."""
    return stored.content.get(ORIGIN) == LEARNED and stored.superseded_by is None


def _marked(learned: Knowledge) -> dict[str, object]:
    return {**learned.content, ORIGIN: LEARNED}


def _brought_up_to_date(stored: Knowledge, learned: Knowledge, content: dict[str, object]) -> Knowledge:
    supporting, contradicting = learned.supporting_episodes, learned.contradicting_episodes
    applied = stored if stored.times_applied else replace(stored, supporting_episodes=(), contradicting_episodes=())
    return replace(
        stored,
        description=learned.description,
        content=content,
        confidence=learned.confidence,
        supporting_episodes=_joined(applied.supporting_episodes, supporting, contradicting),
        contradicting_episodes=_joined(applied.contradicting_episodes, contradicting, supporting),
    )


def _joined(known: Sequence[UUID], now: Sequence[UUID], against: Sequence[UUID]) -> tuple[UUID, ...]:
    """The evidence there is now, and before it what applications may have left, unless that is on the other side now."""
    others = [episode_id for episode_id in known if episode_id not in {*now, *against}]
    return tuple([*others, *now][-_MOST_EPISODES:])


async def _save_if_changed(tx: EpisodicWriter, stored: Knowledge, changed: Knowledge) -> Knowledge:
    return stored if stored == changed else await _save(tx, changed)


async def _save(tx: EpisodicWriter, knowledge: Knowledge) -> Knowledge:
    saved = await tx.save_knowledge(knowledge)
    await tx.enqueue([OutboxEntry(OutboxOp.UPSERT, RecordKind.KNOWLEDGE, saved.scope.namespace, saved.id)])
    return saved
