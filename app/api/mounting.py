"""Doors of other kinds beside the routers, behind the same keys."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TypeAlias

from fastapi import FastAPI
from fastapi.security.utils import get_authorization_scheme_param
from starlette.requests import Request
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

Opened: TypeAlias = AbstractAsyncContextManager[ASGIApp]


@dataclass(frozen=True, slots=True)
class Annex:
    """Something that answers `methods` at `path` while the API runs. It is given the API itself, which it may call."""

    path: str
    methods: tuple[str, ...]
    open: Callable[[FastAPI], Opened]


class AnnexRoute(Route):
    """The route of an annex, known to logs and metrics as such."""

    def __init__(self, annex: Annex) -> None:
        super().__init__(annex.path, Guarded(annex.path), methods=annex.methods)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, found = super().matches(scope)
        return match, {**found, "route": self}


class Guarded:
    """Lets in whoever the API would let in: the caller is in the request's state as `caller`.

    What was opened is in the app's state, under the annex's path.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises `Unauthenticated` and `TierUnavailable`, which leave as problem documents like all others."""
        request = Request(scope)
        request.state.caller = await request.app.state.installation.access.identify(_bearer(request))
        opened: ASGIApp = request.app.state.annexes[self._path]
        await opened(scope, receive, send)


def _bearer(request: Request) -> str | None:
    scheme, key = get_authorization_scheme_param(request.headers.get("Authorization"))
    return key if scheme.lower() == "bearer" and key else None
