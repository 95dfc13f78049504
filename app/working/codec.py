"""Messages, states and scratch values as bytes (pure).

Namespace, session and sequence are in the key and the stream entry's id, everything else is in the bytes. `v` is the
layout's version: a reader meets bytes written by the release before it (see `app.lineage`), and in a rolling upgrade
by the one after it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson

from app.lineage import Damaged, Lineage, NewerVersion
from app.records import (
    ControlMode,
    Episode,
    EpisodeKind,
    Json,
    LoggedEpisode,
    Message,
    Role,
    Scope,
    SessionKey,
    SessionState,
    plain_mapping,
)

MESSAGES: Final = Lineage()
STATES: Final = Lineage()


def _told_in_full(logged: Json) -> Json:
    """Version 1 knew nothing of an episode's agent, sprint, note and patterns, and its quality came from the caller."""
    unknown = ("agent_version", "control_mode", "decision_source", "sprint_id", "chronicle_note_id")
    told = dict.fromkeys(unknown) | {"patterns": [], "is_quality_given": logged["episode"]["quality"] is not None}
    content = {"episode": {**logged["episode"], **told}, "steps": logged["steps"]}
    return {"logged_at": logged["logged_at"], "content": content}


EPISODES: Final = Lineage({1: _told_in_full})
"""Of logged episodes."""
MAX_BYTES: Final = 33_554_432
"""Larger bytes were not written by us: no request may be as large."""


def encode_message(message: Message) -> bytes:
    scope = message.scope
    return orjson.dumps(
        {
            "v": MESSAGES.current,
            "id": str(message.id),  # a UUIDv7 is of a class that orjson does not know
            "role": message.role.value,
            "content": message.content,
            "created_at": message.created_at,
            "name": message.name,
            "metadata": dict(message.metadata),
            "user_id": scope.user_id,
            "agent_id": scope.agent_id,
            "project_id": scope.project_id,
        }
    )


def decode_message(session: SessionKey, sequence: int, raw: bytes, lineage: Lineage = MESSAGES) -> Message:
    """Raises as `_versioned` does."""
    fields = _versioned(raw, lineage)
    with _damage_named():
        user_id, agent_id, project_id = (_text_or_none(fields, name) for name in ("user_id", "agent_id", "project_id"))
        return Message(
            id=UUID(_text(fields, "id")),
            scope=Scope(session.namespace, user_id, agent_id, session.session_id, project_id),
            role=Role(fields["role"]),
            content=_text(fields, "content"),
            created_at=datetime.fromisoformat(_text(fields, "created_at")),
            name=_text_or_none(fields, "name"),
            metadata=_object(fields, "metadata"),
            sequence=sequence,
        )


def encode_episode(logged: LoggedEpisode) -> tuple[bytes, str]:
    """The bytes, and a digest that is the same for the same episode and steps, whenever they were logged."""
    episode = logged.episode
    plain = {f.name: getattr(episode, f.name) for f in fields(episode)} | {"id": str(episode.id)}
    content = orjson.dumps({"episode": plain, "steps": logged.steps}, default=plain_mapping, option=orjson.OPT_SORT_KEYS)
    written = {"v": EPISODES.current, "logged_at": logged.logged_at, "content": orjson.Fragment(content)}
    return orjson.dumps(written), hashlib.blake2b(content, digest_size=16).hexdigest()


def decode_episode(raw: bytes, lineage: Lineage = EPISODES) -> LoggedEpisode:
    """Raises as `_versioned` does."""
    known = _versioned(raw, lineage)
    with _damage_named():
        content = known["content"]
        return LoggedEpisode(_episode(content["episode"]), tuple(content["steps"]), datetime.fromisoformat(known["logged_at"]))


def _episode(plain: dict[str, Any]) -> Episode:
    read = {
        "id": UUID(plain["id"]),
        "kind": EpisodeKind(plain["kind"]),
        "scope": Scope(**plain["scope"]),
        "started_at": datetime.fromisoformat(plain["started_at"]),
        "ended_at": datetime.fromisoformat(plain["ended_at"]),
        "control_mode": None if plain["control_mode"] is None else ControlMode(plain["control_mode"]),
        "patterns": tuple(map(_checked_text, plain["patterns"])),
    }
    return Episode(**(plain | read))


def encode_state(state: SessionState) -> bytes:
    """All but the version, which the session's `meta` has."""
    return orjson.dumps(
        {
            "v": STATES.current,
            "goal": state.goal,
            "active_context": dict(state.active_context),
            "thoughts": state.thoughts,
            "related_episodes": [str(i) for i in state.related_episodes],
        }
    )


def decode_state(raw: bytes, lineage: Lineage = STATES, *, version: int) -> SessionState:
    """Raises as `_versioned` does."""
    fields = _versioned(raw, lineage)
    with _damage_named():
        return SessionState(
            goal=_text_or_none(fields, "goal"),
            active_context=_object(fields, "active_context"),
            thoughts=tuple(map(_checked_text, fields["thoughts"])),
            related_episodes=tuple(UUID(i) for i in fields["related_episodes"]),
            version=version,
        )


def encode_scratch(value: object) -> bytes:
    return orjson.dumps(value)


def decode_scratch(raw: bytes) -> object:
    return orjson.loads(raw)


def _versioned(raw: bytes, lineage: Lineage) -> Json:
    """The fields as the current layout has them.

    Raises:
        NewerVersion: a newer release wrote these bytes.
        Damaged: no release did.
    """
    if len(raw) > MAX_BYTES:
        raise Damaged(f"{len(raw)} bytes, this release reads up to {MAX_BYTES}")
    with _damage_named():
        fields = orjson.loads(raw)
        version = fields["v"]
        if type(version) is int:
            return lineage.upgraded(fields, version)
    raise Damaged("no version")


@contextmanager
def _damage_named() -> Iterator[None]:
    try:
        yield
    except (NewerVersion, Damaged):
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"{type(error).__name__}: {error}") from error


def _text(fields: Json, name: str) -> str:
    return _checked_text(fields[name])


def _text_or_none(fields: Json, name: str) -> str | None:
    return None if fields[name] is None else _text(fields, name)


def _checked_text(value: object) -> str:
    if not isinstance(value, str):
        raise Damaged(f"a {type(value).__name__} where text should be")
    return value


def _object(fields: Json, name: str) -> dict[str, Any]:
    value = fields[name]
    if not isinstance(value, dict):
        raise Damaged(f"{name}: a {type(value).__name__}, not an object")
    return value
