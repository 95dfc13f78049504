"""What both kinds of client do alike with httpx (no I/O): what is sent, and what its exceptions mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, Final, TypeVar

import httpx

from app.client.asking import Request, Upload
from app.client.problems import unreachable
from app.client.reply import Reply
from app.client.retrying import Retries

T = TypeVar("T")

TIMEOUT_SECONDS: Final = 30.0
PORTION_BYTES: Final = 1 << 18
_UNSENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


def client_options(base_url: str, api_key: str | None, timeout_seconds: float) -> dict[str, Any]:
    """How an httpx client of either kind is made. The environment's proxies are not asked: memories go where they are sent."""
    key = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
    agent = {"User-Agent": f"hybrid-memory-client/{version('hybrid-memory')}"}
    return {"base_url": base_url, "headers": agent | key, "timeout": timeout_seconds, "trust_env": False}


def sent(request: Request[T], content: Any, retries: Retries, timeout_seconds: float) -> dict[str, Any]:
    """The arguments of `request` and `stream`; a call that is not made again needs no name."""
    named: Mapping[str, str] = {}
    if request.own_key is not None and not retries.are_off:
        named = {"Idempotency-Key": request.own_key}
    more = {} if request.timeout is None else {"timeout": _read_for(request.timeout.total_seconds(), timeout_seconds)}
    return {
        "method": request.route.method.value,
        "url": request.path,
        "params": dict(request.params),
        "headers": {**request.headers, **named},
        "content": content,
        **more,
    }


def _read_for(seconds: float, timeout_seconds: float) -> httpx.Timeout:
    """Only the answer may take longer, not the way there."""
    return httpx.Timeout(timeout_seconds, read=seconds, write=seconds)


def reply_of(response: httpx.Response) -> Reply:
    return Reply(response.status_code, {name.lower(): value for name, value in response.headers.items()}, response.content)


def upload_of(request: Request[T]) -> Upload | None:
    return request.content if isinstance(request.content, Upload) else None


@contextmanager
def transport_failures() -> Iterator[None]:
    """httpx's exceptions as `Failure`, most specific first."""
    try:
        yield
    except _UNSENT as error:
        raise unreachable(_problem(error), is_unsent=True) from error
    except httpx.TransportError as error:
        raise unreachable(_problem(error), is_unsent=False) from error


def _problem(error: httpx.TransportError) -> str:
    return str(error) or type(error).__name__
