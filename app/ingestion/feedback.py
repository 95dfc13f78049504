"""Feedback on recalled records: stored as it was given, and felt by the next search."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final, TypedDict
from uuid import UUID

import structlog

from app.errors import InvalidInput, NotFound, TierUnavailable
from app.ingestion.limits import Limits, check_kinds, check_scope, check_text
from app.observability import FEEDBACK_GIVEN
from app.ports import (
    Clock,
    EpisodicMemory,
    EpisodicWriter,
    NamedRecord,
    OutboxEntry,
    OutboxOp,
    SemanticMemory,
    WorkingMemory,
)
from app.records import Feedback, RecordKind, Scope, SessionKey, Standing, Verdict, derived_uuid, new_id

log = structlog.get_logger(__name__)

_UNINDEXED: Final = 10_000
"""Messages that are looked through for one that was just said, the newest first."""


class FeedbackFields(TypedDict, total=False):
    """What may be said beside a verdict: of what kind the record is, what it was recalled for, and why."""

    kind: RecordKind | None
    query: str | None
    note: str | None


@dataclass(frozen=True, slots=True)
class FeedbackDraft:
    """What a caller makes of a record. `scope` is whose feedback it is; its session is that of a message it is about."""

    scope: Scope
    record_id: UUID
    verdict: Verdict
    kind: RecordKind | None = None
    query: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Draining:
    """How what is only buffered or logged gets into Postgres, where it can be judged."""

    session: Callable[[SessionKey], Awaitable[object]]
    episode: Callable[[str, UUID], Awaitable[object]]


class FeedbackIngestion:
    """Takes feedback.

    It is a row beside its record, and goes with it. What all of it adds up to is part of the record's point: it is written
    there at once, without embedding anything, and again whenever the record is indexed.
    """

    def __init__(
        self, working: WorkingMemory, episodic: EpisodicMemory, semantic: SemanticMemory, *,
        draining: Draining, limits: Limits, clock: Clock,
    ) -> None:  # fmt: skip
        self._working = working
        self._episodic = episodic
        self._semantic = semantic
        self._draining = draining
        self._limits = limits
        self._clock = clock

    async def record(self, draft: FeedbackDraft, *, call: UUID | None = None) -> Feedback:
        """Store the feedback, and bring what was said about its record by now into the index.

        A message's id is its session's: with `scope.session_id` only that session is looked into. Of a `call` that was made
        before nothing is stored again.

        Raises:
            InvalidInput: a field breaks a limit, or the id alone does not say which record is meant.
            NotFound: no such record in this namespace.
            TierUnavailable: Postgres is away, or Redis that may hold the record; nothing was stored.
        """
        self._check(draft)
        if draft.kind in {None, RecordKind.EPISODE}:
            await self._draining.episode(draft.scope.namespace, draft.record_id)
        try:
            feedback, standing = await self._store(draft, call)
        except NotFound as unknown:
            await self._drain_message(draft, unknown)
            feedback, standing = await self._store(draft, call)
        if standing is not None:
            FEEDBACK_GIVEN.labels(feedback.verdict.value).inc()
            await self._judge(feedback, standing)
        return feedback

    def _check(self, draft: FeedbackDraft) -> None:
        check_scope(draft.scope, self._limits)
        if draft.kind is not None:
            check_kinds("kind", [draft.kind])
        if draft.query is not None:
            check_text("query", draft.query, self._limits.query_bytes)
        if draft.note is not None:
            check_text("note", draft.note, self._limits.metadata_bytes)

    async def _drain_message(self, draft: FeedbackDraft, unknown: NotFound) -> None:
        """Drain the session of a message that was said a moment ago."""
        if draft.kind not in {None, RecordKind.MESSAGE}:
            raise unknown
        scope = Scope(draft.scope.namespace, session_id=draft.scope.session_id)
        buffered = await self._working.unindexed(scope, _UNINDEXED)
        sessions = {message.session for message in buffered if message.id == draft.record_id}
        if not sessions:
            raise unknown
        for session in sorted(sessions):
            await self._draining.session(session)

    async def _store(self, draft: FeedbackDraft, call: UUID | None) -> tuple[Feedback, Standing | None]:
        """The feedback, and what was said about its record by now; None when nothing was said that is new."""
        async with self._episodic.writing() as tx:
            await tx.share_namespace(draft.scope.namespace)
            feedback = self._feedback(draft, await _meant(tx, draft), call)
            if not await tx.insert_feedback([feedback]):
                return await tx.feedback(draft.scope.namespace, feedback.id) or feedback, None
            # Before adding up: whoever judges the same record at the same time waits here, and then counts this in.
            await tx.enqueue([OutboxEntry(OutboxOp.UPSERT, feedback.kind, draft.scope.namespace, feedback.record_uid)])
            standings = await tx.standings([feedback.record_uid], feedback.created_at)
            return feedback, standings[feedback.record_uid]

    def _feedback(self, draft: FeedbackDraft, record: NamedRecord, call: UUID | None) -> Feedback:
        return Feedback(
            id=new_id() if call is None else derived_uuid("feedback", str(call)),
            scope=replace(draft.scope, session_id=record.session_id or draft.scope.session_id),
            kind=record.kind,
            record_id=draft.record_id,
            record_uid=record.uid,
            verdict=draft.verdict,
            created_at=self._clock(),
            query=draft.query,
            note=draft.note,
        )

    async def _judge(self, feedback: Feedback, standing: Standing) -> None:
        """What the index is not told now it is told from the outbox."""
        try:
            await self._semantic.judge(feedback.record_uid, standing)
            if feedback.kind is RecordKind.EPISODE:
                async with self._episodic.writing() as tx:
                    await tx.renew_episode_generation(feedback.scope.namespace)
        except TierUnavailable as error:
            log.warning("judgement_delayed", problem=error.problem)


async def _meant(tx: EpisodicWriter, draft: FeedbackDraft) -> NamedRecord:
    """The one record that the draft names.

    Raises:
        InvalidInput: there are several.
        NotFound: there is none.
    """
    named = await tx.hold_records(draft.scope.namespace, draft.record_id, kind=draft.kind)
    found = [record for record in named if draft.scope.session_id is None or record.session_id in {None, draft.scope.session_id}]
    if not found:
        raise NotFound(draft.kind.value if draft.kind else "record", str(draft.record_id))
    if len({record.kind for record in found}) > 1:
        raise InvalidInput("kind", f"must be given: {' and '.join(record.kind.value for record in found)} have this id")
    if len(found) > 1:
        raise InvalidInput("session_id", f"must be given: {len(found)} sessions have a message of this id")
    return found[0]
