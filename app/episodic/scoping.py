"""Scope and filter as SQL conditions: always part of the query, always bound as parameters, closed when in doubt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, Table, false, literal, or_
from sqlalchemy.dialects.postgresql import JSONB

from app.errors import InvalidInput
from app.records import FILTER_FIELDS, METADATA_PREFIX, FilterTerm, Range, Scope

NARROWING_FIELDS: Final = ("user_id", "agent_id", "session_id", "project_id")


def admitted(table: Table, scope: Scope) -> list[ColumnElement[bool]]:
    """The conditions under which `scope` admits a row: the namespace's always, and one for each narrowing field.

    What a record has no field for it is not owned by: a scope that narrows by it does not admit the record.
    """
    narrow = (table.c[name] == value if name in table.c else false() for name, value in narrowings(scope))
    return [table.c.namespace == scope.namespace, *narrow]


def narrowings(scope: Scope) -> Iterator[tuple[str, str]]:
    """The fields by which `scope` narrows, with their values."""
    for name in NARROWING_FIELDS:
        value = getattr(scope, name)
        if value is not None:
            yield name, value


def matching(
    term: FilterTerm, fields: Mapping[str, ColumnElement[Any]], metadata: ColumnElement[Any] | None
) -> ColumnElement[bool]:
    """The condition under which a row matches `term`; `fields` and `metadata` are what this kind of record has.

    Values are compared as JSON does: 1 is not "1", and true is not 1.

    Raises:
        InvalidInput: the term names no field that can be filtered by.
    """
    if term.field.startswith(METADATA_PREFIX):
        return _in_metadata(term, metadata)
    if term.field not in FILTER_FIELDS:
        raise InvalidInput("filter", f"{term.field!r} is none of {', '.join(FILTER_FIELDS)} or metadata.<key>")
    texts = [value for value in term.values if isinstance(value, str)]
    column = fields.get(term.field)
    return false() if column is None or not texts else column.in_(texts)


def within(bounds: Range, column: ColumnElement[Any] | None) -> Iterator[ColumnElement[bool]]:
    """The conditions under which a row lies within the bounds; a kind of record that has no such number never does."""
    if column is None:
        yield false()
        return
    yield column.is_not(None)
    if bounds.at_least is not None:
        yield column >= bounds.at_least
    if bounds.below is not None:
        yield column < bounds.below


def _in_metadata(term: FilterTerm, metadata: ColumnElement[Any] | None) -> ColumnElement[bool]:
    if metadata is None:
        return false()
    value = metadata.op("->", return_type=JSONB())(literal(term.field.removeprefix(METADATA_PREFIX)))
    return or_(false(), *(value == literal(wanted, JSONB) for wanted in term.values))
