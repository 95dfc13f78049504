"""Embeddings from an Ollama server (`POST /api/embed`)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

import httpx
import numpy as np

from app.chat import CONNECT_TIMEOUT
from app.embedding.spaces import canonical_model, known_space, nothing_embedded, unit_rows
from app.errors import DimensionMismatch, EmbedderUnavailable
from app.observability import timed
from app.records import Embedded, Matrix, Space

PROVIDER: Final = "ollama"

_BATCH_TEXTS: Final = 64
"""Bounds a request's size and the work lost when it fails."""


class OllamaEmbedder:
    """One model of one server. The client is the caller's, who closes it."""

    def __init__(
        self, client: httpx.AsyncClient, base_url: str, model: str, *, timeout: timedelta = timedelta(seconds=30)
    ) -> None:
        self._client = client
        self._base_url = base_url.rstrip("/")
        self._model = model
        self._timeout = httpx.Timeout(timeout.total_seconds(), connect=min(timeout, CONNECT_TIMEOUT).total_seconds())
        self._space = known_space(model)

    @property
    def space(self) -> Space:
        """Known at once for well-known models; of others the first answer tells the dimension.

        Raises:
            EmbedderUnavailable: the model is not well known and has not answered yet.
        """
        if self._space is None:
            raise EmbedderUnavailable(PROVIDER, f"{self._model} has not answered yet, so its dimension is not known")
        return self._space

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """See `Embedder.embed`; a text longer than the model's context is cut by the server.

        Raises:
            EmbedderUnavailable: no connection, no such model, no answer in time, or one that makes no sense: also when
                the dimension is not the space's, which then names both.
        """
        if not texts:
            return nothing_embedded(self.space, PROVIDER)
        batches = [texts[start : start + _BATCH_TEXTS] for start in range(0, len(texts), _BATCH_TEXTS)]
        vectors = np.concatenate([await self._embed_batch(batch) for batch in batches])
        return Embedded(self.space, vectors, PROVIDER)

    async def ping(self) -> str:
        """Asks whether the model is there, without loading it."""
        with _translated(self._model):
            version = await self._request("GET", "/api/version")
            await self._request("POST", "/api/show", {"model": self._model})
        return f"{PROVIDER} {version.get('version', '?')} {self._model}"

    async def _embed_batch(self, texts: Sequence[str]) -> Matrix:
        with _translated(self._model):
            answer = await self._request("POST", "/api/embed", {"model": self._model, "input": list(texts), "truncate": True})
            vectors = _matrix(answer["embeddings"], len(texts))
            self._check_dimension(vectors.shape[1])
        return unit_rows(vectors)

    async def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        with timed(PROVIDER, path.rsplit("/", 1)[-1]):
            response = await self._client.request(method, self._base_url + path, json=body, timeout=self._timeout)
            response.raise_for_status()
            answer: dict[str, Any] = response.json()
            return answer

    def _check_dimension(self, dimension: int) -> None:
        if self._space is None:
            self._space = Space(canonical_model(self._model), dimension)
        elif dimension != self._space.dimension:
            raise DimensionMismatch(self._space.dimension, dimension)


def _matrix(rows: list[list[float]], expected: int) -> Matrix:
    """The answer's rows as an array: as many as there were texts, of one length, finite.

    Raises:
        ValueError: they are not.
    """
    vectors = np.asarray(rows, dtype=np.float32)
    if vectors.ndim != 2 or len(vectors) != expected or not np.isfinite(vectors).all():  # noqa: PLR2004 -- rows and columns
        raise ValueError(f"expected {expected} vectors of finite numbers, got an array of shape {vectors.shape}")
    return vectors


@contextmanager
def _translated(model: str) -> Iterator[None]:
    """Turn whatever can go wrong with the server or its answer into `EmbedderUnavailable`, saying what to do."""
    try:
        yield
    except httpx.HTTPStatusError as error:
        raise EmbedderUnavailable(PROVIDER, _explain_status(error.response, model)) from error
    except httpx.TimeoutException as error:
        raise EmbedderUnavailable(PROVIDER, f"no answer in time ({type(error).__name__})") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise EmbedderUnavailable(PROVIDER, str(error) or type(error).__name__) from error
    except json.JSONDecodeError as error:
        raise EmbedderUnavailable(PROVIDER, "the answer is not JSON: is this an Ollama server?") from error
    except DimensionMismatch as error:
        raise EmbedderUnavailable(PROVIDER, f"{model}: {error}; was the model replaced under its name?") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise EmbedderUnavailable(PROVIDER, f"the answer makes no sense: {error}") from error


def _explain_status(response: httpx.Response, model: str) -> str:
    if response.status_code == httpx.codes.NOT_FOUND:
        return f"model {model} is not there: run `ollama pull {model}`"
    return f"status {response.status_code}"
