"""Messages, session state and scratchpads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Unpack
from uuid import UUID

from app.client.answers import (
    Session,
    field_of,
    message_in,
    nothing,
    page,
    recent,
    session,
    the,
    version_in_etag,
)
from app.client.asking import Ask, Page, Pages, Paging, delete, get, patch, post, put
from app.client.fields import Owner, StateChanges
from app.records import DEFAULT_NAMESPACE, AppendReceipt, Draft, Json, Message, RecentContext, SessionState, Wait

Version = int | Literal["*"]
"""What a record must be at for a change to be made: a version, or `*` for any."""
_SESSION = "/v1/sessions/{session_id}"


def if_match(version: Version | None) -> Mapping[str, str | None]:
    return {"If-Match": f'"{version}"' if isinstance(version, int) else version}


class SessionCalls:
    """Calls about one session."""

    @post(f"{_SESSION}/messages")
    def append(
        self, session_id: str, messages: Sequence[Draft | Json], *, wait: Wait | str = Wait.NONE,
        idempotency_key: str | None = None, **owner: Unpack[Owner],
    ) -> Ask[AppendReceipt]:  # fmt: skip
        """Append messages, all or none; repeated under the same key, or with the same ids, none is stored twice.

        Raises:
            InvalidInput: names the message and the limit.
            Conflict: an id is taken by other content.
        """
        return Ask(
            the(AppendReceipt),
            path={"session_id": session_id},
            params={"wait": wait},
            body={**owner, "messages": list(messages)},
            idempotency_key=idempotency_key,
            is_named=all(_id_of(message) is not None for message in messages),
        )

    @get(f"{_SESSION}/messages")
    def history(
        self, session_id: str, *, namespace: str = DEFAULT_NAMESPACE, after: int = 0, limit: int = 100
    ) -> Ask[Page[Message]]:
        """A page of the whole history, drained or not, in order; `next` is the `after` of the following one."""
        params = {"namespace": namespace, "after": after, "limit": limit}
        return Ask(page("messages", message_in(namespace, session_id)), path={"session_id": session_id}, params=params)

    @Pages
    def iter_history(
        self, session_id: str, *, namespace: str = DEFAULT_NAMESPACE, after: int = 0, page_size: int = 500
    ) -> Paging[Message]:
        """Every message after a sequence, in order, fetched page by page."""

        def turn(cursor: int) -> Any:
            return SessionCalls.history.request(session_id, namespace=namespace, after=cursor, limit=page_size)

        return Paging(turn, after)

    @get(f"{_SESSION}/context")
    def recent_context(
        self, session_id: str, *, namespace: str = DEFAULT_NAMESPACE, limit: int = 50, budget_tokens: int | None = None
    ) -> Ask[RecentContext]:
        """The newest messages in order, within a budget of tokens."""
        params = {"namespace": namespace, "limit": limit, "budget_tokens": budget_tokens}
        return Ask(recent(namespace, session_id), path={"session_id": session_id}, params=params)

    @get(_SESSION)
    def load_session(self, session_id: str, *, namespace: str = DEFAULT_NAMESPACE) -> Ask[Session]:
        """The session and its state, at `state.version`."""
        return Ask(session, path={"session_id": session_id}, params={"namespace": namespace})

    @put(_SESSION)
    def replace_state(
        self, session_id: str, state: SessionState, *, namespace: str = DEFAULT_NAMESPACE, if_version: Version | None = None
    ) -> Ask[int]:
        """Replace the state; returns its new version. (`state.version` is not looked at: `if_version` is.)

        Raises:
            VersionMismatch: it is not at `if_version`.
        """
        fields = ("goal", "active_context", "thoughts", "related_episodes")
        body = {"namespace": namespace, **{name: getattr(state, name) for name in fields}}
        return Ask(version_in_etag, path={"session_id": session_id}, body=body, headers=if_match(if_version))

    @patch(_SESSION)
    def change_state(
        self, session_id: str, *, namespace: str = DEFAULT_NAMESPACE, if_version: Version | None = None,
        **changes: Unpack[StateChanges],
    ) -> Ask[int]:  # fmt: skip
        """Change parts of the state; returns its new version.

        Raises:
            VersionMismatch: it is not at `if_version`.
        """
        body = {"namespace": namespace, **changes}
        return Ask(version_in_etag, path={"session_id": session_id}, body=body, headers=if_match(if_version))

    @delete(_SESSION)
    def end_session(self, session_id: str, *, namespace: str = DEFAULT_NAMESPACE, if_version: Version | None = None) -> Ask[None]:
        """End the session: drained, not lost."""
        params = {"namespace": namespace}
        return Ask(nothing, path={"session_id": session_id}, params=params, headers=if_match(if_version))

    @put(f"{_SESSION}/scratchpad/{{key}}")
    def write_scratchpad(self, session_id: str, key: str, value: Any, *, namespace: str = DEFAULT_NAMESPACE) -> Ask[None]:
        """Keep a JSON value while the session is warm."""
        return Ask(nothing, path={"session_id": session_id, "key": key}, body={"namespace": namespace, "value": value})

    @get(f"{_SESSION}/scratchpad/{{key}}")
    def read_scratchpad(self, session_id: str, key: str, *, namespace: str = DEFAULT_NAMESPACE) -> Ask[Any]:
        """Read a value back.

        Raises:
            NotFound: there is none.
        """
        path = {"session_id": session_id, "key": key}
        return Ask(field_of("value", object), path=path, params={"namespace": namespace})

    @delete(f"{_SESSION}/scratchpad/{{key}}")
    def delete_scratchpad(self, session_id: str, key: str, *, namespace: str = DEFAULT_NAMESPACE) -> Ask[None]:
        """Drop a value."""
        return Ask(nothing, path={"session_id": session_id, "key": key}, params={"namespace": namespace})


def _id_of(message: Draft | Json) -> UUID | str | None:
    return message.id if isinstance(message, Draft) else message.get("id")
