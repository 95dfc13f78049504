"""Doors of other kinds beside the routers, behind the same keys."""

from __future__ import annotations

import asyncio
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
    """Something that answers `methods` at `path` while the API runs. It is given the API itself, which it may call.

    It is opened when it is first asked: most services are never asked, and would be up later.
    """

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

    The annex is in the app's state, under its path.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises `Unauthenticated` and `TierUnavailable`, which leave as problem documents like all others."""
        request = Request(scope)
        request.state.caller = await request.app.state.installation.access.identify(_bearer(request))
        annexed: Annexed = request.app.state.annexes[self._path]
        app = await annexed.app()
        await app(scope, receive, send)


class Annexed:
    """An annex of a running API. What it opens lives in one task, in which it is closed as well."""

    def __init__(self, annex: Annex, api: FastAPI) -> None:
        self._annex = annex
        self._api = api
        self._is_over = asyncio.Event()
        self._opened: asyncio.Future[ASGIApp] | None = None
        self._living: asyncio.Task[None] | None = None

    async def app(self) -> ASGIApp:
        """Opened by the first who asks; the next one tries anew if that failed."""
        if self._opened is None or (self._opened.done() and (self._opened.cancelled() or self._opened.exception())):
            self._opened = asyncio.get_running_loop().create_future()
            self._living = asyncio.create_task(self._live(self._opened))
        return await asyncio.shield(self._opened)

    async def close(self) -> None:
        self._is_over.set()
        if self._living is not None:
            await self._living

    async def _live(self, opened: asyncio.Future[ASGIApp]) -> None:
        try:
            async with self._annex.open(self._api) as app:
                opened.set_result(app)
                await self._is_over.wait()
        except Exception as error:  # whoever asked for it raises it
            if opened.done():
                raise
            opened.set_exception(error)


def _bearer(request: Request) -> str | None:
    scheme, key = get_authorization_scheme_param(request.headers.get("Authorization"))
    return key if scheme.lower() == "bearer" and key else None
