"""Answers kept for a moment, in this process: bounded, and worth nothing once their generation is over (pure but for counting).

A generation is read before an answer is made, and compared before it is given again. Whoever changes what episodes are found
by begins a new one afterwards, in Postgres: for all processes at once, and in the transaction of a change where there is one
(`EpisodicReader.episode_generation`). An answer made while something changed belongs to the generation before, and dies with
it.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeAlias
from uuid import UUID

from app.observability import CACHE_ENTRIES, CACHE_REQUESTS
from app.records import Query, Recollection, sha256_hex

_CACHE: Final = "situations"
_Key: TypeAlias = tuple[str, str]
"""A namespace, and the digest of all that was asked in it."""


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """`entries` of at most `characters` of text each are kept for `ttl`: fifty megabytes at the very most.

    `ttl` bounds how long an answer's ages (recency, fading feedback) may be behind; it keeps nothing right that is wrong.
    """

    ttl: timedelta = timedelta(seconds=60)
    entries: int = 500
    characters: int = 100_000


@dataclass(frozen=True, slots=True)
class _Entry:
    answer: Recollection
    generation: UUID | None
    expires_at: float


class SituationCache:
    """Whole answers by what was asked. `monotonic` is in seconds."""

    def __init__(self, policy: CachePolicy, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._policy = policy
        self._monotonic = monotonic
        self._entries: OrderedDict[_Key, _Entry] = OrderedDict()  # by rising `expires_at`

    @property
    def is_on(self) -> bool:
        return self._policy.ttl > timedelta()

    def get(self, query: Query, generation: UUID | None) -> Recollection | None:
        """The answer given to the same query in this generation, if it is still there."""
        self._drop_expired()
        entry = self._entries.get(key := _key(query))
        if entry is not None and entry.generation != generation:
            self._drop(key)
            entry = None
        CACHE_REQUESTS.labels(_CACHE, "miss" if entry is None else "hit").inc()
        return None if entry is None else entry.answer

    def put(self, query: Query, generation: UUID | None, answer: Recollection) -> None:
        """Keep the answer, made in this generation, unless it is degraded: the next one may be whole."""
        if answer.degraded or sum(len(hit.text) for hit in answer.hits) > self._policy.characters:
            return
        self._drop(key := _key(query))
        self._entries[key] = _Entry(answer, generation, self._monotonic() + self._policy.ttl.total_seconds())
        while len(self._entries) > self._policy.entries:
            self._entries.popitem(last=False)
        CACHE_ENTRIES.labels(_CACHE).set(len(self._entries))

    def forget(self, namespace: str) -> None:
        """Drop the namespace's answers from memory."""
        for key in [key for key in self._entries if key[0] == namespace]:
            self._drop(key)

    def _drop_expired(self) -> None:
        now = self._monotonic()
        while self._entries and next(iter(self._entries.values())).expires_at <= now:
            self._entries.popitem(last=False)
        CACHE_ENTRIES.labels(_CACHE).set(len(self._entries))

    def _drop(self, key: _Key) -> None:
        self._entries.pop(key, None)


def _key(query: Query) -> _Key:
    """By its text form: to Python 1 and true are equal, to a filter they are not."""
    return query.scope.namespace, sha256_hex(repr(query))
