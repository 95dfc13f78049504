"""Records to start from: every field that a test does not care about has a value."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from app.ports import EpisodicMemory, OutboxEntry, OutboxOp, OutboxQuery
from app.records import Episode, EpisodeKind, Knowledge, KnowledgeKind, Message, RecordKind, Role, Scope, SessionKey, new_id

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
SCOPE = Scope("acme", user_id="ana", agent_id="bot", session_id="s1", project_id="move")
SESSION = SessionKey("acme", "s1")


def message(sequence: int = 1, content: str = "the cat sat", **fields: Any) -> Message:
    """The later its sequence, the later it was said: a minute apart."""
    defaults: dict[str, Any] = {
        "id": new_id(),
        "scope": SCOPE,
        "role": Role.USER,
        "created_at": NOW + timedelta(minutes=sequence),
        "name": "Ana",
        "metadata": {},
    }
    return Message(content=content, sequence=sequence, **(defaults | fields))


def episode(**fields: Any) -> Episode:
    defaults: dict[str, Any] = {
        "id": new_id(),
        "kind": EpisodeKind.CONVERSATION,
        "scope": SCOPE,
        "started_at": NOW,
        "ended_at": NOW + timedelta(hours=1),
        "summary": "Ana plans her move",
    }
    return Episode(**(defaults | fields))


def knowledge(description: str = "Ana is allergic to nuts", **fields: Any) -> Knowledge:
    defaults: dict[str, Any] = {"id": new_id(), "kind": KnowledgeKind.FACT, "scope": SCOPE, "created_at": NOW}
    return Knowledge(description=description, **(defaults | fields))


def upsert(record: Message | Episode | Knowledge) -> OutboxEntry:
    return OutboxEntry(OutboxOp.UPSERT, kind_of(record), record.scope.namespace, record.uid)


def kind_of(record: Message | Episode | Knowledge) -> RecordKind:
    kinds = {Message: RecordKind.MESSAGE, Episode: RecordKind.EPISODE, Knowledge: RecordKind.KNOWLEDGE}
    return kinds[type(record)]


async def filed(memory: EpisodicMemory, messages: Sequence[Message], home: Episode | None = None) -> Episode:
    """Store these messages in an episode, which is returned."""
    home = home or episode(scope=messages[0].scope)
    async with memory.writing() as tx:
        await tx.save_episode(home)
        await tx.insert_messages(messages, [home.id] * len(messages))
    return home


async def stored(memory: EpisodicMemory, *records: Episode | Knowledge) -> None:
    async with memory.writing() as tx:
        for record in records:
            await (tx.save_episode(record) if isinstance(record, Episode) else tx.save_knowledge(record))


async def queued(memory: EpisodicMemory, *entries: OutboxEntry) -> None:
    async with memory.writing() as tx:
        await tx.enqueue(entries)


async def claimed(
    memory: EpisodicMemory, limit: int = 100, *, now: datetime = NOW, lease: timedelta = timedelta(minutes=1)
) -> list[OutboxEntry]:
    """The entries claimed in a transaction of its own."""
    async with memory.writing() as tx:
        return list(await tx.claim_outbox(limit, lease=lease, now=now))


async def outbox_of(memory: EpisodicMemory) -> set[tuple[OutboxOp, RecordKind, UUID]]:
    """What waits, without its attempts."""
    async with memory.reading() as reader:
        queued = await reader.list_outbox(OutboxQuery(limit=1000), now=NOW)
    return {(q.entry.op, q.entry.kind, q.entry.record_uid) for q in queued}
