"""`hybrid-memory bench locomo`: conversations with gold evidence, through the front door of a service of its own.

How a LoCoMo file is put into memory: a namespace a conversation, a session a session, a turn a message. Both speakers
have the role `user`, for both are people, and are told apart by `name`. Turns carry their session's date, a second
apart, so that their order is their order in time, and their dialogue id in the metadata.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from app.cli.child import served
from app.cli.scores import Answer, Results, report, results_of, scores_table
from app.client import MemoryClient
from app.errors import EmbedderUnavailable, HybridMemoryError, InvalidInput, TierUnavailable
from app.locomo import LocomoConversation, LocomoQuestion, LocomoTurn, load_locomo
from app.metrics import NDCG_CUTOFF
from app.records import Json
from app.settings import EmbedderChoice

_LIMIT: Final = 50
_DIALOGUE_ID: Final = "dia_id"
_MODEL_LOADS: Final = timedelta(seconds=120)
_POLL_SECONDS: Final = 0.1
_NO_JOB_SECONDS: Final = "86400"
"""Consolidation is asked for; a job of the service's own would only run in between."""


@dataclass(frozen=True, slots=True)
class LocomoPlan:
    """What to measure. `questions` is how many of each conversation are asked, all if None."""

    path: Path
    namespace_prefix: str = "locomo-"
    questions: int | None = None
    embedder: EmbedderChoice = EmbedderChoice.LOCAL

    def namespace(self, conversation: LocomoConversation) -> str:
        return f"{self.namespace_prefix}{conversation.id}"


async def run_locomo(plan: LocomoPlan, console: Console) -> Json:
    """Measure, print the table, and return everything, question by question.

    Raises:
        InvalidInput: the file is not in the LoCoMo format, or has no question to ask.
        StartupError: the service did not start.
    """
    conversations = _load(plan)
    answers, embedding = await _measure(plan, conversations, console)
    with console.status("scoring …"):
        results = results_of(answers)
    _print_results(console, results, embedding, len(answers))
    return {"file": plan.path.name, "embedding": embedding, **report(results, answers)}


def messages_of(conversation: LocomoConversation) -> Iterator[tuple[str, list[Json]]]:
    """Each session's id and its messages as the API takes them."""
    for number, turns in groupby(conversation.turns, key=attrgetter("session")):
        yield f"session-{number}", [_message(turn, place) for place, turn in enumerate(turns)]


def _message(turn: LocomoTurn, place: int) -> Json:
    return {
        "role": "user",
        "name": turn.speaker,
        "content": turn.text,
        "created_at": (turn.said_at + timedelta(seconds=place)).isoformat(),
        "metadata": {_DIALOGUE_ID: turn.dia_id},
    }


def _load(plan: LocomoPlan) -> tuple[LocomoConversation, ...]:
    try:
        conversations = load_locomo(plan.path)
    except OSError as error:
        raise InvalidInput(str(plan.path), error.strerror or "cannot be read") from error
    if not any(_questions(plan, conversation) for conversation in conversations):
        raise InvalidInput(str(plan.path), "has no question with evidence to ask")
    return conversations


def _questions(plan: LocomoPlan, conversation: LocomoConversation) -> Sequence[LocomoQuestion]:
    return conversation.questions[: plan.questions]


async def _measure(plan: LocomoPlan, conversations: Sequence[LocomoConversation], console: Console) -> tuple[list[Answer], Json]:
    with TemporaryDirectory(prefix="hybrid-memory-bench-", ignore_cleanup_errors=True) as directory:
        service = served(
            MEMORY_DATA_DIR=directory,
            MEMORY_EMBEDDER=plan.embedder.value,
            MEMORY_CONSOLIDATION_INTERVAL_SECONDS=_NO_JOB_SECONDS,
        )
        async with service as base_url, MemoryClient(base_url) as client:
            columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
            with Progress(*columns, console=console) as progress:
                answers = await _Measurement(client, plan, progress).run(conversations)
            return answers, (await client.status())["embedding"]


@dataclass(frozen=True, slots=True)
class _Measurement:
    """One run against one service, with a bar for each part of it."""

    client: MemoryClient
    plan: LocomoPlan
    progress: Progress

    async def run(self, conversations: Sequence[LocomoConversation]) -> list[Answer]:
        await self._append(conversations)
        await self._consolidate(conversations)
        await self._await_model(self.plan.namespace(conversations[0]))
        return await self._ask(conversations)

    async def _append(self, conversations: Sequence[LocomoConversation]) -> None:
        task = self.progress.add_task("messages appended", total=sum(len(c.turns) for c in conversations))
        for conversation in conversations:
            for session_id, messages in messages_of(conversation):
                await self.client.append(session_id, messages, namespace=self.plan.namespace(conversation))
                self.progress.advance(task, len(messages))

    async def _consolidate(self, conversations: Sequence[LocomoConversation]) -> None:
        task = self.progress.add_task("conversations consolidated", total=len(conversations))
        for conversation in conversations:
            run = await self.client.consolidate(namespace=self.plan.namespace(conversation))
            if run["errors"]:
                raise HybridMemoryError(f"consolidation was interrupted: {'; '.join(run['errors'])}")
            self.progress.advance(task)

    async def _await_model(self, namespace: str) -> None:
        """Ask until an answer is whole: until its model is loaded a service answers by words alone."""
        try:
            async with asyncio.timeout(_MODEL_LOADS.total_seconds()):
                while await self._missing(namespace):  # noqa: ASYNC110 - it is another process that loads
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError as error:
            raise EmbedderUnavailable(self.plan.embedder, f"not loaded within {_MODEL_LOADS.total_seconds():g} s") from error

    async def _missing(self, namespace: str) -> tuple[str, ...]:
        return (await self._search("hello", namespace))[1]

    async def _ask(self, conversations: Sequence[LocomoConversation]) -> list[Answer]:
        """One question after the other, so that none waits for another."""
        asked = [(c, question) for c in conversations for question in _questions(self.plan, c)]
        task = self.progress.add_task("questions asked", total=len(asked))
        answers = []
        for conversation, question in asked:
            answers.append(await self._answer(conversation, question))
            self.progress.advance(task)
        return answers

    async def _answer(self, conversation: LocomoConversation, question: LocomoQuestion) -> Answer:
        started = time.perf_counter()
        ranked, degraded = await self._search(question.text, self.plan.namespace(conversation))
        return Answer(conversation.id, question, ranked, (time.perf_counter() - started) * 1e3, degraded)

    async def _search(self, text: str, namespace: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The dialogue ids found, and what did not answer: a service that answers not at all has found nothing."""
        try:
            found = await self.client.search(text, namespace=namespace, limit=_LIMIT, kinds=["message"])
        except TierUnavailable as error:
            return (), (error.tier,)
        return tuple(hit["metadata"][_DIALOGUE_ID] for hit in found["hits"]), tuple(found["degraded"])


def _print_results(console: Console, results: Results, embedding: Json, asked: int) -> None:
    console.print(scores_table(results))
    latency = results.latency
    console.print(f"Marks in percent; the interval is R@10's by bootstrap; nDCG is cut at {NDCG_CUTOFF}.")
    console.print(f"Embedded in {embedding['space']}. A search took {latency.p50_ms:.1f} ms (p95: {latency.p95_ms:.1f} ms).")
    if results.degraded:
        console.print(f"[yellow]{results.degraded} of {asked} answers came without a tier or stage.[/]")
