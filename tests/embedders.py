"""Embedders to stand behind the one under test."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from app.embedding.hashing import HashingEmbedder
from app.errors import EmbedderUnavailable
from app.records import Embedded, Space

MINILM_SPACE = Space("all-minilm-l6-v2", 384)


class StandIn:
    """The hashing embedder's vectors under another name, for a provider that can be down, slow or of two minds.

    `calls` holds the texts of each call, failed ones too. While `gate` is not set, calls wait. A call with a text that is
    `refused` fails. With another `salt` the vectors are another model's.
    """

    def __init__(self, provider: str = "stand-in", space: Space | None = MINILM_SPACE, *, salt: str = "") -> None:
        self.provider = provider
        self.declared = space
        self.salt = salt
        self.is_up = True
        self.refused: set[str] = set()
        self.calls: list[list[str]] = []
        self.called = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self._hashing = HashingEmbedder(384)

    @property
    def space(self) -> Space:
        if self.declared is None:
            raise EmbedderUnavailable(self.provider, "has not answered yet")
        return self.declared

    async def embed(self, texts: Sequence[str]) -> Embedded:
        self.calls.append(list(texts))
        self.called.set()
        await self.gate.wait()
        if not self.is_up or self.refused.intersection(texts):
            raise EmbedderUnavailable(self.provider, "is down")
        self.declared = self.declared or MINILM_SPACE
        answer = await self._hashing.embed([f"{text} {self.salt}".strip() for text in texts])
        return replace(answer, space=self.declared, provider=self.provider)

    async def ping(self) -> str:
        if not self.is_up:
            raise EmbedderUnavailable(self.provider, "is down")
        return f"{self.provider} 1.0"
