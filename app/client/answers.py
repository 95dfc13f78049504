"""Answers as values (pure): the records that the façade answers with, and what only a service says about itself.

What an answer holds besides is passed over: a newer service may say more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache, partial
from typing import Any, Final, TypeVar
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from app.client.asking import Page, Request
from app.client.problems import Failure
from app.client.reply import Reply
from app.errors import UnexpectedAnswer
from app.records import (
    Episode,
    Hit,
    Message,
    RecentContext,
    Recollection,
    SessionState,
)

T = TypeVar("T")
Document = Mapping[str, Any]

_SCOPE: Final = ("namespace", "user_id", "agent_id", "session_id", "project_id")


@dataclass(frozen=True, slots=True)
class Session:
    """A session and its state; `degraded` names the tiers that could not be asked about it."""

    session_id: str
    namespace: str
    state: SessionState
    created_at: datetime
    last_message_at: datetime | None
    ended_at: datetime | None
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits in Redis."""

    sessions: int
    messages: int
    oldest_at: datetime | None
    episodes: int = 0
    malformed: int = 0


@dataclass(frozen=True, slots=True)
class OutboxDepth:
    """What waits to be indexed."""

    depth: int
    dead_letters: int
    oldest_at: datetime | None
    erasures: int = 0


@dataclass(frozen=True, slots=True)
class EmbeddingInUse:
    """The embedding space, and which provider answered last."""

    space: str
    model: str
    dimension: int
    provider: str | None


@dataclass(frozen=True, slots=True)
class LearningBacklog:
    """What waits to be learned from, and how many patterns there are of each state."""

    pending: int
    dead_letters: int
    stale: int
    oldest_at: datetime | None
    patterns: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Status:
    """The books of a service; what is None could not be asked for, and then `degraded` names the tier."""

    backlog: Backlog | None
    outbox: OutboxDepth | None
    records: Mapping[str, int] | None
    indexed_points: int | None
    misplaced_points: int | None
    drift: int | None
    embedding: EmbeddingInUse | None
    learning: LearningBacklog | None = None
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class QueuedRecord:
    """An entry of the outbox."""

    id: int
    op: str
    kind: str
    namespace: str
    record_uid: UUID
    state: str
    attempts: int
    failures: int
    next_attempt_at: datetime | None
    last_error: str | None
    is_dead: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison of the index with PostgreSQL."""

    id: UUID
    namespace: str | None
    repair: bool
    space: str
    state: str
    started_at: datetime
    finished_at: datetime | None
    is_resumed: bool
    checked: int
    total: int
    findings: Mapping[str, int]
    examples: Mapping[str, tuple[UUID, ...]]
    pending: int
    dead_letters: int


@dataclass(frozen=True, slots=True)
class RetentionReport:
    """What applying retention did, or (a dry run) would do."""

    dry_run: bool
    counts: Mapping[str, int]
    duration_ms: float
    errors: tuple[str, ...] = ()


def nothing(_reply: Reply) -> None:
    """Of an answer that has nothing to say but that it went well."""


def text(reply: Reply) -> str:
    return reply.content.decode()


def document(reply: Reply) -> Any:
    """The JSON of an answer as it is."""
    try:
        return reply.json()
    except ValueError as error:
        raise _unexpected(f"is not JSON: {error}") from error


def as_json(request: Request[Any]) -> Request[Any]:
    """The same call, answered with the JSON that the service sends: `client.ask(as_json(Surface.status.request()))`."""
    return replace(request, reader=document)


def version_in_etag(reply: Reply) -> int:
    tag = reply.headers.get("etag", "").strip('"')
    if not tag.isdecimal():
        raise _unexpected("has no version in its ETag")
    return int(tag)


def the(kind: type[T]) -> Callable[[Reply], T]:
    """Reads an answer that has the fields of `kind`."""
    return lambda reply: valued(kind, document(reply))


def field_of(name: str, kind: type[T]) -> Callable[[Reply], T]:
    """Reads one field of an answer."""
    return lambda reply: valued(kind, given(document(reply), name))


def many(name: str, read: Callable[[Any], T]) -> Callable[[Reply], tuple[T, ...]]:
    """Reads the list called `name`."""
    return lambda reply: tuple(map(read, given(document(reply), name)))


def page(name: str, read: Callable[[Any], T]) -> Callable[[Reply], Page[T]]:
    """Reads the list called `name`, with the cursor for the next page."""

    def pages(reply: Reply) -> Page[T]:
        answer = document(reply)
        return Page(tuple(map(read, given(answer, name))), answer.get("next"), tuple(answer.get("degraded", ())))

    return pages


def as_(kind: type[T]) -> Callable[[Any], T]:
    """Makes a `kind` of JSON."""
    return partial(valued, kind)


def valued(kind: type[T], value: object) -> T:
    """
    Raises:
        Failure: it does not have the fields of `kind`.
    """
    hashable: Any = kind
    try:
        made: T = _adapter(hashable).validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise _unexpected(f"has no {kind.__name__}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    return made


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def message_in(namespace: str, session_id: str | None) -> Callable[[Any], Message]:
    """Makes a message of the session; an answer names its scope no more."""
    scope = {"namespace": namespace, "session_id": session_id}
    return lambda said: valued(Message, {**said, "scope": scope})


def recent(namespace: str, session_id: str) -> Callable[[Reply], RecentContext]:
    read = message_in(namespace, session_id)

    def context(reply: Reply) -> RecentContext:
        answer = document(reply)
        return valued(RecentContext, {**answer, "messages": tuple(map(read, given(answer, "messages")))})

    return context


def recollection(namespace: str) -> Callable[[Reply], Recollection]:
    """Reads hits; of their scope an answer names the session."""

    def recalled(reply: Reply) -> Recollection:
        answer = document(reply)
        hits = tuple(hit_in(namespace, hit) for hit in given(answer, "hits"))
        arm = answer.get("experiment")
        return valued(Recollection, {**answer, "hits": hits, "experiment": arm and {**arm, "experiment": given(arm, "name")}})

    return recalled


def hit_in(namespace: str, hit: Document) -> Hit:
    session_id = hit.get("session_id")
    around = tuple(map(message_in(namespace, session_id), hit.get("neighbours", ())))
    episode = hit.get("episode") and valued(Episode, scoped(hit["episode"]))
    scope = {"namespace": namespace, "session_id": session_id}
    return valued(Hit, {**hit, "scope": scope, "neighbours": around, "episode": episode})


def session(reply: Reply) -> Session:
    answer = document(reply)
    state = {**given(answer, "state"), "version": answer.get("version", 0)}
    return valued(Session, {**answer, "state": state})


def scoped(document: Document) -> dict[str, object]:
    """A record as it is on the wire, with its scope as a value of its own."""
    return {**document, "scope": {name: document[name] for name in _SCOPE if name in document}}


def given(answer: Any, name: str) -> Any:
    """What an answer must hold.

    Raises:
        Failure: it does not.
    """
    if not isinstance(answer, Mapping) or name not in answer:
        raise _unexpected(f"has no {name!r}")
    return answer[name]


def _unexpected(problem: str) -> Failure:
    return Failure(UnexpectedAnswer(f"the answer {problem}"))
