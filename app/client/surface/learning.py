"""Learning from episodes, and the patterns that are seen in them."""

from __future__ import annotations

from typing import Unpack
from uuid import UUID

from app.client.answers import page, the
from app.client.asking import LONG, Ask, Page, Pages, Paging, get, post
from app.client.fields import PatternsAsked
from app.client.learning import FoundPattern, pattern
from app.records import RunReport


class LearningCalls:
    """Calls about what is learned from episodes."""

    @post("/v1/admin/learn")
    def learn(self, *, namespace: str | None = None, retry: bool = False, idempotency_key: str | None = None) -> Ask[RunReport]:
        """Learn from the episodes that are due: answers when nothing is left to do. `retry`: also what was given up on."""
        body = {"namespace": namespace, "retry": retry}
        return Ask(the(RunReport), body=body, timeout=LONG, idempotency_key=idempotency_key)

    @get("/v1/patterns")
    def list_patterns(
        self, *, after: UUID | None = None, limit: int = 50, **asked: Unpack[PatternsAsked]
    ) -> Ask[Page[FoundPattern]]:
        """A page of patterns, candidates and kept ones; `next` is the `after` of the following one."""
        return Ask(page("patterns", pattern), params={**asked, "after": after, "limit": limit})

    @Pages
    def iter_patterns(self, *, page_size: int = 200, **asked: Unpack[PatternsAsked]) -> Paging[FoundPattern]:
        """Every pattern asked for, fetched page by page."""
        return Paging(lambda after: LearningCalls.list_patterns.request(after=after, limit=page_size, **asked))
