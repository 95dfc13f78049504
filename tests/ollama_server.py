"""A real HTTP server that speaks Ollama's protocol and misbehaves on request."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import numpy as np

from app.embedding.hashing import HashingEmbedder
from app.ports import Embedder
from app.records import Matrix

VERSION: Final = "0.99.0"


class Behaviour(StrEnum):
    OK = "ok"
    MISSING_MODEL = "missing model"
    ERROR = "status 500"
    HANG = "accepts the request and never answers"
    WRONG_DIMENSION = "one coordinate too many"
    TOO_FEW = "one vector too few"
    NOT_FINITE = "a vector with NaN in it"
    NOT_JSON = "answers with HTML"
    NO_OBJECT = "answers with a JSON list"
    EMPTY = "a chat answer without a word"


class OllamaServer:
    """Serves on a free loopback port until `stop`; `start` brings it up again on the same one.

    Vectors come from `embedder`, by default the hashing one. `requests` holds what was asked: (path, body).
    """

    def __init__(self, embedder: Embedder | None = None) -> None:
        self.behaviour = Behaviour.OK
        self.summary = "Ana moved the review to Thursday."
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.embedder = embedder or HashingEmbedder()
        self._port = 0
        self._released = threading.Event()
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        self._released.clear()
        self._http = ThreadingHTTPServer(("127.0.0.1", self._port), self._handler())
        self._port = self._http.server_port
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Refuse connections from now on; requests that hang are let go."""
        self._released.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def embedded(self) -> list[list[str]]:
        """The texts of each embedding request, in order."""
        return [body["input"] for path, body in self.requests if path == "/api/embed"]

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, bytes]:
        """Status and content for one request, as `behaviour` has it."""
        self.requests.append((path, body))
        match self.behaviour:
            case Behaviour.HANG:
                self._released.wait()
                return 500, b"{}"
            case Behaviour.ERROR:
                return 500, b'{"error": "llama runner process has terminated"}'
            case Behaviour.MISSING_MODEL if path != "/api/version":
                return 404, json.dumps({"error": f"model {body['model']!r} not found"}).encode()
            case Behaviour.NOT_JSON:
                return 200, b"<html>a proxy's welcome page</html>"
            case Behaviour.NO_OBJECT:
                return 200, b"[1, 2, 3]"
        return 200, json.dumps(self._content(path, body)).encode()

    def _content(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        if path == "/api/version":
            return {"version": VERSION}
        if path == "/api/show":
            return {"capabilities": ["embedding"]}
        if path == "/api/chat":
            content = "" if self.behaviour is Behaviour.EMPTY else self.summary
            return {"model": body["model"], "message": {"role": "assistant", "content": content}, "done": True}
        return {"model": body["model"], "embeddings": self._rows(body["input"]).tolist()}

    def _rows(self, texts: list[str]) -> Matrix:
        rows = asyncio.run(self.embedder.embed(texts)).vectors  # in a request's thread, which has no loop
        match self.behaviour:
            case Behaviour.WRONG_DIMENSION:
                return np.pad(rows, ((0, 0), (0, 1)))
            case Behaviour.TOO_FEW:
                return rows[1:]
            case Behaviour.NOT_FINITE:
                return rows * np.float32("nan")
        return rows * np.float32(3)  # Ollama's models do not all answer with unit vectors

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._reply({})

            def do_POST(self) -> None:
                self._reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def _reply(self, body: dict[str, Any]) -> None:
                status, content = server.answer(self.path, body)
                with suppress(BrokenPipeError):  # whoever asked may have gone
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class names it
                """Say nothing on stderr."""

        return Handler


@contextmanager
def ollama_server(embedder: Embedder | None = None) -> Iterator[OllamaServer]:
    server = OllamaServer(embedder)
    try:
        yield server
    finally:
        server.stop()
