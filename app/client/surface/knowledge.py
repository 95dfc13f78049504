"""Knowledge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack
from uuid import UUID

from app.client.answers import as_, nothing, page
from app.client.asking import Ask, Page, Pages, Paging, delete, get, patch, post
from app.client.fields import KnowledgeAsked, KnowledgeFields, KnowledgeRevision, NewKnowledge, StrategiesAsked
from app.client.learning import (
    LearnedStrategies,
    StoredKnowledge,
    knowledge,
    knowledge_history,
    learned_strategies,
    one_knowledge,
)
from app.client.surface.sessions import Version, if_match
from app.records import DEFAULT_NAMESPACE, Json, Knowledge, KnowledgeHistory, Revision, Success

_KNOWLEDGE = "/v1/knowledge/{knowledge_id}"


class KnowledgeCalls:
    """Calls about knowledge."""

    @post("/v1/knowledge")
    def store_knowledge(
        self, description: str, *, idempotency_key: str | None = None, **fields: Unpack[KnowledgeFields]
    ) -> Ask[StoredKnowledge]:
        """Store a fact, strategy, pattern, constraint or heuristic."""
        return Ask(one_knowledge, body={"description": description, **fields}, idempotency_key=idempotency_key)

    @get("/v1/knowledge")
    def list_knowledge(
        self, *, before: UUID | None = None, limit: int = 50, **asked: Unpack[KnowledgeAsked]
    ) -> Ask[Page[StoredKnowledge]]:
        """A page of knowledge, newest first; `next` is the `before` of the following one."""
        return Ask(page("knowledge", knowledge), params={**asked, "before": before, "limit": limit})

    @Pages
    def iter_knowledge(self, *, page_size: int = 200, **asked: Unpack[KnowledgeAsked]) -> Paging[StoredKnowledge]:
        """All knowledge asked for, newest first, fetched page by page."""
        return Paging(lambda before: KnowledgeCalls.list_knowledge.request(before=before, limit=page_size, **asked))

    @get(_KNOWLEDGE)
    def get_knowledge(self, knowledge_id: UUID, *, namespace: str = DEFAULT_NAMESPACE) -> Ask[StoredKnowledge]:
        """A piece of knowledge.

        Raises:
            NotFound: there is none in this namespace.
        """
        return Ask(one_knowledge, path={"knowledge_id": knowledge_id}, params={"namespace": namespace})

    @get(_KNOWLEDGE)
    def refresh_knowledge(self, known: Knowledge) -> Ask[Knowledge]:
        """The knowledge as it is now; `known` itself, and nothing sent but its version, where it did not change."""
        return Ask(
            lambda reply: known if reply.is_unchanged else one_knowledge(reply),
            path={"knowledge_id": known.id},
            params={"namespace": known.scope.namespace},
            headers={"If-None-Match": f'"{known.version}"'},
        )

    @patch(_KNOWLEDGE)
    def change_knowledge(
        self, knowledge_id: UUID, *, namespace: str = DEFAULT_NAMESPACE, if_version: Version | None = None,
        **changes: Unpack[KnowledgeRevision],
    ) -> Ask[StoredKnowledge]:  # fmt: skip
        """Change what is given, each field as a whole.

        Raises:
            VersionMismatch: it is not at `if_version`.
        """
        body = {"namespace": namespace, **changes}
        return Ask(one_knowledge, path={"knowledge_id": knowledge_id}, body=body, headers=if_match(if_version))

    @post(f"{_KNOWLEDGE}/applications")
    def apply_knowledge(
        self, knowledge_id: UUID, outcome: Success | str, *, namespace: str = DEFAULT_NAMESPACE,
        episode_id: UUID | None = None, idempotency_key: str | None = None,
    ) -> Ask[StoredKnowledge]:  # fmt: skip
        """Say that it was applied, and how that went; counted once a call."""
        body = {"namespace": namespace, "outcome": outcome, "episode_id": episode_id}
        return Ask(one_knowledge, path={"knowledge_id": knowledge_id}, body=body, idempotency_key=idempotency_key)

    @delete(_KNOWLEDGE)
    def delete_knowledge(
        self, knowledge_id: UUID, *, namespace: str = DEFAULT_NAMESPACE, if_version: Version | None = None
    ) -> Ask[None]:
        """Delete a piece of knowledge."""
        params = {"namespace": namespace}
        return Ask(nothing, path={"knowledge_id": knowledge_id}, params=params, headers=if_match(if_version))

    @post(f"{_KNOWLEDGE}/evidence")
    def add_evidence(
        self, knowledge_id: UUID, *, namespace: str = DEFAULT_NAMESPACE, supporting_episodes: Sequence[UUID | str] = (),
        contradicting_episodes: Sequence[UUID | str] = (), idempotency_key: str | None = None,
    ) -> Ask[StoredKnowledge]:  # fmt: skip
        """Name episodes that support or contradict it; the confidence follows."""
        sides = {"supporting_episodes": list(supporting_episodes), "contradicting_episodes": list(contradicting_episodes)}
        body = {"namespace": namespace, **sides}
        return Ask(one_knowledge, path={"knowledge_id": knowledge_id}, body=body, idempotency_key=idempotency_key)

    @post(f"{_KNOWLEDGE}/supersede")
    def supersede_knowledge(
        self, knowledge_id: UUID, description: str | None = None, *, namespace: str = DEFAULT_NAMESPACE,
        idempotency_key: str | None = None, **fields: Unpack[NewKnowledge],
    ) -> Ask[StoredKnowledge]:  # fmt: skip
        """Say what holds instead; returns the successor. The older piece is kept, and ends when the successor begins."""
        body = {"namespace": namespace, "description": description, **fields}
        return Ask(one_knowledge, path={"knowledge_id": knowledge_id}, body=body, idempotency_key=idempotency_key)

    @get(f"{_KNOWLEDGE}/history")
    def knowledge_history(
        self, knowledge_id: UUID, *, namespace: str = DEFAULT_NAMESPACE, after: int = 0, limit: int = 100
    ) -> Ask[KnowledgeHistory]:
        """What superseded what, and the changes of this piece after a revision."""
        params = {"namespace": namespace, "after": after, "limit": limit}
        return Ask(knowledge_history, path={"knowledge_id": knowledge_id}, params=params)

    @get(f"{_KNOWLEDGE}/history")
    def list_revisions(
        self, knowledge_id: UUID, *, namespace: str = DEFAULT_NAMESPACE, after: int = 0, limit: int = 100
    ) -> Ask[Page[Revision]]:
        """A page of its changes, in order; `next` is the `after` of the following one."""
        params = {"namespace": namespace, "after": after, "limit": limit}
        return Ask(page("revisions", as_(Revision)), path={"knowledge_id": knowledge_id}, params=params)

    @Pages
    def iter_revisions(self, knowledge_id: UUID, *, namespace: str = DEFAULT_NAMESPACE, page_size: int = 500) -> Paging[Revision]:
        """Every change, in order, fetched page by page."""

        def turn(after: int) -> Any:
            return KnowledgeCalls.list_revisions.request(knowledge_id, namespace=namespace, after=after, limit=page_size)

        return Paging(turn, 0)

    @post("/v1/knowledge/strategies")
    def learned_strategies(self, context: str | Json, **asked: Unpack[StrategiesAsked]) -> Ask[LearnedStrategies]:
        """What was learned that applies in a situation: JSON, which conditions look into, or a text."""
        return Ask(learned_strategies, body={"context": context, **asked}, is_read=True)
