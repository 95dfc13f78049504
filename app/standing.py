"""How what callers said about a record adds up, and fades (pure).

Feedback counts as in the beta reputation system (Jøsang & Ismail, 2002): with `approval` and `disapproval` the sums of what
was said for and against a record, its favour is

    (approval - disapproval) / (approval + disapproval + 2)

which is between -1 and 1 whatever is said how often: 1/3 after one useful hit, 0.8 after eight, 0 where as much was said
against as for. Both sums are halved every `HALF_LIFE` (their forgetting factor), so that an opinion that nobody repeats
fades, and the order in which opinions came does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final


class Verdict(StrEnum):
    """What a caller made of a hit: it helped, it is not true, it is not true any more, or following it does damage."""

    USEFUL = "useful"
    WRONG = "wrong"
    OUTDATED = "outdated"
    HARMFUL = "harmful"


HALF_LIFE: Final = timedelta(days=30)
"""Chosen as recency's: what was said a month ago counts half."""
APPROVALS: Final[Mapping[Verdict, float]] = {Verdict.USEFUL: 1.0}
DISAPPROVALS: Final[Mapping[Verdict, float]] = {Verdict.WRONG: 1.0, Verdict.OUTDATED: 0.5, Verdict.HARMFUL: 3.0}
"""What was true once may still be of use; one caller who came to harm weighs as much as three who were helped."""
MEMORY: Final = 40 * HALF_LIFE
"""What is older counts for nothing: 2**-40 of what it did."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What was said for and against a record, each as it counted at `as_of`."""

    approval: float
    disapproval: float
    as_of: datetime

    def favour(self, now: datetime) -> float:
        """In (-1, 1); nearer to 0 the later `now` is. At a time before `as_of` it is as it was then."""
        share = _faded(now - self.as_of)
        approval, disapproval = share * self.approval, share * self.disapproval
        return (approval - disapproval) / (approval + disapproval + 2.0)


def standing_of(opinions: Iterable[tuple[Verdict, datetime]], as_of: datetime) -> Standing | None:
    """All that was said about one record, as it counts at `as_of`; None when nothing does any more."""
    counting = [(verdict, _faded(as_of - at)) for verdict, at in opinions if as_of - at < MEMORY]
    if not counting:
        return None
    approval = sum(APPROVALS.get(verdict, 0.0) * share for verdict, share in counting)
    disapproval = sum(DISAPPROVALS.get(verdict, 0.0) * share for verdict, share in counting)
    return Standing(approval, disapproval, as_of)


def _faded(age: timedelta) -> float:
    """What is left of an opinion of that age."""
    return float(2.0 ** -(max(age, timedelta()) / HALF_LIFE))
