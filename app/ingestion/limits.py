"""What may enter, and how large (pure). Every refusal names the field and the limit."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import orjson

from app.errors import Conflict, InvalidInput
from app.ranking import out_of_bounds
from app.records import (
    FILTER_FIELDS,
    METADATA_PREFIX,
    RECALLED_KINDS,
    Draft,
    Episode,
    FilterTerm,
    Json,
    Message,
    Query,
    RecordKind,
    Scope,
    Selection,
    SituationQuery,
    new_id,
)

UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
"""NUL cannot be stored by Postgres; lone surrogates are not text and cannot be encoded as UTF-8."""
CONTROL: Final = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_EARLIEST: Final = datetime(1900, 1, 1, tzinfo=UTC)
_INT64: Final = 2**63


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on input; sizes are bytes of UTF-8, lengths are characters."""

    message_bytes: int = 65_536
    messages_per_call: int = 1000
    metadata_bytes: int = 8192
    metadata_depth: int = 8
    document_bytes: int = 1_048_576
    document_depth: int = 32
    steps_per_call: int = 10_000
    steps: int = 10_000
    episode_bytes: int = 1_048_576
    patterns: int = 100
    evidence_episodes: int = 1000
    state_items: int = 1000
    label_length: int = 255
    query_bytes: int = 65_536
    results: int = 1000
    neighbours: int = 10
    filter_terms: int = 20
    filter_values: int = 100
    context_tokens: int = 200_000
    clock_skew: timedelta = timedelta(seconds=60)
    shortest_deadline: timedelta = timedelta(milliseconds=1)
    longest_deadline: timedelta = timedelta(seconds=30)


def check_label(field: str, value: str, limits: Limits) -> None:
    """Ids and names: not blank, bounded, no control characters."""
    if not value.strip():
        raise InvalidInput(field, "must not be blank")
    if len(value) > limits.label_length:
        raise InvalidInput(field, f"must have at most {limits.label_length} characters, has {len(value)}")
    if CONTROL.search(value):
        raise InvalidInput(field, "must not contain control characters")


def check_scope(scope: Scope, limits: Limits) -> None:
    for field in ("namespace", "user_id", "agent_id", "session_id", "project_id"):
        value = getattr(scope, field)
        if value is not None:
            check_label(field, value, limits)


def check_selection(selection: Selection, limits: Limits) -> Selection:
    """Return the selection, which names at least one record and says of which session its messages are."""
    check_label("namespace", selection.namespace, limits)
    if selection.session_id is not None:
        check_label("session_id", selection.session_id, limits)
    elif selection.messages:
        raise InvalidInput("session_id", "must be given with message_ids")
    ids = [*selection.messages, *selection.episodes, *selection.knowledge]
    check_count("ids", len(ids), limits.results)
    return selection


def check_text(field: str, text: str, max_bytes: int) -> None:
    """Free text: not blank, at most `max_bytes`, storable."""
    if not text.strip():
        raise InvalidInput(field, "must not be blank")
    if forbidden := UNSTORABLE.search(text):
        raise InvalidInput(field, f"must not contain {'NUL' if forbidden.group() == chr(0) else 'lone surrogate'} characters")
    size = len(text.encode())
    if size > max_bytes:
        raise InvalidInput(field, f"must have at most {max_bytes} bytes, has {size}")


def check_document(field: str, document: object, *, max_bytes: int, max_depth: int) -> int:
    """JSON: bounded depth and size, finite numbers of at most 64 bits, storable strings. Returns its size in bytes."""
    _check_json(field, document, 0, max_depth)
    size = len(orjson.dumps(document, default=dict))
    if size > max_bytes:
        raise InvalidInput(field, f"must have at most {max_bytes} bytes as JSON, has {size}")
    return size


def check_episode_labels(episode: Episode, limits: Limits) -> None:
    """What names an episode's agent, sprint and note, and the patterns seen in it."""
    for field in ("agent_version", "decision_source", "sprint_id", "chronicle_note_id"):
        if (value := getattr(episode, field)) is not None:
            check_label(field, value, limits)
    if len(episode.patterns) > limits.patterns:
        raise InvalidInput("patterns", f"must have at most {limits.patterns} items, has {len(episode.patterns)}")
    for position, pattern in enumerate(episode.patterns):
        check_label(f"patterns[{position}]", pattern, limits)


