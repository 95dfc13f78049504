"""`HybridMemoryService`: the façade over the three tiers. It holds no policy; every method delegates."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Final, TypeVar
from uuid import UUID

from app.breakers import BreakerState
from app.consolidation.forget import Forgetting
from app.consolidation.reconcile import Reconcile
from app.consolidation.run import Consolidation, ConsolidationStatus, Progress
from app.errors import HybridMemoryError, NotFound, VersionMismatch
from app.ingestion.episode_log import EpisodeLog
from app.ingestion.episodes import RecordIngestion
from app.ingestion.limits import Limits, check_count, check_label, check_query, check_scope
from app.ingestion.messages import MessageIngestion
from app.ingestion.sessions import SessionIngestion
from app.ports import AnswerStore, EpisodicMemory, OutboxEntry, Pingable, SessionRecord
from app.records import (
    AppendReceipt,
    AssembledContext,
    Draft,
    Episode,
    EpisodeKind,
    EpisodeReceipt,
    EpisodeStep,
    ForgetReceipt,
    ImportReport,
    Json,
    Knowledge,
    KnowledgeKind,
    Message,
    Query,
    RecentContext,
    Recollection,
    Reconciliation,
    RecordKind,
    RunReport,
    Scope,
    SessionKey,
    SessionState,
    Success,
    Tier,
    TierHealth,
    Wait,
    derived_uuid,
    utc_now,
)
from app.retrieval.assembly import ContextAssembly
from app.retrieval.episodes import EpisodeReader
from app.retrieval.recall import Recall
from app.retrieval.recent import SessionReader
from app.retrieval.surroundings import Surroundings
from app.transfer.backups import Backups
from app.transfer.backups import Progress as FileProgress
from app.transfer.exporting import Exporting
from app.transfer.importing import Importing

T = TypeVar("T")

_PING_SECONDS: Final = 2.0
_INDEX_WAIT: Final = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Parts:
    """What the façade is made of; put together in `bootstrap`."""

    messages: MessageIngestion
    records: RecordIngestion
    episode_log: EpisodeLog
    sessions: SessionIngestion
    session_reader: SessionReader
    episode_reader: EpisodeReader
    recall: Recall
    surroundings: Surroundings
    context: ContextAssembly
    consolidation: Consolidation
    forgetting: Forgetting
    reconcile: Reconcile
    answers: AnswerStore
    backups: Backups
    exporting: Exporting
    importing: Importing
    episodic: EpisodicMemory
    dependencies: Mapping[str, Pingable]
    breakers: Mapping[str, Callable[[], BreakerState]]
    limits: Limits
    call_ttl: timedelta


class HybridMemoryService:
    """The memory of agents: append, recall, consolidate, forget.

    Methods raise `InvalidInput` for what breaks a limit, `NotFound` for what is not in the caller's namespace, and
    `TierUnavailable` when the tiers an answer needs are away; further errors are listed where they occur.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    # ── messages and sessions ─────────────────────────────────────────────────────────────────────────────────────

    async def append_messages(self, scope: Scope, drafts: Sequence[Draft], *, wait: Wait = Wait.NONE) -> AppendReceipt:
        """Append to `scope.session_id`, all or none. On return the messages survive the death of any process.

        `wait` also drains the session into Postgres, or goes on until the messages are indexed; how far it came is
        in `stored_in`.

        Raises:
            Conflict: an id is taken by other content in this session; nothing was written.
        """
        receipt = await self._parts.messages.append(scope, drafts)
        return receipt if wait is Wait.NONE else await self._carry_on(scope, receipt, wait)

    async def _carry_on(self, scope: Scope, receipt: AppendReceipt, wait: Wait) -> AppendReceipt:
        session = _session_key(scope)
        try:
            await self._parts.consolidation.drain_session(session)
            receipt = replace(receipt, stored_in=Tier.EPISODIC)
            if wait is Wait.INDEXED and await self._parts.consolidation.index_messages(session, receipt, _INDEX_WAIT):
                return replace(receipt, stored_in=Tier.SEMANTIC)
        except HybridMemoryError:
            # Acknowledged already: the caller learns from `stored_in` how far it came, and the jobs do the rest.
            return replace(receipt, degraded=(*receipt.degraded, "consolidation"))
        return receipt

    async def fetch_recent_context(self, scope: Scope, *, limit: int = 50, budget_tokens: int | None = None) -> RecentContext:
        """The newest messages of the session in order, cut from the oldest side to the budget."""
        self._check(scope, limit=limit)
        if budget_tokens is not None:
            check_count("budget_tokens", budget_tokens, self._parts.limits.context_tokens)
        return await self._parts.session_reader.recent(_session_key(scope), limit, budget_tokens)

    async def fetch_history(
        self, scope: Scope, *, after: int = 0, limit: int = 100
    ) -> tuple[tuple[Message, ...], tuple[str, ...]]:
        """The session's messages above sequence `after`, in order, drained or not; and the tiers that were away."""
        self._check(scope, limit=limit)
        return await self._parts.session_reader.history(_session_key(scope), after=after, limit=limit)

    async def load_session(self, scope: Scope) -> SessionRecord:
        """The session and its newest state."""
        return await self._parts.sessions.load(_session_key(scope))

    async def save_session_state(self, scope: Scope, state: SessionState, *, expected_version: int | None = None) -> int:
        """Replace the session's state; returns its version.

        Raises:
            VersionMismatch: the state is not at `expected_version` (0: none was saved yet).
        """
        return await self._parts.sessions.save_state(_session_key(scope), state, expected_version=expected_version)

    async def change_session_state(
        self, scope: Scope, change: Callable[[SessionState], SessionState], *, expected_version: int | None = None
    ) -> int:
        """Save what `change` makes of the session's state; of several changes at once none is lost. Returns the version.

        Raises:
            VersionMismatch: the state is not at `expected_version`.
        """
        return await self._parts.sessions.change_state(_session_key(scope), change, expected_version=expected_version)

    async def end_session(self, scope: Scope, *, expected_version: int | None = None) -> None:
        """Drain the session, close its episode and mark it ended; nothing is lost.

        Raises:
            VersionMismatch: the session's state is not at `expected_version`.
        """
        session = _session_key(scope)
        record = await self._parts.sessions.load(session)
        if expected_version not in {None, record.state.version}:
            raise VersionMismatch("state", record.state.version)
        await self._parts.consolidation.end_session(session)

    async def write_scratchpad(self, scope: Scope, key: str, value: object) -> None:
        """Keep any JSON value under `key` for as long as the session stays warm."""
        await self._parts.sessions.write_scratch(_session_key(scope), key, value)

    async def read_scratchpad(self, scope: Scope) -> Mapping[str, object]:
        """The session's whole scratchpad; empty when there is none."""
        return await self._parts.sessions.read_scratch(_session_key(scope))

    async def delete_scratchpad(self, scope: Scope, key: str) -> None:
        await self._parts.sessions.delete_scratch(_session_key(scope), key)

    # ── episodes and knowledge ────────────────────────────────────────────────────────────────────────────────────

    # A `call` names the call that asks for a change: repeated under the same name, it changes nothing more.

    async def store_episode(
        self, episode: Episode, steps: Sequence[Json] = (), *, wait: Wait = Wait.STORED, call: UUID | None = None
    ) -> EpisodeReceipt:
        """Store a decision, negotiation or task with its first steps; the receipt says where it is.

        Without a wait it is logged in Redis and drained soon; else it goes to Postgres, or on until it is indexed. While
        Postgres is away it is logged in either case.

        Raises:
            Conflict: the id is taken by another episode; nothing was written.
        """
        receipt = await self._parts.episode_log.store(episode, steps, wait, call=call)
        return await self._index_episode(receipt) if wait is Wait.INDEXED else receipt

    async def _index_episode(self, receipt: EpisodeReceipt) -> EpisodeReceipt:
        if receipt.stored_in is not Tier.EPISODIC:
            return receipt
        try:
            is_indexed = await self._parts.consolidation.index([receipt.episode.uid], _INDEX_WAIT)
        except HybridMemoryError:  # acknowledged already, as in `_carry_on`
            return replace(receipt, degraded=(*receipt.degraded, "consolidation"))
        return replace(receipt, stored_in=Tier.SEMANTIC) if is_indexed else receipt

    async def get_episode(self, namespace: str, episode_id: UUID) -> Episode:
        """The episode, drained or not."""
        check_label("namespace", namespace, self._parts.limits)
        return await self._parts.episode_reader.one(namespace, episode_id)

    async def list_episodes(
        self, scope: Scope, *, kind: EpisodeKind | None = None, before: UUID | None = None, limit: int = 50
    ) -> tuple[Episode, ...]:
        """Newest first; `before` is the last id of the page before."""
        self._check(scope, limit=limit)
        async with self._parts.episodic.reading() as reader:
            return await reader.list_episodes(scope, kind=kind, before=before, limit=limit)

    async def change_episode(
        self, namespace: str, episode_id: UUID, change: Callable[[Episode], Episode], *, expected_version: int | None = None
    ) -> Episode:
        """Store what `change` makes of the episode; it is indexed again in the background. Identity and span stay.

        Raises:
            VersionMismatch: the episode is not at `expected_version`.
        """
        return await self._parts.records.change_episode(namespace, episode_id, change, expected_version=expected_version)

    async def record_outcome(
        self, namespace: str, episode_id: UUID, outcome: Json, outcome_quality: float | None = None, *, call: UUID | None = None
    ) -> Episode:
        """Say how an episode turned out; replaces what was said before."""
        await self._parts.consolidation.store_logged_episode(namespace, episode_id)
        return await self._parts.records.record_outcome(namespace, episode_id, outcome, outcome_quality, call=call)

    async def append_steps(
        self, namespace: str, episode_id: UUID, steps: Sequence[Json], *, call: UUID | None = None
    ) -> tuple[EpisodeStep, ...]:
        await self._parts.consolidation.store_logged_episode(namespace, episode_id)
        return await self._parts.records.append_steps(namespace, episode_id, steps, call=call)

    async def list_steps(self, namespace: str, episode_id: UUID, *, after: int = -1, limit: int = 100) -> tuple[EpisodeStep, ...]:
        """Steps with an index above `after`, in order."""
        check_count("limit", limit, self._parts.limits.results)
        await self._parts.consolidation.store_logged_episode(namespace, episode_id)
        await self.get_episode(namespace, episode_id)
        async with self._parts.episodic.reading() as reader:
            return await reader.steps(episode_id, after=after, limit=limit)

    async def delete_episode(self, namespace: str, episode_id: UUID, *, expected_version: int | None = None) -> None:
        await self._parts.consolidation.store_logged_episode(namespace, episode_id)
        await self._parts.records.delete(RecordKind.EPISODE, namespace, episode_id, expected_version=expected_version)

    async def upsert_vector(
        self, scope: Scope, text: str, *, record_id: UUID | None = None,
        kind: KnowledgeKind = KnowledgeKind.FACT, content: Json | None = None,
    ) -> Knowledge:  # fmt: skip
        """Remember a text by its meaning, at once: stored as knowledge in Postgres, then indexed before returning.

        With `record_id` an earlier text of the same namespace is replaced. Without, the same text in the same scope
        is remembered once. The index holds nothing that is not in Postgres: it can always be rebuilt.
        """
        identity = record_id or derived_uuid("knowledge", *(p or "" for p in _scope_parts(scope)), text)
        knowledge = Knowledge(id=identity, kind=kind, scope=scope, description=text, created_at=utc_now(), content=content or {})
        stored = await self.store_knowledge(knowledge)
        await self._parts.consolidation.index([stored.uid], _INDEX_WAIT)
        return stored

    async def store_knowledge(self, knowledge: Knowledge, *, call: UUID | None = None) -> Knowledge:
        """Store a piece of knowledge, replacing one with the same id; it is indexed in the background."""
        return await self._parts.records.store_knowledge(knowledge, call=call)

    async def change_knowledge(
        self, namespace: str, knowledge_id: UUID, change: Callable[[Knowledge], Knowledge], *,
        expected_version: int | None = None,
    ) -> Knowledge:  # fmt: skip
        """Store what `change` makes of the knowledge; it is indexed again in the background. Identity and counts stay.

        Raises:
            VersionMismatch: the knowledge is not at `expected_version`.
        """
        return await self._parts.records.change_knowledge(namespace, knowledge_id, change, expected_version=expected_version)

    async def apply_knowledge(
        self, namespace: str, knowledge_id: UUID, success: Success, *, episode_id: UUID | None = None, call: UUID | None = None
    ) -> Knowledge:
        """Count one application of the knowledge and how it went; the episode in which it happened becomes evidence."""
        return await self._parts.records.apply_knowledge(namespace, knowledge_id, success, episode_id=episode_id, call=call)

    async def get_knowledge(self, namespace: str, knowledge_id: UUID) -> Knowledge:
        check_label("namespace", namespace, self._parts.limits)
        async with self._parts.episodic.reading() as reader:
            knowledge = await reader.knowledge(namespace, knowledge_id)
        return _found("knowledge", knowledge_id, knowledge)

    async def list_knowledge(
        self, scope: Scope, *, kind: KnowledgeKind | None = None, before: UUID | None = None, limit: int = 50
    ) -> tuple[Knowledge, ...]:
        """Newest first; `before` is the last id of the page before."""
        self._check(scope, limit=limit)
        async with self._parts.episodic.reading() as reader:
            return await reader.list_knowledge(scope, kind=kind, before=before, limit=limit)

    async def delete_knowledge(self, namespace: str, knowledge_id: UUID, *, expected_version: int | None = None) -> None:
        await self._parts.records.delete(RecordKind.KNOWLEDGE, namespace, knowledge_id, expected_version=expected_version)

    # ── recall ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def search(self, query: Query) -> Recollection:
        """The best hits of all tiers, also of what was said a moment ago; tiers that were away are in `degraded`."""
        checked = check_query(query, self._parts.limits)
        return await self._parts.surroundings.added(checked, await self._parts.recall.recall(checked))

    async def recall_similar_situations(self, text: str, scope: Scope, *, limit: int = 5) -> Recollection:
        """Episodes like the situation described, best first."""
        return await self.search(Query(text=text, scope=scope, kinds=(RecordKind.EPISODE,), limit=limit))

    async def assemble_context(self, query: Query, *, budget_tokens: int) -> AssembledContext:
        """Text for a prompt: state and recent messages of the query's session, knowledge, episodes, recalled messages.

        Never over the budget. Messages are recalled from the whole namespace, not only from the session.
        """
        check_count("budget_tokens", budget_tokens, self._parts.limits.context_tokens)
        checked = check_query(query, self._parts.limits)
        session = None if query.scope.session_id is None else _session_key(query.scope)
        wide = replace(checked, scope=replace(checked.scope, session_id=None))
        return await self._parts.context.assemble(wide, session, budget_tokens)

    # ── operations ────────────────────────────────────────────────────────────────────────────────────────────────

    async def consolidate(self, scope: Scope | None = None, *, progress: Progress | None = None) -> RunReport:
        """Run consolidation until nothing is left to do: for all, a namespace, or one session."""
        if scope is None:
            return await self._parts.consolidation.run(progress=progress)
        check_scope(scope, self._parts.limits)
        session = None if scope.session_id is None else _session_key(scope)
        return await self._parts.consolidation.run(namespace=scope.namespace, session=session, progress=progress)

    async def reconcile(self, *, is_repair: bool = False, namespace: str | None = None) -> Reconciliation:
        """Compare the index with Postgres record by record; with `is_repair` queue what is wrong for the indexer.

        Everything, or a namespace. One that was interrupted is gone on with.

        Raises:
            Conflict: one is running.
            EmbedderUnavailable: no provider has answered yet, so that the right space is not known.
        """
        if namespace is not None:
            check_label("namespace", namespace, self._parts.limits)
        return await self._parts.reconcile.run(is_repair=is_repair, namespace=namespace)

    async def reconcile_when_due(self, every: timedelta) -> Reconciliation | None:
        """Repair the index if that was last done `every` ago, or the embedding model is another one; None if not."""
        return await self._parts.reconcile.run_when_due(every)

    async def list_reconciliations(self, limit: int = 20) -> tuple[Reconciliation, ...]:
        """The newest comparisons of the index with Postgres, newest first; one of them may be running."""
        check_count("limit", limit, self._parts.limits.results)
        return await self._parts.reconcile.runs(limit)

    async def forget(self, scope: Scope) -> ForgetReceipt:
        """Remove a session, or a whole namespace, from all three tiers; the receipt says what a second look found."""
        check_scope(scope, self._parts.limits)
        await self._parts.answers.forget(scope.namespace)  # they may quote what is to be forgotten
        return await self._parts.forgetting.forget(scope)

    async def retire_sessions(self) -> int:
        """Drop the archived state of sessions past their retention; returns how many."""
        return await self._parts.consolidation.retire_sessions()

    async def retire_calls(self) -> int:
        """Drop the notes of named calls whose names have expired; returns how many."""
        return await self._parts.records.retire_calls(utc_now() - self._parts.call_ttl)

    async def status(self) -> ConsolidationStatus:
        """What waits where, and how far the index is from the truth."""
        return await self._parts.consolidation.status()

    async def list_runs(self, limit: int = 20) -> tuple[RunReport, ...]:
        """The newest consolidation runs, newest first."""
        check_count("limit", limit, self._parts.limits.results)
        async with self._parts.episodic.reading() as reader:
            return await reader.runs(limit)

    async def list_outbox(self, *, is_dead: bool | None = None, limit: int = 100) -> tuple[OutboxEntry, ...]:
        check_count("limit", limit, self._parts.limits.results)
        async with self._parts.episodic.reading() as reader:
            return await reader.list_outbox(is_dead=is_dead, limit=limit)

    async def retry_dead_letters(self, ids: Sequence[int] | None = None) -> int:
        """Make dead letters due again (all, or these); returns how many."""
        async with self._parts.episodic.writing() as tx:
            return await tx.retry_dead(ids, utc_now())

    def backup(self) -> AsyncGenerator[bytes, None]:
        """The bytes of a backup, in portions; nothing acknowledged before the call is missing from it."""
        return self._parts.backups.stream()

    async def restore(self, path: Path, progress: FileProgress | None = None) -> Mapping[str, int]:
        """Fill this empty installation with a backup, all of it or nothing; returns the rows of each table.

        Raises:
            Conflict: the installation is not empty.
        """
        return await self._parts.backups.restore(path, progress)

    def export(self, namespace: str) -> AsyncGenerator[bytes, None]:
        """A namespace as JSON Lines, in portions; nothing acknowledged before the call is missing from it."""
        return self._parts.exporting.stream(namespace)

    async def import_file(self, path: Path, namespace: str, progress: FileProgress | None = None) -> ImportReport:
        """Take what `export` wrote into a namespace; what is there already is left as it is.

        Raises:
            Conflict: an id stands for something else already; nothing was written.
        """
        return await self._parts.importing.run_file(path, namespace, progress)

    async def health(self) -> tuple[TierHealth, ...]:
        """A ping to every dependency, at once."""
        pings = (_ping(name, dependency) for name, dependency in self._parts.dependencies.items())
        breakers = self._parts.breakers
        return tuple(replace(tier, breaker=breakers[tier.name]().label) for tier in await asyncio.gather(*pings))

    def _check(self, scope: Scope, *, limit: int) -> None:
        check_scope(scope, self._parts.limits)
        check_count("limit", limit, self._parts.limits.results)


async def _ping(name: str, dependency: Pingable) -> TierHealth:
    started = time.perf_counter()
    try:
        detail = await asyncio.wait_for(dependency.ping(), _PING_SECONDS)
        is_up = True
    except (HybridMemoryError, TimeoutError) as error:
        detail, is_up = str(error) or f"no answer within {_PING_SECONDS:g} s", False
    return TierHealth(name, is_up, (time.perf_counter() - started) * 1e3, detail)


def _session_key(scope: Scope) -> SessionKey:
    check_label("session_id", scope.session_id or "", Limits())
    return SessionKey(scope.namespace, scope.session_id or "")


def _scope_parts(scope: Scope) -> tuple[str | None, ...]:
    return (scope.namespace, scope.user_id, scope.agent_id, scope.session_id, scope.project_id)


def _found(kind: str, record_id: UUID, record: T | None) -> T:
    if record is None:
        raise NotFound(kind, str(record_id))
    return record
