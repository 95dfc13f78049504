"""Heuristics by counting (pure): under which conditions one action goes well more often than the others.

Clusters of similar situations, and all situations together, propose conditions: the values that a cluster shares, the
categories and quantiles that occur in it, and pairs of the most telling. Every proposal is then counted over all cases: how
often the action went well where the conditions hold, against the other actions there. What a one-sided Fisher test does not
tell from chance is dropped. Hundreds of proposals are counted, so the level is divided by the number of those that could
have reached it (Tarone, "A modified Bonferroni method for discrete data", 1990): the chance of any false heuristic stays
below it.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, groupby, islice
from typing import Final
from uuid import UUID

import numpy as np
import numpy.typing as npt

from app.learning.cases import Case, is_number, meets
from app.learning.conditions import Condition, Op
from app.learning.evidence import LEAST_SUPPORTERS, confidence_from
from app.learning.perceived import in_words

_MOST_CUTS: Final = 8
_MOST_CATEGORIES: Final = 12
_TELLING: Final = 10
"""Single conditions an action's pairs are made of."""
_OF_EACH: Final = 2

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class HeuristicPolicy:
    """A heuristic is kept with `supporters` episodes that went well or more and a confidence above `confidence`.

    `level`: the chance that any heuristic of a scope is a false one, were all actions equally good everywhere.

    `share`: of a cluster's cases that have to have a value in common for it to be the cluster's.
    """

    supporters: int = LEAST_SUPPORTERS
    confidence: float = 0.7
    level: float = 0.05
    share: float = 0.9


@dataclass(frozen=True, slots=True)
class Heuristic:
    """Where `conditions` hold, `action` went well `well` times of `tried`, the others `others_well` of `others_tried`.

    `p_value` is the chance of that or more; `least_p` the least it could have been, had all that went well been this action's.
    """

    conditions: tuple[Condition, ...]
    action: str
    called: str
    well: int
    tried: int
    others_well: int
    others_tried: int
    p_value: float
    least_p: float
    supporting: tuple[UUID, ...]
    contradicting: tuple[UUID, ...]

    @property
    def confidence(self) -> float:
        return confidence_from(self.well, self.tried - self.well)

    def __str__(self) -> str:
        where = f"When {in_words(self.conditions)}, choose" if self.conditions else "Choose"
        went = f"{self.well} of {self.tried} went well, against {self.others_well} of {self.others_tried} otherwise"
        return f"{where} '{self.called}': {went}."


def heuristics_in(cases: Sequence[Case], clusters: Iterable[Sequence[Case]], policy: HeuristicPolicy) -> tuple[Heuristic, ...]:
    """The heuristics that these cases bear out, the surest first; of two that rest on the same episodes, one."""
    table = _Table(cases)
    proposed = {c for group in (cases, *clusters) for c in _proposals(table, group, policy)}
    counted = sorted(table.different(h for c in proposed for h in table.counted(c)), key=_rank)
    level = corrected_level([h.least_p for h in counted], policy.level)
    sure = [h for h in counted if h.p_value <= level and h.well >= policy.supporters and h.confidence > policy.confidence]
    return tuple(table.with_evidence(h) for h in _distinct(sure, table, level))


