"""Whether a message answers to a query's conditions (pure): what the engines decide inside their own queries."""

from __future__ import annotations

from app.records import METADATA_PREFIX, FilterTerm, Message, Query, RecordKind


def admits(query: Query, message: Message) -> bool:
    """Scope, kinds, filter and times: all must hold."""
    return (
        RecordKind.MESSAGE in query.kinds
        and query.scope.admits(message.scope)
        and (query.since is None or message.created_at >= query.since)
        and (query.until is None or message.created_at <= query.until)
        and all(_holds(term, message) for term in query.filter)
        and not query.ranges  # a message has none of the numbers
    )


def _holds(term: FilterTerm, message: Message) -> bool:
    if term.field.startswith(METADATA_PREFIX):
        value = message.metadata.get(term.field.removeprefix(METADATA_PREFIX))
    else:
        value = _field(term.field, message)
    # 1 == True in Python, but not in JSON.
    return any(isinstance(value, bool) == isinstance(v, bool) and value == v for v in term.values)


def _field(name: str, message: Message) -> str | None:
    match name:
        case "kind":
            return RecordKind.MESSAGE.value
        case "role":
            return message.role.value
        case "author":
            return message.author
        case _:
            value: str | None = getattr(message.scope, name)
            return value
