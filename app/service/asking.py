"""The façade: recall."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from uuid import UUID

from app.ingestion.limits import check_count, check_query
from app.records import AssembledContext, Query, Recollection, RecordKind, Scope
from app.service.parts import Side, session_key


class Asking(Side):
    """Find, and pack what was found for a prompt."""

    async def search(self, query: Query) -> Recollection:
        """The best hits of all tiers, also of what was said a moment ago; tiers that were away are in `degraded`."""
        checked = check_query(query, self._parts.limits)
        return await self._parts.surroundings.added(checked, await self._parts.recall.recall(checked))

    async def recall_similar_situations(self, text: str, scope: Scope, *, limit: int = 5) -> Recollection:
        """Episodes like the situation described, best first."""
        return await self.search(Query(text=text, scope=scope, kinds=(RecordKind.EPISODE,), limit=limit))

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
