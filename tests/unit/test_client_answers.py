"""Answers lose nothing: every field that the OpenAPI document promises changes what the client makes of it."""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, get_origin, get_type_hints
from uuid import UUID

import pytest
from given import NOW
from served import document

from app.client.asking import Call
from app.client.problems import Failure
from app.client.reply import Reply
from app.client.surface import Surface
from app.records import Episode, EpisodeKind, Knowledge, KnowledgeKind, Scope, SessionState

KEY: Final = "working"
"""Of the one entry of a mapping: some are by tier."""

NOT_READ: Final[Mapping[str, frozenset[str]]] = {
    "append_steps": frozenset({"next", "step_count"}),  # the answer is the steps that were appended
    "episode_quality": frozenset({"episode_id"}),  # the caller named it
    "episode_rendering": frozenset({"episode_id"}),
    "read_scratchpad": frozenset({"key"}),
    "forget": frozenset({f"removed.{KEY}", "remaining", "degraded.0"}),  # sums over the tiers; and `pending` once more
    "health": frozenset({"status"}),  # says in a word what the tiers say
    "is_live": frozenset({KEY}),  # that there is an answer is the answer
    "knowledge_history": frozenset({"next"}),  # `list_revisions` pages
}
"""Fields of an answer, by method, that its value does not hold."""

COMPUTED: Final = frozenset({"success_rate", "duration_ms"})
"""Fields that are properties: they follow from others."""

HALVES: Final[Mapping[str, str]] = {"list_revisions": "versions"}
"""Methods that give one list of two, another method of the same route gives the other."""

_ID: Final = UUID(int=1)
_EPISODE: Final = Episode(_ID, EpisodeKind.TASK, Scope("default"), NOW, NOW)
_KNOWN: Final = Knowledge(_ID, KnowledgeKind.FACT, Scope("default"), "word", NOW)
GIVEN: Final[Mapping[str, Any]] = {
    "refresh_episode": (_EPISODE,),
    "refresh_knowledge": (_KNOWN,),
    "replace_state": ("word", SessionState()),
    "append": ("word", []),
}
"""What methods are asked with, where it is more than ids and words."""

WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "stored_in": ("working", "semantic"),
    "tier": ("working", "semantic"),
    "enrolment": ("assigned", "outside"),
}
"""Fields that are words of a list, which the document does not have."""

Place = tuple[str | int, ...]


@cache
def whole() -> dict[str, Any]:
    return document()


def calls() -> Iterator[tuple[str, Call[Any, Any]]]:
    for name in dir(Surface):
        found = getattr(Surface, name)
        if isinstance(found, Call):
            yield name, found


def answer_schema(call: Call[Any, Any]) -> dict[str, Any] | None:
    """What a route answers when all is well; None without a JSON object."""
    operation = whole()["paths"][call.route.path][call.route.method.lower()]
    for status, response in operation["responses"].items():
        if status.startswith("2"):
            schema = response.get("content", {}).get("application/json", {}).get("schema")
            return schema or None
    return None


def resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema that a reference names, and of several the first that is not null."""
    if "$ref" in schema:
        return resolved(whole()["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]])
    return resolved(next(s for s in schema["anyOf"] if s.get("type") != "null")) if "anyOf" in schema else schema


def sample(schema: Mapping[str, Any], name: str = "") -> Any:
    """A value with every field that the schema knows, each list and mapping with one entry."""
    known = resolved(schema)
    fields = known.get("properties")
    if known.get("type") == "array":
        return [sample(known.get("items", {}), name)]
    if fields is not None:
        return {field: sample(inner, field) for field, inner in fields.items()}
    if known.get("type") == "object":
        entry = known.get("additionalProperties")
        return {KEY: sample(entry if isinstance(entry, dict) else {})}
    return plain(known, name)


def plain(schema: Mapping[str, Any], name: str) -> Any:
    """A value that is neither a list nor an object."""
    if name in WORDS or "enum" in schema:
        return WORDS[name][0] if name in WORDS else schema["enum"][0]
    of_type = {"boolean": False, "integer": 1, "number": 1}
    of_format = {"uuid": str(_ID), "date-time": NOW.isoformat(), "date": NOW.date().isoformat()}
    return schema.get("const", of_type.get(schema.get("type", ""), of_format.get(schema.get("format", ""), "word")))


def leaves(value: Any, place: Place = ()) -> Iterator[Place]:
    match value:
        case dict():
            for name, inner in value.items():
                yield from leaves(inner, (*place, name))
        case list():
            for number, inner in enumerate(value):
                yield from leaves(inner, (*place, number))
        case _:
            yield place


def other(value: Any, name: object) -> Any:
    """A value of the same kind that is not the same. Of a word of a list none is known: its change is refused, hence read."""
    others = {
        str(_ID): str(UUID(int=2)),
        NOW.isoformat(): (NOW + timedelta(days=1)).isoformat(),
        NOW.date().isoformat(): (NOW + timedelta(days=1)).date().isoformat(),
    }
    if name in WORDS:
        return WORDS[str(name)][1]
    match value:
        case bool():
            return not value
        case int():
            return value + 1
    return others.get(value, f"other {value}")


def changed(answer: Any, place: Place) -> Any:
    """The answer with another value in one place."""
    different = copy.deepcopy(answer)
    inner = different
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = other(inner[place[-1]], place[-1])
    return different


def arguments(name: str, call: Call[Any, Any]) -> tuple[Any, ...]:
    """What the method cannot do without: ids, words, or lists without entries."""
    if name in GIVEN:
        return tuple(GIVEN[name])
    hints = get_type_hints(call.describe)
    needed = [p for p in inspect.signature(call.describe).parameters.values() if p.default is p.empty and p.name != "self"]
    return tuple(_argument(hints[p.name]) for p in needed if p.kind is p.POSITIONAL_OR_KEYWORD)


def _argument(hint: Any) -> Any:
    if hint is UUID:
        return _ID
    return [] if get_origin(hint) is Sequence else Path("file") if hint is Path else "word"


def dropped(name: str, call: Call[Any, Any]) -> set[str]:
    """Fields without a trace in what is made of an answer. One whose change is refused was read, too."""
    request = call.request(*arguments(name, call))

    def read(answer: Any) -> Any:
        return request.read(Reply(HTTPStatus.OK, {"etag": '"1"'}, json.dumps(answer).encode()))

    answer = sample(answer_schema(call) or {"type": "object", "properties": {}})
    value = read(answer)
    return {
        _name(place) for place in leaves(answer) if place[-1] not in COMPUTED and _is_lost(read, changed(answer, place), value)
    }


def _name(place: Place) -> str:
    return ".".join(str(step) for step in place)


def _is_lost(read: Callable[[Any], Any], answer: Any, value: Any) -> bool:
    try:
        return bool(read(answer) == value)
    except Failure:
        return False


@pytest.mark.parametrize(("name", "call"), [pytest.param(*found, id=found[0]) for found in calls()])
def test_no_field_of_an_answer_is_dropped(name: str, call: Call[Any, Any]) -> None:
    """Whatever the service says of a record, whoever asks through the client is told: another value is another answer."""
    lost = {field for field in dropped(name, call) if field.split(".")[0] != HALVES.get(name)}
    assert lost == NOT_READ.get(name, frozenset())
