"""How what was found is ranked: arithmetic on columns, one row a candidate (pure).

    score = dense + bm25 · BM25 + author + date + session + assistant + recency + quality + outcome + feedback

Every term is in units of the dense dot product (0 to 2: an indexed vector is the sum of two unit vectors), so a weight
of 0.5 is worth as much as half a cosine. The weights were found on public conversations with gold evidence; what each
gained and how to measure it again: docs/recall.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from app.standing import Standing

Floats: TypeAlias = npt.NDArray[np.floating[Any]]
"""Shape (candidates,)."""
Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]

DAY_SECONDS: Final = 86_400.0
LARGEST_WEIGHT: Final = 10.0
LARGEST_RRF_K: Final = 10_000
LEAST_HALF_LIFE_DAYS: Final = 0.01
LONGEST_HALF_LIFE_DAYS: Final = 36_500.0
_NOBODY: Final = -1
"""The author code of a candidate without one, and of an author whom no candidate has."""


class Fusion(StrEnum):
    """How the two legs become one content score: by their scores, or by their ranks (reciprocal rank fusion)."""

    LINEAR = "linear"
    RRF = "rrf"


@dataclass(frozen=True, slots=True)
class Ranking:
    """The weights of the terms; 0 switches a term off.

        `bm25`: per unit of BM25. `author`: the one person whom the question names said it. `date`: its day lies in a stretch
        of time that the question names. `session`: times the best content score in the same session. `assistant`: taken from
        long messages of an unnamed assistant. `recency`: the most that age can give, halved every `half_life_days`.
        `quality`: times an episode's quality or a piece of knowledge's confidence. `outcome`: gained by an episode that turned
        out as well as can be, and lost by one that turned out as badly. `feedback`: times the favour that callers show a record
        (`app.standing`). `names_out`: participants' names are taken
        out of the dense query. `rrf_k`: the constant of `Fusion.RRF`. `expand`, `late_interaction`, `cross_encoder`: times what
    these stages say (0 to 1), where they are asked for.
    """

    fusion: Fusion = Fusion.LINEAR
    bm25: float = 0.05
    author: float = 0.5
    date: float = 0.4
    session: float = 0.4
    assistant: float = 0.4
    recency: float = 0.0
    half_life_days: float = 30.0
    quality: float = 0.0
    outcome: float = 0.0
    feedback: float = 0.3
    rrf_k: int = 60
    names_out: bool = True
    prefetch: int = 200
    expand: float = 0.4
    late_interaction: float = 0.5
    cross_encoder: float = 5.0


DEFAULT_RANKING: Final = Ranking()
SITUATION_RANKING: Final = Ranking(author=0.0, date=0.0, session=0.0, quality=0.05, outcome=0.15, names_out=False)
"""For episodes like a situation: names and dates in it are facts and no cues, and episodes of one session no company.

