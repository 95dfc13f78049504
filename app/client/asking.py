"""Calls as values (pure): what is sent, how the answer is read, and how a client of either kind gets a method from it.

A call is described once, in `surface`, by a method that returns an `Ask`. Decorated with its route, it is a coroutine
function on `MemoryClient` and a plain one on `SyncMemoryClient`, with the same parameters and the same answer.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import datetime, timedelta
from enum import Enum
from functools import partial
from http import HTTPMethod, HTTPStatus
from pathlib import Path
from typing import Any, Concatenate, Final, Generic, ParamSpec, TypeVar, overload
from urllib.parse import quote
from uuid import UUID

from app.client.methods import answer_of, bound, method_of, signature_of
from app.client.problems import Failure, failure_of, refuse_other_version
from app.client.reply import Reply
from app.errors import InvalidInput
from app.records import new_id

P = ParamSpec("P")
T = TypeVar("T")

LONG: Final = timedelta(hours=1)
"""For what takes as long as it takes: consolidating a large backlog, moving a namespace."""
_DOTS: Final = frozenset({".", ".."})


@dataclass(frozen=True, slots=True)
class Route:
    """A method and a path with `{names}`, as the OpenAPI document spells it."""

    method: HTTPMethod
    path: str


@dataclass(frozen=True, slots=True)
class Rest:
    """What a path ends in where that may hold slashes."""

    text: str


@dataclass(frozen=True, slots=True)
class Upload:
    """A file as a body; `progress` counts the bytes sent."""

    path: Path
    progress: Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Ask(Generic[T]):
    """What a call says besides its route. What is None in `params` and `headers` is left out.

    `is_read`: a POST that changes nothing. `is_named`: a POST whose content has ids, so that it needs no key to be repeated.
    """

    read: Callable[[Reply], T]
    path: Mapping[str, object] = field(default_factory=dict)
    params: Mapping[str, object] = field(default_factory=dict)
    body: Mapping[str, object] | None = None
    headers: Mapping[str, str | None] = field(default_factory=dict)
    upload: Upload | None = None
    timeout: timedelta | None = None
    idempotency_key: str | None = None
    is_read: bool = False
    is_named: bool = False
    answers: frozenset[int] = frozenset()
    """Statuses that are answers, although they look like errors."""


@dataclass(frozen=True, slots=True)
class Request(Generic[T]):
    """A call ready to be sent, any number of times. `own_key` is the name it was given so that it can be repeated."""

    route: Route
    path: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    content: bytes | Upload | None
    timeout: timedelta | None
    is_repeatable: bool
    own_key: str | None
    reader: Callable[[Reply], T]
    answers: frozenset[int] = frozenset()

    def read(self, reply: Reply, *, is_repeated: bool = False) -> T:
        """What the answer says. Nothing to delete is fine by the second attempt: the first may have done it.

        Raises:
            Failure: it is a refusal, or not an answer to this call.
        """
        refuse_other_version(reply)
        is_gone = is_repeated and self.route.method is HTTPMethod.DELETE and reply.status == HTTPStatus.NOT_FOUND
        if reply.is_error and not (is_gone or reply.status in self.answers):
            raise failure_of(reply)
        return self.reader(reply)

    def may_repeat(self, failure: Failure) -> bool:
        """Whether another attempt does no harm, and may go better."""
        return failure.is_passing and (self.is_repeatable or failure.is_unsent)


def prepared(route: Route, ask: Ask[T]) -> Request[T]:
    """
    Raises:
        InvalidInput: the body is not JSON, or an id cannot be part of an address.
    """
    return Request(
        route=route,
        path=route.path.format_map({name: _segment(name, value) for name, value in ask.path.items()}),
        params={name: _text(value) for name, value in ask.params.items() if value is not None},
        headers=_headers(ask),
        content=ask.upload if ask.body is None else _json(ask.body),
        timeout=ask.timeout,
        is_repeatable=_is_repeatable(route.method, ask),
        own_key=_own_key(route.method, ask),
        reader=ask.read,
        answers=ask.answers,
    )


def _headers(ask: Ask[Any]) -> dict[str, str]:
    headers = {**ask.headers, "Idempotency-Key": ask.idempotency_key, "Content-Type": _content_type(ask)}
    return {name: value for name, value in headers.items() if value}


def _content_type(ask: Ask[Any]) -> str | None:
    if ask.body is not None:
        return "application/json"
    return None if ask.upload is None else "application/x-ndjson"


def _own_key(method: HTTPMethod, ask: Ask[Any]) -> str | None:
    """Only a POST that makes something would make it again, unless it has a name: its content's, the caller's, or this."""
    if method is not HTTPMethod.POST or ask.is_read or ask.is_named or ask.idempotency_key is not None:
        return None
    return str(new_id())


def _is_repeatable(method: HTTPMethod, ask: Ask[Any]) -> bool:
    """A second `If-Match` would meet the version that the first one made; a PATCH may add to what is there."""
    if method is HTTPMethod.PATCH:
        return False
    return "If-Match" not in ask.headers or ask.headers["If-Match"] is None


def _segment(name: str, value: object) -> str:
    """One segment of a path: `.` and `..` would be taken for steps, and what comes after a slash for the next segment."""
    text = value.text if isinstance(value, Rest) else str(value)
    if not text or ("/" in text and not isinstance(value, Rest)):
        raise InvalidInput(name, "must not be empty or hold a slash: it is part of the address")
    return text.replace(".", "%2E") if text in _DOTS else quote(text, safe="", errors="surrogatepass")


def _text(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case datetime():
            return value.isoformat()
        case Enum():
            return str(value.value)
    return str(value)


def _json(body: object) -> bytes:
    try:
        return json.dumps(body, default=_plain, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput("body", f"must be JSON: {error}") from error


def _plain(value: object) -> object:
    match value:
        case UUID():
            return str(value)
        case datetime():
            return value.isoformat()
        case Mapping():
            return dict(value)
    if is_dataclass(value):
        return {f.name: getattr(value, f.name) for f in fields(value)}
    raise TypeError(f"holds a {type(value).__name__}")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of many, in order. `next` asks for the following ones; None on the last page."""

    items: tuple[T, ...]
    next: Any = None
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Paging(Generic[T]):
    """All pages of a list: the call for the one after a cursor, and the cursor to begin with."""

    turn: Callable[[Any], Request[Page[T]]]
    first: Any = None


