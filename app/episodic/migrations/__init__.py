"""Bringing a database to this version's tables.

Alembic's scripts lie beside this file and are installed with it; `alembic.ini` at the top of the repository points
here, for those who make new ones.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.episodic.engine import translated
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


def revision_of(connection: Connection) -> str:
    """The revision that the database is at; empty for one that was never migrated."""
    return MigrationContext.configure(connection).get_current_revision() or ""


def is_known(revision: str) -> bool:
    """Whether this version of the program has the migration of this name."""
    return revision in {script.revision for script in ScriptDirectory.from_config(_configuration()).walk_revisions()}


async def is_current(engine: AsyncEngine) -> bool:
    """Whether the database is at the newest revision this version knows; false for an empty one too.

    Raises:
        TierUnavailable: the server could not be reached.
    """
    with translated():
        async with engine.connect() as connection:
            found = await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_heads())
    return set(found) == set(ScriptDirectory.from_config(_configuration()).get_heads())


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
        step(_configuration(connection))
    except CommandError as exc:
        raise ConfigurationError(f"the database cannot be migrated by this version: {exc}") from exc


def _configuration(connection: Connection | None = None) -> Config:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config
