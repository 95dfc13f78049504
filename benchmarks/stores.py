"""LangGraph's stores and ours, each made for the conformance kit: `benchmarks.stores:hybrid` and so on."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from langgraph.store.base import BaseStore, IndexConfig
from langgraph.store.memory import InMemoryStore
from langgraph.store.postgres import AsyncPostgresStore
from langgraph.store.sqlite import AsyncSqliteStore
from psycopg.errors import FeatureNotSupported, UndefinedFile
from sqlalchemy import make_url

from app.bootstrap import open_installation
from app.embedded import start_postgres
from app.integrations.langgraph import HybridMemoryStore
from app.integrations.store_conformance import StoreOptions, Unsupported
from app.integrations.store_conformance.running import Factory
from app.settings import EmbedderChoice, Settings


@asynccontextmanager
async def hybrid(options: StoreOptions) -> AsyncIterator[BaseStore]:
    """Ours with embedded engines and hashed vectors."""
    with tempfile.TemporaryDirectory() as directory:
        settings = Settings(_env_file=None, data_dir=Path(directory), embedder=EmbedderChoice.HASHING)
        async with open_installation(settings) as installation:
            index = None if options.fields is None else IndexConfig(fields=list(options.fields))
            yield HybridMemoryStore(installation.service, index=index, ttl=options.ttl)


def memory(options: StoreOptions) -> BaseStore:
    """LangGraph's own, in memory."""
    if options.ttl is not None:
        raise Unsupported("has no TTL")
    return InMemoryStore(index=_index(options))


@asynccontextmanager
async def sqlite(options: StoreOptions) -> AsyncIterator[BaseStore]:
    """LangGraph's own on SQLite, with sqlite-vec where Python's SQLite can load it."""
    if options.fields is not None and not hasattr(sqlite3.Connection, "enable_load_extension"):
        raise Unsupported("this Python's SQLite loads no extensions")
    with tempfile.TemporaryDirectory() as directory:
        index: Any = _index(options)
        async with AsyncSqliteStore.from_conn_string(f"{directory}/store.db", index=index, ttl=options.ttl) as store:
            await store.setup()
            yield store


@asynccontextmanager
async def postgres(options: StoreOptions) -> AsyncIterator[BaseStore]:
    """LangGraph's own on PostgreSQL, with pgvector where the server has it."""
    with tempfile.TemporaryDirectory() as directory:
        server = await asyncio.to_thread(start_postgres, Path(directory) / "cluster")
        try:
            async with _on_postgres(server.url, options) as store:
                yield store
        finally:
            await asyncio.to_thread(server.stop)


@asynccontextmanager
async def _on_postgres(url: str, options: StoreOptions) -> AsyncIterator[BaseStore]:
    index: Any = _index(options)
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    async with AsyncPostgresStore.from_conn_string(plain, index=index, ttl=options.ttl) as store:
        try:
            await store.setup()
        except (FeatureNotSupported, UndefinedFile) as error:
            raise Unsupported("this PostgreSQL has no pgvector") from error
        yield store


def _index(options: StoreOptions) -> IndexConfig | None:
    if options.fields is None:
        return None
    return IndexConfig(dims=options.dimensions, embed=options.embeddings, fields=list(options.fields))


FACTORIES: Final[Mapping[str, Factory]] = {
    "HybridMemoryStore": hybrid,
    "InMemoryStore": memory,
    "AsyncPostgresStore": postgres,
    "AsyncSqliteStore": sqlite,
}
