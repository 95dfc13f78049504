"""A client for the HTTP API: wire shapes in, wire shapes out, problem documents as exceptions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from uuid import UUID

import httpx

from app.errors import Conflict, Forbidden, HybridMemoryError, InvalidInput, NotFound, TierUnavailable, Unauthenticated
from app.records import DEFAULT_NAMESPACE, ImportReport, Json

_TIMEOUT_SECONDS: Final = 30.0
_LONG_SECONDS: Final = 3600.0
"""Consolidating a large backlog takes as long as it takes."""
_PORTION_BYTES: Final = 1 << 18


class MemoryClient:
    """Talks to a running service; an async context manager."""

    def __init__(
        self, base_url: str, *, api_key: str | None = None, timeout_seconds: float = _TIMEOUT_SECONDS,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:  # fmt: skip
        headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._http = httpx.AsyncClient(
            base_url=base_url, headers=headers, timeout=timeout_seconds, trust_env=False, transport=transport
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._http.aclose()

    async def append(
        self, session_id: str, messages: Sequence[Json], *, namespace: str = DEFAULT_NAMESPACE, wait: str = "none",
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """POST /v1/sessions/{session_id}/messages. With the same `idempotency_key` a repeated call appends nothing more."""
        body = {"namespace": namespace, "messages": list(messages)}
        path, headers = f"/v1/sessions/{session_id}/messages", _named(idempotency_key)
        return await self._call("POST", path, json=body, params={"wait": wait}, headers=headers)

    async def history(
        self, session_id: str, *, namespace: str = DEFAULT_NAMESPACE, after: int = 0, limit: int = 100
    ) -> dict[str, Any]:
        """GET /v1/sessions/{session_id}/messages."""
        params = {"namespace": namespace, "after": after, "limit": limit}
        return await self._call("GET", f"/v1/sessions/{session_id}/messages", params=params)

    async def search(self, text: str, *, namespace: str = DEFAULT_NAMESPACE, limit: int = 10, **further: Any) -> dict[str, Any]:
        """POST /v1/search; `further` are other fields of its body."""
        body = {"text": text, "namespace": namespace, "limit": limit, **further}
        return await self._call("POST", "/v1/search", json=body)

    async def context(
        self, text: str, *, budget_tokens: int, namespace: str = DEFAULT_NAMESPACE, **further: Any
    ) -> dict[str, Any]:
        """POST /v1/context; `further` are other fields of its body."""
        body = {"text": text, "namespace": namespace, "budget_tokens": budget_tokens, **further}
        return await self._call("POST", "/v1/context", json=body)

    async def consolidate(self, *, namespace: str | None = None, idempotency_key: str | None = None) -> dict[str, Any]:
        """POST /v1/admin/consolidate: returns when nothing is left to do."""
        body = {} if namespace is None else {"namespace": namespace}
        headers = _named(idempotency_key)
        return await self._call("POST", "/v1/admin/consolidate", json=body, headers=headers, timeout=_LONG_SECONDS)

    async def reconcile(self, *, repair: bool = False, namespace: str | None = None) -> dict[str, Any]:
        """POST /v1/admin/reconcile: returns when everything was compared."""
        body = {"repair": repair} if namespace is None else {"repair": repair, "namespace": namespace}
        return await self._call("POST", "/v1/admin/reconcile", json=body, timeout=_LONG_SECONDS)

    async def reconciliations(self, *, limit: int = 20) -> dict[str, Any]:
        """GET /v1/admin/reconcile: the newest comparisons, also one that is running."""
        return await self._call("GET", "/v1/admin/reconcile", params={"limit": limit})

    async def status(self) -> dict[str, Any]:
        """GET /v1/admin/status."""
        return await self._call("GET", "/v1/admin/status")

    async def outbox(self, **asked: Any) -> dict[str, Any]:
        """GET /v1/admin/outbox; `asked` are its parameters: state, namespace, after, limit."""
        return await self._call("GET", "/v1/admin/outbox", params=asked)

    async def retry_dead_letters(self, **asked: Any) -> dict[str, Any]:
        """POST /v1/admin/outbox/retry; `asked` are fields of its body: ids, namespace."""
        return await self._call("POST", "/v1/admin/outbox/retry", json=asked)

    async def drop_dead_letters(self, ids: Sequence[int], **asked: Any) -> dict[str, Any]:
        """POST /v1/admin/outbox/drop; `asked` are further fields of its body: namespace."""
        return await self._call("POST", "/v1/admin/outbox/drop", json={"ids": list(ids), **asked})

    async def retain(self, *, dry_run: bool = False) -> dict[str, Any]:
        """POST /v1/admin/retention: returns when everything that outlived its retention is dealt with."""
        return await self._call("POST", "/v1/admin/retention", json={"dry_run": dry_run}, timeout=_LONG_SECONDS)

    async def backfill(self, **asked: Any) -> dict[str, Any]:
        """POST /v1/admin/backfill; `asked` are fields of its body: namespace, batch_size, max_episodes, rate."""
        return await self._call("POST", "/v1/admin/backfill", json=asked, timeout=_LONG_SECONDS)

    async def backfill_pending(self, **asked: Any) -> dict[str, Any]:
        """GET /v1/admin/backfill: how many episodes a backfill would find; `asked` may name a namespace."""
        return await self._call("GET", "/v1/admin/backfill", params=asked)

    async def features(self) -> dict[str, Any]:
        """GET /v1/admin/features: what is switched on."""
        return await self._call("GET", "/v1/admin/features")

    async def switch_features(self, **features: bool) -> dict[str, Any]:
        """PUT /v1/admin/features: `episode_logging`, `retrieval`."""
        return await self._call("PUT", "/v1/admin/features", json=features)

    async def forget(self, namespace: str, **asked: Any) -> dict[str, Any]:
        """POST /v1/admin/forget; `asked` are further fields of its body: an owner, or ids of records."""
        return await self._call("POST", "/v1/admin/forget", json={"namespace": namespace, **asked}, timeout=_LONG_SECONDS)

    async def list_knowledge(self, **asked: Any) -> dict[str, Any]:
        """GET /v1/knowledge; `asked` are its parameters."""
        return await self._call("GET", "/v1/knowledge", params=asked)

    async def get_knowledge(self, knowledge_id: UUID, *, namespace: str = DEFAULT_NAMESPACE) -> dict[str, Any]:
        """GET /v1/knowledge/{knowledge_id}."""
        return await self._call("GET", f"/v1/knowledge/{knowledge_id}", params={"namespace": namespace})

    async def knowledge_history(
        self, knowledge_id: UUID, *, namespace: str = DEFAULT_NAMESPACE, after: int = 0, limit: int = 100
    ) -> dict[str, Any]:
        """GET /v1/knowledge/{knowledge_id}/history."""
        params = {"namespace": namespace, "after": after, "limit": limit}
        return await self._call("GET", f"/v1/knowledge/{knowledge_id}/history", params=params)

    async def supersede_knowledge(self, knowledge_id: UUID, *, idempotency_key: str | None = None, **said: Any) -> dict[str, Any]:
        """POST /v1/knowledge/{knowledge_id}/supersede; `said` are the fields of its body."""
        headers = _named(idempotency_key)
        return await self._call("POST", f"/v1/knowledge/{knowledge_id}/supersede", json=said, headers=headers)

    async def learned_strategies(
        self, context: str | Json, *, namespace: str = DEFAULT_NAMESPACE, **further: Any
    ) -> dict[str, Any]:
        """POST /v1/knowledge/strategies; `further` are other fields of its body."""
        body = {"context": context, "namespace": namespace, **further}
        return await self._call("POST", "/v1/knowledge/strategies", json=body)

    async def backup(self) -> AsyncGenerator[bytes, None]:
        """GET /v1/admin/backup: the bytes of the file, in portions."""
        async for portion in self._stream("/v1/admin/backup", {}):
            yield portion

    async def export(self, namespace: str) -> AsyncGenerator[bytes, None]:
        """GET /v1/admin/export: the bytes of the file, in portions."""
        async for portion in self._stream("/v1/admin/export", {"namespace": namespace}):
            yield portion

    async def import_file(self, path: Path, namespace: str, progress: Callable[[int], None] | None = None) -> ImportReport:
        """POST /v1/admin/import; `progress` counts the bytes sent."""
        answer = await self._call(
            "POST", "/v1/admin/import", content=_portions(path, progress or (lambda _: None)),
            params={"namespace": namespace}, headers={"content-type": "application/x-ndjson"}, timeout=_LONG_SECONDS,
        )  # fmt: skip
        return ImportReport(answer["new"], answer["known"])

    async def _stream(self, path: str, params: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
        try:
            async with self._http.stream("GET", path, params=params, timeout=_LONG_SECONDS) as response:
                if response.is_error:
                    await response.aread()
                    raise _error_of(response)
                async for portion in response.aiter_raw():
                    yield portion
        except httpx.TransportError as error:
            raise TierUnavailable("service", str(error) or type(error).__name__) from error

    async def _call(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        try:
            response = await self._http.request(method, path, **request)
        except httpx.TransportError as error:
            raise TierUnavailable("service", str(error) or type(error).__name__) from error
        if response.is_error:
            raise _error_of(response)
        answer: dict[str, Any] = response.json()
        return answer


def _named(idempotency_key: str | None) -> dict[str, str]:
    """The header that names a call."""
    return {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}


async def _portions(path: Path, progress: Callable[[int], None]) -> AsyncGenerator[bytes, None]:
    with path.open("rb") as file:
        while portion := await asyncio.to_thread(file.read, _PORTION_BYTES):
            yield portion
            progress(file.tell())


def _error_of(response: httpx.Response) -> HybridMemoryError:
    """The exception that the service's problem document stands for."""
    try:
        problem = response.json()
    except ValueError:
        return HybridMemoryError(f"HTTP {response.status_code}: {response.text[:200]}")
    detail = str(problem.get("detail", response.reason_phrase))
    first = next(iter(problem.get("errors", ())), {"field": "request", "problem": detail})
    known = _BY_STATUS.get(response.status_code)
    return HybridMemoryError(f"HTTP {response.status_code}: {detail}") if known is None else known(detail, first)


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
    HTTPStatus.UNPROCESSABLE_ENTITY: _invalid,
    HTTPStatus.SERVICE_UNAVAILABLE: lambda detail, _: TierUnavailable("service", detail),
}
