"""Figures of `HybridMemoryService` in this process, with embedded engines."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from app.bootstrap import Installation, open_installation
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
    if report.errors or report.counts["messages_drained"] != workload.messages:
        raise RuntimeError(f"consolidation went wrong: {report.counts} {report.errors}")
    return seconds


def searches(service: HybridMemoryService, questions: Sequence[Question]) -> list[Call]:
    """Filtered hybrid searches, to be awaited; a search that goes without a tier or stage is an error."""
    return [partial(_search, service, question) for question in questions]


def appends(service: HybridMemoryService, workload: Workload, count: int) -> list[Call]:
    """Appends of one message each, to sessions that exist."""
    drafts = [(talk.scope, draft) for talk in workload.talks for draft in talk.drafts]
    return [partial(service.append_messages, scope, [draft]) for scope, draft in drafts[:count]]


async def _search(service: HybridMemoryService, question: Question) -> None:
    author = (FilterTerm("author", (question.author,)),)
    found = await service.search(Query(question.text, Scope(NAMESPACE), (RecordKind.MESSAGE,), author))
    if found.degraded:
        raise RuntimeError(f"a search went without {', '.join(found.degraded)}")
