"""From what was perceived to conditions that another situation can meet, too (pure)."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from app.learning.conditions import Condition, Op
from app.learning.documents import Fact, facts_of
from app.records import Json

MOST_FACTS: Final = 16
"""Of one episode; a perception with more of them says little with each."""
_SMALL: Final = 3
_SIGNS: Final[Mapping[Op, str]] = {Op.EQ: "is", Op.LT: "<", Op.LTE: "<=", Op.GT: ">", Op.GTE: ">="}
_STEPS: Final = (1.0, 2.0, 5.0, 10.0)


def circumstances(perception: Json, most: int = MOST_FACTS) -> tuple[tuple[Condition, ...], ...]:
    """One group of conditions a fact: equality, or for a number the interval between 1, 2, 5, 10, 20 … that it lies in."""
    return tuple(around(field, value) for field, value in facts_of(perception, most).items())


def around(field: str, value: Fact) -> tuple[Condition, ...]:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or value == 0 or (isinstance(value, int) and abs(value) <= _SMALL):
        return (Condition(field, Op.EQ, value),)
    low, high = _interval(abs(float(value)))
    if float(value) > 0:
        return Condition(field, Op.GTE, low), Condition(field, Op.LT, high)
    return Condition(field, Op.GT, -high), Condition(field, Op.LTE, -low)


def texts_of(conditions: Sequence[Condition]) -> tuple[str, ...]:
    """Field, operator and value each by itself: what may be said in other words, and what may not."""
    return tuple(part for c in conditions for part in (c.field, c.op.value, json.dumps(c.value, ensure_ascii=False)))


def in_words(conditions: Iterable[Condition]) -> str:
    """Conditions for people; they only have scalars to compare with."""
    return " and ".join(f"{c.field} {_SIGNS[c.op]} {_shown(c.value)}" for c in conditions)


def as_json(conditions: Iterable[Condition]) -> list[Json]:
    """As `conditions` of a content are stated."""
    return [{"field": c.field, "op": c.op.value, "value": c.value} for c in conditions]


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else repr(value)


def _interval(size: float) -> tuple[float, float]:
    """The step of the series 1, 2, 5, 10 … at or below `size` (which is positive), and the next one."""
    magnitude = 10.0 ** math.floor(math.log10(size))
    steps = (0.5, *_STEPS)  # the logarithm of a number just below a power of ten is rounded up to it
    bounds = [_rounded(step * magnitude) for step in steps]
    place = max(i for i, bound in enumerate(bounds[:-1]) if bound <= size)
    return _whole(bounds[place]), _whole(bounds[place + 1])


def _rounded(bound: float) -> float:
    return float(f"{bound:.6g}")


def _whole(bound: float) -> float:
    return int(bound) if bound.is_integer() and bound < 2**53 else bound
