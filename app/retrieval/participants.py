"""Who takes part in a namespace's conversations, remembered for a moment: asked by every search, changed by few writes."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog

from app.errors import TierUnavailable
from app.ports import Embedder, SemanticMemory
from app.records import Scope
from app.retrieval.people import People

log = structlog.get_logger(__name__)

_AUTHORS: Final = 5_000
"""The most frequent of a namespace; a question about somebody rarer is embedded with the name in it."""
_REMEMBERED_SECONDS: Final = 10.0
_UNKNOWN_SECONDS: Final = 1.0
"""How long nobody is asked again after the index did not answer."""
_REMEMBERED_NAMESPACES: Final = 1000


@dataclass(frozen=True, slots=True)
class _Known:
    people: People
    until: float


class Participants:
    """The authors of a namespace, at most some seconds old."""

    def __init__(
        self, semantic: SemanticMemory, embedder: Embedder, *,
        patience: timedelta = timedelta(milliseconds=75), monotonic: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._semantic = semantic
        self._embedder = embedder
        self._patience = patience
        self._monotonic = monotonic
        self._known: OrderedDict[str, _Known] = OrderedDict()

    async def of(self, namespace: str) -> People:
        """The most frequent authors; nobody while the index is away or late, which costs ranking and nothing else."""
        known = self._known.get(namespace)
        if known is None or known.until < self._monotonic():
            known = await self._ask(namespace)
            self._remember(namespace, known)
        return known.people

    async def _ask(self, namespace: str) -> _Known:
        try:
            async with asyncio.timeout(self._patience.total_seconds()):
                authors = await self._semantic.authors(self._embedder.space, Scope(namespace), _AUTHORS)
        except (TierUnavailable, TimeoutError) as error:
            log.warning("participants_unknown", problem=str(error) or "no answer in time")
            return _Known(People(), self._monotonic() + _UNKNOWN_SECONDS)
        return _Known(People(authors), self._monotonic() + _REMEMBERED_SECONDS)

    def _remember(self, namespace: str, known: _Known) -> None:
        self._known[namespace] = known
        self._known.move_to_end(namespace)
        if len(self._known) > _REMEMBERED_NAMESPACES:
            self._known.popitem(last=False)
