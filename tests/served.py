"""The API served over real HTTP from a thread of its own, with a look at what is behind it."""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
import uvicorn
from anyio.from_thread import BlockingPortal, start_blocking_portal

from app.api import create_app
from app.bootstrap import Installation, open_installation
from app.cli.annexes import annexes
from app.embedded import start_valkey
from app.records import Permission
from app.settings import EmbedderChoice, Settings

MAX_REQUEST_BYTES = 4_000_000


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """An API that is open to everybody: whoever wants keys takes `guarded_api`."""
    with served(tmp_path_factory.mktemp("open")) as running:
        yield running


@pytest.fixture(scope="module")
def guarded_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """An API of the test module's own, in which keys can be made."""
    with served(tmp_path_factory.mktemp("guarded")) as running:
        yield running


@pytest.fixture
def namespace() -> str:
    """A namespace of the test's own."""
    return f"test-{uuid.uuid4().hex}"


@dataclass(frozen=True, slots=True)
class Served:
    """A running API. `portal` runs coroutines in its event loop; `redis_url` is its working tier's."""

    url: str
    http: httpx.Client
    portal: BlockingPortal
    installation: Installation
    redis_url: str

    def make_key(self, *permissions: Permission, namespaces: Sequence[str] = ("*",), **further: Any) -> tuple[uuid.UUID, str]:
        """A key's id and the key itself."""
        fields = {"name": "test", "permissions": permissions, "namespaces": namespaces, "expires_at": None, **further}
        key, secret = self.portal.call(lambda: self.installation.access.make(**fields))
        return key.id, secret

    def expire(self, namespace: str, session_id: str) -> None:
        """What the TTL does to a drained session."""
        with redis.Redis.from_url(self.redis_url) as client:
            keys = list(client.scan_iter(match=f"hm:*:{namespace}:{session_id}:*"))
            assert keys
            client.delete(*keys)


@contextmanager
def served(root: Path, **settings: Any) -> Iterator[Served]:
    """Serve a fresh installation: embedded engines, hashed vectors, no background jobs."""
    with ExitStack() as stack:
        valkey = start_valkey(root / "redis", fsync="everysec")
        stack.callback(valkey.stop)
        portal = stack.enter_context(start_blocking_portal())
        chosen = _settings(root / "data", redis_url=valkey.url, **settings)
        url, installation = stack.enter_context(portal.wrap_async_context_manager(_serving(chosen)))
        http = stack.enter_context(httpx.Client(base_url=url, trust_env=False, timeout=30))
        yield Served(url, http, portal, installation, valkey.url)


def _settings(data_dir: Path, **further: Any) -> Settings:
    defaults: dict[str, Any] = {
        "data_dir": data_dir,
        "embedder": EmbedderChoice.HASHING,
        "max_request_bytes": MAX_REQUEST_BYTES,
        "recall_deadline_ms": 10_000.0,  # a busy machine must not change an answer
    }
    return Settings(_env_file=None, **(defaults | further))


@asynccontextmanager
async def _serving(settings: Settings) -> AsyncIterator[tuple[str, Installation]]:
    async with open_installation(settings) as installation:
        limits: dict[str, int] = {"max_request_bytes": settings.max_request_bytes, "max_import_bytes": settings.max_import_bytes}
        app = create_app(lambda: nullcontext(installation), annexes=annexes(settings), **limits)
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1))
        with socket.create_server(("127.0.0.1", 0)) as listening:  # from here on connections wait until they are accepted
            serving = asyncio.create_task(server.serve(sockets=[listening]))
            try:
                yield f"http://127.0.0.1:{listening.getsockname()[1]}", installation
            finally:
                server.should_exit = True
                await serving


@cache
def document() -> dict[str, Any]:
    """The API's OpenAPI document; opens nothing."""
    return create_app(_opened_by_nobody).openapi()


def _opened_by_nobody() -> AbstractAsyncContextManager[Installation]:
    raise NotImplementedError("only asked for its document")
