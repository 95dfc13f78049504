"""Under which conditions knowledge applies: a small language over a caller's context (pure).

The content of a piece of knowledge may hold `conditions`, a list of which all must hold:

    [{"field": "backlog.size", "op": "gt", "value": 20}, {"field": "sprint", "op": "in", "value": ["late", "last"]}]

`field` is the path to a value in the context: names of keys, joined by dots. A comparison is typed as JSON is: numbers
with numbers (1 is 1.0), texts with texts (by code point), truth values and null with themselves; a value of another type
is not equal to anything, and in no order with it. A field that is not there, or is reached through what is no object,
fulfils no condition but `exists: false`. Nothing in a condition is ever executed.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeAlias

from app.errors import InvalidInput
from app.records import CONDITIONS, Json

MOST_CONDITIONS: Final = 20
MOST_VALUES: Final = 100
LONGEST_FIELD: Final = 255
_KEYS: Final = frozenset({"field", "op", "value"})

Scalar: TypeAlias = str | int | float | bool | None


class Op(StrEnum):
    EQ = "eq"
    NE = "ne"
    LT = "lt"
    LTE = "lte"
    GT = "gt"
    GTE = "gte"
    IN = "in"
    EXISTS = "exists"


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition; `value` is a scalar, for `in` several of which one must be equal, for `exists` true or false."""

    field: str
    op: Op
    value: Scalar | tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Met:
    """A condition that holds, and what the context has there (None where `exists: false` found nothing)."""

    condition: Condition
    found: object


class _Missing:
    """What a context has where it has nothing."""


_MISSING: Final = _Missing()
_ORDERS: Final[Mapping[Op, Callable[[Any, Any], bool]]] = {
    Op.LT: operator.lt,
    Op.LTE: operator.le,
    Op.GT: operator.gt,
    Op.GTE: operator.ge,
}


def conditions_of(content: Json) -> tuple[Condition, ...]:
    """The conditions that the content states; none, if it states none.

    Raises:
        InvalidInput: they are not conditions; names the place and what may stand there.
    """
    stated = content.get(CONDITIONS, [])
    if not isinstance(stated, list | tuple):
        raise InvalidInput(f"content.{CONDITIONS}", "must be a list of conditions")
    if len(stated) > MOST_CONDITIONS:
        raise InvalidInput(f"content.{CONDITIONS}", f"must have at most {MOST_CONDITIONS} conditions, has {len(stated)}")
    return tuple(_condition(f"content.{CONDITIONS}[{place}]", one) for place, one in enumerate(stated))


def met(conditions: Sequence[Condition], context: Json) -> tuple[Met, ...] | None:
    """What fulfils each of the conditions; None when one of them does not hold."""
    found = tuple(_found(condition.field, context) for condition in conditions)
    if not all(_holds(condition, value) for condition, value in zip(conditions, found, strict=True)):
        return None
    pairs = zip(conditions, found, strict=True)
    return tuple(Met(condition, None if value is _MISSING else value) for condition, value in pairs)


def _condition(place: str, stated: object) -> Condition:
    if not isinstance(stated, Mapping):
        raise InvalidInput(place, "must be an object with field, op and value")
    if unknown := sorted(map(str, stated.keys() - _KEYS)):
        raise InvalidInput(place, f"must have field, op and value, and nothing else; has {', '.join(unknown)[:100]}")
    field, op = _field(place, stated.get("field")), _op(place, stated.get("op"))
    if "value" not in stated and op is not Op.EXISTS:
        raise InvalidInput(f"{place}.value", f"must be given for {op}")
    return Condition(field, op, _value(f"{place}.value", op, stated.get("value", True)))


def _field(place: str, field: object) -> str:
    if not isinstance(field, str) or not all(part.strip() for part in field.split(".")):
        raise InvalidInput(f"{place}.field", "must be the path to a value: names of keys joined by dots")
    if len(field) > LONGEST_FIELD:
        raise InvalidInput(f"{place}.field", f"must have at most {LONGEST_FIELD} characters, has {len(field)}")
    return field


def _op(place: str, op: object) -> Op:
    if not isinstance(op, str) or op not in set(Op):
        raise InvalidInput(f"{place}.op", f"must be one of {', '.join(Op)}")
    return Op(op)


def _value(place: str, op: Op, value: object) -> Scalar | tuple[Scalar, ...]:
    if op is Op.IN:
        return _values(place, value)
    if op is Op.EXISTS and not isinstance(value, bool):
        raise InvalidInput(place, "must be true or false for exists")
    if op in _ORDERS and (isinstance(value, bool) or not isinstance(value, str | int | float)):
        raise InvalidInput(place, f"must be a number or a text for {op}")
    return _scalar(place, value)


def _values(place: str, value: object) -> tuple[Scalar, ...]:
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= MOST_VALUES:
        raise InvalidInput(place, f"must be a list of 1 to {MOST_VALUES} values for in")
    return tuple(_scalar(f"{place}[{place_in}]", one) for place_in, one in enumerate(value))


def _scalar(place: str, value: object) -> Scalar:
    if value is not None and not isinstance(value, str | int | float | bool):
        raise InvalidInput(place, "must be a text, a number, true, false or null")
    return value


def _found(field: str, context: object) -> object:
    for part in field.split("."):
        if not isinstance(context, Mapping) or part not in context:
            return _MISSING
        context = context[part]
    return context


def _holds(condition: Condition, found: object) -> bool:
    if condition.op is Op.EXISTS:
        return (found is not _MISSING) == condition.value
    if found is _MISSING:
        return False
    if isinstance(condition.value, tuple):
        return any(_equal(found, one) for one in condition.value)
    if condition.op in _ORDERS:
        return _is_ordered(found, condition.value) and _ORDERS[condition.op](found, condition.value)
    return _equal(found, condition.value) == (condition.op is Op.EQ)


def _equal(one: object, other: object) -> bool:
    """As JSON has it: 1 is 1.0, and neither is true."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _is_ordered(one: object, other: object) -> bool:
    """Whether both are numbers, or both are texts."""
    if isinstance(one, bool) or isinstance(other, bool):
        return False
    return any(isinstance(one, kind) and isinstance(other, kind) for kind in (str, int | float))
