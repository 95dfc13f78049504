"""Scripts and their calls: the one place where tier 1 talks to its driver."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from redis.asyncio import RedisCluster
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MaxConnectionsError, NoScriptError, RedisClusterException, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from app.breakers import BreakerPolicy, Guard
from app.errors import EngineRefused, TierUnavailable
from app.observability import timed
from app.records import Tier
from app.working.client import Client
from app.working.scripts import Script


def guard_of(client: Client, policy: BreakerPolicy | None = None) -> Guard:
    """A guard for all who share this client."""

    async def ping() -> None:
        with _translated("ping"):
            await answer(client.ping())

    return Guard(Tier.WORKING.value, ping, policy=policy)


@asynccontextmanager
async def calling(guard: Guard, operation: str) -> AsyncIterator[None]:
    """Around one operation: pass the guard, take the time, turn the driver's errors into `TierUnavailable`."""
    async with guard.calling():
        with timed("working", operation), _translated(operation):
            yield


@contextmanager
def _translated(operation: str) -> Iterator[None]:
    try:
        yield
    except MaxConnectionsError as error:
        raise EngineRefused(Tier.WORKING, f"all connections are in use: {error}") from error
    except RedisTimeoutError as error:
        raise TierUnavailable(Tier.WORKING, "no answer in time") from error
    except RedisConnectionError as error:
        raise TierUnavailable(Tier.WORKING, f"not reachable: {error}") from error
    except RedisClusterException as error:
        raise TierUnavailable(Tier.WORKING, f"cluster not reachable: {error}") from error
    except RedisError as error:
        raise EngineRefused(Tier.WORKING, f"refused {operation}: {error}") from error


@dataclass(frozen=True, slots=True)
class Call:
    """A script with its keys and arguments."""

    script: Script
    keys: Sequence[str]
    arguments: Sequence[str | bytes | int] = ()

    @property
    def command(self) -> tuple[Any, ...]:
        return ("EVALSHA", self.script.sha, len(self.keys), *self.keys, *self.arguments)


async def answer(pending: Any) -> Any:
    """Await a command. The driver's types allow for decoded answers too; ours are bytes, as the client was made."""
    return await pending


async def run(client: Client, call: Call) -> Any:
    """Run a script, loading it where the server does not know it (yet, or any more)."""
    try:
        return await client.execute_command(*call.command)
    except NoScriptError:
        await client.script_load(call.script.source)
        return await client.execute_command(*call.command)


async def run_then(client: Client, call: Call, *command: Any) -> Any:
    """Run a script, and after it a command on another slot's key; one round trip where there is one server.

    Returns the script's answer. The command runs whatever that is: it must be harmless after a refusal.
    """
    if isinstance(client, RedisCluster):
        result = await run(client, call)
        await client.execute_command(*command)
        return result
    answers = await pipelined(client, call.command, command)
    if isinstance(answers[0], NoScriptError):
        await client.script_load(call.script.source)
        answers = await pipelined(client, call.command, command)
    for failure in (a for a in answers if isinstance(a, Exception)):
        raise failure
    return answers[0]


async def pipelined(client: Client, *commands: Sequence[Any]) -> list[Any]:
    pipeline = client.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)
    return await pipeline.execute(raise_on_error=False)
