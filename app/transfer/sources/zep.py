"""Zep: sessions or threads with their messages, facts, and edges of the graph with the times they are valid in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from app.transfer.sources.items import Item, Odd, Raw, SessionOf, Skip, Table, fact, listed, moment, turn

_MESSAGE: Final[Table] = {
    "key": ("uuid", "uuid_", "id"),
    "role": ("role_type", "role"),
    "content": ("content",),
    "name": ("name",),
    "created_at": ("created_at",),
}
_FACT: Final[Table] = {
    "key": ("uuid", "uuid_", "id"),
    "text": ("fact", "content"),
    "created_at": ("created_at",),
    "valid_from": ("valid_at",),
    "valid_to": ("invalid_at", "expired_at"),
    "user_id": ("user_id",),
}
_SESSION_IDS: Final = ("session_id", "thread_id")
_OF_A_SESSION: Final = frozenset({"messages", "facts", "metadata", "created_at", "updated_at", "uuid", "id", *_SESSION_IDS})


def items(document: Any, session: str) -> Iterator[Item]:
    whole = document if isinstance(document, Mapping) else _sorted(document)
    for name in ("sessions", "threads"):
        for number, raw in enumerate(listed(whole.get(name))):
            yield from _session(f"{name}[{number}]", raw)
    if any(whole.get(name) for name in _SESSION_IDS):
        yield from _session("", whole)
    else:
        yield from _messages("messages", listed(whole.get("messages")), session, None)
        yield from _facts("facts", whole.get("facts"))
    yield from _facts("edges", whole.get("edges"))


def _sorted(document: Any) -> Raw:
    """A bare list by what its entries are."""
    found: dict[str, list[Any]] = {"sessions": [], "edges": [], "messages": []}
    for raw in listed(document):
        is_session = isinstance(raw, Mapping) and isinstance(raw.get("messages"), list)
        kind = "sessions" if is_session else "edges" if isinstance(raw, Mapping) and "fact" in raw else "messages"
        found[kind].append(raw)
    return found


def _session(place: str, raw: Any) -> Iterator[Item]:
    name = next((str(raw[n]) for n in _SESSION_IDS if raw.get(n)), None) if isinstance(raw, Mapping) else None
    if name is None:
        yield Skip(place, "session", "has no session_id or thread_id")
        return
    try:
        created_at = moment("created_at", raw.get("created_at"))
    except Odd as odd:
        yield Skip(place, "session", str(odd))
        created_at = None
    metadata = raw.get("metadata")
    context = {n: v for n, v in raw.items() if n not in _OF_A_SESSION and v not in (None, [], {}, "") and n != "edges"}
    yield SessionOf(place, name, created_at, {**(metadata if isinstance(metadata, Mapping) else {}), **context})
    yield from _messages(f"{place}.messages".lstrip("."), listed(raw.get("messages")), name, raw.get("user_id"))
    yield from _facts(f"{place}.facts".lstrip("."), raw.get("facts"))


def _messages(place: str, messages: list[Any], session: str, user_id: str | None) -> Iterator[Item]:
    for position, raw in enumerate(messages):
        said, named = _named(raw), f"{place}[{position}]"
        own = str(said.get("session_id") or said.get("thread_id") or session) if isinstance(said, Mapping) else session
        table = _MESSAGE if user_id is None else {**_MESSAGE, "user_id": ("user_id",)}
        owned = {**said, "user_id": user_id} if isinstance(said, Mapping) and user_id is not None else said
        yield turn(named, owned, table, own, position=position, dropped=("token_count", "processed", *_SESSION_IDS))


def _named(raw: Any) -> Any:
    """In version 2 `role` is the name of whoever speaks, and `role_type` what they are."""
    if isinstance(raw, Mapping) and raw.get("role_type") and raw.get("role"):
        return {**{n: v for n, v in raw.items() if n != "role"}, "name": raw.get("name") or raw["role"]}
    return raw


def _facts(place: str, facts: Any) -> Iterator[Item]:
    for number, raw in enumerate(listed(facts)):
        stated = {"fact": raw} if isinstance(raw, str) else raw
        yield fact(f"{place}[{number}]", stated, _FACT, dropped=("fact_embedding", "score"))
