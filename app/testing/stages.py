"""Twins of the models that a stage of recall asks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np

from app.records import Vector

_WORD: Final = re.compile(r"\w+")


class WordsReranker:
    """Implements `Reranker`: the share of the question's words that a text has. `calls` holds what was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[str]]] = []

    async def scores(self, question: str, texts: Sequence[str]) -> Vector:
        self.calls.append((question, list(texts)))
        asked = _words(question)
        return np.array([len(asked & _words(text)) / max(1, len(asked)) for text in texts], dtype=np.float32)


class ScriptedRephraser:
    """Implements `Rephraser` with the wordings it was given, whatever the question."""

    def __init__(self, *wordings: str) -> None:
        self._wordings = wordings

    async def rephrase(self, question: str) -> tuple[str, ...]:
        return tuple(wording for wording in self._wordings if wording != question)


def _words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text.lower()))
