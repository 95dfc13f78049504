"""One measurement: conversations appended, consolidated and asked about over HTTP.

A conversation has a namespace of its own, each of its sessions a session, and each message its id in the metadata.
Namespaces and sessions are numbered, so that the ids in a file may be whatever they like.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from typing import Any, Final

from rich.progress import Progress

from app.cli.bench.scores import Answer, Latency, Run, latency_of
from app.cli.bench.systems import System
from app.client import MemoryClient
from app.errors import EmbedderUnavailable, HybridMemoryError, InvalidInput, TierUnavailable
from app.gold import GoldConversation, GoldMessage, GoldQuestion
from app.metrics import CUTOFFS
from app.records import Json

_GOLD_ID: Final = "gold_id"
_BATCH: Final = 200
"""Messages a call: that many of the longest allowed still fit into a request."""
_AT_ONCE: Final = 4
_TIMED: Final = 100
"""How many questions each system's latency is measured on, if there are as many."""
_MODEL_LOADS: Final = timedelta(seconds=120)
_POLL_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, and where it is asked."""

    conversation: str
    namespace: str
    question: GoldQuestion


@dataclass(frozen=True, slots=True)
class Measurement:
    """One run against one service that holds nothing yet, with a bar for each part of it.

    `conversations` hold the questions that are asked, at least one in all.
    """

    client: MemoryClient
    conversations: Sequence[GoldConversation]
    systems: Sequence[System]
    progress: Progress

    async def run(self) -> tuple[Run, ...]:
        """A run a system, each with the answers to all questions in the same order.

        Latencies are measured apart, by one caller who asks one question after the other, and each system on questions of
        its own: what one system has asked is in the caches, and would make the next one look fast.

        Raises:
            InvalidInput: the service refuses a message, or a system's way to rank.
            HybridMemoryError: consolidation was interrupted, or no model was loaded in time.
        """
        await self._check_systems()
        await self._append()
        await self._consolidate()
        await self._await_model()
        asked = list(asked_of(self.conversations))
        first = await self._time("questions timed, first asked", asked)
        answers = await self._ask(asked)
        again = await self._time("questions timed, asked again", asked)
        return tuple(map(Run, self.systems, answers, first, again))

    async def _check_systems(self) -> None:
        """Ask each once before the work begins, so that what the service refuses costs nobody's time."""
        for system in self.systems:
            try:
                await self._search("hello", namespace_of(0), system.body)
            except InvalidInput as error:
                raise InvalidInput(f"--system {system.name}: {error.field}", error.problem) from error

    async def _append(self) -> None:
        task = self.progress.add_task("messages appended", total=sum(len(c.messages) for c in self.conversations))
        for number, conversation in enumerate(self.conversations):
            for session_id, messages in batches_of(conversation):
                await self._append_batch(number, session_id, messages)
                self.progress.advance(task, len(messages))

    async def _append_batch(self, number: int, session_id: str, messages: Sequence[GoldMessage]) -> None:
        try:
            await self.client.append(session_id, [as_json(m) for m in messages], namespace=namespace_of(number))
        except InvalidInput as error:
            place = f"conversation {self.conversations[number].id!r}, from message {messages[0].id!r} on"
            raise InvalidInput(f"{place}: {error.field}", error.problem) from error

    async def _consolidate(self) -> None:
        task = self.progress.add_task("conversations consolidated", total=len(self.conversations))
        for number, _ in enumerate(self.conversations):
            run = await self.client.consolidate(namespace=namespace_of(number))
            if run.errors:
                raise HybridMemoryError(f"consolidation was interrupted: {'; '.join(run.errors)}")
            self.progress.advance(task)

    async def _await_model(self) -> None:
        """Ask until an answer is whole: until its model is loaded a service answers by words alone."""
        try:
            async with asyncio.timeout(_MODEL_LOADS.total_seconds()):
                while (await self._search("hello", namespace_of(0), {}))[1]:  # noqa: ASYNC110 - it is another process that loads
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError as error:
            raise EmbedderUnavailable("of the service", f"not loaded within {_MODEL_LOADS.total_seconds():g} s") from error

    async def _time(self, description: str, asked: Sequence[Asked]) -> list[Latency | None]:
        shares = [shares_of(asked, place, len(self.systems)) for place in range(len(self.systems))]
        task = self.progress.add_task(description, total=sum(map(len, shares)))
        waits: list[list[float]] = [[] for _ in shares]
        for system, share, waited in zip(self.systems, shares, waits, strict=True):
            for one in share:
                started = time.perf_counter()
                await self._answer(system, one)
                waited.append((time.perf_counter() - started) * 1e3)
                self.progress.advance(task)
        return [latency_of(waited) for waited in waits]

    async def _ask(self, asked: Sequence[Asked]) -> list[tuple[Answer, ...]]:
        task = self.progress.add_task("questions asked", total=len(asked) * len(self.systems))
        turn = asyncio.Semaphore(_AT_ONCE)

        async def answer(system: System, one: Asked) -> Answer:
            async with turn:
                answered = await self._answer(system, one)
            self.progress.advance(task)
            return answered

        answers = await asyncio.gather(*(answer(system, one) for one in asked for system in self.systems))
        return [tuple(answers[place :: len(self.systems)]) for place in range(len(self.systems))]

    async def _answer(self, system: System, asked: Asked) -> Answer:
        body = {"now": asked.question.now.isoformat(), **system.body}
        return Answer(asked.conversation, asked.question, *await self._search(asked.question.text, asked.namespace, body))

    async def _search(self, text: str, namespace: str, body: Json) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The gold ids found, and what did not answer: a service that answers not at all has found nothing."""
        fields: dict[str, Any] = {"limit": max(CUTOFFS), "kinds": ["message"], **body}
        try:
            found = await self.client.search(text, namespace=namespace, **fields)
        except TierUnavailable as error:
            return (), (error.tier,)
        return tuple(hit.metadata.get(_GOLD_ID, str(hit.id)) for hit in found.hits), found.degraded


def namespace_of(number: int) -> str:
    """Of the conversation with this place in the file."""
    return f"conversation-{number}"


def batches_of(conversation: GoldConversation) -> Iterator[tuple[str, Sequence[GoldMessage]]]:
    """Each session's id and its messages in order, as many at a time as one call takes."""
    sessions: dict[str, list[GoldMessage]] = {}
    for message in conversation.messages:
        sessions.setdefault(message.session, []).append(message)
    for number, messages in enumerate(sessions.values(), 1):
        for begin in range(0, len(messages), _BATCH):
            yield f"session-{number}", messages[begin : begin + _BATCH]


def as_json(message: GoldMessage) -> Json:
    """A message as the API takes it."""
    named = {} if message.name is None else {"name": message.name}
    said = {"role": message.role.value, "content": message.content, "created_at": message.created_at.isoformat()}
    return {**named, **said, "metadata": {_GOLD_ID: message.id}}


def asked_of(conversations: Sequence[GoldConversation]) -> Iterator[Asked]:
    """Every question with the namespace of its conversation, in the order of the file."""
    return chain.from_iterable(
        (Asked(conversation.id, namespace_of(number), question) for question in conversation.questions)
        for number, conversation in enumerate(conversations)
    )


def shares_of(asked: Sequence[Asked], place: int, systems: int) -> Sequence[Asked]:
    """The questions that the system at `place` is timed on: spread over the file, and no other system's."""
    own = asked[place::systems]
    return own[:: max(1, len(own) // _TIMED)][:_TIMED]
