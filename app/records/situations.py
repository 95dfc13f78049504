"""Asking for episodes like a situation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, TypedDict

from app.ranking import SITUATION_RANKING, Ranking
from app.records.asking import FilterTerm
from app.records.base import Json, Scope
from app.records.episodes import EpisodeKind


class OutcomeAsked(StrEnum):
    """Which episodes: whatever came of them, those that turned out well, or those that turned out badly.

    Whose outcome quality is not known turned out neither way.
    """

    ANY = "any"
    GOOD = "good"
    BAD = "bad"


GOOD_OUTCOME: Final = 0.5
"""The outcome quality from which on an episode turned out well: the middle of [0, 1], so that each judged one did or did not."""


class SituationTerms(TypedDict, total=False):
    """What may be said besides the situation: see `SituationQuery`."""

    limit: int
    kind: EpisodeKind | None
    outcome: OutcomeAsked
    min_quality: float | None
    min_outcome_quality: float | None
    filter: tuple[FilterTerm, ...]
    since: datetime | None
    until: datetime | None
    now: datetime | None
    ranking: Ranking
    deadline: timedelta | None


@dataclass(frozen=True, slots=True)
class SituationQuery:
    """Which episodes are like `context`, a text or a JSON object.

    An episode without the quality that a minimum is asked of is left out. `since` and `until` bound when it ended. Without a
    `deadline` it is the installation's.
    """

    context: str | Json
    scope: Scope
    limit: int = 5
    kind: EpisodeKind | None = None
    outcome: OutcomeAsked = OutcomeAsked.ANY
    min_quality: float | None = None
    min_outcome_quality: float | None = None
    filter: tuple[FilterTerm, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    now: datetime | None = None
    ranking: Ranking = SITUATION_RANKING
    deadline: timedelta | None = None
