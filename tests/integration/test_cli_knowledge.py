"""What the commands about knowledge print, of a running service."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from io import StringIO
from typing import Any
from uuid import UUID

from rich.console import Console
from served import Served

from app.cli.knowledge import list_pieces, show_history, show_piece, supersede_piece
from app.client import MemoryClient

PORTO, LISBON = "Ana lives in Porto", "Ana lives in Lisbon"


def printed(api: Served, command: Callable[..., Awaitable[None]], *asked: Any) -> str:
    console = Console(file=StringIO(), width=300)

    async def ask() -> None:
        await command(MemoryClient(api.url), *asked, console)

    asyncio.run(ask())
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def stored(api: Served, namespace: str) -> dict[str, Any]:
    body = {"namespace": namespace, "description": PORTO, "valid_from": "2020-01-01T00:00:00Z"}
    answer = api.http.post("/v1/knowledge", json=body)
    answer.raise_for_status()
    return dict(answer.json())


def test_knowledge_is_listed_shown_and_superseded(api: Served, namespace: str) -> None:
    """What holds is listed, and what is over on request; a piece is shown whole, and its history with every change."""
    piece = stored(api, namespace)
    piece_id = UUID(piece["id"])
    assert json.loads(printed(api, show_piece, piece_id, namespace)) == piece
    newer = {"namespace": namespace, "description": LISBON, "valid_from": "2024-01-01T00:00:00Z"}
    assert f"supersedes {piece_id} from 2024-01-01T00:00:00Z on" in printed(api, supersede_piece, piece_id, newer)
    asked: list[dict[str, Any]] = [
        {},
        {"as_of": "2023-01-01T00:00:00Z"},
        {"include_superseded": True},
        {"limit": 1, "kind": "pattern"},
    ]
    listed = [printed(api, list_pieces, {"namespace": namespace, "kind": None, **more}) for more in asked]
    assert [[text for text in (PORTO, LISBON) if text in output] for output in listed] == [[LISBON], [PORTO], [PORTO, LISBON], []]
    history = printed(api, show_history, piece_id, namespace)
    assert all(word in history for word in (PORTO, LISBON, "stored", "superseded"))
    assert "nothing is known" in printed(api, list_pieces, {"namespace": f"{namespace}-2"})
