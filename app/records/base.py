"""What every record has: whose it is, which kind, which id; and how ids are made."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, TypeAlias
from uuid import UUID

import numpy as np
import numpy.typing as npt
import uuid6

Json: TypeAlias = Mapping[str, Any]
"""A JSON object; values are what `json.loads` returns."""
Vector: TypeAlias = npt.NDArray[np.float32]
"""Shape (dim,)."""
Matrix: TypeAlias = npt.NDArray[np.float32]
"""Shape (n, dim)."""
DEFAULT_NAMESPACE: Final = "default"
API_VERSION: Final = "1.0"
"""Of the HTTP API and its client: the first number is that of the paths, the second rises with what is added to them."""
API_VERSION_HEADER: Final = "Hybrid-Memory-Api"
"""Every answer says in it which version of the API the service speaks."""
SCHEMA_VERSION: Final = 1
"""Version of the JSON documents inside stored records."""


class Tier(StrEnum):
    WORKING = "working"
    EPISODIC = "episodic"
    SEMANTIC = "semantic"


class RecordKind(StrEnum):
    """What a hit is; also the `kind` in the vector index and the outbox."""

    MESSAGE = "message"
    EPISODE = "episode"
    KNOWLEDGE = "knowledge"
    ITEM = "item"


RECALLED_KINDS: Final = (RecordKind.MESSAGE, RecordKind.EPISODE, RecordKind.KNOWLEDGE)
"""What a recall may find. Items are searched by their names, filters and meaning: see `ItemQuery`."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose memory. `namespace` is the wall between tenants; each further field narrows, `None` does not."""

    namespace: str = DEFAULT_NAMESPACE
    user_id: str | None = None
    agent_id: str | None = None
    session_id: str | None = None
    project_id: str | None = None

    def admits(self, other: Scope) -> bool:
        """Whether a record of scope `other` may be seen from this scope."""
        return self.namespace == other.namespace and all(
            mine is None or mine == theirs
            for mine, theirs in (
                (self.user_id, other.user_id),
                (self.agent_id, other.agent_id),
                (self.session_id, other.session_id),
                (self.project_id, other.project_id),
            )
        )


@dataclass(frozen=True, slots=True, order=True)
class SessionKey:
    """A session's identity: session ids are unique within a namespace, not beyond it."""

    namespace: str
    session_id: str


def new_id() -> UUID:
    """A fresh UUIDv7: ids are made before the first write, and sort by time."""
    return UUID(int=uuid6.uuid7().int)  # the library's own class is not known to every serializer


def utc_now() -> datetime:
    return datetime.now(UTC)


def sha256_hex(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def plain_mapping(value: object) -> object:
    """A mapping of any kind as the `dict` that JSON libraries know: for their `default`.

    Raises:
        TypeError: `value` is no mapping.
    """
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def derived_uuid(*parts: str) -> UUID:
    """A UUID (version 8) that is the same for the same parts and cannot be steered by choosing one of them."""
    digest = bytearray(hashlib.blake2b("\x1f".join(f"{len(p)}:{p}" for p in parts).encode(), digest_size=16).digest())
    digest[6] = (digest[6] & 0x0F) | 0x80
    digest[8] = (digest[8] & 0x3F) | 0x80
    return UUID(bytes=bytes(digest))
