"""An episode from keyword fields: for callers who log what they decided without making a record first (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final, TypedDict, TypeVar
from uuid import UUID

from app.errors import InvalidInput
from app.records import DEFAULT_NAMESPACE, ControlMode, Episode, EpisodeKind, Json, Scope, new_id

Choice = TypeVar("Choice", bound=StrEnum)


class EpisodeFields(TypedDict, total=False):
    """What an episode can be told in. Without times it began and ended now; without an id it gets one."""

    id: UUID
    kind: EpisodeKind | str
    namespace: str
    user_id: str | None
    agent_id: str | None
    session_id: str | None
    project_id: str | None
    started_at: datetime | None
    ended_at: datetime | None
    perception: Json
    reasoning: Json
    action: Json
    outcome: Json | None
    outcome_quality: float | None
    quality: float | None
    summary: str
    metadata: Json
    agent_version: str | None
    control_mode: ControlMode | str | None
    decision_source: str | None
    sprint_id: str | None
    chronicle_note_id: str | None
    patterns: Sequence[str]
    pinned: bool


_SCOPE: Final = ("user_id", "agent_id", "session_id", "project_id")
_MADE_HERE: Final = frozenset({"id", "kind", "namespace", *_SCOPE, "started_at", "ended_at", "control_mode", "patterns"})


def episode_of(fields: EpisodeFields, now: datetime) -> Episode:
    """The episode that these fields tell.

    Raises:
        InvalidInput: a field that there is not, or a kind or control mode that there is not.
    """
    if unknown := sorted(set(fields) - set(EpisodeFields.__annotations__)):
        raise InvalidInput(unknown[0], f"is not a field of an episode; there are {', '.join(EpisodeFields.__annotations__)}")
    started_at = fields.get("started_at") or fields.get("ended_at") or now
    mode = fields.get("control_mode")
    return Episode(
        id=fields.get("id") or new_id(),
        kind=_one_of(EpisodeKind, "kind", fields.get("kind", EpisodeKind.DECISION)),
        scope=Scope(fields.get("namespace", DEFAULT_NAMESPACE), *(_text_or_none(fields, name) for name in _SCOPE)),
        started_at=started_at,
        ended_at=fields.get("ended_at") or started_at,
        control_mode=None if mode is None else _one_of(ControlMode, "control_mode", mode),
        patterns=tuple(fields.get("patterns", ())),
        **{name: value for name, value in fields.items() if name not in _MADE_HERE},  # type: ignore[arg-type] # named above
    )


def _text_or_none(fields: EpisodeFields, name: str) -> str | None:
    return fields.get(name)  # type: ignore[return-value] # every name in _SCOPE is an optional text


def _one_of(choices: type[Choice], field: str, value: str) -> Choice:
    try:
        return choices(value)
    except ValueError:
        raise InvalidInput(field, f"must be one of {', '.join(choices)}, is {value!r}") from None
