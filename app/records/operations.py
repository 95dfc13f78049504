"""What operators ask for, and the reports they get."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from app.records.base import Tier


@dataclass(frozen=True, slots=True)
class Selection:
    """Records by name. `messages` are ids in the session `session_id`, which has to be given with them.

    An episode stands for its messages too.
    """

    namespace: str
    session_id: str | None = None
    messages: tuple[UUID, ...] = ()
    episodes: tuple[UUID, ...] = ()
    knowledge: tuple[UUID, ...] = ()


@dataclass(frozen=True, slots=True)
class TierReceipt:
    """What was removed from one tier, by kind, and how much a second look still found; None: nobody could look."""

    removed: Mapping[str, int]
    remaining: int | None


@dataclass(frozen=True, slots=True)
class ForgetReceipt:
    """What was removed and what a second look still found, tier by tier.

    `pending` names the tiers that were away: what they hold is removed when they are back, before anybody reads it.
    """

    tiers: Mapping[Tier, TierReceipt]
    pending: tuple[str, ...] = ()

    @property
    def remaining(self) -> int:
        """0 when all went well; a tier that could not be looked into is in `pending`."""
        return sum(receipt.remaining or 0 for receipt in self.tiers.values())


@dataclass(frozen=True, slots=True)
class ImportReport:
    """How many records of each kind an import wrote, and how many it found there already."""

    new: Mapping[str, int]
    known: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class RunReport:
    """What one consolidation run did."""

    id: UUID
    started_at: datetime
    finished_at: datetime
    counts: Mapping[str, int]
    errors: tuple[str, ...] = ()

    @property
    def duration_ms(self) -> float:
        return (self.finished_at - self.started_at).total_seconds() * 1000


class FindingKind(StrEnum):
    """How the vector index can be wrong about a record.

    `missing`: it has no point. `orphaned`: a point has no record, or one that is not to be found. `stale`: the point was
    made from another text. `wrong_space`: a point lies in another space than new vectors do.
    """

    MISSING = "missing"
    ORPHANED = "orphaned"
    STALE = "stale"
    WRONG_SPACE = "wrong_space"


class ReconcileState(StrEnum):
    """`abandoned`: interrupted, and then asked for in another way, so that it could not be resumed."""

    RUNNING = "running"
    DONE = "done"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """A comparison of Postgres with the vector index: what it is for, how far it came, and what it found.

    `checked` of about `total` records were compared, everything up to the id `cursor`. `pending` and `dead_letters` count
    differences that the outbox knows of: they are no findings. `space` names the space new vectors are meant for.
    `generation` counts how often the run was taken up.
    """

    id: UUID
    namespace: str | None
    is_repair: bool
    space: str
    started_at: datetime
    total: int = 0
    checked: int = 0
    findings: Mapping[FindingKind, int] = field(default_factory=dict)
    examples: Mapping[FindingKind, tuple[UUID, ...]] = field(default_factory=dict)
    pending: int = 0
    dead_letters: int = 0
    cursor: UUID | None = None
    state: ReconcileState = ReconcileState.RUNNING
    finished_at: datetime | None = None
    leased_until: datetime | None = None
    generation: int = 1

    @property
    def found(self) -> int:
        return sum(self.findings.values())

    @property
    def unrepaired(self) -> int:
        """Findings that nothing is being done about."""
        return 0 if self.is_repair else self.found


@dataclass(frozen=True, slots=True)
class Backfill:
    """What a backfill is to do: for one namespace or all, so many episodes at a time, at most so many in all.

    `per_second` bounds its pace; None does not.
    """

    namespace: str | None = None
    batch_size: int = 100
    max_episodes: int = 10_000
    per_second: float | None = None


@dataclass(frozen=True, slots=True)
class BackfillPending:
    """What a backfill would find: episodes without a quality, and episodes the index has yet to learn of."""

    unscored: int
    unembedded: int


@dataclass(frozen=True, slots=True)
class BackfillReport:
    """What a backfill did. `counts` has each result (see `app.consolidation.backfill`); `pending` is what is left."""

    run: RunReport
    pending: BackfillPending


class Feature(StrEnum):
    """What can be switched off while the service runs."""

    EPISODE_LOGGING = "episode_logging"
    RETRIEVAL = "retrieval"


class Permission(StrEnum):
    """What a key may do."""

    READ = "memory:read"
    WRITE = "memory:write"
    ADMIN = "memory:admin"


ALL_NAMESPACES: Final = "*"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is kept: by its SHA-256 only. `namespaces` holds `*` for all of them."""

    id: UUID
    name: str
    key_sha256: bytes
    permissions: frozenset[Permission]
    namespaces: frozenset[str]
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def is_valid(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True, slots=True)
class TierHealth:
    """One dependency's answer to a ping. `detail` names the engine or the error; a `breaker` that is `open` or
    `half-open` says that the engine is left alone until it answers a ping."""

    name: str
    is_up: bool
    latency_ms: float
    detail: str = ""
    breaker: str = "closed"
