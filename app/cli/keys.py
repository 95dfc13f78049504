"""Commands about API keys, on the PostgreSQL that keeps them."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import TypeAlias
from uuid import UUID

from rich.console import Console

from app.access import AccessControl
from app.cli.showing import keys_table
from app.records import Permission, utc_now

Opening: TypeAlias = AbstractAsyncContextManager[AccessControl]


async def create(
    opening: Opening, name: str, permissions: Collection[Permission], namespaces: Collection[str], *,
    days: int | None, console: Console,
) -> None:  # fmt: skip
    """Prints the key, this once; it is valid for ever if `days` is None."""
    expires_at = None if days is None else utc_now() + timedelta(days=days)
    async with opening as access:
        key, secret = await access.make(name, permissions, namespaces, expires_at)
    console.print(f"key {key.id} ({', '.join(sorted(key.permissions))}): shown this once", soft_wrap=True)
    console.print(secret, soft_wrap=True, highlight=False)


async def show_all(opening: Opening, console: Console) -> None:
    async with opening as access:
        keys = await access.list()
    console.print(keys_table(keys, utc_now()))


async def revoke(opening: Opening, key_id: UUID, console: Console) -> None:
    async with opening as access:
        await access.revoke(key_id)
    console.print(f"revoked {key_id}", soft_wrap=True)
