"""Late interaction: a text is as good as the best match that each token of the question finds in it.

ColBERT's MaxSim (Khattab & Zaharia 2020) over the token vectors of the model that embeds anyway: no second model, nothing
stored. The vectors are computed when they are asked for, and the last ones are kept in memory.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np

from app.embedding.sentence_transformer import batches_by_length
from app.observability import CACHE_REQUESTS
from app.records import Matrix, Vector, sha256_hex

_CACHE_BYTES: Final = 64 * 2**20
"""The tokens of about 2,000 turns of a conversation at 384 dimensions."""
_JOBS: Final = 2
"""Batches on their way at a time: as many as the model has threads, so that a query's embedding waits for one round."""


class TokenEmbedder(Protocol):
    """A model that gives the vectors of single tokens: `SentenceTransformerEmbedder`."""

    async def token_vectors(self, texts: Sequence[str]) -> list[Matrix]: ...


class LateInteraction:
    """Implements `Reranker` by MaxSim. What one call has computed, the next one finds, even if the first was given up."""

    def __init__(self, model: TokenEmbedder, *, cache_bytes: int = _CACHE_BYTES) -> None:
        self._model = model
        self._kept = _KeptMatrices(cache_bytes)

    async def scores(self, question: str, texts: Sequence[str]) -> Vector:
        """See `Reranker`: the mean over the question's tokens.

        Raises:
            EmbedderUnavailable: the model could not be loaded.
        """
        (asked,), known = await asyncio.gather(self._model.token_vectors([question]), self._matrices(texts))
        return await asyncio.to_thread(max_sims, asked, [known[text] for text in texts])

    async def _matrices(self, texts: Sequence[str]) -> dict[str, Matrix]:
        """The token vectors of each distinct text."""
        known = {text: matrix for text in dict.fromkeys(texts) if (matrix := self._kept.get(text)) is not None}
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        CACHE_REQUESTS.labels("tokens", "hit").inc(len(known))
        CACHE_REQUESTS.labels("tokens", "miss").inc(len(missing))
        batches = iter(batches_by_length([len(text) for text in missing]))

        async def read_batches() -> None:
            for batch in batches:
                chosen = [missing[position] for position in batch]
                for text, matrix in zip(chosen, await self._model.token_vectors(chosen), strict=True):
                    known[text] = matrix.astype(np.float16)
                    self._kept.put(text, known[text])

        await asyncio.gather(*(read_batches() for _ in range(_JOBS)))
        return known


def max_sims(question: Matrix, documents: Sequence[Matrix]) -> Vector:
    """For each document the mean of the question's tokens' best cosines, cut at 0; shape (len(documents),).

    The matrices have unit rows. A document without tokens scores 0, and so does everything for a question without.
    """
    scores = np.zeros(len(documents), dtype=np.float32)
    filled = [n for n, document in enumerate(documents) if len(document)]
    if filled and len(question):
        rows = np.concatenate([documents[n] for n in filled]).astype(np.float32)
        starts = np.cumsum([0, *(len(documents[n]) for n in filled[:-1])])
        scores[filled] = np.maximum.reduceat(question @ rows.T, starts, axis=1).mean(axis=0)
    return np.clip(scores, 0.0, 1.0)


class _KeptMatrices:
    """The matrices used last, up to `limit_bytes` together."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._bytes = 0
        self._matrices: OrderedDict[str, Matrix] = OrderedDict()

    def get(self, text: str) -> Matrix | None:
        key = sha256_hex(text)
        if key in self._matrices:
            self._matrices.move_to_end(key)
        return self._matrices.get(key)

    def put(self, text: str, matrix: Matrix) -> None:
        key = sha256_hex(text)
        if (replaced := self._matrices.pop(key, None)) is not None:
            self._bytes -= replaced.nbytes
        self._matrices[key] = matrix
        self._bytes += matrix.nbytes
        while self._bytes > self._limit_bytes:
            self._bytes -= self._matrices.popitem(last=False)[1].nbytes
