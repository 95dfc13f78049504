"""Many messages at once (pure): which are sent together, and what is known of how far it came."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from app.client.asking import Request
from app.client.surface.sessions import SessionCalls
from app.errors import HybridMemoryError
from app.records import AppendReceipt, Draft, new_id

BATCH_SIZE: Final = 200
"""Messages a call: that many of the longest allowed still fit into a request."""
_MOST_BYTES: Final = 1 << 20
_HELD: Final = 10
"""Batches' worth of messages held back, of sessions that do not fill a batch yet."""


class Said(NamedTuple):
    """A message and its session. With an id of its own it is stored once, however often the stream is sent."""

    session_id: str
    draft: Draft


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What was acknowledged so far. `degraded` names the tiers that could not take part in some batch."""

    messages: int = 0
    batches: int = 0
    degraded: tuple[str, ...] = ()


@dataclass(slots=True)
class Batches:
    """Messages sorted by session, in order; a batch when a session has `size` messages, or a megabyte of content."""

    size: int = BATCH_SIZE
    _held: dict[str, list[Draft]] = field(default_factory=dict)
    _bytes: dict[str, int] = field(default_factory=dict)
    _count: int = 0

    def take(self, said: Said) -> Iterator[tuple[str, list[Draft]]]:
        """Hold a message back; the batches that are to be sent now."""
        size = len(said.draft.content.encode(errors="surrogatepass"))
        if self._bytes.get(said.session_id, 0) + size > _MOST_BYTES:
            yield from self._let_go(said.session_id)
        self._hold(said, size)
        if len(self._held[said.session_id]) >= self.size:
            yield from self._let_go(said.session_id)
        elif self._count >= _HELD * self.size or sum(self._bytes.values()) > _HELD * _MOST_BYTES:
            yield from self._let_go(max(self._held, key=lambda session: len(self._held[session])))

    def rest(self) -> Iterator[tuple[str, list[Draft]]]:
        for session_id in list(self._held):
            yield from self._let_go(session_id)

    def _hold(self, said: Said, size: int) -> None:
        self._held.setdefault(said.session_id, []).append(said.draft)
        self._bytes[said.session_id] = self._bytes.get(said.session_id, 0) + size
        self._count += 1

    def _let_go(self, session_id: str) -> Iterator[tuple[str, list[Draft]]]:
        drafts = self._held.pop(session_id, [])
        self._bytes.pop(session_id, None)
        self._count -= len(drafts)
        if drafts:
            yield session_id, drafts


@dataclass(slots=True)
class Ingesting:
    """One stream of messages on its way into a namespace.

    The messages of a session keep their order. Each has an id before it is sent, its own or one made here, so that a batch
    whose answer was lost is sent again and stored once; with ids of their own a whole stream can be sent again, and what is
    there already stays as it is. `progress` is told after each acknowledged batch.
    """

    namespace: str
    batches: Batches
    progress: Callable[[IngestReport], None] | None = None
    report: IngestReport = field(default_factory=IngestReport)
    _sending: str = ""

    def take(self, said: Said) -> Iterator[Request[AppendReceipt]]:
        """The calls that have to be made before the next message is taken."""
        for session_id, drafts in self.batches.take(said):
            yield self._request(session_id, drafts)

    def rest(self) -> Iterator[Request[AppendReceipt]]:
        """The calls that are left when the stream has ended."""
        for session_id, drafts in self.batches.rest():
            yield self._request(session_id, drafts)

    def note(self, receipt: AppendReceipt) -> None:
        degraded = tuple(sorted({*self.report.degraded, *receipt.degraded}))
        self.report = IngestReport(self.report.messages + len(receipt.messages), self.report.batches + 1, degraded)
        if self.progress is not None:
            self.progress(self.report)

    @contextmanager
    def noting_how_far(self) -> Iterator[None]:
        """Have whatever ends the stream early say how much was acknowledged, and of which session the batch was."""
        try:
            yield
        except HybridMemoryError as error:
            error.add_note(f"{self.report.messages} messages were acknowledged before; then a batch of {self._sending!r} failed")
            raise

    def _request(self, session_id: str, drafts: list[Draft]) -> Request[AppendReceipt]:
        self._sending = session_id
        named = [draft if draft.id is not None else replace(draft, id=new_id()) for draft in drafts]
        return SessionCalls.append.request(session_id, named, namespace=self.namespace)
