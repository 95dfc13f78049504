"""Figures of `HybridMemoryService` in this process, with embedded engines."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from app.bootstrap import Installation, open_installation
from app.errors import TierUnavailable
from app.records import FilterTerm, Query, RecordKind, Scope
from app.service import HybridMemoryService
from app.settings import EmbedderChoice, Settings
from benchmarks.workload import NAMESPACE, Question, Workload

Call = Callable[[], Awaitable[object]]


@asynccontextmanager
async def opened(home: Path, embedder: EmbedderChoice) -> AsyncIterator[Installation]:
    """An installation with the default settings, whatever the environment says, with its model loaded and no jobs."""
    async with open_installation(Settings.model_construct(data_dir=home, embedder=embedder)) as installation:
        await installation.embedder.embed(["is the model loaded?"])
        yield installation


async def append_and_index(service: HybridMemoryService, workload: Workload) -> float:
    """Seconds from the first bulk append until every message is in the index."""
    started = time.perf_counter()
    for talk in workload.talks:
        await service.append_messages(talk.scope, talk.drafts)
    report = await service.consolidate(Scope(NAMESPACE))
    seconds = time.perf_counter() - started
    status = await service.status()
    if report.errors or status.drift != 0 or (status.indexed_points or 0) < workload.messages:
        raise RuntimeError(f"consolidation went wrong: {report.errors or status}")
    return seconds


@dataclass(slots=True)
class Asking:
    """Asks filtered hybrid questions, and counts those that were answered without a tier or stage, or not at all."""

    service: HybridMemoryService
    degraded: int = 0

    def calls(self, questions: Sequence[Question]) -> list[Call]:
        return [partial(self._ask, question) for question in questions]

    async def _ask(self, question: Question) -> None:
        author = (FilterTerm("author", (question.author,)),)
        try:
            found = await self.service.search(Query(question.text, Scope(NAMESPACE), (RecordKind.MESSAGE,), author))
        except TierUnavailable:
            self.degraded += 1
        else:
            self.degraded += bool(found.degraded)


def appends(service: HybridMemoryService, workload: Workload, count: int) -> list[Call]:
    """Appends of one message each, to sessions that exist."""
    drafts = [(talk.scope, draft) for talk in workload.talks for draft in talk.drafts]
    return [partial(service.append_messages, scope, [draft]) for scope, draft in drafts[:count]]
