"""Sessions as resources: `memory://sessions/{session_id}/context{?namespace}`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from mcp import UriTemplate
from mcp_types import ResourceTemplate, TextResourceContents

from app.integrations.mcp.asking import Api, Connection, Refused, segment
from app.integrations.mcp.bounds import MOST_ANSWER_BYTES, cut_to

_URI: Final = "memory://sessions/{session_id}/context{?namespace}"
_BUDGET_TOKENS: Final = 4000
_MESSAGES: Final = 100
TEMPLATE: Final = ResourceTemplate(
    name="session_context",
    title="Context of a session",
    uri_template=_URI,
    description="The goal and state of a conversation, and its newest messages, as text.",
    mime_type="text/markdown",
)


async def read(api: Api, connection: Connection, uri: str) -> TextResourceContents:
    """The session's state and newest messages.

    Raises:
        Refused: there is no such resource or session, or the service refused.
    """
    asked = UriTemplate.parse(_URI).match(uri)
    if asked is None:
        raise Refused("not_found", f"no resource {uri}: sessions are at {_URI}")
    path = f"/v1/sessions/{segment(str(asked['session_id']))}"
    params = {"namespace": asked.get("namespace") or connection.namespace}
    budget = {"limit": _MESSAGES, "budget_tokens": _BUDGET_TOKENS}
    session, recent = await asyncio.gather(
        api.ask(connection, "GET", path, params=params), api.ask(connection, "GET", f"{path}/context", params=params | budget)
    )
    return TextResourceContents(uri=uri, mime_type="text/markdown", text=cut_to(_printed(session, recent), MOST_ANSWER_BYTES))


def _printed(session: Mapping[str, Any], recent: Mapping[str, Any]) -> str:
    state = session["state"]
    lines = [f"Goal: {state['goal']}"] if state["goal"] else []
    lines += [f"{key}: {value}" for key, value in state["active_context"].items()]
    lines += [f"{message['name'] or message['role']}: {message['content']}" for message in recent["messages"]]
    lines += [f"(away: {', '.join(recent['degraded'])})"] if recent["degraded"] else []
    return "\n".join(lines)
