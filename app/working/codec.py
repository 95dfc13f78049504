"""Messages, states and scratch values as bytes (pure).

Namespace, session and sequence are in the key and the stream entry's id, everything else is in the bytes. `v` is the
layout's version: a reader meets bytes written by the release before it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import orjson

from app.records import Episode, EpisodeKind, LoggedEpisode, Message, Role, Scope, SessionKey, SessionState

VERSION: Final = 1
_EVER: Final = datetime(1970, 1, 1, tzinfo=UTC)


def encode_message(message: Message) -> bytes:
    scope = message.scope
    return orjson.dumps(
        {
            "v": VERSION,
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


def decode_message(session: SessionKey, sequence: int, raw: bytes) -> Message:
    fields = _versioned(raw)
    return Message(
        id=UUID(fields["id"]),
        scope=Scope(session.namespace, fields["user_id"], fields["agent_id"], session.session_id, fields["project_id"]),
        role=Role(fields["role"]),
        content=fields["content"],
        created_at=datetime.fromisoformat(fields["created_at"]),
        name=fields["name"],
        metadata=fields["metadata"],
        sequence=sequence,
    )


def encode_episode(logged: LoggedEpisode) -> bytes:
    episode = logged.episode
    plain = {f.name: getattr(episode, f.name) for f in fields(episode)}
    return orjson.dumps(
        {
            "v": VERSION,
            "episode": plain | {"id": str(episode.id)},
            "steps": logged.steps,
            "logged_at": logged.logged_at,
        },
        default=_plain,
        option=orjson.OPT_SORT_KEYS,
    )


def decode_episode(raw: bytes) -> LoggedEpisode:
    known = _versioned(raw)
    return LoggedEpisode(_episode(known["episode"]), tuple(known["steps"]), datetime.fromisoformat(known["logged_at"]))


def _episode(plain: dict[str, Any]) -> Episode:
    read = {
        "id": UUID(plain["id"]),
        "kind": EpisodeKind(plain["kind"]),
        "scope": Scope(**plain["scope"]),
        "started_at": datetime.fromisoformat(plain["started_at"]),
        "ended_at": datetime.fromisoformat(plain["ended_at"]),
    }
    return Episode(**(plain | read))


def digest_of(logged: LoggedEpisode) -> str:
    """The same for the same episode and steps, whenever they were logged."""
    return hashlib.blake2b(encode_episode(replace(logged, logged_at=_EVER)), digest_size=16).hexdigest()


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def encode_state(state: SessionState) -> bytes:
    """All but the version, which the session's `meta` has."""
    return orjson.dumps(
        {
            "v": VERSION,
            "goal": state.goal,
            "active_context": dict(state.active_context),
            "thoughts": state.thoughts,
            "related_episodes": [str(i) for i in state.related_episodes],
        }
    )


def decode_state(raw: bytes, *, version: int) -> SessionState:
    fields = _versioned(raw)
    return SessionState(
        goal=fields["goal"],
        active_context=fields["active_context"],
        thoughts=tuple(fields["thoughts"]),
        related_episodes=tuple(UUID(i) for i in fields["related_episodes"]),
        version=version,
    )


def encode_scratch(value: object) -> bytes:
    return orjson.dumps(value)


def decode_scratch(raw: bytes) -> object:
    return orjson.loads(raw)


def _versioned(raw: bytes) -> dict[str, Any]:
    fields: dict[str, Any] = orjson.loads(raw)
    if fields["v"] != VERSION:
        raise ValueError(f"written by another release (layout {fields['v']}, this one reads {VERSION})")
    return fields
