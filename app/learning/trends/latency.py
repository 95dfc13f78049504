"""Latencies as counts in buckets (pure), so that days and processes can be added up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

BUCKETS: Final = 80
_LEAST_MS: Final = 0.25
_PER_DOUBLING: Final = 4
"""A bucket is 19 % wide: a quantile read from its middle is at most a tenth off. The last one begins at 186 s."""


def bucket_of(latency_ms: float) -> int:
    if latency_ms <= _LEAST_MS:
        return 0
    return min(BUCKETS - 1, 1 + math.floor(_PER_DOUBLING * math.log2(latency_ms / _LEAST_MS)))


def quantile_ms(counts: Sequence[int], share: float) -> float | None:
    """The latency that `share` of those counted do not exceed, to a tenth; None when nothing was counted."""
    wanted, seen = math.ceil(share * sum(counts)), 0
    for place, count in enumerate(counts):
        seen += count
        if count and seen >= wanted:
            return float(_LEAST_MS * 2 ** ((place - 0.5) / _PER_DOUBLING))
    return None
