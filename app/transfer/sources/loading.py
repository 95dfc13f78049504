"""Another program's file as a document: JSON, or JSON Lines as a list. A file that was cut short is refused as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import orjson

from app.errors import InvalidInput
from app.transfer.portable import FORMAT

MOST_BYTES: Final = 1 << 29
"""Such a file is read as a whole: its documents can only be understood so. Half a gigabyte takes a few of memory."""


def load(path: Path) -> Any:
    """
    Raises:
        InvalidInput: it is too large, cut short, or neither JSON nor JSON Lines; names the line.
    """
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise InvalidInput("file", f"must have at most {MOST_BYTES} bytes, has {size}: split it")
    content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        lines = content.splitlines(keepends=True)
        if len(lines) < 2 or not _is_object(lines[0]):  # noqa: PLR2004 - one line is no list of them
            raise InvalidInput("file", f"is cut short, or is not JSON: {error}") from error
    return [_line(number, raw) for number, raw in enumerate(lines, 1) if raw.strip()]


def is_portable(path: Path) -> bool:
    """Whether it is what `export` writes."""
    with path.open("rb") as file:
        first = file.readline(1 << 16)
    return b'"header"' in first and FORMAT.encode() in first


def _is_object(raw: bytes) -> bool:
    try:
        return isinstance(orjson.loads(raw), dict)
    except orjson.JSONDecodeError:
        return False


def _line(number: int, raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        if not raw.endswith(b"\n"):
            raise InvalidInput("file", f"is cut short: its last line, {number}, is not whole") from error
        raise InvalidInput(f"line {number}", f"is not JSON: {error}") from error
