"""What endpoints are given: the service, and the caller with their permissions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, cast
from urllib.parse import unquote_to_bytes

from fastapi import Depends, Query, Request, params
from fastapi.dependencies.utils import get_flat_params
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.access import Caller
from app.bootstrap import Installation
from app.errors import InvalidInput
from app.records import DEFAULT_NAMESPACE, Permission, Scope
from app.service import HybridMemoryService

_bearer = HTTPBearer(auto_error=False, description="An API key; none is needed on loopback while none was made")


async def installation_of(request: Request) -> Installation:
    """What `bootstrap` opened for this app, kept by the lifespan. (Async, like all of these: a plain one costs a thread.)"""
    return cast(Installation, request.app.state.installation)


def only_utf8(request: Request) -> None:
    """Of what is no UTF-8 the server makes U+FFFD: ids that differ would be taken for one.

    Raises:
        InvalidInput: names the part of the address.
    """
    for part, encoded in (("path", request.scope.get("raw_path", b"")), ("query", request.scope["query_string"])):
        try:
            unquote_to_bytes(encoded).decode()
        except UnicodeDecodeError:
            raise InvalidInput(part, "must be UTF-8") from None


def only_known_parameters(request: Request) -> None:
    """A parameter that is misspelt or given twice is refused: ignored, it would widen the answer in silence.

    Raises:
        InvalidInput: names the parameter.
    """
    given = [name for name, _ in request.query_params.multi_items()]
    known = _query_parameters(request) if given else set()
    for name in given:
        if name not in known:
            raise InvalidInput(name, f"is not a parameter here; known are {', '.join(sorted(known)) or 'none'}")
        if given.count(name) > 1:
            raise InvalidInput(name, "must be given once")


def _query_parameters(request: Request) -> set[str]:
    return {p.alias for p in get_flat_params(request.scope["route"].dependant) if isinstance(p.field_info, params.Query)}


async def service_of(installation: Annotated[Installation, Depends(installation_of)]) -> HybridMemoryService:
    return installation.service


@dataclass(frozen=True, slots=True)
class Access:
    """The caller of this request, whose permission is known and whose namespace is checked when it is named."""

    caller: Caller
    permission: Permission

    def check(self, namespace: str | None) -> None:
        """Raises `Forbidden` unless the caller may do this in that namespace (None: in all of them)."""
        self.caller.check(self.permission, namespace)


Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


def access(permission: Permission) -> Callable[..., Awaitable[Access]]:
    async def identify(installation: Annotated[Installation, Depends(installation_of)], bearer: Bearer) -> Access:
        caller = await installation.access.identify(bearer.credentials if bearer else None)
        return Access(caller, permission)

    return identify


Service = Annotated[HybridMemoryService, Depends(service_of)]
MayRead = Annotated[Access, Depends(access(Permission.READ))]
MayWrite = Annotated[Access, Depends(access(Permission.WRITE))]
MayAdmin = Annotated[Access, Depends(access(Permission.ADMIN))]


@dataclass(frozen=True, slots=True)
class ScopeParams:
    """The scope as query parameters, on reads."""

    namespace: Annotated[str, Query()] = DEFAULT_NAMESPACE
    user_id: Annotated[str | None, Query()] = None
    agent_id: Annotated[str | None, Query()] = None
    project_id: Annotated[str | None, Query()] = None

    def scope(self, session_id: str | None = None) -> Scope:
        return Scope(self.namespace, self.user_id, self.agent_id, session_id, self.project_id)


ReadScope = Annotated[ScopeParams, Depends()]
"""Reads take the scope from the query string; writes and searches from the body."""
