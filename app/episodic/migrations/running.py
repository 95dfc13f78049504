"""Bringing a database to this version's tables, or to those of an older one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.episodic.engine import translated
from app.episodic.migrations import HOME
from app.errors import ConfigurationError

_LOCK_KEY: Final = 0x68796D656D
"""Any number that other programs on the same database do not lock."""


async def upgrade(engine: AsyncEngine, revision: str = "head") -> None:
    """Migrate up to `revision` in one transaction. Of two processes that start at once, one waits for the other.

    Raises:
        ConfigurationError: the database was migrated by a newer version of this program.
        TierUnavailable: the server could not be reached; nothing was changed.
    """
    await _migrate(engine, partial(command.upgrade, revision=revision))


async def downgrade(engine: AsyncEngine, revision: str) -> None:
    """Migrate back to `revision` (`base` drops every table) in one transaction. Raises as `upgrade` does."""
    await _migrate(engine, partial(command.downgrade, revision=revision))


def upgrade_within(connection: Connection, revision: str = "head") -> None:
    """Migrate up to `revision` in the transaction of `connection`, which its owner commits."""
    _run(connection, partial(command.upgrade, revision=revision))


def downgrade_within(connection: Connection, revision: str) -> None:
    """Migrate back to `revision` in the transaction of `connection`, which its owner commits."""
    _run(connection, partial(command.downgrade, revision=revision))


async def _migrate(engine: AsyncEngine, step: Callable[[Config], None]) -> None:
    with translated():
        async with engine.begin() as connection:
            # The lock ends with the transaction, which PgBouncer needs; and a migration may take its time.
            await connection.execute(text("SET LOCAL statement_timeout = 0"))
            await connection.execute(text("SET LOCAL lock_timeout = 0"))
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
            await connection.run_sync(_run, step)


def _run(connection: Connection, step: Callable[[Config], None]) -> None:
    try:
        step(configuration(connection))
    except CommandError as exc:
        raise ConfigurationError(f"the database cannot be migrated by this version: {exc}") from exc


def configuration(connection: Connection | None = None) -> Config:
    """Alembic's, for the scripts beside this file."""
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(HOME).replace("%", "%%"))
    return config
