"""Knowledge as it is stored, backed by evidence, applied, retired and superseded.

Each change is one transaction: the row, its revision, its place in the outbox.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final
from uuid import UUID

from app.errors import Conflict, InvalidInput, NotFound, VersionMismatch
from app.ingestion.limits import Limits, check_document, check_label, check_scope, check_text, check_time
from app.learning.conditions import conditions_of
from app.learning.evidence import LEAST_SUPPORTERS, moved
from app.learning.revisions import changes
from app.learning.success import DEFAULT_SUCCESS, SuccessPolicy, is_given_up, verdict
from app.ports import Clock, EpisodicMemory, EpisodicReader, EpisodicWriter, OutboxEntry, OutboxOp
from app.records import (
    Cause,
    Json,
    Knowledge,
    KnowledgeHistory,
    KnowledgeKind,
    Origin,
    RecordKind,
    Success,
)

BY_HAND: Final = "deactivated by hand"
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

        What supersedes it has to be another piece of knowledge in the same namespace, and is linked back.

        Raises:
            InvalidInput: what the piece is, or what was counted, was changed; or a field breaks a limit.
            Conflict: it, or what is to supersede it, has such a link already.
            NotFound: no such piece in this namespace.
            VersionMismatch: the piece is not at `expected_version`.
        """
        check_label("namespace", namespace, self._limits)
        async with self._episodic.writing() as tx:
            before = _at_version(await _one(tx, namespace, knowledge_id), expected_version)
            if (changed := change(before)) == before:
                return before
            _refuse_another(before, changed)
            changed = admit_change(before, changed, self._limits)
            changed = await self._relinked(tx, before, changed)
            return await self._save(tx, before, changed, Cause.CHANGED)

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
        async with self._episodic.writing() as tx:
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
        _check_sides(supporting, contradicting, self._limits, least=1)
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


def admit(knowledge: Knowledge, limits: Limits) -> Knowledge:
    """The piece as it may be stored: times in UTC, each episode once, its evidence counted.

    Raises:
        InvalidInput: the first field found to break a limit.
    """
    checked = _admit_fields(knowledge, limits)
    supporting, contradicting = checked.supporting_episodes, checked.contradicting_episodes
    _check_sides(supporting, contradicting, limits)
    if checked.origin is Origin.LEARNED and len(set(supporting)) < LEAST_SUPPORTERS:
        problem = f"must name at least {LEAST_SUPPORTERS} distinct episodes for learned knowledge, names {len(set(supporting))}"
        raise InvalidInput("supporting_episodes", problem)
    distinct = tuple(dict.fromkeys(supporting)), tuple(dict.fromkeys(contradicting))
    observed = len(distinct[0]) + len(distinct[1]) + checked.times_applied
    return replace(checked, supporting_episodes=distinct[0], contradicting_episodes=distinct[1], evidence_count=observed)


def admit_change(before: Knowledge, changed: Knowledge, limits: Limits) -> Knowledge:
    """The changed piece as it may be stored: one made active again begins anew, one that is not has a reason.

    Raises:
        InvalidInput: the first field found to break a limit.
    """
    checked = _admit_fields(changed, limits)
    if checked.is_active:
        was_off = not before.is_active
        return replace(
            checked,
            inactive_reason=None,
            applied_when_activated=before.times_applied if was_off else before.applied_when_activated,
        )
    return replace(checked, inactive_reason=checked.inactive_reason or BY_HAND)


def applied(knowledge: Knowledge, success: Success, episode_id: UUID | None, most_episodes: int) -> Knowledge:
    """The piece after one more application (pure). Of the episodes on each side, the newest `most_episodes` stay."""
    is_success = success is Success.SUCCESS
    side = "supporting_episodes" if is_success else "contradicting_episodes"
    confidence = moved(knowledge.confidence, knowledge.evidence_count, supporting=is_success, contradicting=not is_success)
    counted = replace(
        knowledge,
        times_applied=knowledge.times_applied + 1,
        success_count=knowledge.success_count + is_success,
        failure_count=knowledge.failure_count + (not is_success),
        confidence=confidence,
        evidence_count=knowledge.evidence_count + 1,
    )
    episodes = _with(getattr(knowledge, side), () if episode_id is None else (episode_id,), most_episodes)
    return replace(counted, supporting_episodes=episodes) if is_success else replace(counted, contradicting_episodes=episodes)


def judged(knowledge: Knowledge, policy: SuccessPolicy) -> Knowledge:
    """The piece, retired if it fails too often."""
    since = knowledge.times_applied - knowledge.applied_when_activated
    counts = knowledge.success_count, knowledge.failure_count
    if not knowledge.is_active or not is_given_up(*counts, since_activation=since, policy=policy):
        return knowledge
    return replace(knowledge, is_active=False, inactive_reason=f"retired: {verdict(*counts, policy)}")


