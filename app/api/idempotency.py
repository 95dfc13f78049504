"""`Idempotency-Key`: a POST that is sent again gets the first answer again, and is not carried out twice.

Two things see to it. The answer is remembered in Redis (`AnswerStore`), which also keeps two attempts at once apart. And
what a call does is named after it, where it is done: messages get ids derived from the call, changes in PostgreSQL note it
in their own transaction. So a call whose answer was lost, with the process or with Redis, is carried out again to no
effect, and the answer made anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial, wraps
from http import HTTPStatus
from typing import Annotated, Final, ParamSpec, TypeVar, cast
from uuid import UUID

import structlog
from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel

from app.api.dependencies import Bearer, installation_of
from app.api.errors import answer_to
from app.api.wire.problems import PROBLEM_MEDIA_TYPE
from app.bootstrap import Installation
from app.errors import Conflict, HybridMemoryError, InvalidInput, StillRunning, TierUnavailable
from app.ingestion.limits import Limits, check_label
from app.ports import Answer, Call, Claim
from app.records import ALL_NAMESPACES, derived_uuid, new_id

log = structlog.get_logger(__name__)

P = ParamSpec("P")
Body = TypeVar("Body", bound=BaseModel)

_HEADER: Final = "Idempotency-Key"
_LEASE: Final = timedelta(seconds=60)
"""How long an attempt is waited for that may have died with its process. A longer one may be joined by a second, to no harm."""
_MOST_BYTES: Final = 1_048_576
"""A larger answer is not remembered but made anew."""
_DOOR: Final = frozenset({400, 401, 403, 413, 415, 422, 429})
"""Refusals before anything was tried: the caller may mend the request and send it under the same key."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a call. `key` is the name its caller gave it, if any; `digest` is of the whole request."""

    request: Request
    installation: Installation
    caller: UUID | None
    key: str | None = None
    digest: str = ""

    @property
    def effect(self) -> UUID | None:
        """Names what the call does, for `call=` of the façade; None for a call without a name."""
        return None if self.key is None else derived_uuid("effect", str(self.caller), self.key, self.digest)

    def id(self, position: int) -> UUID | None:
        """An id for the nth thing that the call makes: the same one in every attempt."""
        return None if self.key is None else derived_uuid("made", str(self.effect), str(position))

    def call(self, namespace: str) -> Call:
        check_label("namespace", namespace, Limits())  # it becomes part of a key before the call itself is looked at
        identity = derived_uuid("call", str(self.caller), namespace, self.key or "")
        return Call(namespace, identity, self.digest, attempt=new_id())


async def _key(
    request: Request,
    key: Annotated[
        str | None,
        Header(
            alias=_HEADER, min_length=1, max_length=255, pattern="^[!-~]+$",
            description="Names this call, so that it can be repeated safely: the first answer comes again",
        ),
    ] = None,
) -> str | None:  # fmt: skip
    if len(request.headers.getlist(_HEADER)) > 1:
        raise InvalidInput(_HEADER, "must be given once")
    return key


async def _attempt(
    request: Request,
    installation: Annotated[Installation, Depends(installation_of)],
    bearer: Bearer,
    key: Annotated[str | None, Depends(_key)],
) -> Attempt:
    caller = await installation.access.identify(bearer.credentials if bearer else None)
    if key is None:
        return Attempt(request, installation, caller.key_id)
    return Attempt(request, installation, caller.key_id, key, await _digest(request))


Once = Annotated[Attempt, Depends(_attempt)]
TAKES_KEY: Final = Depends(_key)
"""For what may simply be done again: it changes nothing, or names all that it brings by ids of its own."""


async def _digest(request: Request) -> str:
    scope = request.scope
    address = b"\n".join((request.method.encode(), scope.get("raw_path", b""), scope["query_string"]))
    return hashlib.sha256(address + b"\n" + await request.body()).hexdigest()


def once(endpoint: Callable[P, Awaitable[Body]]) -> Callable[P, Awaitable[Body]]:
    """Have an endpoint with a parameter of type `Once` answer a repeated call as it did the first time."""

    @wraps(endpoint)
    async def answering_once(*args: P.args, **kwargs: P.kwargs) -> Body:
        attempt = next(value for value in kwargs.values() if isinstance(value, Attempt))
        if attempt.key is None:
            return await endpoint(*args, **kwargs)
        namespace = getattr(kwargs.get("body"), "namespace", None) or ALL_NAMESPACES
        response = await _answered(attempt, attempt.call(namespace), partial(endpoint, *args, **kwargs))
        return cast(Body, response)  # a response goes out as it is

    return answering_once


async def _answered(attempt: Attempt, call: Call, work: Callable[[], Awaitable[BaseModel]]) -> Response:
    try:
        found = await attempt.installation.answers.claim(call, lease=_LEASE, ttl=attempt.installation.call_ttl)
    except TierUnavailable as error:
        log.warning("call_not_remembered", problem=error.problem)
        return await _response(attempt.request, work)
    if isinstance(found, Answer):
        return _replayed(found)
    _refuse(found)
    return await _carried_out(attempt, call, work)


def _refuse(claim: Claim) -> None:
    """Raises unless the call is ours to carry out."""
    if claim is Claim.RUNNING:
        raise StillRunning(_HEADER)
    if claim is Claim.OTHER_REQUEST:
        raise Conflict(_HEADER, "was used for another request: take a new key for a new request")
    if claim is Claim.ANSWER_FORGOTTEN:
        raise Conflict(_HEADER, "names a call that was answered; the answer was forgotten with its namespace's memories")


async def _carried_out(attempt: Attempt, call: Call, work: Callable[[], Awaitable[BaseModel]]) -> Response:
    """Answer, and remember the answer; whatever ends without one to remember leaves the key free."""
    answers, ttl = attempt.installation.answers, attempt.installation.call_ttl
    try:
        response = await _response(attempt.request, work)
    except BaseException:
        await _or_not(answers.release(call))
        raise
    if _is_final(response):
        await _or_not(answers.remember(call, Answer(response.status_code, bytes(response.body)), ttl=ttl))
    else:
        await _or_not(answers.release(call))
    return response


async def _or_not(noting: Awaitable[None]) -> None:
    """What is noted about a call makes repeating it cheaper, not safer: it is safe by what the call does."""
    try:
        await noting
    except TierUnavailable as error:
        log.warning("call_not_remembered", problem=error.problem)


async def _response(request: Request, work: Callable[[], Awaitable[BaseModel]]) -> Response:
    """What the endpoint answers, made here: an answer that is to be given again has to be known byte by byte."""
    try:
        model = await work()
    except HybridMemoryError as error:
        return answer_to(request, error)
    status = int(request.scope["route"].status_code or HTTPStatus.OK)
    return Response(model.model_dump_json(), status, media_type="application/json")


def _is_final(response: Response) -> bool:
    status = response.status_code
    return status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _DOOR and len(response.body) <= _MOST_BYTES


def _replayed(answer: Answer) -> Response:
    media_type = PROBLEM_MEDIA_TYPE if answer.status >= HTTPStatus.BAD_REQUEST else "application/json"
    return Response(answer.body, answer.status, {"Idempotency-Replayed": "true"}, media_type)