def document_bytes(document: Json) -> int:
    return len(orjson.dumps(document))


def episode_bytes(episode: Episode) -> int:
    """What an episode's documents and summary take as JSON, without its steps."""
    documents = (episode.perception, episode.reasoning, episode.action, episode.metadata, episode.outcome)
    return sum(document_bytes(d) for d in documents if d is not None) + len(episode.summary.encode())


def check_episode_size(size: int, steps: int, limits: Limits) -> None:
    """An episode with all its steps."""
    if steps > limits.steps:
        raise InvalidInput("steps", f"must be at most {limits.steps} in all, would be {steps}")
    if size > limits.episode_bytes:
        problem = f"must have at most {limits.episode_bytes} bytes as JSON with its steps, would have {size}"
        raise InvalidInput("episode", problem)


def _check_json(field: str, value: object, depth: int, max_depth: int) -> None:
    match value:
        case str():
            if UNSTORABLE.search(value):
                raise InvalidInput(field, "must not contain NUL or lone surrogate characters")
        case bool() | None:
            pass
        case int():
            if not -_INT64 <= value < _INT64:
                raise InvalidInput(field, "must hold integers of at most 64 bits")
        case float():
            if not math.isfinite(value):
                raise InvalidInput(field, "must hold finite numbers")
        case Mapping() | list() | tuple():
            _check_container(field, value, depth, max_depth)
        case _:
            raise InvalidInput(field, f"must be JSON, holds a {type(value).__name__}")


def _check_container(field: str, value: Mapping[object, object] | Sequence[object], depth: int, max_depth: int) -> None:
    if depth == max_depth:
        raise InvalidInput(field, f"must be nested at most {max_depth} levels deep")
    for key, item in _items(value):
        if not isinstance(key, str):
            raise InvalidInput(field, "must have strings as keys")
        _check_json(field, key, depth, max_depth)
        _check_json(field, item, depth + 1, max_depth)


def _items(value: Mapping[object, object] | Sequence[object]) -> Iterable[tuple[object, object]]:
    return value.items() if isinstance(value, Mapping) else (("", item) for item in value)


def check_time(field: str, moment: datetime, limits: Limits, now: datetime | None) -> datetime:
    """Return `moment` in UTC. With `now`, it must not lie further in the future than the clock skew allowed."""
    if moment.tzinfo is None:
        raise InvalidInput(field, "must carry a UTC offset, such as 2026-03-01T09:30:00Z")
    # Compared before conversion: an offset at the edge of datetime's range overflows when converted.
    if moment < _EARLIEST:
        raise InvalidInput(field, f"must not be before {_EARLIEST:%Y-%m-%d}")
    if now is not None and moment > now + limits.clock_skew:
        raise InvalidInput(field, f"must not be more than {limits.clock_skew.total_seconds():g} s in the future")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise InvalidInput(field, "is out of range") from None


def check_count(field: str, value: int, limit: int, *, least: int = 1) -> None:
    if not least <= value <= limit:
        raise InvalidInput(field, f"must be between {least} and {limit}, is {value}")


def admit_messages(scope: Scope, drafts: Sequence[Draft], limits: Limits, now: datetime) -> tuple[Message, ...]:
    """Turn drafts into messages, position by position; equal drafts with one id become equal messages.

    Raises:
        InvalidInput: the first field found to break a limit.
        Conflict: one id stands for two contents.
    """
    if scope.session_id is None:
        raise InvalidInput("session_id", "must be given")
    check_scope(scope, limits)
    check_count("messages", len(drafts), limits.messages_per_call)
    messages = tuple(_admit(f"messages[{n}]", scope, draft, limits, now) for n, draft in enumerate(drafts))
    first_with: dict[UUID, Message] = {}
    for position, message in enumerate(messages):
        if first_with.setdefault(message.id, message).content != message.content:
            raise Conflict(f"messages[{position}].id", "stands for two different contents in this call")
    return messages


