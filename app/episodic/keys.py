"""API keys in PostgreSQL."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from app.episodic import rows
from app.episodic.engine import connected
from app.episodic.tables import api_keys
from app.records import ApiKey, Permission


class PostgresKeyStore:
    """`KeyStore` on the table `api_keys`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def find(self, key_sha256: bytes) -> ApiKey | None:
        async with connected(self._engine) as session:
            found = await session.run("find_key", select(api_keys).where(api_keys.c.key_sha256 == key_sha256))
        return rows.only(found, key)

    async def list(self) -> tuple[ApiKey, ...]:
        async with connected(self._engine) as session:
            found = await session.run("list_keys", select(api_keys).order_by(api_keys.c.id))
        # None is left out: without any key the API may be open, and one that cannot be read is still one.
        return tuple(found_key for row in found if (found_key := rows.only([row], key)) is not None)

    async def save(self, key: ApiKey) -> None:
        values = {
            "id": key.id,
            "key_sha256": key.key_sha256,
            "name": key.name,
            "scopes": sorted(key.permissions),
            "namespaces": sorted(key.namespaces),
            "created_at": key.created_at,
            "expires_at": key.expires_at,
            "revoked_at": key.revoked_at,
        }
        async with connected(self._engine) as session:
            await session.run("save_key", insert(api_keys).values(values))
            await session.commit()

    async def revoke(self, key_id: UUID, at: datetime) -> bool:
        statement = update(api_keys).where(api_keys.c.id == key_id).values(revoked_at=at).returning(api_keys.c.id)
        async with connected(self._engine) as session:
            revoked = await session.run("revoke_key", statement)
            await session.commit()
        return bool(revoked)


def key(row: Row[Any]) -> ApiKey:
    return ApiKey(
        id=row.id,
        name=row.name,
        key_sha256=row.key_sha256,
        permissions=frozenset(Permission(p) for p in row.scopes),
        namespaces=frozenset(row.namespaces),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
