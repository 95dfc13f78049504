"""What tier 2 keeps for learning: the queue of episodes to learn from, patterns with their evidence, and what is out of date."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from app.records import Json, Pattern, PatternKind, PatternState, Scope


@dataclass(frozen=True, slots=True)
class Extraction:
    """An episode that is due to be learned from.

    A closed episode with something to learn from (a conversation only if it has steps) becomes due in the transaction in
    which it, or its steps, change. `generation` rises with every such change and every claim: whoever comes with an older
    one holds it no more. `failures` are the episode's own.
    """

    episode_id: UUID
    namespace: str
    generation: int
    attempts: int = 0
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Lesson:
    """All that one episode is evidence of. Without patterns it is evidence of nothing, whatever it was before."""

    extraction: Extraction
    patterns: tuple[Pattern, ...]


@dataclass(frozen=True, slots=True)
class PatternQuery:
    """Which patterns to show, by rising id: of this kind, in this state, at least so sure. `after` is the last id before."""

    scope: Scope
    kind: PatternKind | None = None
    state: PatternState | None = None
    min_confidence: float = 0.0
    after: UUID | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class LearningStatus:
    """How much waits: episodes to learn from, those given up on, patterns and scopes to be looked at; and what there is."""

    pending: int = 0
    dead_letters: int = 0
    stale: int = 0
    oldest_at: datetime | None = None
    patterns: Mapping[PatternState, int] | None = None


@dataclass(frozen=True, slots=True)
class StaleScope:
    """A namespace and project whose episodes changed since its heuristics were made, and the marks that say so."""

    scope: Scope
    marks: tuple[int, ...]


class PatternReader(Protocol):
    """Part of `EpisodicReader`."""

    async def first_steps(self, episode_ids: Sequence[UUID], limit: int) -> Mapping[UUID, Sequence[Json]]:
        """The first `limit` steps of each of these episodes in order; those without steps are left out."""
        ...

    async def list_patterns(self, query: PatternQuery) -> tuple[Pattern, ...]:
        """With the newest of their evidence. What nobody has weighed yet is not among them."""
        ...

    async def learning_status(self) -> LearningStatus: ...

    async def stale_scopes(self, limit: int, *, namespace: str | None = None) -> tuple[StaleScope, ...]: ...


class PatternWriter(PatternReader, Protocol):
    """Part of `EpisodicWriter`."""

    async def claim_extractions(
        self, limit: int, *, lease: timedelta, now: datetime, namespace: str | None = None
    ) -> tuple[Extraction, ...]:
        """Take up to `limit` that are due (not dead, not leased), the longest waiting first, with SKIP LOCKED."""
        ...

    async def learn(self, lessons: Sequence[Lesson]) -> frozenset[UUID]:
        """Put each episode's lesson in the place of what was learned from it before, and tick its extraction off.

        An episode that is no longer the caller's, because it changed or the lease ran out, is left alone. Returns the ids
        of the others. The families of all patterns concerned are marked as stale.
        """
        ...

    async def release_extractions(
        self,
        extractions: Sequence[Extraction],
        *,
        error: str,
        next_attempt_at: datetime,
        failures: int = 0,
        is_dead: bool = False,
    ) -> None:
        """Give them back: tried again at `next_attempt_at`, or never (until the episode changes); `failures` are added."""
        ...

    async def retry_extractions(self, now: datetime, *, namespace: str | None = None) -> int:
        """Make those that were given up on due again; returns how many."""
        ...

    async def take_stale(self, limit: int, *, namespace: str | None = None) -> tuple[Pattern, ...] | None:
        """Take up to `limit` stale families: their patterns, counted anew and locked until the transaction ends.

        Nothing of them is stale any more. Patterns that were merged into others are not among them: their evidence has
        moved on. Without the ids of episodes. None when nothing is stale.
        """
        ...

    async def with_evidence(self, patterns: Sequence[Pattern]) -> tuple[Pattern, ...]:
        """The same patterns with the newest episodes on both sides, in the same order."""
        ...

    async def similar_patterns(self, patterns: Sequence[Pattern], limit: int) -> Mapping[UUID, Sequence[Pattern]]:
        """For each of them others of the same kind and scope that have the same gist, or at least three quarters of the words.

        Only such as were weighed before or are older (of two new ones, one is merged into the other, and not both).
        Without the ids of episodes; the oldest `limit`, which are left out where there are none.
        """
        ...

    async def save_patterns(self, patterns: Sequence[Pattern]) -> None:
        """Replace what weighing decides: counts, confidence, state, and when they were weighed."""
        ...

    async def merge_pattern(self, pattern: Pattern, into: Pattern) -> None:
        """Move the evidence of one to the other, now and whenever there is new; what the one said is emptied."""
        ...

    async def delete_patterns(self, ids: Sequence[UUID]) -> None:
        """Delete those of them that have no evidence."""
        ...

    async def settle_scope(self, stale: StaleScope) -> None:
        """Its heuristics are up to date with all that these marks stand for."""
        ...
