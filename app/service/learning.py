"""The façade: learning from episodes."""

from __future__ import annotations

from app.consolidation.run import Progress
from app.ingestion.limits import check_ratio
from app.ports import LearningStatus, PatternQuery
from app.records import Pattern, RunReport
from app.service.parts import Side


class Lessons(Side):
    """Learn from what happened, and see what was learned."""

    async def learn(self, namespace: str | None = None, *, retry: bool = False, progress: Progress | None = None) -> RunReport:
        """Extract patterns from episodes that are due, weigh them, and look for heuristics: for all, or a namespace.

        With `retry` episodes that were given up on are tried again, too. A background job does the same.
        """
        self._check_namespace(namespace)
        return await self._parts.learning.run(namespace, retry=retry, progress=progress)

    async def list_patterns(self, query: PatternQuery) -> tuple[Pattern, ...]:
        """Patterns seen in episodes, candidates and kept ones, by rising id.

        A query's scope is a namespace and, if it names one, a project: patterns know no narrower owner.
        """
        self._check(query.scope, limit=query.limit)
        check_ratio("min_confidence", query.min_confidence)
        async with self._parts.episodic.reading() as reader:
            return await reader.list_patterns(query)

    async def learning_status(self) -> LearningStatus:
        """How many episodes wait to be learned from, and how many patterns there are."""
        return await self._parts.learning.status()