class Asynchronous(ABC):
    """What awaits its answers."""

    @abstractmethod
    async def ask(self, request: Request[T]) -> T: ...

    @abstractmethod
    def pages(self, paging: Paging[T]) -> AsyncIterator[T]: ...

    @abstractmethod
    def portions(self, request: Request[None]) -> AsyncGenerator[bytes, None]: ...


class Synchronous(ABC):
    """What waits for its answers."""

    @abstractmethod
    def ask(self, request: Request[T]) -> T: ...

    @abstractmethod
    def pages(self, paging: Paging[T]) -> Iterator[T]: ...

    @abstractmethod
    def portions(self, request: Request[None]) -> Generator[bytes, None, None]: ...


class _Method(ABC):
    """What is a method of either kind of client, and a description of one on a class that is none."""

    def __init__(self, describe: Callable[..., Any]) -> None:
        self.describe: Any = describe
        self.__doc__ = describe.__doc__
        self._made: dict[bool, Callable[..., Any]] = {}

    def of(self, client: object | None, owner: type) -> Any:
        is_awaited = issubclass(owner, Asynchronous)
        if not (is_awaited or issubclass(owner, Synchronous)):
            return self
        if is_awaited not in self._made:
            signature = signature_of(self.describe, lambda described: self.answer(described, is_awaited=is_awaited))
            self._made[is_awaited] = method_of(self.function(is_awaited=is_awaited), self.describe, signature)
        return bound(self._made[is_awaited], client)

    @abstractmethod
    def function(self, *, is_awaited: bool) -> Callable[..., Any]:
        """A new function of a client and the parameters of the description."""

    @abstractmethod
    def answer(self, described: Any, *, is_awaited: bool) -> Any:
        """The type of what it returns, of what the description returns."""


