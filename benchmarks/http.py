"""Figures of the real service in a process of its own, over HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import psutil

from app.cli.child import started
from app.client import NO_RETRIES, MemoryClient
from app.errors import TierUnavailable
from app.settings import EmbedderChoice
from benchmarks.report import Sample, time_each, warm_up
from benchmarks.workload import NAMESPACE, Question, Workload

_BUDGET_TOKENS: Final = 2000
_POLL_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Service:
    """A service with its model loaded: how long it took to be ready, and what it takes up at rest."""

    client: MemoryClient
    pid: int
    seconds_to_ready: float
    own_bytes: int
    tree_bytes: int

    async def warm_up(self, questions: Sequence[Question], *, seconds: float) -> None:
        calls = [partial(_is_whole, self.client, question.text) for question in questions]
        await warm_up(calls, seconds=seconds, pid=self.pid)

    async def time_recall(self, questions: Sequence[Question]) -> tuple[Sample, int]:
        """How long each search took, and how many were answered without a tier or stage, or not at all."""
        whole: list[bool] = []

        async def ask(question: Question) -> None:
            whole.append(await _is_whole(self.client, question.text))

        sample = await time_each(partial(ask, question) for question in questions)
        return sample, whole.count(False)

    async def time_context(self, questions: Sequence[Question], workload: Workload) -> Sample:
        """Context for questions that were asked before: their vectors are known."""
        talks = workload.talks
        calls = (
            partial(
                self.client.context,
                question.text,
                budget_tokens=_BUDGET_TOKENS,
                namespace=NAMESPACE,
                session_id=talks[number % len(talks)].session_id,
            )
            for number, question in enumerate(questions)
        )
        return await time_each(calls)

    async def time_append(self, workload: Workload, count: int) -> Sample:
        """One message a request, to sessions that exist."""
        drafts = [(talk.session_id, draft) for talk in workload.talks for draft in talk.drafts][:count]
        bodies = [(session_id, {"role": "user", "name": d.name, "content": d.content}) for session_id, d in drafts]
        return await time_each(partial(self.client.append, s, [body], namespace=NAMESPACE) for s, body in bodies)


@asynccontextmanager
async def serving(home: Path, embedder: EmbedderChoice) -> AsyncIterator[Service]:
    """Serve the data directory `home`, which exists, with the default settings."""
    began = time.perf_counter()
    async with started(MEMORY_DATA_DIR=str(home), MEMORY_EMBEDDER=embedder.value) as child:
        seconds = time.perf_counter() - began
        async with MemoryClient(child.base_url, retries=NO_RETRIES) as client:
            await _until_whole(client)
            process = psutil.Process(child.pid)
            tree = sum(_proportional_bytes(member) for member in (process, *process.children(recursive=True)))
            yield Service(client, child.pid, seconds, process.memory_info().rss, tree)


async def _until_whole(client: MemoryClient) -> None:
    """Ask until an answer lacks nothing: until its model is loaded a service answers by words alone."""
    while not await _is_whole(client, "hello"):  # noqa: ASYNC110 - it is another process that loads
        await asyncio.sleep(_POLL_SECONDS)


async def _is_whole(client: MemoryClient, text: str) -> bool:
    """Whether every tier and stage took part in the answer."""
    try:
        return not (await client.search(text, namespace=NAMESPACE)).degraded
    except TierUnavailable:
        return False


def _proportional_bytes(process: psutil.Process) -> int:
    """Resident, shared pages divided among those who share them where the system knows (Linux)."""
    memory = process.memory_full_info()
    return int(getattr(memory, "pss", memory.rss))
