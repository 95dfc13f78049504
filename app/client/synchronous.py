"""The client that is waited for: scripts, notebooks, threads."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import stamina

from app.client.asking import Paging, Request, Synchronous, Upload
from app.client.connection import PORTION_BYTES, TIMEOUT_SECONDS, client_options, reply_of, sent, transport_failures, upload_of
from app.client.ingesting import BATCH_SIZE, Batches, Ingesting, IngestReport, Said
from app.client.problems import Failure
from app.client.retrying import PATIENT, Retries, schedule
from app.client.surface import Surface
from app.records import DEFAULT_NAMESPACE

T = TypeVar("T")


class SyncMemoryClient(Synchronous, Surface):
    """Talks to a running service; a context manager. Calls, answers, retries and exceptions are those of `MemoryClient`."""

    def __init__(
        self, base_url: str, *, api_key: str | None = None, timeout_seconds: float = TIMEOUT_SECONDS,
        retries: Retries | None = None, transport: httpx.BaseTransport | None = None,
    ) -> None:  # fmt: skip
        self._http = httpx.Client(**client_options(base_url, api_key, timeout_seconds), transport=transport)
        self._timeout_seconds = timeout_seconds
        self._retries = retries or Retries()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def ingest(
        self, messages: Iterable[Said], *, namespace: str = DEFAULT_NAMESPACE,
        batch_size: int = BATCH_SIZE, progress: Callable[[IngestReport], None] | None = None, retries: Retries = PATIENT,
    ) -> IngestReport:  # fmt: skip
        """Append a stream of messages of any sessions, in batches and in bounded memory; see `Ingesting`."""
        ingesting = Ingesting(namespace, Batches(batch_size), progress)
        with ingesting.noting_how_far():
            for said in messages:
                for request in ingesting.take(said):
                    ingesting.note(self._ask(request, retries))
            for request in ingesting.rest():
                ingesting.note(self._ask(request, retries))
        return ingesting.report

    def ask(self, request: Request[T]) -> T:
        return self._ask(request, self._retries)

    def _ask(self, request: Request[T], retries: Retries) -> T:
        try:
            for attempt in stamina.retry_context(**schedule(request, retries)):
                with attempt:
                    return self._attempt(request, retries, is_repeated=attempt.num > 1)
        except Failure as failure:
            raise failure.error from failure.__cause__
        raise AssertionError("an attempt returns or raises")

    def _attempt(self, request: Request[T], retries: Retries, *, is_repeated: bool) -> T:
        upload = upload_of(request)
        content: Any = request.content if upload is None else _portions_of(upload)
        with transport_failures():
            response = self._http.request(**sent(request, content, retries, self._timeout_seconds))
        return request.read(reply_of(response), is_repeated=is_repeated)

    def pages(self, paging: Paging[T]) -> Generator[T, None, None]:
        cursor = paging.first
        while True:
            page = self.ask(paging.turn(cursor))
            yield from page.items
            if page.next is None:
                return
            cursor = page.next

    def portions(self, request: Request[None]) -> Generator[bytes, None, None]:
        try:
            with closing(self._received(request)) as received:
                yield from received
        except Failure as failure:
            raise failure.error from failure.__cause__

    def _received(self, request: Request[None]) -> Generator[bytes, None, None]:
        with transport_failures(), self._http.stream(**sent(request, None, self._retries, self._timeout_seconds)) as response:
            if response.is_error:
                response.read()
                request.read(reply_of(response))
            yield from response.iter_raw()


def _portions_of(upload: Upload) -> Generator[bytes, None, None]:
    with upload.path.open("rb") as file:
        while portion := file.read(PORTION_BYTES):
            yield portion
            upload.progress(file.tell())
