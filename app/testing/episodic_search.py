"""Search for the in-memory twin of tier 2: shared words instead of PostgreSQL's stems and ranks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from app.errors import InvalidInput
from app.records import (
    FILTER_FIELDS,
    METADATA_PREFIX,
    Episode,
    FilterTerm,
    Hit,
    ItemText,
    Knowledge,
    Message,
    Point,
    Query,
    Range,
    RecordKind,
    Tier,
    utc_now,
)
from app.testing.episodic_books import Owned

_STOP_WORDS: Final = frozenset({"a", "and", "did", "does", "for", "in", "is", "of", "on", "the", "to", "was", "what", "when"})


def search(query: Query, records: Iterable[Owned]) -> tuple[Hit, ...]:
    _check_filter(query.filter)
    hits = (
        _hit(record, query)
        for record in records
        if not isinstance(record, ItemText) and is_visible(record) and _holds(record, query)
    )
    found = [hit for hit in hits if hit.score > 0 and _is_wanted(hit, query)]
    found.sort(key=lambda hit: (-hit.score, -hit.created_at.timestamp(), hit.id))
    return tuple(found[: query.limit])


def is_visible(record: Owned) -> bool:
    """Whether the record should be found by a search, and be in the vector index."""
    if isinstance(record, Episode):
        return not record.is_open
    return not isinstance(record, Knowledge) or record.is_active


def _holds(record: Owned, query: Query) -> bool:
    """Knowledge whose time is not that of the query is only found by those who ask for it."""
    return not isinstance(record, Knowledge) or query.include_superseded or record.holds_at(query.as_of or utc_now())


def _hit(record: Message | Episode | Knowledge, query: Query) -> Hit:
    shared = len(_words(query.text) & _words(_searchable_text(record)))
    score = shared / (shared + 1)
    if isinstance(record, Message):
        return _message_hit(record, score)
    if isinstance(record, Episode):
        return _episode_hit(record, score)
    return _knowledge_hit(record, score)


def _message_hit(message: Message, score: float) -> Hit:
    return Hit(
        id=message.id,
        kind=RecordKind.MESSAGE,
        text=message.content,
        score=score,
        components={"text": score},
        tier=Tier.EPISODIC,
        scope=message.scope,
        created_at=message.created_at,
        metadata=message.metadata,
        role=message.role.value,
        author=message.author,
        sequence=message.sequence,
    )


def _episode_hit(episode: Episode, score: float) -> Hit:
    return Hit(
        id=episode.id,
        kind=RecordKind.EPISODE,
        text=episode.summary or _searchable_text(episode),
        score=score,
        components={"text": score},
        tier=Tier.EPISODIC,
        scope=episode.scope,
        created_at=episode.ended_at,
        metadata={"kind": episode.kind.value, **episode.metadata},
        quality=episode.quality,
        outcome_quality=episode.outcome_quality,
    )


def _knowledge_hit(knowledge: Knowledge, score: float) -> Hit:
    return Hit(
        id=knowledge.id,
        kind=RecordKind.KNOWLEDGE,
        text=knowledge.description,
        score=score,
        components={"text": score},
        tier=Tier.EPISODIC,
        scope=knowledge.scope,
        created_at=knowledge.created_at,
        metadata={"kind": knowledge.kind.value},
        quality=knowledge.confidence,
    )


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text.lower())) - _STOP_WORDS


def _searchable_text(record: Message | Episode | Knowledge) -> str:
    if isinstance(record, Message):
        return f"{record.name or ''} {record.content}"
    if isinstance(record, Episode):
        return " ".join([record.summary, *_leaves([record.perception, record.reasoning, record.action])])
    return " ".join([record.description, *_leaves(record.content)])


def _leaves(document: object) -> Iterator[str]:
    """The keys and values of a JSON document as text."""
    if isinstance(document, Mapping):
        for key, value in document.items():
            yield str(key)
            yield from _leaves(value)
    elif isinstance(document, list | tuple):
        for value in document:
            yield from _leaves(value)
    else:
        yield str(document)


def _check_filter(terms: Iterable[FilterTerm]) -> None:
    for term in terms:
        if term.field not in FILTER_FIELDS and not term.field.startswith(METADATA_PREFIX):
            raise InvalidInput("filter", f"{term.field!r} cannot be filtered by")


def _is_wanted(hit: Hit, query: Query) -> bool:
    is_late_enough = query.since is None or hit.created_at >= query.since
    is_early_enough = query.until is None or hit.created_at <= query.until
    is_matching = all(_matches(hit, term) for term in query.filter) and all(lies_within(r, hit) for r in query.ranges)
    return query.scope.admits(hit.scope) and is_late_enough and is_early_enough and is_matching


def lies_within(bounds: Range, holder: Hit | Point) -> bool:
    """Whether the number that the bounds are about is there and between them."""
    value = getattr(holder, bounds.field)
    is_enough = value is not None and (bounds.at_least is None or value >= bounds.at_least)
    return is_enough and (bounds.below is None or value < bounds.below)


def _matches(hit: Hit, term: FilterTerm) -> bool:
    if term.field.startswith(METADATA_PREFIX):
        value = hit.metadata.get(term.field.removeprefix(METADATA_PREFIX))
    else:
        value = getattr(hit.scope if term.field.endswith("_id") else hit, term.field)
    return value is not None and any(_same_json(value, wanted) for wanted in term.values)


def _same_json(one: object, other: object) -> bool:
    """Equality as JSON has it: true is not 1."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other
