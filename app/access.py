"""API keys: made once, shown once, kept as a hash, bound to permissions and namespaces."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
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
        if self._open_until is None or self.clock() >= self._open_until:
            try:
                if await self.store.list():
                    return False
            except TierUnavailable:
                if self._open_until is None:
                    raise
                log.warning("access_from_memory", what="openness")  # the last answer holds while keys cannot be looked up
            self._open_until = self.clock() + _CACHE_TTL
        return True

    async def _find(self, key_sha256: bytes) -> ApiKey | None:
        cached = self._cache.get(key_sha256)
        if cached is not None and self.clock() < cached.until:
            return cached.key
        try:
            key = await self.store.find(key_sha256)
        except TierUnavailable:
            if cached is None:
                raise
            log.warning("access_from_memory", what="key")
            key = cached.key
        if key is not None:  # an unknown one is not remembered: guesses must not fill the cache
            self._cache[key_sha256] = _Cached(key, self.clock() + _CACHE_TTL)
        return key


class UnguardedAccess(AccessControl):
    """Takes everybody for an owner: for a process that holds the engines itself, where a key would guard nothing."""

    async def identify(self, bearer: str | None) -> Caller:  # noqa: ARG002 - whatever it is
        return ANYONE


def _sha256(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
