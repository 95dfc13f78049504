"""The façade: recall."""

from __future__ import annotations

from dataclasses import replace
from typing import Unpack

from app.ingestion.limits import check_count, check_query, check_situation, check_text
from app.records import AssembledContext, Json, Query, Recollection, Scope, SituationQuery, SituationTerms
from app.retrieval.situations import query_of
from app.service.parts import Side, session_key


class Asking(Side):
    """Find, and pack what was found for a prompt."""

    async def search(self, query: Query) -> Recollection:
        """The best hits of all tiers, also of what was said a moment ago; tiers that were away are in `degraded`."""
        checked = check_query(query, self._parts.limits)
        return await self._parts.surroundings.added(checked, await self._parts.recall.recall(checked))

    async def recall_similar_situations(self, context: str | Json, scope: Scope, **terms: Unpack[SituationTerms]) -> Recollection:
        """Episodes like the situation described, in words or as a JSON object, best first; `why` says what speaks for each.

        `terms` are the further fields of `SituationQuery`: how many, of which kind and project (the scope's), of which quality
        and outcome at least, how ranked, and within which deadline.
        """
        asked = SituationQuery(context, scope, **terms)
        check_situation(asked, self._parts.limits)
        query = query_of(asked)
        check_text("context", query.text, self._parts.limits.query_bytes)
        return await self._parts.situations.similar(check_query(query, self._parts.limits), asked.deadline)

    async def assemble_context(self, query: Query, *, budget_tokens: int) -> AssembledContext:
        """Text for a prompt: state and recent messages of the query's session, knowledge, episodes, recalled messages.

        Never over the budget. Messages are recalled from the whole namespace, not only from the session.
        """
        check_count("budget_tokens", budget_tokens, self._parts.limits.context_tokens)
        checked = check_query(query, self._parts.limits)
        session = None if query.scope.session_id is None else session_key(query.scope)
        wide = replace(checked, scope=replace(checked.scope, session_id=None))
        return await self._parts.context.assemble(wide, session, budget_tokens)