`outcome` and `quality` decide among episodes that are about as similar: an episode is one unit vector, so that the best and
the worst outcome are 0.3 of cosine apart. Chosen, not measured: public logs of decisions with gold evidence are wanting.
"""


@dataclass(frozen=True, slots=True)
class Cues:
    """What the question says about the answer besides its words.

    `author` is the one person it names; `days` are stretches of days as YYYYMMDD, both ends included; `now` (seconds since
    the epoch) is what ages are counted from.
    """

    author: str | None = None
    days: tuple[tuple[int, int], ...] = ()
    now: float | None = None


NO_CUES: Final = Cues()


@dataclass(frozen=True, slots=True)
class Traits:
    """What ranking has to know of a candidate besides its scores. `created_at` is in seconds since the epoch."""

    author: str | None = None
    session: str | None = None
    day: int = 0
    created_at: float = 0.0
    quality: float = 0.0
    is_long_assistant: bool = False
    outcome_quality: float | None = None
    standing: Standing | None = None


@dataclass(slots=True)
class Columns:
    """Traits of many candidates, one array each; authors and sessions as codes that count from 0.

    `outcome` is in [-1, 1], 0 where it is not known. `standings` has the rows about which something was said: few.
    """

    author: Ints
    session: Ints
    day: Ints
    created_at: Floats
    quality: Floats
    is_long_assistant: Bools
    outcome: Floats
    authors: Mapping[str, int] = field(default_factory=dict)
    standings: Mapping[int, Standing] = field(default_factory=dict)

    @classmethod
    def of(cls, traits: Sequence[Traits]) -> Columns:
        authors: dict[str, int] = {}
        sessions: dict[str, int] = {}
        return cls(
            author=np.asarray([_code(authors, t.author) for t in traits], dtype=np.int64),
            session=np.array([_code(sessions, t.session) for t in traits], dtype=np.int64),
            day=np.array([t.day for t in traits], dtype=np.int64),
            created_at=np.array([t.created_at for t in traits], dtype=np.float64),
            quality=np.array([t.quality for t in traits], dtype=np.float64),
            is_long_assistant=np.array([t.is_long_assistant for t in traits], dtype=np.bool_),
            outcome=np.array([_centred(t.outcome_quality) for t in traits], dtype=np.float64),
            authors=authors,
            standings={row: t.standing for row, t in enumerate(traits) if t.standing is not None},
        )


def content(ranking: Ranking, dense: Floats, bm25: Floats) -> Floats:
    """What the texts themselves are worth; NaN where a half is unknown."""
    if ranking.fusion is Fusion.RRF:
        return _reciprocal_ranks(ranking.rrf_k, dense) + _reciprocal_ranks(ranking.rrf_k, bm25)
    return dense + ranking.bm25 * bm25


def cue_terms(ranking: Ranking, cues: Cues, columns: Columns) -> dict[str, Floats]:
    """The terms that do not depend on the texts, by name; those that give nothing to anybody are left out."""
    terms: dict[str, Floats] = {}
    if cues.author is not None:
        terms["author"] = ranking.author * (columns.author == columns.authors.get(cues.author, _NOBODY - 1))
    if cues.days:
        terms["date"] = ranking.date * _in_any(columns.day, cues.days)
    terms["assistant"] = -ranking.assistant * columns.is_long_assistant
    if cues.now is not None and ranking.recency:
        terms["recency"] = ranking.recency * _freshness(columns.created_at, cues.now, ranking.half_life_days)
    terms["quality"] = ranking.quality * columns.quality
    terms["outcome"] = ranking.outcome * columns.outcome
    if columns.standings:
        terms["feedback"] = ranking.feedback * _favour(columns, cues.now)
    return {name: term for name, term in terms.items() if term.any()}


def session_term(ranking: Ranking, contents: Floats, columns: Columns) -> Floats:
    """`ranking.session` times the best content score among the candidates of the same session, never below 0.

    A candidate without a session is its own.
    """
    has_session = columns.session >= 0
    best = np.zeros(int(columns.session.max(initial=-1)) + 1)
    own: Floats = np.maximum(contents, 0.0)
    np.maximum.at(best, columns.session[has_session], own[has_session])
    own[has_session] = best[columns.session[has_session]]
    return ranking.session * own


def out_of_bounds(ranking: Ranking) -> tuple[str, str] | None:
    """The first weight that is out of its bounds, and the bounds; None when all are within."""
    bounds = dict.fromkeys(_WEIGHTS, (0.0, LARGEST_WEIGHT)) | {
        "half_life_days": (LEAST_HALF_LIFE_DAYS, LONGEST_HALF_LIFE_DAYS),
        "rrf_k": (1, LARGEST_RRF_K),
    }
    for name, (least, most) in bounds.items():
        if not least <= getattr(ranking, name) <= most:
            return name, f"must be between {least:g} and {most:g}"
    return None


_WEIGHTS: Final = (
    "bm25",
    "author",
    "date",
    "session",
    "assistant",
    "recency",
    "quality",
    "outcome",
    "feedback",
    "expand",
    "late_interaction",
    "cross_encoder",
)


def _centred(outcome_quality: float | None) -> float:
    return 0.0 if outcome_quality is None else 2.0 * outcome_quality - 1.0


def _favour(columns: Columns, now: float | None) -> Floats:
    """What callers make of each candidate by `now`; without it, as of when it was last said."""
    favour = np.zeros(columns.day.shape)
    for row, standing in columns.standings.items():
        favour[row] = standing.favour(standing.as_of if now is None else datetime.fromtimestamp(now, UTC))
    return favour


def _code(codes: dict[str, int], value: str | None) -> int:
    return _NOBODY if value is None else codes.setdefault(value, len(codes))


def _in_any(days: Ints, stretches: Sequence[tuple[int, int]]) -> Bools:
    inside = np.zeros(days.shape, dtype=np.bool_)
    for since, until in stretches:
        inside |= (days >= since) & (days <= until)
    return inside


def _freshness(created_at: Floats, now: float, half_life_days: float) -> Floats:
    """1 for now (and for what is dated later), halved every `half_life_days`."""
    age_days = np.maximum(now - created_at, 0.0) / DAY_SECONDS
    freshness: Floats = np.exp2(-age_days / half_life_days)
    return freshness


def _reciprocal_ranks(k: int, scores: Floats) -> Floats:
    """1 / (k + rank), the best ranks first; 0 for what the leg did not bring (Cormack et al. 2009)."""
    order = np.argsort(-scores, kind="stable")  # NaN last
    ranks = np.empty(scores.shape)
    ranks[order] = np.arange(1, len(scores) + 1)
    return np.where(np.isnan(scores), 0.0, 1.0 / (k + ranks))
