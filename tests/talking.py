"""How tests talk to the served API: messages as clients send them, and the calls most tests make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import httpx
from served import Served

from app.records import new_id

SAID_AT = "2026-03-01T09:30:00Z"
SESSION = "/v1/sessions/s1"


def said(content: str, **fields: Any) -> dict[str, Any]:
    """A message as a client sends it, with nothing left for the server to fill in."""
    whole = {"id": str(new_id()), "role": "user", "name": "Ana", "content": content, "created_at": SAID_AT, "metadata": {"n": 1}}
    return whole | fields


def append(
    api: Served, namespace: str, messages: Sequence[dict[str, Any]], *, wait: str = "none", **fields: Any
) -> httpx.Response:
    body = {"namespace": namespace, "messages": messages, **fields}
    return api.http.post(f"{SESSION}/messages", json=body, params={"wait": wait})


def history(api: Served, namespace: str, **parameters: Any) -> dict[str, Any]:
    response = api.http.get(f"{SESSION}/messages", params={"namespace": namespace, **parameters})
    assert response.status_code == 200, response.text
    return dict(response.json())


def pages(fetch: Callable[[Any], dict[str, Any]], items: str) -> list[list[Any]]:
    """Follow `next` to the last page."""
    page = fetch(None)
    found = [page[items]]
    while page["next"] is not None:
        page = fetch(page["next"])
        found.append(page[items])
    return found


def created(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 201, response.text
    return dict(response.json())


def session(api: Served, namespace: str) -> httpx.Response:
    return api.http.get(SESSION, params={"namespace": namespace})


def search(api: Served, namespace: str, text: str, **fields: Any) -> dict[str, Any]:
    response = api.http.post("/v1/search", json={"text": text, "namespace": namespace, **fields})
    assert response.status_code == 200, response.text
    return dict(response.json())
