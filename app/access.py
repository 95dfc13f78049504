"""API keys: made once, shown once, kept as a hash, bound to permissions and namespaces."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Final
from uuid import UUID

import structlog

from app.errors import Forbidden, NotFound, TierUnavailable, Unauthenticated
from app.ports import Clock, KeyStore
from app.records import ALL_NAMESPACES, ApiKey, Permission, new_id

log = structlog.get_logger(__name__)

_PREFIX: Final = "hm_"
_CACHE_TTL: Final = timedelta(seconds=5)
"""How long a revoked key may still be taken for good by a process that has just seen it."""
_PATIENCE: Final = timedelta(milliseconds=5)
"""How long a call waits for what is known of its key to be looked up anew."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling, and what they may do where. `key_id` is None where no key is asked for."""

    permissions: frozenset[Permission]
    namespaces: frozenset[str]
    key_id: UUID | None = None

    def check(self, permission: Permission, namespace: str | None) -> None:
        """`namespace` None asks for all of them.

        Raises:
            Forbidden: the key lacks the permission, or does not cover the namespace.
        """
        if permission not in self.permissions:
            raise Forbidden(f"this key lacks the permission {permission.value}")
        if ALL_NAMESPACES in self.namespaces:
            return
        if namespace is None:
            raise Forbidden("this key is bound to namespaces: name one of them")
        if namespace not in self.namespaces:
            raise Forbidden(f"this key does not cover namespace {namespace!r}")


ANYONE: Final = Caller(frozenset(Permission), frozenset({ALL_NAMESPACES}))
"""The caller of an open API."""


@dataclass(slots=True)
class _Cached:
    key: ApiKey
    until: datetime


@dataclass(slots=True)
class AccessControl:
    """Tells who a bearer key belongs to. Open, if allowed, for as long as no key was ever made."""

    store: KeyStore
    clock: Clock
    may_be_open: bool
    _cache: dict[bytes, _Cached] = field(default_factory=dict)
    _open_until: datetime | None = None
    _learning: dict[str | bytes, asyncio.Future[None]] = field(default_factory=dict)

    async def identify(self, bearer: str | None) -> Caller:
        """The caller behind a bearer key.

        Raises:
            Unauthenticated: no key, or one that is unknown, expired or revoked.
            TierUnavailable: keys cannot be looked up.
        """
        if bearer is None:
            if await self._is_open():
                return ANYONE
            raise Unauthenticated("a key is needed: send it as `Authorization: Bearer <key>`")
        key = await self._find(_sha256(bearer))
        if key is None or not key.is_valid(self.clock()):
            raise Unauthenticated("this key is unknown, expired or revoked")
        return Caller(key.permissions, key.namespaces, key.id)

    async def make(
        self, name: str, permissions: Collection[Permission], namespaces: Collection[str], expires_at: datetime | None
    ) -> tuple[ApiKey, str]:
        """Make a key; the second value is the key itself, which is not kept and cannot be shown again."""
        secret = _PREFIX + secrets.token_urlsafe(32)
        key = ApiKey(
            id=new_id(),
            name=name,
            key_sha256=_sha256(secret),
            permissions=frozenset(permissions),
            namespaces=frozenset(namespaces),
            created_at=self.clock(),
            expires_at=expires_at,
        )
        await self.store.save(key)
        self._open_until = None
        return key, secret

    async def revoke(self, key_id: UUID) -> None:
        if not await self.store.revoke(key_id, self.clock()):
            raise NotFound("key", str(key_id))
        self._cache = {sha256: cached for sha256, cached in self._cache.items() if cached.key.id != key_id}

    async def list(self) -> tuple[ApiKey, ...]:
        return await self.store.list()

    async def _is_open(self) -> bool:
        if not self.may_be_open:
            return False
        if self._open_until is None:
            await self._learn_openness()
        elif self.clock() >= self._open_until:
            await self._in_time("openness", self._learn_openness)
        return self._open_until is not None

    async def _learn_openness(self) -> None:
        """Whether no key was ever made: that may change, and is then looked up before every call."""
        self._open_until = None if await self.store.list() else self.clock() + _CACHE_TTL

    async def _find(self, key_sha256: bytes) -> ApiKey | None:
        cached = self._cache.get(key_sha256)
        if cached is None:
            return await self._learn_key(key_sha256)
        if self.clock() >= cached.until:
            await self._in_time(key_sha256, partial(self._learn_key, key_sha256))
            cached = self._cache.get(key_sha256)
        return None if cached is None else cached.key

    async def _learn_key(self, key_sha256: bytes) -> ApiKey | None:
        key = await self.store.find(key_sha256)
        if key is not None:  # an unknown one is not remembered: guesses must not fill the cache
            self._cache[key_sha256] = _Cached(key, self.clock() + _CACHE_TTL)
        else:
            self._cache.pop(key_sha256, None)
        return key

    async def _in_time(self, what: str | bytes, learn: Callable[[], Awaitable[object]]) -> None:
        """Learn anew what is known already, and wait for it a moment at most: callers have no time for a slow store.

        What is late, or cannot be looked up, stays as it was known; when a late answer comes it counts.
        """
        if what not in self._learning:
            self._learning[what] = asyncio.ensure_future(self._learn_or_not(what, learn))
            await asyncio.wait({self._learning[what]}, timeout=_PATIENCE.total_seconds())

    async def _learn_or_not(self, what: str | bytes, learn: Callable[[], Awaitable[object]]) -> None:
        try:
            await learn()
        except TierUnavailable:
            log.warning("access_from_memory", what="key" if isinstance(what, bytes) else what)
        finally:
            del self._learning[what]


class UnguardedAccess(AccessControl):
    """Takes everybody for an owner: for a process that holds the engines itself, where a key would guard nothing."""

    async def identify(self, bearer: str | None) -> Caller:  # noqa: ARG002 - whatever it is
        return ANYONE


def _sha256(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
