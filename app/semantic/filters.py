"""Which points may be seen: one vendor-neutral list of conditions, translated by each engine (pure).

A condition is a set of texts a keyword field may equal, a stretch of time, or bounds on a number. Metadata is matched
through one keyword list of `key=value` terms rather than by path: the engines disagree about what a path matches (Qdrant
Edge takes true for 1 and cannot ask for true, neither engine finds 1.0 by matching 1, and a list matches by any of its
elements), while equal terms are equal everywhere, and are indexed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeAlias
from uuid import UUID

from app.errors import InvalidInput
from app.records import FILTER_FIELDS, METADATA_PREFIX, FilterTerm, Json, Range, RecordKind, Scope

NAMESPACE: Final = "namespace"
CREATED_AT: Final = "created_at"
VALID_FROM: Final = "valid_from"
VALID_TO: Final = "valid_to"
METADATA_TERMS: Final = "metadata_terms"
_SCOPE_FIELDS: Final = ("user_id", "agent_id", "session_id", "project_id")
_LONGEST_TERM: Final = 128
"""Characters; a longer term is replaced by its digest, so that the keyword index stays small."""


@dataclass(frozen=True, slots=True)
class OneOf:
    """The field holds one of `values`; a missing field never does, and no value is ever found among none."""

    field: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Within:
    """The field's time lies between the bounds, both inclusive; RFC 3339, `None` is open."""

    field: str
    since: str | None
    until: str | None


@dataclass(frozen=True, slots=True)
class Bounded:
    """The field's number lies between the bounds, the upper one exclusive; `None` is open. A missing field never does."""

    field: str
    at_least: float | None
    below: float | None


@dataclass(frozen=True, slots=True)
class ValidAt:
    """The point holds at this time (RFC 3339): what it says of beginning and end, if anything, does not speak against it."""

    moment: str


@dataclass(frozen=True, slots=True)
class Named:
    """The point has one of these ids."""

    ids: tuple[UUID, ...]


Condition: TypeAlias = OneOf | Within | Bounded | ValidAt | Named


def within_scope(scope: Scope) -> tuple[Condition, ...]:
    """What `scope` admits. The namespace is always a condition, and always the first."""
    named = ((name, getattr(scope, name)) for name in _SCOPE_FIELDS)
    return only_namespace(scope.namespace) + tuple(OneOf(name, (value,)) for name, value in named if value is not None)


def only_namespace(namespace: str) -> tuple[Condition, ...]:
    return (OneOf(NAMESPACE, (namespace,)),)


def of_kinds(kinds: Sequence[RecordKind]) -> tuple[Condition, ...]:
    """No condition when every kind is wanted."""
    return () if set(kinds) == set(RecordKind) else (OneOf("kind", tuple(kind.value for kind in kinds)),)


def between(since: datetime | None, until: datetime | None) -> tuple[Condition, ...]:
    if since is None and until is None:
        return ()
    return (Within(CREATED_AT, _rfc3339(since), _rfc3339(until)),)


def bounded(ranges: Sequence[Range]) -> tuple[Condition, ...]:
    return tuple(Bounded(bounds.field, bounds.at_least, bounds.below) for bounds in ranges)


def valid_at(moment: datetime | None, kinds: Sequence[RecordKind]) -> tuple[Condition, ...]:
    """Only knowledge ceases to hold: no condition where none is asked for."""
    return () if moment is None or RecordKind.KNOWLEDGE not in kinds else (ValidAt(moment.astimezone(UTC).isoformat()),)


def matching(terms: Sequence[FilterTerm]) -> tuple[Condition, ...]:
    """One condition a term.

    Raises:
        InvalidInput: a term names no field that can be filtered by.
    """
    return tuple(_matching(term) for term in terms)


def metadata_terms(metadata: Json) -> list[str]:
    """What a record's metadata can be found by: its scalar values, under the metadata's own keys."""
    return [_term(key, value) for key, value in metadata.items() if isinstance(value, str | int | float)]


def _matching(term: FilterTerm) -> Condition:
    if term.field.startswith(METADATA_PREFIX):
        key = term.field.removeprefix(METADATA_PREFIX)
        return OneOf(METADATA_TERMS, tuple(_term(key, value) for value in term.values))
    if term.field not in FILTER_FIELDS:
        raise InvalidInput("filter", f"{term.field!r} is none of {', '.join(FILTER_FIELDS)} or metadata.<key>")
    return OneOf(term.field, tuple(_texts(term)))


def _rfc3339(time: datetime | None) -> str | None:
    return time.isoformat() if time is not None else None


def _texts(term: FilterTerm) -> Iterator[str]:
    return (value for value in term.values if isinstance(value, str))


def _term(key: str, value: str | float) -> str:
    """Equal terms for values that are equal in JSON: 1 and 1.0 are, 1 and "1" are not, nor are 1 and true."""
    is_whole = isinstance(value, float) and value.is_integer()
    term = f"{json.dumps(key)}={json.dumps(int(value) if is_whole else value)}"
    return term if len(term) <= _LONGEST_TERM else hashlib.sha256(term.encode()).hexdigest()
