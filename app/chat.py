"""A chat model on an Ollama server (`POST /api/chat`): a question in, its words out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

import httpx

from app.errors import TierUnavailable
from app.observability import timed

_THOUGHT: Final = re.compile(r"<think>.*?(</think>|\Z)", re.DOTALL)
_OPTIONS: Final = {"temperature": 0, "seed": 0, "num_predict": 512, "num_ctx": 8192}
"""Repeatable answers, and room for an episode of four thousand tokens."""
CONNECT_TIMEOUT: Final = timedelta(seconds=2)
"""A server that does not even accept a connection is away; how long a model may think is another matter."""


class OllamaChat:
    """One model of one server, asked on behalf of `stage`. The client is the caller's, who closes it."""

    def __init__(
        self, client: httpx.AsyncClient, base_url: str, model: str, *, stage: str, timeout: timedelta = timedelta(seconds=60)
    ) -> None:
        self.model: Final = model
        self._client = client
        self._url = f"{base_url.rstrip('/')}/api/chat"
        self._stage = stage
        self._timeout = httpx.Timeout(timeout.total_seconds(), connect=min(timeout, CONNECT_TIMEOUT).total_seconds())

    async def ask(self, instruction: str, material: str) -> str:
        """The model's answer without its thoughts; never empty.

        Raises:
            TierUnavailable: (`stage`) no connection, no such model, no answer in time, or one that makes no sense.
        """
        turns = [{"role": "system", "content": instruction}, {"role": "user", "content": material}]
        body: dict[str, Any] = {"model": self.model, "messages": turns, "stream": False, "options": _OPTIONS}
        with self._translated(), timed("ollama", "chat"):
            response = await self._client.post(self._url, json=body, timeout=self._timeout)
            response.raise_for_status()
            answer = _THOUGHT.sub("", str(response.json()["message"]["content"])).strip()
        if not answer:
            raise TierUnavailable(self._stage, f"{self.model} answered with nothing")
        return answer

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn whatever can go wrong with the server or its answer into `TierUnavailable`."""
        try:
            yield
        except httpx.HTTPStatusError as error:
            raise TierUnavailable(self._stage, self._explain(error.response.status_code)) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise TierUnavailable(self._stage, f"{type(error).__name__}: {error}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise TierUnavailable(self._stage, f"the answer makes no sense: {error}") from error

    def _explain(self, status: int) -> str:
        is_missing = status == httpx.codes.NOT_FOUND
        return f"model {self.model} is not there: run `ollama pull {self.model}`" if is_missing else f"status {status}"
