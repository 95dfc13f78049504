"""The FastAPI application: routers, errors, middleware, and a lifespan that opens and closes the memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import TypeAlias

from fastapi import Depends, FastAPI

from app.api import errors
from app.api.dependencies import only_known_parameters, only_utf8
from app.api.middleware import BodyLimit, BugBarrier, RequestContext
from app.api.mounting import Annex, Annexed, AnnexRoute
from app.api.openapi import Api
from app.api.routers import admin, experiments, knowledge, learning, moving, operations, quality, recall, records, sessions
from app.bootstrap import Installation

_DESCRIPTION = """The memory that agents keep, in three tiers: Redis for now, PostgreSQL for the truth, Qdrant for meaning.

Append messages, ask questions, get the right sentence back. Every error is a problem document (RFC 9457) whose
`errors` name the field and the limit."""

_Opening: TypeAlias = Callable[[], AbstractAsyncContextManager[Installation]]


def create_app(
    open_installation: _Opening,
    *,
    max_request_bytes: int = 16_777_216,
    max_import_bytes: int = 1_073_741_824,
    annexes: Sequence[Annex] = (),
) -> FastAPI:
    """Build the application around something that opens an installation (see `bootstrap.open_installation`).

    `annexes` are doors of other kinds, opened when first asked and closed with it, behind the same keys.
    """
    app = Api(
        title="hybrid-memory",
        version=version("hybrid-memory"),
        description=_DESCRIPTION,
        lifespan=partial(_lifespan, open_installation=open_installation, annexes=annexes),
        redirect_slashes=False,  # a redirect would send the caller, and a key, to whatever the Host header says
    )
    errors.install(app)
    for module in (sessions, recall, records, knowledge, learning, admin, moving, experiments, quality):
        app.include_router(module.router, dependencies=[Depends(only_utf8), Depends(only_known_parameters)])
    app.include_router(operations.router)
    app.router.routes.extend(AnnexRoute(annex) for annex in annexes)
    app.add_middleware(BodyLimit, max_bytes=max_request_bytes, exceptions={moving.IMPORT_PATH: max_import_bytes})
    app.add_middleware(BugBarrier)
    app.add_middleware(RequestContext)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI, *, open_installation: _Opening, annexes: Sequence[Annex]) -> AsyncIterator[None]:
    """Open the memory; what the annexes have opened on it meanwhile is closed before it."""
    async with AsyncExitStack() as stack:
        app.state.installation = await stack.enter_async_context(open_installation())
        app.state.annexes = {annex.path: Annexed(annex, app) for annex in annexes}
        for annexed in app.state.annexes.values():
            stack.push_async_callback(annexed.close)
        yield
