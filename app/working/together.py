"""Calls that arrive at the same time, sent together: a hundred callers cost one round trip and one connection.

While a round trip is under way, calls queue up and go with the next one. A caller alone waits no longer than before; of a
hundred at once each would else pay for a connection of its own and for ninety-nine others' turns on the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from redis.asyncio import RedisCluster
from redis.exceptions import NoScriptError

from app.breakers import Guard
from app.errors import TierUnavailable
from app.observability import BACKGROUND_ERRORS
from app.records import Tier
from app.working.calls import Call, calling, pipelined, run
from app.working.client import Client

log = structlog.get_logger(__name__)

_MOST_CALLS: Final = 256
_MOST_BYTES: Final = 4_194_304
"""In one round trip; a larger call goes alone."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    call: Call
    answer: asyncio.Future[Any]

    @property
    def size(self) -> int:
        return sum(len(argument) for argument in self.call.arguments if isinstance(argument, str | bytes))


class Together:
    """Sends scripts' calls of one kind. Each is carried out for itself: one that fails fails no other."""

    def __init__(self, client: Client, guard: Guard, operation: str) -> None:
        self._client = client
        self._guard = guard
        self._operation = operation
        self._waiting: list[_Waiting] = []
        self._sending: asyncio.Task[None] | None = None

    async def run(self, call: Call) -> Any:
        """The script's answer; raises as `calling` does, and then the call may or may not have been carried out."""
        waiting = _Waiting(call, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send_all())
        return await waiting.answer

    async def _send_all(self) -> None:
        while self._waiting:
            batch, self._waiting = _split(self._waiting)
            try:
                await self._send(batch)
            except TierUnavailable as error:
                _fail(batch, error)
            except asyncio.CancelledError:
                _fail([*batch, *self._waiting], TierUnavailable(Tier.WORKING, "the service is closing"))
                raise
            except Exception as error:  # the callers raise it; those behind them must not wait for ever
                BACKGROUND_ERRORS.labels(self._operation).inc()
                log.exception("calls_failed", operation=self._operation, calls=len(batch))
                _fail(batch, error)

    async def _send(self, batch: Sequence[_Waiting]) -> None:
        async with calling(self._guard, self._operation):
            answers = await self._answers([waiting.call for waiting in batch])
        for waiting, answer in zip(batch, answers, strict=True):
            if not waiting.answer.done():  # else its caller has given up
                waiting.answer.set_result(answer)

    async def _answers(self, calls: Sequence[Call]) -> Sequence[Any]:
        if len(calls) == 1 or isinstance(self._client, RedisCluster):  # in a cluster they lie on different nodes
            return await asyncio.gather(*(run(self._client, call) for call in calls))
        answers = await pipelined(self._client, *(call.command for call in calls))
        if any(isinstance(answer, NoScriptError) for answer in answers):
            await self._client.script_load(calls[0].script.source)
            answers = await pipelined(self._client, *(call.command for call in calls))
        for failure in (answer for answer in answers if isinstance(answer, Exception)):
            raise failure
        return answers


def _split(waiting: list[_Waiting]) -> tuple[list[_Waiting], list[_Waiting]]:
    """Those that go with the next round trip, at least one, and the others."""
    size, count = 0, 0
    for one in waiting[:_MOST_CALLS]:
        size += one.size
        if count and size > _MOST_BYTES:
            break
        count += 1
    return waiting[:count], waiting[count:]


def _fail(batch: Sequence[_Waiting], error: Exception) -> None:
    for waiting in batch:
        if not waiting.answer.done():
            waiting.answer.set_exception(error)
