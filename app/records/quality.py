"""How good the episodes of a namespace are, counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

TENTHS: Final = 10


@dataclass(frozen=True, slots=True)
class QualityCounts:
    """The episodes of one project (None: of none) that are no conversations.

    `tenths[n]` have a quality from n/10 up to, but not including, (n + 1)/10; the last one also holds 1. `total` is the sum
    of all qualities, `below` how many are below the threshold asked about, `unscored` how many have no quality.
    """

    project_id: str | None
    tenths: tuple[int, ...]
    total: float
    below: int
    unscored: int

    @property
    def scored(self) -> int:
        return sum(self.tenths)

    @property
    def mean(self) -> float | None:
        """None where there is nothing to average."""
        return self.total / self.scored if self.scored else None

    @property
    def share_below(self) -> float | None:
        return self.below / self.scored if self.scored else None


def tenth_of(quality: float) -> int:
    return min(int(quality * TENTHS), TENTHS - 1)


def summed(counts: tuple[QualityCounts, ...]) -> QualityCounts:
    """All projects together."""
    return QualityCounts(
        project_id=None,
        tenths=tuple(sum(c.tenths[n] for c in counts) for n in range(TENTHS)),
        total=sum(c.total for c in counts),
        below=sum(c.below for c in counts),
        unscored=sum(c.unscored for c in counts),
    )
