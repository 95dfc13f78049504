"""Which tables a database has, and which ones this version knows; `running` brings the one to the other.

Alembic's scripts lie beside this file and are installed with it; `alembic.ini` at the top of the repository points
here, for those who make new ones. To compare revisions Alembic is not needed: it takes a third of a second to import,
and most starts find everything up to date.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.episodic.engine import translated

HOME: Final = Path(__file__).parent


def revisions() -> tuple[str, ...]:
    """Those that this version knows, oldest first: each script's name begins with its revision."""
    return tuple(sorted(script.stem.partition("_")[0] for script in (HOME / "versions").glob("[0-9]*.py")))


def revision_of(connection: Connection) -> str:
    """The revision that the database is at; empty for one that was never migrated."""
    if connection.scalar(text("SELECT to_regclass('alembic_version')")) is None:
        return ""
    return connection.scalar(text("SELECT version_num FROM alembic_version")) or ""


def is_known(revision: str) -> bool:
    """Whether this version of the program has the migration of this name."""
    return revision in revisions()


async def is_current(engine: AsyncEngine) -> bool:
    """Whether the database is at the newest revision this version knows; false for an empty one too.

    Raises:
        TierUnavailable: the server could not be reached.
    """
    with translated():
        async with engine.connect() as connection:
            return await connection.run_sync(revision_of) == revisions()[-1]
