"""Knowledge in the course of time: what it rests on, what superseded it, and where it applies."""

from __future__ import annotations

from typing import Any, Unpack
from uuid import UUID

from app.client.answers import as_, document, knowledge, page
from app.client.asking import Ask, Page, Pages, Paging, get, post
from app.client.fields import Sides, StrategiesAsked, SuccessorFields
from app.client.learning import Strategies, history, strategies
from app.client.reply import Reply
from app.records import DEFAULT_NAMESPACE, Json, Knowledge, KnowledgeHistory, Revision

_KNOWLEDGE = "/v1/knowledge/{knowledge_id}"


class LineageCalls:
    """Calls about knowledge that changes."""

    @post("/v1/knowledge/strategies")
    def learned_strategies(self, context: str | Json, **asked: Unpack[StrategiesAsked]) -> Ask[Strategies]:
        """What was learned that applies in a situation: all its conditions hold in a JSON object, or it is near a text."""
        return Ask(strategies, body={"context": context, **asked}, is_read=True)

    @post(f"{_KNOWLEDGE}/evidence")
    def add_evidence(
        self, knowledge_id: UUID, *, namespace: str = DEFAULT_NAMESPACE, idempotency_key: str | None = None,
        **sides: Unpack[Sides],
    ) -> Ask[Knowledge]:  # fmt: skip
        """Name episodes that support or contradict it; the confidence follows."""
        body = {"namespace": namespace, **sides}
        return Ask(_one, path={"knowledge_id": knowledge_id}, body=body, idempotency_key=idempotency_key)

    @post(f"{_KNOWLEDGE}/supersede")
    def supersede_knowledge(
        self, knowledge_id: UUID, *, idempotency_key: str | None = None, **successor: Unpack[SuccessorFields]
    ) -> Ask[Knowledge]:
        """Say what holds instead, and get that; the older piece is kept, and ends when the successor begins.

        Raises:
            Conflict: it is superseded already.
        """
        return Ask(_one, path={"knowledge_id": knowledge_id}, body=successor, idempotency_key=idempotency_key)

    @get(f"{_KNOWLEDGE}/history")
    def knowledge_history(
        self, knowledge_id: UUID, *, namespace: str = DEFAULT_NAMESPACE, after: int = 0, limit: int = 100
    ) -> Ask[KnowledgeHistory]:
        """The pieces that superseded each other, and the first `limit` changes of this one after a number."""
        params = {"namespace": namespace, "after": after, "limit": limit}
        return Ask(history, path={"knowledge_id": knowledge_id}, params=params)

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
            return LineageCalls.list_revisions.request(knowledge_id, namespace=namespace, after=after, limit=page_size)

        return Paging(turn, 0)


def _one(reply: Reply) -> Knowledge:
    return knowledge(document(reply))
