"""Which items are meant, as SQL conditions: every value bound, typed comparison, prefixes by whole labels."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import reduce
from typing import Any, Final

from sqlalchemy import ColumnElement, FromClause, Text, and_, func, literal, or_, true
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from app.episodic.tables import items
from app.ports import ItemSelection
from app.records import ANY_LABEL, ItemTerm, LabelPattern, LabelQuery, Operator

_LABELS: Final = ARRAY(Text(collation="C"))
_LEAST: Final = "\x01"
"""The least character a text can hold here: nothing lies between a label and the label with it at the end."""
_SQL: Final = {Operator.GT: ">", Operator.GTE: ">=", Operator.LT: "<", Operator.LTE: "<="}


def is_selected(selection: ItemSelection, source: FromClause = items) -> ColumnElement[bool]:
    """Of rows of `items`, or of something with their columns."""
    return and_(
        source.c.namespace == selection.namespace,
        begins_with(selection.labels, source),
        is_there(selection.now, source),
        *(_matches(term, source.c.value) for term in selection.terms),
    )


def is_there(now: datetime, source: FromClause = items) -> ColumnElement[bool]:
    return or_(source.c.expires_at.is_(None), source.c.expires_at > now)


def begins_with(labels: Sequence[str], source: FromClause = items) -> ColumnElement[bool]:
    """A range of the index: arrays are ordered by their first labels first."""
    if not labels:
        return true()
    end = [*labels[:-1], labels[-1] + _LEAST]
    return and_(source.c.labels >= literal(list(labels), _LABELS), source.c.labels < literal(end, _LABELS))


def is_labelled(pattern: LabelPattern) -> ColumnElement[bool]:
    count = func.cardinality(items.c.labels)
    asked = pattern.labels
    first = count - len(asked) + 1 if pattern.is_suffix else literal(1)
    same = [items.c.labels[first + n] == label for n, label in enumerate(asked) if label != ANY_LABEL]
    return and_(begins_with(() if pattern.is_suffix else _literal(asked)), count >= len(asked), *same)


def _literal(labels: Sequence[str]) -> Sequence[str]:
    """What comes before the first wildcard."""
    return labels[: labels.index(ANY_LABEL)] if ANY_LABEL in labels else labels


def matched_part(query: LabelQuery) -> ColumnElement[Any]:
    return items.c.labels if query.max_depth is None else items.c.labels[1 : query.max_depth]


def _matches(term: ItemTerm, document: ColumnElement[Any]) -> ColumnElement[bool]:
    """Never NULL, so that it can be negated; comparing JSON with JSON never fails, as a cast to a number would."""
    value = reduce(lambda outer, key: outer.op("->", return_type=JSONB())(literal(key, Text)), term.path, document)
    wanted = literal(term.operand, JSONB)
    match term.comparison:
        case Operator.EQ:
            return func.coalesce(value, literal(None, JSONB)) == wanted
        case Operator.NE:
            return func.coalesce(value, literal(None, JSONB)) != wanted
        case Operator.OBJECT:
            return _is_a("object", value)
        case ordering:
            return _is_ordered(value, _SQL[ordering], term.operand)


def _is_ordered(value: ColumnElement[Any], operator: str, operand: object) -> ColumnElement[bool]:
    if isinstance(operand, str):
        bare = value.op("#>>", return_type=Text())(literal([], ARRAY(Text))).collate("C")
        return and_(_is_a("string", value), bare.bool_op(operator)(literal(operand, Text)))
    return and_(_is_a("number", value), value.bool_op(operator)(literal(operand, JSONB)))


def _is_a(kind: str, value: ColumnElement[Any]) -> ColumnElement[bool]:
    return func.coalesce(func.jsonb_typeof(value) == kind, False)
