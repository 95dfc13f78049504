"""Chat messages as OpenAI's API takes them (JSON or JSON Lines), and ChatGPT's `conversations.json`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from app.transfer.sources.items import Item, Raw, Skip, Table, listed, turn

_MESSAGE: Final[Table] = {
    "key": ("id",),
    "role": ("role",),
    "content": ("content", "refusal"),
    "calls": ("tool_calls", "function_call"),
    "name": ("name",),
    "created_at": ("created_at", "create_time", "timestamp"),
}
_IDS: Final = ("conversation_id", "session_id", "thread_id", "id")
_SPOKEN: Final = frozenset({"text", "multimodal_text", "code", "execution_output"})


def items(document: Any, session: str) -> Iterator[Item]:
    """A list of messages, a conversation with `messages`, or a list of such conversations."""
    entries = [document] if _is_conversation(document) else listed(document, "conversations", "data")
    position = 0
    for number, raw in enumerate(entries):
        if _is_conversation(raw):
            yield from _conversation(f"[{number}]", raw, session if len(entries) == 1 else f"{session}-{number + 1}")
        else:
            yield turn(f"[{number}]", raw, _MESSAGE, session, position=position)
            position += 1


def _is_conversation(raw: object) -> bool:
    return isinstance(raw, Mapping) and (isinstance(raw.get("messages"), list) or isinstance(raw.get("mapping"), Mapping))


def _conversation(place: str, raw: Raw, fallback: str) -> Iterator[Item]:
    session = next((str(raw[name]) for name in _IDS if raw.get(name)), fallback)
    if isinstance(raw.get("mapping"), Mapping):
        yield from _branch(place, raw, session)
        return
    for position, said in enumerate(raw["messages"]):
        yield turn(f"{place}.messages[{position}]", said, _MESSAGE, session, position=position)


def _branch(place: str, raw: Raw, session: str) -> Iterator[Item]:
    """Of a conversation that was edited, the branch that is shown."""
    nodes = {name: node for name, node in raw["mapping"].items() if isinstance(node, Mapping)}
    messages = {name: node["message"] for name, node in nodes.items() if node.get("message")}
    shown = _path(nodes, raw.get("current_node") or _leaf(nodes))
    for position, name in enumerate(name for name in shown if name in messages):
        yield _node(f"{place}.mapping[{name}]", messages[name], session, position)
    if others := messages.keys() - shown:
        yield Skip(f"{place}.mapping", "message", f"{len(others)} of other branches than the one that is shown")


def _path(nodes: dict[str, Raw], last: object) -> list[str]:
    """The names from the first node to `last`: each knows its parent. One that is its own ancestor ends the way up."""
    upwards: dict[str, None] = {}
    at = last
    while isinstance(at, str) and at in nodes and at not in upwards:
        upwards[at] = None
        at = nodes[at].get("parent")
    return list(reversed(upwards))


def _leaf(nodes: dict[str, Raw]) -> str | None:
    """The last one that nothing follows."""
    return next((name for name, node in reversed(nodes.items()) if not node.get("children")), None)


def _node(place: str, message: Any, session: str, position: int) -> Item:
    author, content = (message.get("author"), message.get("content")) if isinstance(message, Mapping) else (None, None)
    if not (isinstance(author, Mapping) and isinstance(content, Mapping)):
        return Skip(place, "message", "has no author and content")
    kind = content.get("content_type")
    if kind not in _SPOKEN or _is_hidden(message):
        return Skip(place, "message", f"is not part of what was said ({kind}, hidden)" if kind in _SPOKEN else f"is {kind}")
    said = {
        "id": message.get("id"), "role": author.get("role"), "name": author.get("name"), "created_at": message.get("create_time"),
        "content": content.get("parts") or content.get("text"),
    }  # fmt: skip
    model = message["metadata"].get("model_slug") if isinstance(message.get("metadata"), Mapping) else None
    return turn(place, said | ({"model": model} if model else {}), _MESSAGE, session, position=position)


def _is_hidden(message: Raw) -> bool:
    metadata = message.get("metadata")
    return isinstance(metadata, Mapping) and bool(metadata.get("is_visually_hidden_from_conversation"))