class Call(_Method, Generic[P, T]):
    """A method that asks and answers."""

    def __init__(self, route: Route, describe: Callable[Concatenate[Any, P], Ask[T]]) -> None:
        super().__init__(describe)
        self.route: Final = route
        self.describe = describe

    def request(self, *args: P.args, **kwargs: P.kwargs) -> Request[T]:
        return prepared(self.route, self.describe(None, *args, **kwargs))

    @overload
    def __get__(self, client: None, owner: type[Asynchronous]) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]: ...
    @overload
    def __get__(self, client: None, owner: type[Synchronous]) -> Callable[Concatenate[Any, P], T]: ...
    @overload
    def __get__(self, client: None, owner: type) -> Call[P, T]: ...
    @overload
    def __get__(self, client: Asynchronous, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    @overload
    def __get__(self, client: Synchronous, owner: type) -> Callable[P, T]: ...
    def __get__(self, client: Asynchronous | Synchronous | None, owner: type) -> Any:
        return self.of(client, owner)

    def function(self, *, is_awaited: bool) -> Callable[..., Any]:
        async def awaited(client: Asynchronous, /, *args: P.args, **kwargs: P.kwargs) -> T:
            return await client.ask(self.request(*args, **kwargs))

        def waited(client: Synchronous, /, *args: P.args, **kwargs: P.kwargs) -> T:
            return client.ask(self.request(*args, **kwargs))

        return awaited if is_awaited else waited

    def answer(self, described: Any, *, is_awaited: bool) -> Any:  # noqa: ARG002 - that it is awaited the function says itself
        return answer_of(described)


class Pages(_Method, Generic[P, T]):
    """A method that iterates over all pages of a list, item by item."""

    def __init__(self, describe: Callable[Concatenate[Any, P], Paging[T]]) -> None:
        super().__init__(describe)
        self.describe = describe

    @overload
    def __get__(self, client: None, owner: type[Asynchronous]) -> Callable[Concatenate[Any, P], AsyncIterator[T]]: ...
    @overload
    def __get__(self, client: None, owner: type[Synchronous]) -> Callable[Concatenate[Any, P], Iterator[T]]: ...
    @overload
    def __get__(self, client: None, owner: type) -> Pages[P, T]: ...
    @overload
    def __get__(self, client: Asynchronous, owner: type) -> Callable[P, AsyncIterator[T]]: ...
    @overload
    def __get__(self, client: Synchronous, owner: type) -> Callable[P, Iterator[T]]: ...
    def __get__(self, client: Asynchronous | Synchronous | None, owner: type) -> Any:
        return self.of(client, owner)

    def function(self, *, is_awaited: bool) -> Callable[..., Any]:  # noqa: ARG002 - either returns what is iterated over
        def iterating(client: Asynchronous | Synchronous, /, *args: P.args, **kwargs: P.kwargs) -> Any:
            return client.pages(self.describe(None, *args, **kwargs))

        return iterating

    def answer(self, described: Any, *, is_awaited: bool) -> Any:
        return (AsyncIterator if is_awaited else Iterator)[answer_of(described)]


class Download(_Method, Generic[P]):
    """A method that receives a file, in portions."""

    def __init__(self, route: Route, describe: Callable[Concatenate[Any, P], Ask[None]]) -> None:
        super().__init__(describe)
        self.route: Final = route
        self.describe = describe

    @overload
    def __get__(self, client: None, owner: type[Asynchronous]) -> Callable[Concatenate[Any, P], AsyncGenerator[bytes, None]]: ...
    @overload
    def __get__(self, client: None, owner: type[Synchronous]) -> Callable[Concatenate[Any, P], Generator[bytes, None, None]]: ...
    @overload
    def __get__(self, client: None, owner: type) -> Download[P]: ...
    @overload
    def __get__(self, client: Asynchronous, owner: type) -> Callable[P, AsyncGenerator[bytes, None]]: ...
    @overload
    def __get__(self, client: Synchronous, owner: type) -> Callable[P, Generator[bytes, None, None]]: ...
    def __get__(self, client: Asynchronous | Synchronous | None, owner: type) -> Any:
        return self.of(client, owner)

    def function(self, *, is_awaited: bool) -> Callable[..., Any]:  # noqa: ARG002 - either returns what is iterated over
        def receiving(client: Asynchronous | Synchronous, /, *args: P.args, **kwargs: P.kwargs) -> Any:
            return client.portions(prepared(self.route, self.describe(None, *args, **kwargs)))

        return receiving

    def answer(self, described: Any, *, is_awaited: bool) -> Any:  # noqa: ARG002 - a file is bytes
        return AsyncGenerator[bytes, None] if is_awaited else Generator[bytes, None, None]


class Described:
    """A decorator that gives a description its route."""

    def __init__(self, method: HTTPMethod, path: str) -> None:
        self._route = Route(method, path)

    def __call__(self, describe: Callable[Concatenate[Any, P], Ask[T]]) -> Call[P, T]:
        return Call(self._route, describe)


get: Final = partial(Described, HTTPMethod.GET)
post: Final = partial(Described, HTTPMethod.POST)
put: Final = partial(Described, HTTPMethod.PUT)
patch: Final = partial(Described, HTTPMethod.PATCH)
delete: Final = partial(Described, HTTPMethod.DELETE)


class download:  # noqa: N801 - a decorator, like `get`
    """A GET whose answer is a file."""

    def __init__(self, path: str) -> None:
        self._route = Route(HTTPMethod.GET, path)

    def __call__(self, describe: Callable[Concatenate[Any, P], Ask[None]]) -> Download[P]:
        return Download(self._route, describe)