def backed(knowledge: Knowledge, supporting: Sequence[UUID], contradicting: Sequence[UUID], most_episodes: int) -> Knowledge:
    """The piece with further evidence; episodes that are on their side already change nothing.

    Raises:
        InvalidInput: an episode stands on the other side.
    """
    _refuse_other_side("supporting_episodes", supporting, knowledge.contradicting_episodes, "contradicts")
    _refuse_other_side("contradicting_episodes", contradicting, knowledge.supporting_episodes, "supports")
    new_for = len(set(supporting) - set(knowledge.supporting_episodes))
    new_against = len(set(contradicting) - set(knowledge.contradicting_episodes))
    return replace(
        knowledge,
        supporting_episodes=_with(knowledge.supporting_episodes, supporting, most_episodes),
        contradicting_episodes=_with(knowledge.contradicting_episodes, contradicting, most_episodes),
        confidence=moved(knowledge.confidence, knowledge.evidence_count, supporting=new_for, contradicting=new_against),
        evidence_count=knowledge.evidence_count + new_for + new_against,
    )


def ended(knowledge: Knowledge, successor: UUID, at: datetime) -> Knowledge:
    """The piece, superseded from `at` on; one that had ended before stays ended then.

    Raises:
        InvalidInput: it begins after `at`.
    """
    if knowledge.valid_from is not None and at < knowledge.valid_from:
        problem = f"must not be before that of what it supersedes, {knowledge.valid_from.isoformat()}"
        raise InvalidInput("valid_from", problem)
    until = at if knowledge.valid_to is None else min(knowledge.valid_to, at)
    return replace(knowledge, superseded_by=successor, valid_to=until)


async def missing(reader: EpisodicReader, namespace: str, episode_ids: Sequence[UUID]) -> list[UUID]:
    """Those of these episodes that are not in the namespace, in order."""
    there = await reader.existing(RecordKind.EPISODE, namespace, episode_ids) if episode_ids else frozenset()
    return [i for i in dict.fromkeys(episode_ids) if i not in there]


def _admit_fields(knowledge: Knowledge, limits: Limits) -> Knowledge:
    check_scope(knowledge.scope, limits)
    check_text("description", knowledge.description, limits.message_bytes)
    check_document("content", knowledge.content, max_bytes=limits.document_bytes, max_depth=limits.document_depth)
    _check_conditions(knowledge.kind, knowledge.content)
    _check_confidence(knowledge.confidence)
    if knowledge.inactive_reason is not None:
        check_text("inactive_reason", knowledge.inactive_reason, limits.message_bytes)
    valid_from, valid_to = _time("valid_from", knowledge.valid_from, limits), _time("valid_to", knowledge.valid_to, limits)
    if valid_from is not None and valid_to is not None and valid_to < valid_from:
        raise InvalidInput("valid_to", "must not be before valid_from")
    return replace(knowledge, valid_from=valid_from, valid_to=valid_to)


def _check_conditions(kind: KnowledgeKind, content: Json) -> None:
    """A fact holds or does not; what its content calls conditions is its own matter."""
    if kind is not KnowledgeKind.FACT:
        conditions_of(content)


def _check_confidence(confidence: float) -> None:
    if not 0.0 <= confidence <= 1.0:
        raise InvalidInput("confidence", f"must be between 0 and 1, is {confidence}")


def _time(field: str, moment: datetime | None, limits: Limits) -> datetime | None:
    return None if moment is None else check_time(field, moment, limits, None)


def _check_sides(supporting: Sequence[UUID], contradicting: Sequence[UUID], limits: Limits, *, least: int = 0) -> None:
    for field, episodes in (("supporting_episodes", supporting), ("contradicting_episodes", contradicting)):
        if len(episodes) > limits.evidence_episodes:
            raise InvalidInput(field, f"must name at most {limits.evidence_episodes} episodes, names {len(episodes)}")
    if len(supporting) + len(contradicting) < least:
        raise InvalidInput("supporting_episodes", f"must name at least {least} episode, or contradicting_episodes must")
    _refuse_other_side("contradicting_episodes", contradicting, supporting, "supports")


def _refuse_other_side(field: str, episodes: Sequence[UUID], others: Collection[UUID], verb: str) -> None:
    for place, episode_id in enumerate(episodes):
        if episode_id in others:
            raise InvalidInput(f"{field}[{place}]", f"episode {episode_id} {verb} it already: it cannot be on both sides")


def _with(episodes: tuple[UUID, ...], further: Sequence[UUID], most: int) -> tuple[UUID, ...]:
    return tuple(dict.fromkeys((*episodes, *further)))[-most:]


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


async def _successor(tx: EpisodicWriter, before: Knowledge, successor_id: UUID) -> Knowledge:
    """The piece that may supersede this one; nobody links either of them until the transaction ends."""
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


async def _line(tx: EpisodicWriter, start: Knowledge, link: Callable[[Knowledge], UUID | None]) -> set[UUID]:
    """The ids that one comes to from a piece by following a link, and its own; each of them locked."""
    seen, following = {start.id}, link(start)
    while following is not None and following not in seen:
        seen.add(following)
        piece = await tx.knowledge(start.scope.namespace, following)
        following = None if piece is None else link(piece)
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
