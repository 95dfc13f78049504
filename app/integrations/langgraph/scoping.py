"""Whose memory a graph works in: from `config["configurable"]`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from langchain_core.runnables import RunnableConfig

from app.errors import InvalidInput
from app.records import DEFAULT_NAMESPACE, Scope

_OWNERS: Final = ("user_id", "agent_id", "project_id")


def scope_of(config: RunnableConfig) -> Scope:
    """The scope that `configurable` names: `namespace`, `user_id`, `agent_id`, `project_id` and the session.

    The session is `session_id`, or else the `thread_id` that a checkpointer goes by. Other keys are not ours.

    Raises:
        InvalidInput: there is no session, or a value is neither text nor a UUID nor a whole number.
    """
    given: Mapping[str, Any] = config.get("configurable") or {}
    session = _label(given, "session_id") or _label(given, "thread_id")
    if session is None:
        raise InvalidInput("configurable.thread_id", "must be given: it names the session")
    namespace = _label(given, "namespace") or DEFAULT_NAMESPACE
    user, agent, project = (_label(given, name) for name in _OWNERS)
    return Scope(namespace, user_id=user, agent_id=agent, session_id=session, project_id=project)


def _label(given: Mapping[str, Any], name: str) -> str | None:
    match given.get(name):
        case None:
            return None
        case bool():
            pass
        case str() | UUID() | int() as value:
            return str(value)
    raise InvalidInput(f"configurable.{name}", f"must be text, is a {type(given[name]).__name__}")
