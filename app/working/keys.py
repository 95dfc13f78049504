"""Key names (pure).

    hm:{pNN}:<namespace>:<session>:<part>   one session's parts, together in the cluster slot of their partition
    hm:{pNN}:dirty                          sorted set: session → since when it waits for Postgres
    hm:{pNN}:unreleased                     sorted set: session → since when it waits for the vector index
    hm:{pNN}:episodes                       stream: episodes logged, until they are in Postgres
    hm:{pNN}:episode_ids                    hash: namespace and id → entry and digest of an episode logged
    hm:{ns:<namespace>}:unindexed           sorted set: session → its newest append

Namespaces and sessions are percent-encoded: whatever characters they contain, no two of them share a key, none ends
a hash tag early, and none means something in a MATCH pattern. Times are microseconds since 1970.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote
from uuid import UUID

from app.records import SessionKey

PARTITIONS: Final = 64
"""Enough to spread over a cluster, few enough to ask all of them at once. Stored keys depend on it: never change it."""


@dataclass(frozen=True, slots=True)
class SessionKeys:
    """The keys of one session. `member` names it in its partition's sets, `listed` in its namespace's index."""

    messages: str
    meta: str
    ids: str
    state: str
    scratch: str
    dirty: str
    unreleased: str
    member: str
    index: str
    listed: str


def session_keys(session: SessionKey) -> SessionKeys:
    partition, member = partition_of(session), member_of(session)
    prefix = f"hm:{{p{partition:02}}}:{member}"
    return SessionKeys(
        messages=f"{prefix}:messages",
        meta=f"{prefix}:meta",
        ids=f"{prefix}:ids",
        state=f"{prefix}:state",
        scratch=f"{prefix}:scratch",
        dirty=dirty_key(partition),
        unreleased=unreleased_key(partition),
        member=member,
        index=index_key(session.namespace),
        listed=_encode(session.session_id),
    )


def partition_of(session: SessionKey) -> int:
    """The session's partition: the same in every process and release."""
    return _partition(member_of(session))


def _partition(member: str) -> int:
    digest = hashlib.blake2b(member.encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") % PARTITIONS


def member_of(session: SessionKey) -> str:
    return f"{_encode(session.namespace)}:{_encode(session.session_id)}"


def session_of_member(member: str) -> SessionKey:
    namespace, session_id = member.split(":")
    return SessionKey(unquote(namespace), unquote(session_id))


def dirty_key(partition: int) -> str:
    return f"hm:{{p{partition:02}}}:dirty"


def unreleased_key(partition: int) -> str:
    return f"hm:{{p{partition:02}}}:unreleased"


@dataclass(frozen=True, slots=True)
class EpisodeKeys:
    """Where an episode is logged: its partition's stream and ids, and the `member` that names it among these."""

    stream: str
    ids: str
    member: str


def episode_keys(namespace: str, episode_id: UUID) -> EpisodeKeys:
    member = f"{_encode(namespace)}:{episode_id}"
    partition = _partition(member)
    return EpisodeKeys(episodes_key(partition), f"hm:{{p{partition:02}}}:episode_ids", member)


def episodes_key(partition: int) -> str:
    return f"hm:{{p{partition:02}}}:episodes"


def index_key(namespace: str) -> str:
    return f"hm:{{ns:{_encode(namespace)}}}:unindexed"


def session_of_listed(namespace: str, listed: str) -> SessionKey:
    return SessionKey(namespace, unquote(listed))


def match_namespace(namespace: str) -> str:
    """A MATCH pattern for the keys of all sessions of a namespace."""
    return f"hm:{{p*}}:{_encode(namespace)}:*"


def session_of_key(key: str) -> SessionKey:
    """The session that a key found by `match_namespace` belongs to."""
    return session_of_member(":".join(key.split(":")[2:4]))


def _encode(name: str) -> str:
    return quote(name, safe="")
