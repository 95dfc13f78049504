"""The client that is awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import stamina

from app.client.asking import Asynchronous, Paging, Request, Upload
from app.client.connection import PORTION_BYTES, TIMEOUT_SECONDS, client_options, reply_of, sent, transport_failures, upload_of
from app.client.ingesting import BATCH_SIZE, Batches, Ingesting, IngestReport, Said
from app.client.problems import Failure
from app.client.retrying import PATIENT, Retries, schedule
from app.client.surface import Surface
from app.records import DEFAULT_NAMESPACE

T = TypeVar("T")


class MemoryClient(Asynchronous, Surface):
    """Talks to a running service; an async context manager.

    What may be repeated without harm is, when the service is away or asks for it; a POST gets an `Idempotency-Key` for that.
    What the service raises is raised here: the same classes, with the same attributes. A service that cannot be reached is
    a `TierUnavailable` whose tier is `service`.
    """

    def __init__(
        self, base_url: str, *, api_key: str | None = None, timeout_seconds: float = TIMEOUT_SECONDS,
        retries: Retries | None = None, transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:  # fmt: skip
        self._http = httpx.AsyncClient(**client_options(base_url, api_key, timeout_seconds), transport=transport)
        self._timeout_seconds = timeout_seconds
        self._retries = retries or Retries()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._http.aclose()

    async def ingest(
        self, messages: Iterable[Said] | AsyncIterable[Said], *, namespace: str = DEFAULT_NAMESPACE,
        batch_size: int = BATCH_SIZE, progress: Callable[[IngestReport], None] | None = None, retries: Retries = PATIENT,
    ) -> IngestReport:  # fmt: skip
        """Append a stream of messages of any sessions, in batches and in bounded memory; see `Ingesting`."""
        ingesting = Ingesting(namespace, Batches(batch_size), progress)
        with ingesting.noting_how_far():
            async for said in _each(messages):
                for request in ingesting.take(said):
                    ingesting.note(await self._ask(request, retries))
            for request in ingesting.rest():
                ingesting.note(await self._ask(request, retries))
        return ingesting.report

    async def ask(self, request: Request[T]) -> T:
        return await self._ask(request, self._retries)

    async def _ask(self, request: Request[T], retries: Retries) -> T:
        try:
            async for attempt in stamina.retry_context(**schedule(request, retries)):
                with attempt:
                    return await self._attempt(request, retries, is_repeated=attempt.num > 1)
        except Failure as failure:
            raise failure.error from failure.__cause__
        raise AssertionError("an attempt returns or raises")

    async def _attempt(self, request: Request[T], retries: Retries, *, is_repeated: bool) -> T:
        upload = upload_of(request)
        content: Any = request.content if upload is None else _portions_of(upload)
        with transport_failures():
            response = await self._http.request(**sent(request, content, retries, self._timeout_seconds))
        return request.read(reply_of(response), is_repeated=is_repeated)

    async def pages(self, paging: Paging[T]) -> AsyncGenerator[T, None]:
        cursor = paging.first
        while True:
            page = await self.ask(paging.turn(cursor))
            for item in page.items:
                yield item
            if page.next is None:
                return
            cursor = page.next

    async def portions(self, request: Request[None]) -> AsyncGenerator[bytes, None]:
        try:
            async with aclosing(self._received(request)) as received:
                async for portion in received:
                    yield portion
        except Failure as failure:
            raise failure.error from failure.__cause__

    async def _received(self, request: Request[None]) -> AsyncGenerator[bytes, None]:
        with transport_failures():
            async with self._http.stream(**sent(request, None, self._retries, self._timeout_seconds)) as response:
                if response.is_error:
                    await response.aread()
                    request.read(reply_of(response))
                async for portion in response.aiter_raw():
                    yield portion


async def _each(messages: Iterable[Said] | AsyncIterable[Said]) -> AsyncIterator[Said]:
    if isinstance(messages, AsyncIterable):
        async for said in messages:
            yield said
        return
    for said in messages:
        yield said


async def _portions_of(upload: Upload) -> AsyncGenerator[bytes, None]:
    with upload.path.open("rb") as file:
        while portion := await asyncio.to_thread(file.read, PORTION_BYTES):
            yield portion
            upload.progress(file.tell())
