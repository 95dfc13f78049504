"""Asking memory."""

from __future__ import annotations

from typing import Unpack
from uuid import UUID

from app.client.answers import recollection, the
from app.client.asking import Ask, post
from app.client.fields import ContextFields, FeedbackFields, SearchFields, SituationFields
from app.client.learning import feedback
from app.records import DEFAULT_NAMESPACE, AssembledContext, Feedback, Json, Recollection, Verdict, new_id


class RecallCalls:
    """Calls that ask."""

    @post("/v1/search")
    def search(self, text: str, **fields: Unpack[SearchFields]) -> Ask[Recollection]:
        """The best hits of all tiers; what did not answer within the deadline is named in `degraded`.

        `experiment`: take part in it; a search that is repeated is one exposure.
        """
        if fields.get("experiment") is not None and fields.get("search_id") is None:
            fields["search_id"] = new_id()
        namespace = fields.get("namespace", DEFAULT_NAMESPACE)
        return Ask(recollection(namespace), body={"text": text, **fields}, is_read=True)

    @post("/v1/episodes/similar")
    def similar_situations(self, context: str | Json, **fields: Unpack[SituationFields]) -> Ask[Recollection]:
        """Episodes like a situation, with how they turned out; `why` of a hit says what speaks for it."""
        namespace = fields.get("namespace", DEFAULT_NAMESPACE)
        return Ask(recollection(namespace), body={"context": context, **fields}, is_read=True)

    @post("/v1/feedback")
    def record_feedback(
        self, record_id: UUID, verdict: Verdict | str, *, idempotency_key: str | None = None, **fields: Unpack[FeedbackFields]
    ) -> Ask[Feedback]:
        """Say what a hit was worth (useful, wrong, outdated, harmful); of a message `session_id` has to be given, too."""
        return Ask(feedback, body={"record_id": record_id, "verdict": verdict, **fields}, idempotency_key=idempotency_key)

    @post("/v1/context")
    def context(self, text: str, *, budget_tokens: int = 2000, **fields: Unpack[ContextFields]) -> Ask[AssembledContext]:
        """Text for a prompt, packed into a budget of tokens."""
        body = {"text": text, "budget_tokens": budget_tokens, **fields}
        return Ask(the(AssembledContext), body=body, is_read=True)
