"""Who takes part in a namespace's conversations, remembered for a moment: asked by every search, changed by few writes."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
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
_REMEMBERED_NAMESPACES: Final = 1000


@dataclass(frozen=True, slots=True)
class _Known:
    people: People
    until: float


class Participants:
    """The authors of a namespace, at most some seconds old."""

    def __init__(self, semantic: SemanticMemory, embedder: Embedder, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._semantic = semantic
        self._embedder = embedder
        self._monotonic = monotonic
        self._known: OrderedDict[str, _Known] = OrderedDict()

    async def of(self, namespace: str) -> People:
        """The namespace's most frequent authors; nobody while the index is away, which costs ranking and nothing else."""
        known = self._known.get(namespace)
        if known is None or known.until < self._monotonic():
            known = _Known(await self._ask(namespace), self._monotonic() + _REMEMBERED_SECONDS)
            self._remember(namespace, known)
        return known.people

    async def _ask(self, namespace: str) -> People:
        try:
            return People(await self._semantic.authors(self._embedder.space, Scope(namespace), _AUTHORS))
        except TierUnavailable as error:
            log.warning("participants_unknown", problem=error.problem)
            return People()

    def _remember(self, namespace: str, known: _Known) -> None:
        self._known[namespace] = known
        self._known.move_to_end(namespace)
        if len(self._known) > _REMEMBERED_NAMESPACES:
            self._known.popitem(last=False)
