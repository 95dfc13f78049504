"""The façade: knowledge, what it is worth, and which of it helps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

from app.ingestion.limits import check_count, check_label
from app.learning.strategies import LEARNABLE, LearnedStrategies, Situation
from app.records import (
    Json,
    Knowledge,
    KnowledgeCriteria,
    KnowledgeHistory,
    KnowledgeKind,
    RecordKind,
    Scope,
    Success,
    derived_uuid,
    utc_now,
)
from app.service.parts import INDEX_WAIT, Side, found, scope_parts


class Knowing(Side):
    """Store, back, apply, supersede and find what is known."""

    # A `call` names the call that asks for a change: repeated under the same name, it changes nothing more.

    async def upsert_vector(
        self, scope: Scope, text: str, *, record_id: UUID | None = None,
        kind: KnowledgeKind = KnowledgeKind.FACT, content: Json | None = None,
    ) -> Knowledge:  # fmt: skip
        """Remember a text by its meaning, at once: stored as knowledge in Postgres, then indexed before returning.

        With `record_id` an earlier text of the same namespace is replaced. Without, the same text in the same scope
        is remembered once. The index holds nothing that is not in Postgres: it can always be rebuilt.
        """
        identity = record_id or derived_uuid("knowledge", *(p or "" for p in scope_parts(scope)), text)
        knowledge = Knowledge(id=identity, kind=kind, scope=scope, description=text, created_at=utc_now(), content=content or {})
        stored = await self.store_knowledge(knowledge)
        await self._parts.consolidation.index([stored.uid], INDEX_WAIT)
        return stored

    async def store_knowledge(self, knowledge: Knowledge, *, call: UUID | None = None) -> Knowledge:
        """Store a piece of knowledge, replacing one with the same id; it is indexed in the background.

        What was learned names at least three episodes that support it; all that are named have to be there.
        """
        await self._settle(knowledge.scope.namespace, knowledge.supporting_episodes, knowledge.contradicting_episodes)
        return await self._parts.knowledge.store(knowledge, call=call)

    async def change_knowledge(
        self, namespace: str, knowledge_id: UUID, change: Callable[[Knowledge], Knowledge], *,
        expected_version: int | None = None,
    ) -> Knowledge:  # fmt: skip
        """Store what `change` makes of the knowledge; it is indexed again in the background.

        Identity, counts and evidence stay. With `is_active` it is taken out of recall, and back into it.

        Raises:
            VersionMismatch: the knowledge is not at `expected_version`.
            Conflict: it is superseded already.
        """
        return await self._parts.knowledge.change(namespace, knowledge_id, change, expected_version=expected_version)

    async def apply_knowledge(
        self, namespace: str, knowledge_id: UUID, success: Success, *, episode_id: UUID | None = None, call: UUID | None = None
    ) -> Knowledge:
        """Count one application of the knowledge and how it went; the episode in which it happened becomes evidence.

        What fails too often is retired: no longer active, with the reason.
        """
        await self._settle(namespace, () if episode_id is None else (episode_id,))
        return await self._parts.knowledge.apply(namespace, knowledge_id, success, episode_id=episode_id, call=call)

    async def add_evidence(
        self, namespace: str, knowledge_id: UUID, *,
        supporting_episodes: Sequence[UUID] = (), contradicting_episodes: Sequence[UUID] = (), call: UUID | None = None,
    ) -> Knowledge:  # fmt: skip
        """Name further episodes that support or contradict the knowledge; its confidence follows."""
        await self._settle(namespace, supporting_episodes, contradicting_episodes)
        return await self._parts.knowledge.add_evidence(
            namespace, knowledge_id, supporting=supporting_episodes, contradicting=contradicting_episodes, call=call
        )

    async def supersede_knowledge(
        self, namespace: str, knowledge_id: UUID, successor: Knowledge, *, call: UUID | None = None
    ) -> Knowledge:
        """Say what holds instead, from `successor.valid_from` (now, if None) on; the older piece is kept and ends then.

        Raises:
            Conflict: it is superseded already; or the successor's id is taken.
        """
        await self._settle(namespace, successor.supporting_episodes, successor.contradicting_episodes)
        return await self._parts.knowledge.supersede(namespace, knowledge_id, successor, call=call)

    async def get_knowledge(self, namespace: str, knowledge_id: UUID) -> Knowledge:
        check_label("namespace", namespace, self._parts.limits)
        async with self._parts.episodic.reading() as reader:
            knowledge = await reader.knowledge(namespace, knowledge_id)
        return found("knowledge", knowledge_id, knowledge)

    async def get_knowledge_history(
        self, namespace: str, knowledge_id: UUID, *, after: int = 0, limit: int = 100
    ) -> KnowledgeHistory:
        """What superseded what, oldest first, and the changes of this piece with a number above `after`."""
        check_count("limit", limit, self._parts.limits.results)
        return await self._parts.knowledge.history(namespace, knowledge_id, after=after, limit=limit)

    async def list_knowledge(
        self, scope: Scope, *,
        kind: KnowledgeKind | None = None, before: UUID | None = None, limit: int = 50, as_of: datetime | None = None,
        include_superseded: bool = False, include_inactive: bool = False,
    ) -> tuple[Knowledge, ...]:  # fmt: skip
        """Newest first, of what holds at `as_of` (now, if None) and is active; `before` is the last id of the page before.

        `include_superseded` lists also what does not hold then, or no longer; `include_inactive` what is not recalled.
        """
        self._check(scope, limit=limit)
        moment = self._parts.knowledge.moment(as_of)
        criteria = KnowledgeCriteria(
            is_active=None if include_inactive else True, holds_at=None if include_superseded else moment
        )
        async with self._parts.episodic.reading() as reader:
            return await reader.list_knowledge(scope, kind=kind, before=before, limit=limit, criteria=criteria)

    async def get_learned_strategies(
        self, context: str | Json, scope: Scope | None = None, *, min_confidence: float | None = None,
        kinds: Sequence[KnowledgeKind] = LEARNABLE, limit: int = 10, as_of: datetime | None = None,
    ) -> LearnedStrategies:  # fmt: skip
        """What was learned that applies in a situation, the most promising first, each with why.

        A JSON context is held against the conditions of each piece, all of which must hold; a text is compared in meaning.
        `min_confidence` is 0.5 if None. Inactive knowledge, and what does not hold at `as_of` (now, if None), is left out.
        """
        asked = Situation(context, scope or Scope(), min_confidence, tuple(kinds), limit, as_of)
        return await self._parts.strategies.learned(asked)

    async def delete_knowledge(self, namespace: str, knowledge_id: UUID, *, expected_version: int | None = None) -> None:
        """What it superseded stays ended; its revisions go with it."""
        await self._parts.records.delete(RecordKind.KNOWLEDGE, namespace, knowledge_id, expected_version=expected_version)

    async def _settle(self, namespace: str, *sides: Sequence[UUID]) -> None:
        """Bring episodes that are only logged into Postgres; those that are nowhere are refused later."""
        named = [episode_id for side in sides for episode_id in side[: self._parts.limits.evidence_episodes]]
        for episode_id in await self._parts.knowledge.missing_episodes(namespace, named):
            await self._parts.consolidation.store_logged_episode(namespace, episode_id)
