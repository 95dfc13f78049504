"""The façade: recall."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Unpack
from uuid import UUID

from app.ingestion.experiments import check_participation
from app.ingestion.limits import check_count, check_query, check_situation, check_text
from app.records import AssembledContext, Json, Participation, Query, Recollection, Scope, SituationQuery, SituationTerms
from app.retrieval.situations import query_of
from app.service.parts import Side, session_key


class Asking(Side):
    """Find, and pack what was found for a prompt."""

    async def search(self, query: Query, *, participation: Participation | None = None) -> Recollection:
        """The best hits of all tiers, also of what was said a moment ago; tiers that were away are in `degraded`.

        With a `participation` the search takes part in an experiment, and its answer says with which variant.
        """
        checked = check_query(query, self._parts.limits)
        if participation is None:
            return await self._recalled(checked)
        asked = check_participation(participation, self._parts.limits)
        return await self._parts.experiments.search(asked, checked, self._recalled)

    async def _recalled(self, query: Query) -> Recollection:
        recalled = await self._parts.search_log.observed(query.scope.namespace, self._parts.recall.recall(query))
        return await self._parts.surroundings.added(query, recalled)

    async def recall_similar_situations(self, context: str | Json, scope: Scope, **terms: Unpack[SituationTerms]) -> Recollection:
        """Episodes like the situation described, in words or as a JSON object, best first; `why` says what speaks for each.

        `terms` are the further fields of `SituationQuery`: how many, of which kind and project (the scope's), of which quality
        and outcome at least, how ranked, and within which deadline.
        """
        asked = SituationQuery(context, scope, **terms)
        check_situation(asked, self._parts.limits)
        query = query_of(asked)
        check_text("context", query.text, self._parts.limits.query_bytes)
        similar = self._parts.situations.similar(check_query(query, self._parts.limits), asked.deadline)
        return await self._parts.search_log.observed(scope.namespace, similar)

    async def assemble_context(self, query: Query, *, budget_tokens: int, shown: Collection[UUID] = ()) -> AssembledContext:
        """Text for a prompt: state and recent messages of the query's session, knowledge, episodes, recalled messages.

        Never over the budget. Messages are recalled from the whole namespace, not only from the session. Records `shown`
        are in the prompt already: they are left out.
        """
        check_count("budget_tokens", budget_tokens, self._parts.limits.context_tokens)
        checked = check_query(query, self._parts.limits)
        session = None if query.scope.session_id is None else session_key(query.scope)
        wide = replace(checked, scope=replace(checked.scope, session_id=None))
        return await self._parts.context.assemble(wide, session, budget_tokens, shown)
