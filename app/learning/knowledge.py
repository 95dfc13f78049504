"""Knowledge as it is stored, backed by evidence, applied, retired and superseded.

Each change is one transaction: the row, its revision, its place in the outbox.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final
from uuid import UUID
from weakref import WeakValueDictionary

from app.errors import Conflict, InvalidInput, NotFound, VersionMismatch
from app.ingestion.limits import Limits, check_label, check_time
from app.learning.pieces import admit, admit_change, applied, backed, check_sides, ended, judged
from app.learning.revisions import changes
from app.learning.success import DEFAULT_SUCCESS, SuccessPolicy
from app.ports import Clock, EpisodicMemory, EpisodicReader, EpisodicWriter, OutboxEntry, OutboxOp
from app.records import Cause, Knowledge, KnowledgeHistory, RecordKind, Success

_IDENTITY: Final = ("id", "kind", "scope", "created_at", "origin", "times_applied", "success_count", "failure_count",
                    "supporting_episodes", "contradicting_episodes", "evidence_count", "applied_when_activated",
                    "supersedes")  # fmt: skip
_NAMED: Final = 20
"""Of episodes that are not there, an answer names so many."""


class KnowledgeKeeping:
    """Admits knowledge and stores it in Postgres, to be indexed from the outbox.

    A `call` names the call that asks for a change: repeated under the same name, it changes nothing more.
    """

    def __init__(
        self, episodic: EpisodicMemory, *, limits: Limits, clock: Clock, policy: SuccessPolicy = DEFAULT_SUCCESS
    ) -> None:
        self._episodic = episodic
        self._limits = limits
        self._clock = clock
        self._policy = policy
        # Everybody applies the piece that works. Who waits for its row keeps a connection: one waits here, not all of a pool.
        self._turns: WeakValueDictionary[tuple[str, UUID], asyncio.Lock] = WeakValueDictionary()

    async def store(self, knowledge: Knowledge, *, call: UUID | None = None) -> Knowledge:
        """Store a piece of knowledge, replacing one with the same id in the same namespace.

        Raises:
            InvalidInput: a field breaks a limit, or an episode named is not in the namespace; nothing was written.
            TierUnavailable: Postgres could not be reached; nothing was written.
        """
        admitted = admit(knowledge, self._limits)
        async with self._episodic.writing() as tx:
            if (known := await self._noted(tx, call, admitted.id)) is not None:
                return await _one(tx, admitted.scope.namespace, known)
            await _refuse_unknown(tx, admitted, admitted.supporting_episodes, admitted.contradicting_episodes)
            before = await tx.knowledge(admitted.scope.namespace, admitted.id)
            return await self._save(tx, before, admitted, Cause.STORED)

    async def change(
        self, namespace: str, knowledge_id: UUID, change: Callable[[Knowledge], Knowledge], *,
        expected_version: int | None = None,
    ) -> Knowledge:  # fmt: skip
        """Store what `change` makes of the piece as it is now, and have it indexed again; nobody comes in between.

        What supersedes it has to be another piece of knowledge in the same namespace, and is linked back. `change` is asked
        again when others that it links were changed meanwhile.

        Raises:
            InvalidInput: what the piece is, or what was counted, was changed; or a field breaks a limit.
            Conflict: it, or what is to supersede it, has such a link already.
            NotFound: no such piece in this namespace.
            VersionMismatch: the piece is not at `expected_version`.
        """
        check_label("namespace", namespace, self._limits)
        held = concerned = frozenset({knowledge_id})
        while True:
            # What a change links is known once it was made: then all of it is locked anew, in the order of ids, as two that link
            # the same pieces the other way round would wait for each other forever. The more is held the less can be missing.
            async with self._episodic.writing() as tx:
                for one in sorted(held):
                    await tx.knowledge(namespace, one)
                before = _at_version(await _one(tx, namespace, knowledge_id), expected_version)
                if (changed := change(before)) == before:
                    return before
                _refuse_another(before, changed)
                changed = admit_change(before, changed, self._limits)
                concerned = await _concerned(tx, before, changed)
                if concerned <= held:
                    changed = await self._relinked(tx, before, changed)
                    return await self._save(tx, before, changed, Cause.CHANGED)
            held |= concerned

    async def apply(
        self, namespace: str, knowledge_id: UUID, success: Success, *, episode_id: UUID | None = None, call: UUID | None = None
    ) -> Knowledge:
        """Count that the piece was applied and how that went; no count is lost, however many come at once.

        The episode in which it was applied joins those that support it, or those that contradict it. What fails too often
        is retired with the reason.

        Raises:
            NotFound: no such piece, or no such episode, in this namespace.
        """
        check_label("namespace", namespace, self._limits)
        turn = self._turns.setdefault((namespace, knowledge_id), asyncio.Lock())
        async with turn, self._episodic.writing() as tx:
            before = await _one(tx, namespace, knowledge_id)
            if await self._noted(tx, call, knowledge_id):
                return before
            if episode_id is not None and await missing(tx, namespace, [episode_id]):
                raise NotFound("episode", str(episode_id))
            after = judged(applied(before, success, episode_id, self._limits.evidence_episodes), self._policy)
            cause = Cause.RETIRED if before.is_active and not after.is_active else Cause.APPLIED
            return await self._save(tx, before, after, cause)

    async def add_evidence(
        self, namespace: str, knowledge_id: UUID, *,
        supporting: Sequence[UUID] = (), contradicting: Sequence[UUID] = (), call: UUID | None = None,
    ) -> Knowledge:  # fmt: skip
        """Name further episodes that support or contradict the piece; its confidence follows.

        Raises:
            InvalidInput: an episode is not there, or stands on the other side; nothing was changed.
            NotFound: no such piece in this namespace.
        """
        check_label("namespace", namespace, self._limits)
        check_sides(supporting, contradicting, self._limits, least=1)
        async with self._episodic.writing() as tx:
            before = await _one(tx, namespace, knowledge_id)
            if await self._noted(tx, call, knowledge_id):
                return before
            await _refuse_unknown(tx, before, supporting, contradicting)
            after = backed(before, supporting, contradicting, self._limits.evidence_episodes)
            return before if after == before else await self._save(tx, before, after, Cause.EVIDENCE)

    async def supersede(self, namespace: str, knowledge_id: UUID, successor: Knowledge, *, call: UUID | None = None) -> Knowledge:
        """Store what holds instead from `successor.valid_from` (now, if None) on, and end the piece at that moment.

        Returns the successor. Both are linked to each other, or nothing is written.

        Raises:
            InvalidInput: the successor is one that the piece supersedes itself, begins before it, or breaks a limit.
            Conflict: the piece is superseded already, or the successor's id is taken.
            NotFound: no such piece in this namespace.
        """
        check_label("namespace", namespace, self._limits)
        at = successor.valid_from or self._clock()
        admitted = admit(replace(successor, supersedes=knowledge_id, valid_from=at), self._limits)
        async with self._episodic.writing() as tx:
            before = await _one(tx, namespace, knowledge_id)
            if (known := await self._noted(tx, call, admitted.id)) is not None:
                return await _one(tx, namespace, known)
            _refuse_fork(before)
            await _refuse_taken(tx, before, admitted)
            await _refuse_unknown(tx, admitted, admitted.supporting_episodes, admitted.contradicting_episodes)
            await self._save(tx, before, ended(before, admitted.id, admitted.valid_from or at), Cause.SUPERSEDED)
            return await self._save(tx, None, admitted, Cause.STORED)

    async def history(self, namespace: str, knowledge_id: UUID, *, after: int, limit: int) -> KnowledgeHistory:
        """The chain that the piece is part of, and its revisions above number `after`.

        Raises:
            NotFound: no such piece in this namespace.
        """
        check_label("namespace", namespace, self._limits)
        async with self._episodic.reading() as reader:
            versions = await reader.knowledge_chain(namespace, knowledge_id, self._limits.results)
            if not any(version.id == knowledge_id for version in versions):
                raise NotFound("knowledge", str(knowledge_id))
            return KnowledgeHistory(versions, await reader.revisions(knowledge_id, after=after, limit=limit))

    def moment(self, as_of: datetime | None) -> datetime:
        """The time asked about, in UTC; now, if none is given."""
        return self._clock() if as_of is None else check_time("as_of", as_of, self._limits, None)

    async def missing_episodes(self, namespace: str, episode_ids: Collection[UUID]) -> frozenset[UUID]:
        """Those of these episodes that Postgres does not have in the namespace."""
        if not episode_ids:
            return frozenset()
        check_label("namespace", namespace, self._limits)
        async with self._episodic.reading() as reader:
            return frozenset(await missing(reader, namespace, list(episode_ids)))

    async def _noted(self, tx: EpisodicWriter, call: UUID | None, record_id: UUID) -> UUID | None:
        """The record that the call was carried out on before; else it is noted as carried out here, on `record_id`."""
        return None if call is None else await tx.note_call(call, record_id, self._clock())

    async def _save(self, tx: EpisodicWriter, before: Knowledge | None, after: Knowledge, cause: Cause) -> Knowledge:
        stored = await tx.save_knowledge(after)
        if changed := changes(before, after):
            await tx.add_revision(after.id, cause, changed, self._clock())
        if before is None or _shows(before) != _shows(after):
            await tx.enqueue([OutboxEntry(OutboxOp.UPSERT, RecordKind.KNOWLEDGE, after.scope.namespace, after.id)])
        return stored

    async def _relinked(self, tx: EpisodicWriter, before: Knowledge, changed: Knowledge) -> Knowledge:
        """The change with the links of its neighbours put right, if what supersedes it is another one than before."""
        if changed.superseded_by == before.superseded_by:
            return changed
        if changed.superseded_by is None:
            await self._unlink(tx, before)
            return changed
        _refuse_fork(before)
        successor = await _successor(tx, before, changed.superseded_by)
        await self._save(tx, successor, replace(successor, supersedes=before.id), Cause.CHANGED)
        return changed if changed.valid_to is not None else ended(changed, successor.id, self._clock())

    async def _unlink(self, tx: EpisodicWriter, before: Knowledge) -> None:
        former = None if before.superseded_by is None else await tx.knowledge(before.scope.namespace, before.superseded_by)
        if former is not None and former.supersedes == before.id:
            await self._save(tx, former, replace(former, supersedes=None), Cause.CHANGED)


async def missing(reader: EpisodicReader, namespace: str, episode_ids: Sequence[UUID]) -> list[UUID]:
    """Those of these episodes that are not in the namespace, in order."""
    there = await reader.existing(RecordKind.EPISODE, namespace, episode_ids) if episode_ids else frozenset()
    return [i for i in dict.fromkeys(episode_ids) if i not in there]


def _shows(knowledge: Knowledge) -> tuple[object, ...]:
    """What the index is told of it."""
    validity = knowledge.valid_from, knowledge.ends_at, knowledge.is_active
    return knowledge.description, knowledge.content, knowledge.confidence, *validity


async def _one(tx: EpisodicWriter, namespace: str, knowledge_id: UUID) -> Knowledge:
    knowledge = await tx.knowledge(namespace, knowledge_id)
    if knowledge is None:
        raise NotFound("knowledge", str(knowledge_id))
    return knowledge


def _at_version(knowledge: Knowledge, expected: int | None) -> Knowledge:
    if expected not in {None, knowledge.version}:
        raise VersionMismatch("knowledge", knowledge.version)
    return knowledge


def _refuse_another(before: Knowledge, changed: Knowledge) -> None:
    for field in _IDENTITY:
        if getattr(before, field) != getattr(changed, field):
            raise InvalidInput(field, "cannot be changed")


def _refuse_fork(knowledge: Knowledge) -> None:
    if knowledge.superseded_by is not None:
        raise Conflict("superseded_by", f"is {knowledge.superseded_by} already: supersede that one")


async def _refuse_taken(tx: EpisodicWriter, superseded: Knowledge, successor: Knowledge) -> None:
    """
    Raises:
        InvalidInput: the successor is the piece itself, or one that it supersedes.
        Conflict: the successor is another piece that is there already.
    """
    if not await tx.knowledge_by_uid([successor.id]):
        return
    if successor.id in await _line(tx, superseded, lambda piece: piece.supersedes):
        raise InvalidInput("superseded_by", "must not be a piece that it supersedes itself, directly or not")
    raise Conflict("id", "is taken by another piece of knowledge")


async def _concerned(tx: EpisodicWriter, before: Knowledge, changed: Knowledge) -> frozenset[UUID]:
    """The pieces that a change reads or writes as things are: with its links, those along the line that it joins as well."""
    if changed.superseded_by == before.superseded_by:
        return frozenset({before.id})
    former = () if before.superseded_by is None else (before.superseded_by,)
    return frozenset({*await _line(tx, changed, lambda piece: piece.superseded_by), *former})


async def _successor(tx: EpisodicWriter, before: Knowledge, successor_id: UUID) -> Knowledge:
    """The piece that may supersede this one; the line that it is in is held, so that nobody links any of it meanwhile."""
    if successor_id == before.id:
        raise InvalidInput("superseded_by", "must be another piece of knowledge")
    successor = await tx.knowledge(before.scope.namespace, successor_id)
    if successor is None:
        raise InvalidInput("superseded_by", "must be knowledge in the same namespace")
    if before.id in await _line(tx, successor, lambda piece: piece.superseded_by):
        raise InvalidInput("superseded_by", "must not be a piece that it supersedes itself, directly or not")
    if successor.supersedes not in {None, before.id}:
        raise Conflict("superseded_by", f"supersedes {successor.supersedes} already: a piece has one predecessor")
    return successor


async def _line(tx: EpisodicReader, start: Knowledge, link: Callable[[Knowledge], UUID | None]) -> set[UUID]:
    """The ids that one comes to from a piece by following a link, and its own; none of them is locked here."""
    seen, following = {start.id}, link(start)
    while following is not None and following not in seen:
        seen.add(following)
        found = await tx.knowledge_by_uid([following])
        following = next((link(piece) for piece in found if piece.scope.namespace == start.scope.namespace), None)
    return seen


async def _refuse_unknown(
    tx: EpisodicReader, knowledge: Knowledge, supporting: Sequence[UUID], contradicting: Sequence[UUID]
) -> None:
    """
    Raises:
        InvalidInput: names the episodes that are not in the namespace.
    """
    for field, episodes in (("supporting_episodes", supporting), ("contradicting_episodes", contradicting)):
        if absent := await missing(tx, knowledge.scope.namespace, episodes):
            named = ", ".join(str(i) for i in absent[:_NAMED])
            more = f" and {len(absent) - _NAMED} more" if len(absent) > _NAMED else ""
            raise InvalidInput(field, f"must be episodes of this namespace; not there: {named}{more}")
