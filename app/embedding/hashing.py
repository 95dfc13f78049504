"""An embedder without a model: signed feature hashing of words and character trigrams.

For tests, trials and machines that carry no model: texts are near when they share words or parts of words; it knows
no synonyms. After Weinberger et al., "Feature Hashing for Large Scale Multitask Learning" (2009).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache, partial
from itertools import chain
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from app.embedding.spaces import unit_rows
from app.records import Embedded, Matrix, Space

PROVIDER: Final = "hashing"

_WORD: Final = re.compile(r"\w+")
_TRIGRAMS_WEIGHT: Final = 1.0
"""Length of all of a word's trigrams together, against 1 for the word itself."""
_FULL_WEIGHT_CHARACTERS: Final = 5
"""Shorter words count less, in proportion: most of them are function words."""
_REMEMBERED_WORDS: Final = 65_536
_CHUNK_TEXTS: Final = 1024
"""Bounds the float64 accumulator to a few megabytes."""


class _Features(NamedTuple):
    """A word's non-zero coordinates."""

    columns: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]


class HashingEmbedder:
    """Deterministic on every platform and in every process; never unavailable."""

    def __init__(self, dimension: int = 384) -> None:
        self._space = Space(PROVIDER, dimension)
        self._features = lru_cache(_REMEMBERED_WORDS)(partial(_word_features, dimension=dimension))

    @property
    def space(self) -> Space:
        return self._space

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """See `Embedder.embed`; a text without any word gets one fixed unit vector."""
        chunks = [self._rows(texts[start : start + _CHUNK_TEXTS]) for start in range(0, len(texts), _CHUNK_TEXTS)]
        empty = np.empty((0, self._space.dimension), np.float32)
        return Embedded(self._space, np.concatenate([empty, *chunks]), PROVIDER)

    async def ping(self) -> str:
        return f"{PROVIDER} {self._space.dimension}"

    def _rows(self, texts: Sequence[str]) -> Matrix:
        words = [_WORD.findall(text.lower()) for text in texts]
        features = [self._features(word) for word in chain.from_iterable(words)]
        if not features:
            return unit_rows(np.zeros((len(texts), self._space.dimension), np.float32))
        row_of_word = np.repeat(np.arange(len(texts)), [len(row) for row in words])
        row = np.repeat(row_of_word, [len(f.columns) for f in features])
        cells = row * self._space.dimension + np.concatenate([f.columns for f in features])
        weights = np.concatenate([f.weights for f in features])
        sums = np.bincount(cells, weights, minlength=len(texts) * self._space.dimension)
        return unit_rows(sums.reshape(len(texts), -1).astype(np.float32))


def _word_features(word: str, dimension: int) -> _Features:
    """The word itself and its trigrams, each hashed to a column and a sign."""
    padded = f"^{word}$"
    trigrams = [padded[i : i + 3] for i in range(len(padded) - 2)]
    hashed = [_hash(feature) for feature in (f"word {word}", *trigrams)]
    weights = np.full(len(hashed), _TRIGRAMS_WEIGHT / np.sqrt(len(trigrams)))
    weights[0] = 1.0
    signs = np.array([1.0 if h & 1 else -1.0 for h in hashed])
    columns = np.array([(h >> 1) % dimension for h in hashed], np.int64)
    return _Features(columns, weights * signs * min(1.0, len(word) / _FULL_WEIGHT_CHARACTERS))


def _hash(feature: str) -> int:
    """Not `hash()`: that differs from process to process."""
    return int.from_bytes(hashlib.blake2b(feature.encode(errors="surrogatepass"), digest_size=8).digest(), "little")
