"""What Alembic runs, on the connection it is handed, or from the command line on the database the environment names.

MEMORY_POSTGRES_URL=postgresql+asyncpg://… alembic upgrade head
alembic -x url=postgresql+asyncpg://… revision --autogenerate -m "…"
"""

from __future__ import annotations

import asyncio
import os

from alembic import context
from sqlalchemy import Connection

from app.episodic import experiment_tables, learning_tables  # noqa: F401 - they are part of the metadata
from app.episodic.engine import create_engine
from app.episodic.tables import metadata
from app.errors import ConfigurationError


def migrate(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata, compare_type=True, compare_server_default=True)
    with context.begin_transaction():
        context.run_migrations()


async def connect_and_migrate() -> None:
    url = context.get_x_argument(as_dictionary=True).get("url") or os.environ.get("MEMORY_POSTGRES_URL")
    if not url:
        raise ConfigurationError("say which database: MEMORY_POSTGRES_URL, or -x url=postgresql+asyncpg://…")
    engine = create_engine(url)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(migrate)
    finally:
        await engine.dispose()


handed: Connection | None = context.config.attributes.get("connection")
if handed is None:
    asyncio.run(connect_and_migrate())
else:
    migrate(handed)
