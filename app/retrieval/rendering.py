"""A situation as text to search by (pure): the same for the same situation, whoever wrote it down."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from app.records import Json


def render(context: str | Json) -> str:
    """Text stays as it is. Of an object each value stands on a line of its own after the keys that lead to it.

    Keys are sorted and read as words; a list of plain values stays on one line, and of a list of objects each item has its
    own lines: `{"team": {"size": 5}, "open_items": ["a", "b"]}` is `open items a, b` and `team size 5`.
    """
    if isinstance(context, str):
        return context
    return "\n".join(line for line in _lines("", context) if line)


def _lines(path: str, value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key in sorted(value):
            yield from _lines(f"{path} {key.replace('_', ' ')}".strip(), value[key])
    elif isinstance(value, list | tuple) and any(isinstance(item, dict | list | tuple) for item in value):
        for item in value:
            yield from _lines(path, item)
    elif isinstance(value, list | tuple):
        yield f"{path} {', '.join(map(_plain, value))}".strip()
    else:
        yield f"{path} {_plain(value)}".strip()


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