class _Table:
    """The cases as columns: which meet a condition, which took an action, which went well."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self._cases = cases
        self._well = np.array([case.went_well for case in cases], dtype=bool)
        self._took = {action: np.array([c.action == action for c in cases], dtype=bool) for action in {c.action for c in cases}}
        self._masks: dict[Condition, Mask] = {}

    def mask(self, conditions: Iterable[Condition]) -> Mask:
        """Which cases meet all of them."""
        met = np.ones(len(self._cases), dtype=bool)
        for condition in conditions:
            if condition not in self._masks:
                self._masks[condition] = np.array([meets(case, [condition]) for case in self._cases], dtype=bool)
            met &= self._masks[condition]
        return met

    def counted(self, conditions: tuple[Condition, ...], *, without: Mask | None = None) -> Iterator[Heuristic]:
        """The conditions with each action that was taken under them, and another one too; `without` leaves cases out."""
        met = self.mask(conditions) if without is None else self.mask(conditions) & ~without
        met_well = met & self._well
        all_tried, all_well = int(met.sum()), int(met_well.sum())
        for action, took in self._took.items():
            tried, well = int((met & took).sum()), int((met_well & took).sum())
            others, others_well = all_tried - tried, all_well - well
            if tried and others:
                best = min(tried, all_well)
                p_value, least_p = fisher_p(well, tried, others_well, others), fisher_p(best, tried, all_well - best, others)
                yield Heuristic(conditions, action, action, well, tried, others_well, others, p_value, least_p, (), ())

    def different(self, heuristics: Iterable[Heuristic]) -> list[Heuristic]:
        """One for each action and set of cases: other words for the same cases are no further question."""
        simplest: dict[tuple[str, bytes], Heuristic] = {}
        for heuristic in sorted(heuristics, key=_rank):
            simplest.setdefault((heuristic.action, self.mask(heuristic.conditions).tobytes()), heuristic)
        return list(simplest.values())

    def with_evidence(self, heuristic: Heuristic) -> Heuristic:
        took = self.mask(heuristic.conditions) & self._took[heuristic.action]
        called = Counter(self._cases[i].called for i in np.flatnonzero(took).tolist()).most_common(1)[0][0]
        return replace(
            heuristic, called=called, supporting=self._ids(took & self._well), contradicting=self._ids(took & ~self._well)
        )

    def _ids(self, mask: Mask) -> tuple[UUID, ...]:
        return tuple(sorted(self._cases[i].episode_id for i in np.flatnonzero(mask).tolist()))


def fisher_p(well: int, tried: int, others_well: int, others_tried: int) -> float:
    """The chance of `well` successes or more of `tried`, were both groups equally good (Fisher's exact test, one-sided)."""
    total, successes = tried + others_tried, well + others_well
    most = min(tried, successes)
    terms = (_log_choose(successes, k) + _log_choose(total - successes, tried - k) for k in range(well, most + 1))
    whole = _log_choose(total, tried)
    return min(1.0, math.fsum(math.exp(term - whole) for term in terms))


def _log_choose(n: int, k: int) -> float:
    if not 0 <= k <= n:
        return -math.inf
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def corrected_level(least: Sequence[float], level: float) -> float:
    """The level divided by the smallest k such that at most k of the tests could reach it at all (Tarone 1990)."""
    reachable = sorted(least)
    return next(level / k for k in range(1, len(reachable) + 2) if bisect_right(reachable, level / k) <= k)


def _proposals(table: _Table, group: Sequence[Case], policy: HeuristicPolicy) -> Iterator[tuple[Condition, ...]]:
    """What the group has in common, alone and with each single condition, and with pairs of the most telling."""
    profile = _in_common(group, policy.share)
    singles = [c for c in _singles(group) if c.field not in {p.field for p in profile}]
    yield profile
    for single in singles:
        yield _ordered((*profile, single))
    for pair in combinations(_telling(table, profile, singles), 2):
        if _are_compatible(*pair):
            yield _ordered((*profile, *pair))


def _in_common(group: Sequence[Case], share: float) -> tuple[Condition, ...]:
    """The categories that nearly all of the group have."""
    counted = Counter((f, v) for case in group for f, v in case.facts.items() if not is_number(v))
    return tuple(sorted(
        (Condition(f, Op.EQ, v) for (f, v), count in counted.items() if count >= share * len(group)), key=lambda c: c.field
    ))  # fmt: skip


def _singles(group: Sequence[Case]) -> Iterator[Condition]:
    """Equality with the categories that are frequent in the group, and its quantiles as bounds."""
    fields = sorted({field for case in group for field in case.facts})
    for field in fields:
        values = [case.facts[field] for case in group if field in case.facts]
        numbers = sorted(float(v) for v in values if is_number(v))
        categories = Counter(v for v in values if not is_number(v))
        yield from (Condition(field, Op.EQ, v) for v, _ in categories.most_common(_MOST_CATEGORIES))
        yield from _bounds(field, numbers)


def _bounds(field: str, numbers: Sequence[float]) -> Iterator[Condition]:
    distinct = sorted(set(numbers))
    places = {round(i * (len(distinct) - 1) / _MOST_CUTS) for i in range(1, _MOST_CUTS + 1) if len(distinct) > 1} - {0}
    for place in sorted(places):
        yield Condition(field, Op.GTE, _plain(distinct[place]))
        yield Condition(field, Op.LTE, _plain(distinct[place - 1]))


def _plain(number: float) -> int | float:
    return int(number) if number.is_integer() else number


def _telling(table: _Table, profile: tuple[Condition, ...], singles: Sequence[Condition]) -> list[Condition]:
    """For each action the single conditions that tell most by themselves, of each field no more than a few."""
    alone = ((h.action, h.p_value, in_words([c]), c) for c in singles for h in table.counted(_ordered((*profile, c))))
    counted = sorted(alone, key=lambda x: x[:3])
    telling: dict[Condition, None] = {}
    for _, group in groupby(counted, key=lambda x: x[0]):
        best = _few_of_each(condition for *_, condition in group)
        telling.update(dict.fromkeys(islice(best, _TELLING)))
    return list(telling)


def _few_of_each(conditions: Iterable[Condition]) -> Iterator[Condition]:
    """Without those whose field and operator came often enough before: neighbouring bounds tell the same."""
    seen: Counter[tuple[str, str]] = Counter()
    for condition in conditions:
        seen[condition.field, condition.op] += 1
        if seen[condition.field, condition.op] <= _OF_EACH:
            yield condition


def _are_compatible(one: Condition, other: Condition) -> bool:
    """Of two fields, or a lower and a higher bound of one."""
    if one.field != other.field:
        return True
    bounds = {c.op: c.value for c in (one, other)}
    low, high = bounds.get(Op.GTE), bounds.get(Op.LTE)
    return isinstance(low, int | float) and isinstance(high, int | float) and low < high


def _ordered(conditions: Iterable[Condition]) -> tuple[Condition, ...]:
    return tuple(sorted(conditions, key=lambda c: (c.field, c.op, str(c.value))))


def _rank(heuristic: Heuristic) -> tuple[float, int, str]:
    """The least likely by chance first, then the simplest; the rest is for the order to be always the same."""
    return heuristic.p_value, len(heuristic.conditions), f"{heuristic.action} {in_words(heuristic.conditions)}"


def _distinct(ranked: Sequence[Heuristic], table: _Table, level: float) -> list[Heuristic]:
    """Without those that hold only where a better one for the same action does."""
    chosen: list[Heuristic] = []
    covered: dict[str, Mask] = {}
    for heuristic in ranked:
        known = covered.get(heuristic.action)
        if known is None or _holds_beyond(heuristic, table, known, level):
            chosen.append(heuristic)
            mask = table.mask(heuristic.conditions)
            covered[heuristic.action] = mask if known is None else mask | known
    return chosen


def _holds_beyond(heuristic: Heuristic, table: _Table, covered: Mask, level: float) -> bool:
    rest = table.counted(heuristic.conditions, without=covered)
    return any(h.action == heuristic.action and h.p_value <= level for h in rest)
