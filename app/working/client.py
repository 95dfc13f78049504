"""Clients for one server, for a cluster, and for a primary found by sentinels, all bounded in time and connections."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any, Final, TypeAlias
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from app.errors import ConfigurationError

Client: TypeAlias = Redis | RedisCluster

MAX_CONNECTIONS: Final = 64
_CONNECT_SECONDS: Final = 1.0
ANSWER_DEADLINE: Final = timedelta(seconds=5)
"""Longer than any script here takes, shorter than a caller's patience; an append then goes to Postgres instead."""
_HEALTH_CHECK_SECONDS: Final = 30
_SENTINEL_PORT: Final = 26379
_SCHEMES: Final = "redis, rediss, unix, redis+cluster, rediss+cluster, redis+sentinel, rediss+sentinel"


@asynccontextmanager
async def connect(
    url: str, *, max_connections: int = MAX_CONNECTIONS, deadline: timedelta = ANSWER_DEADLINE
) -> AsyncIterator[Client]:
    """Open a client for `url` and close all its connections at the end; nothing is sent before the first command.

    `deadline` bounds each call.

    `redis://`, `rediss://` and `unix://` as redis-py reads them; `redis+cluster://host:port` names any node;
    `redis+sentinel://[user:password@]host:port,host:port/service[?db=0]` names the sentinels of a service.

    Raises:
        ConfigurationError: the URL is of no such form.
    """
    async with AsyncExitStack() as closing:
        try:
            client = await _open(url, max_connections, _options(deadline), closing)
        except ValueError as error:  # a port or option that is no number; says which
            raise ConfigurationError(f"MEMORY_REDIS_URL: {error}") from error
        yield client


async def _open(url: str, max_connections: int, options: dict[str, Any], closing: AsyncExitStack) -> Client:
    scheme, _, rest = url.partition("://")
    transport, _, topology = scheme.partition("+")
    if transport not in {"redis", "rediss", "unix"} or topology not in {"", "cluster", "sentinel"} or not rest:
        raise ConfigurationError(f"MEMORY_REDIS_URL must start with one of {_SCHEMES}")
    if topology == "sentinel":
        return await _behind_sentinels(url, transport, max_connections, options, closing)
    if topology == "cluster":
        cluster = RedisCluster.from_url(f"{transport}://{rest}", max_connections=max_connections, **options)
        closing.push_async_callback(cluster.aclose)  # entering it would ask the cluster for its nodes now
        return cluster
    pool = BlockingConnectionPool.from_url(url, max_connections=max_connections, timeout=options["socket_timeout"], **options)
    return await closing.enter_async_context(Redis.from_pool(pool))


async def _behind_sentinels(
    url: str, transport: str, max_connections: int, options: dict[str, Any], closing: AsyncExitStack
) -> Client:
    parts = urlsplit(url)
    service = unquote(parts.path.strip("/"))
    if not service:
        raise ConfigurationError("MEMORY_REDIS_URL names no service: redis+sentinel://host:port,host:port/service")
    sentinels = await closing.enter_async_context(Sentinel(_nodes(parts), sentinel_kwargs=options))  # type: ignore[no-untyped-call] # redis has no types for it
    of_primary = _credentials(parts) | {"max_connections": max_connections, "ssl": transport == "rediss"} | options
    client: Redis = sentinels.master_for(service, **of_primary)
    return await closing.enter_async_context(client)


def _nodes(parts: SplitResult) -> list[tuple[str, int]]:
    """The sentinels' addresses."""
    hosts = parts.netloc.rpartition("@")[2].split(",")
    return [(host, int(port) if port else _SENTINEL_PORT) for host, _, port in (h.partition(":") for h in hosts)]


def _credentials(parts: SplitResult) -> dict[str, Any]:
    """User, password and database, where the URL says them."""
    username, _, password = parts.netloc.rpartition("@")[0].partition(":")
    said = {"username": unquote(username), "password": unquote(password), "db": dict(parse_qsl(parts.query)).get("db")}
    return {name: value for name, value in said.items() if value}


def _options(deadline: timedelta) -> dict[str, Any]:
    return {
        "socket_connect_timeout": _CONNECT_SECONDS,
        "socket_timeout": deadline.total_seconds(),
        "health_check_interval": _HEALTH_CHECK_SECONDS,
        "decode_responses": False,
        # One more try for a connection that was closed under us; what did not answer in time is not asked again.
        "retry": Retry(ExponentialWithJitterBackoff(base=0.01, cap=0.1), 1, supported_errors=(RedisConnectionError,)),
    }
