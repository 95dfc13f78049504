"""Situations: episodes like one, how they turned out, and what recalled records were worth."""

from __future__ import annotations

from typing import Any, Unpack
from uuid import UUID

from app.client.answers import as_, page, recollection
from app.client.asking import Ask, Page, Pages, Paging, get, post
from app.client.fields import FeedbackFields, SituationAsked
from app.client.learning import feedback
from app.records import DEFAULT_NAMESPACE, Feedback, Json, OutcomeRevision, Recollection, Verdict


class SituationCalls:
    """Calls about situations and what came of them."""

    @post("/v1/episodes/similar")
    def similar_situations(self, context: str | Json, **asked: Unpack[SituationAsked]) -> Ask[Recollection]:
        """Episodes like a situation, a text or a JSON object, with how they turned out and why they are named."""
        namespace = asked.get("namespace", DEFAULT_NAMESPACE)
        return Ask(recollection(namespace), body={"context": context, **asked}, is_read=True)

    @get("/v1/episodes/{episode_id}/outcomes")
    def list_outcomes(
        self, episode_id: UUID, *, namespace: str = DEFAULT_NAMESPACE, after: int = -1, limit: int = 100
    ) -> Ask[Page[OutcomeRevision]]:
        """A page of what was known of its outcome, oldest first; `next` is the `after` of the following one."""
        params = {"namespace": namespace, "after": after, "limit": limit}
        return Ask(page("outcomes", as_(OutcomeRevision)), path={"episode_id": episode_id}, params=params)

    @Pages
    def iter_outcomes(
        self, episode_id: UUID, *, namespace: str = DEFAULT_NAMESPACE, page_size: int = 500
    ) -> Paging[OutcomeRevision]:
        """All that was known of its outcome, oldest first, fetched page by page."""

        def turn(after: int) -> Any:
            return SituationCalls.list_outcomes.request(episode_id, namespace=namespace, after=after, limit=page_size)

        return Paging(turn, -1)

    @post("/v1/feedback")
    def record_feedback(
        self, record_id: UUID, verdict: Verdict | str, *, idempotency_key: str | None = None, **fields: Unpack[FeedbackFields]
    ) -> Ask[Feedback]:
        """Say what a recalled record was worth: it ranks higher or lower from now on.

        Raises:
            NotFound: there is no such record in this namespace; a message is found by its `session_id`.
        """
        body = {"record_id": record_id, "verdict": verdict, **fields}
        return Ask(feedback, body=body, idempotency_key=idempotency_key)
