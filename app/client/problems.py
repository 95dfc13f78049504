"""Answers that are none: the service's problem documents as the exceptions that it raised itself (pure)."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from http import HTTPStatus
from typing import Any, Final

from app import errors
from app.client.reply import Reply
from app.errors import (
    Conflict,
    Forbidden,
    HybridMemoryError,
    IncompatibleVersion,
    InvalidInput,
    NotFound,
    StillRunning,
    TierUnavailable,
    Unauthenticated,
    UnexpectedAnswer,
)
from app.records import API_VERSION, API_VERSION_HEADER

SERVICE: Final = "service"
"""The `tier` of a `TierUnavailable` that is the service itself: not reached, or silent for too long."""
_SHOWN: Final = 200
_PASSING: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE})


class Failure(Exception):
    """Why an attempt failed: the exception for the caller, and what says whether another attempt is worth it.

    `is_passing`: it may be over soon, after `wait_seconds` if the service says so. `is_unsent`: nobody read the request.
    """

    def __init__(
        self, error: HybridMemoryError, *, is_passing: bool = False, is_unsent: bool = False, wait_seconds: float | None = None
    ) -> None:
        super().__init__(str(error))
        self.error: Final = error
        self.is_passing: Final = is_passing
        self.is_unsent: Final = is_unsent
        self.wait_seconds: Final = wait_seconds


def unreachable(problem: str, *, is_unsent: bool) -> Failure:
    return Failure(TierUnavailable(SERVICE, problem), is_passing=True, is_unsent=is_unsent)


def failure_of(reply: Reply) -> Failure:
    """What a reply with an error status stands for."""
    error = error_of(reply)
    is_passing = reply.status in _PASSING or isinstance(error, StillRunning)
    return Failure(error, is_passing=is_passing, wait_seconds=_retry_after(reply))


def error_of(reply: Reply) -> HybridMemoryError:
    """The exception that the service raised; by its status where the document does not name it."""
    try:
        problem = reply.json()
    except ValueError:
        problem = None
    if not isinstance(problem, Mapping):
        return UnexpectedAnswer(f"HTTP {reply.status}: {reply.content[:_SHOWN].decode(errors='replace')}")
    return _named(problem) or _by_status(reply.status, problem)


def refuse_other_version(reply: Reply) -> None:
    """Warns, once a place, of a service that is older in small things.

    Raises:
        Failure: the service speaks another version of the API.
    """
    theirs = _numbers(reply.headers.get(API_VERSION_HEADER.lower(), ""))
    ours = _numbers(API_VERSION)
    if theirs is None or ours is None:
        return
    spoken = f"the service speaks version {theirs[0]}.{theirs[1]} of the API, this client {API_VERSION}"
    if theirs[0] != ours[0]:
        raise Failure(IncompatibleVersion(f"{spoken}: install the release of hybrid-memory that the service has"))
    if theirs < ours:
        warnings.warn(f"{spoken}: calls that are new will not be found", stacklevel=2)


def _numbers(version: str) -> tuple[int, int] | None:
    major, _, minor = version.partition(".")
    return (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else None


def _retry_after(reply: Reply) -> float | None:
    """Seconds; a date, which our service never sends, is as good as nothing."""
    given = reply.headers.get("retry-after", "")
    return float(given) if given.isdecimal() else None


def _named(problem: Mapping[str, Any]) -> HybridMemoryError | None:
    """The error that the document names, made again from its facts."""
    kind = _classes().get(str(problem.get("type")))
    facts = problem.get("facts")
    if kind is None or not isinstance(facts, Mapping):
        return None
    names = list(inspect.signature(kind.__init__).parameters)[1:]
    if set(names) <= facts.keys():
        return kind(**{name: facts[name] for name in names})
    return kind(str(problem.get("detail"))) if names == ["args", "kwargs"] else None


@cache
def _classes() -> Mapping[str, type[HybridMemoryError]]:
    kinds = (kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, HybridMemoryError))
    return {errors.problem_type(kind): kind for kind in kinds}


def _by_status(status: int, problem: Mapping[str, Any]) -> HybridMemoryError:
    detail = str(problem.get("detail", ""))
    first = next(iter(problem.get("errors", ())), {"field": "request", "problem": detail})
    known = _BY_STATUS.get(status)
    return UnexpectedAnswer(f"HTTP {status}: {detail}") if known is None else known(detail, first)


def _invalid(_detail: str, first: Mapping[str, str]) -> HybridMemoryError:
    return InvalidInput(first["field"], first["problem"])


_BY_STATUS: Final[Mapping[int, Callable[[str, Mapping[str, str]], HybridMemoryError]]] = {
    HTTPStatus.BAD_REQUEST: _invalid,
    HTTPStatus.UNAUTHORIZED: lambda detail, _: Unauthenticated(detail),
    HTTPStatus.FORBIDDEN: lambda detail, _: Forbidden(detail),
    HTTPStatus.NOT_FOUND: lambda detail, _: NotFound("record", detail),
    HTTPStatus.CONFLICT: lambda _, first: Conflict(first["field"], first["problem"]),
    HTTPStatus.PRECONDITION_FAILED: lambda _, first: Conflict(first["field"], first["problem"]),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: _invalid,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: _invalid,
    HTTPStatus.UNPROCESSABLE_ENTITY: _invalid,
    HTTPStatus.SERVICE_UNAVAILABLE: lambda detail, _: TierUnavailable(SERVICE, detail),
}
