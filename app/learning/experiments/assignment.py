"""Who is in an experiment, and in which variant (pure): the same subject always gets the same answer."""

from __future__ import annotations

import hashlib
from itertools import accumulate
from typing import Final

from app.records import Experiment, Variant

_RESOLUTION: Final = 2**64


def assigned(experiment: Experiment, subject: str) -> Variant | None:
    """The subject's variant; None outside the traffic share.

    Two hashes of (experiment, subject) decide, independent of each other and of other experiments: raising the traffic
    share moves nobody from one variant to another.
    """
    if _fraction(experiment, "traffic", subject) >= experiment.traffic_share:
        return None
    bounds = list(accumulate(variant.weight for variant in experiment.variants))
    place = _fraction(experiment, "variant", subject) * bounds[-1]
    return next(v for v, bound in zip(experiment.variants, bounds, strict=True) if place < bound)


def _fraction(experiment: Experiment, purpose: str, subject: str) -> float:
    """In [0, 1), evenly; 53 bits, so that it can never be rounded up to 1."""
    key = f"{experiment.id}\x1f{purpose}\x1f{subject}".encode()
    digest = hashlib.blake2b(key, digest_size=8).digest()
    return (int.from_bytes(digest) >> 11) / (_RESOLUTION >> 11)