def _admit(field: str, scope: Scope, draft: Draft, limits: Limits, now: datetime) -> Message:
    check_text(f"{field}.content", draft.content, limits.message_bytes)
    if draft.name is not None:
        check_label(f"{field}.name", draft.name, limits)
    check_document(f"{field}.metadata", draft.metadata, max_bytes=limits.metadata_bytes, max_depth=limits.metadata_depth)
    created_at = now if draft.created_at is None else check_time(f"{field}.created_at", draft.created_at, limits, now)
    return Message(
        id=draft.id or new_id(),
        scope=scope,
        role=draft.role,
        content=draft.content,
        created_at=created_at,
        name=draft.name,
        metadata=draft.metadata,
    )


def check_kinds(field: str, kinds: Collection[RecordKind]) -> None:
    """Kinds that a recall finds; items are found by a search of their own."""
    if not set(kinds) <= set(RECALLED_KINDS):
        raise InvalidInput(field, f"must be among {', '.join(RECALLED_KINDS)}")


def check_query(query: Query, limits: Limits) -> Query:
    """Return the query with its times in UTC.

    Raises:
        InvalidInput: the first field found to break a limit.
    """
    check_text("text", query.text, limits.query_bytes)
    check_scope(query.scope, limits)
    check_count("limit", query.limit, limits.results)
    if not query.kinds:
        raise InvalidInput("kinds", "must name at least one kind")
    check_kinds("kinds", query.kinds)
    _check_filter(query.filter, limits)
    timed = _in_utc(query, limits)
    for kind, most in query.kind_limits:
        check_count(f"kind_limits.{kind}", most, limits.results, least=0)
    check_count("neighbours", query.neighbours, limits.neighbours, least=0)
    if (problem := out_of_bounds(query.ranking)) is not None:
        raise InvalidInput(f"ranking.{problem[0]}", problem[1])
    return timed


def _in_utc(query: Query, limits: Limits) -> Query:
    since, until = _time_or_none("since", query.since, limits), _time_or_none("until", query.until, limits)
    now, as_of = _time_or_none("now", query.now, limits), _time_or_none("as_of", query.as_of, limits)
    if since is not None and until is not None and since > until:
        raise InvalidInput("since", "must not be after until")
    return replace(query, since=since, until=until, now=now, as_of=as_of)


def _time_or_none(field: str, moment: datetime | None, limits: Limits) -> datetime | None:
    return None if moment is None else check_time(field, moment, limits, None)


def check_situation(asked: SituationQuery, limits: Limits) -> None:
    """What `check_query` does not see of a situation.

    Raises:
        InvalidInput: the first field found to break a limit.
    """
    if isinstance(asked.context, str):
        check_text("context", asked.context, limits.query_bytes)
    elif not asked.context:
        raise InvalidInput("context", "must not be empty")
    else:
        check_document("context", asked.context, max_bytes=limits.query_bytes, max_depth=limits.document_depth)
    check_ratio("min_quality", asked.min_quality)
    check_ratio("min_outcome_quality", asked.min_outcome_quality)
    if asked.deadline is not None and not limits.shortest_deadline <= asked.deadline <= limits.longest_deadline:
        least, most = (d / timedelta(milliseconds=1) for d in (limits.shortest_deadline, limits.longest_deadline))
        raise InvalidInput("deadline_ms", f"must be between {least:g} and {most:g}")


def check_ratio(field: str, value: float | None) -> None:
    if value is not None and not 0.0 <= value <= 1.0:
        raise InvalidInput(field, f"must be between 0 and 1, is {value}")


def _check_filter(terms: Sequence[FilterTerm], limits: Limits) -> None:
    if len(terms) > limits.filter_terms:
        raise InvalidInput("filter", f"must have at most {limits.filter_terms} fields, has {len(terms)}")
    for term in terms:
        _check_term(term, limits)


def _check_term(term: FilterTerm, limits: Limits) -> None:
    field = f"filter.{term.field}"
    is_metadata = term.field.startswith(METADATA_PREFIX) and len(term.field) > len(METADATA_PREFIX)
    if term.field not in FILTER_FIELDS and not is_metadata:
        raise InvalidInput(field, f"is not a field; use one of {', '.join(FILTER_FIELDS)} or {METADATA_PREFIX}<key>")
    check_label(field, term.field, limits)
    check_count(f"{field} values", len(term.values), limits.filter_values)
    for value in term.values:
        _check_json(field, value, 0, 0)
