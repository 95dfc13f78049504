"""Texts of a JSON value at a path (pure).

    title  a.b[0].c  a[-1]  a[*].b  tags[*]  *  {a,b.c}  $

`$` is the whole value. Whatever is not there gives nothing; what is not a text is given as one. The paths are those of
LangGraph's `index`, so that the same ones can be used.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from app.errors import InvalidInput
from app.records import WHOLE_VALUE

_STEP: Final = re.compile(r"\.?(?:\[(?P<index>\*|-?\d+)\]|\{(?P<names>[^{}\[\]]+)\}|(?P<name>[^.\[\]{}]+))")
_EVERY: Final = "*"
_MOST_STEPS: Final = 64


def texts_at(value: Mapping[str, Any], path: str) -> list[str]:
    """The texts at `path`, in the value's order; blank ones are left out.

    Raises:
        InvalidInput: it is not a path.
    """
    if path == WHOLE_VALUE:
        return [_text(value)] if value else []
    found: Iterable[Any] = [value]
    for step in _steps(path):
        found = [inner for outer in found for inner in _taken(outer, step)]
    return [text for text in map(_text, found) if text.strip()]


def _steps(path: str) -> Sequence[re.Match[str]]:
    steps: list[re.Match[str]] = []
    end = 0
    while end < len(path):
        step = _STEP.match(path, end)
        if step is None or len(steps) == _MOST_STEPS:
            raise InvalidInput("index", f"{path[:80]!r} is not a path such as title, a.b[0], a[*].b or $")
        steps.append(step)
        end = step.end()
    if not steps:
        raise InvalidInput("index", "a path must not be empty")
    return steps


def _taken(value: Any, step: re.Match[str]) -> Iterable[Any]:
    if step["index"] is not None:
        return _elements(value, step["index"]) if isinstance(value, list | tuple) else ()
    if step["names"] is not None:
        return [inner for name in step["names"].split(",") for inner in _named(value, name.strip().split("."))]
    if step["name"] == _EVERY:
        return _children(value)
    return _named(value, [step["name"]])


def _elements(values: Sequence[Any], index: str) -> Sequence[Any]:
    if index == _EVERY:
        return values
    place = int(index)
    return values[place : place + 1 or None] if -len(values) <= place < len(values) else ()


def _named(value: Any, names: Iterable[str]) -> Sequence[Any]:
    for name in names:
        if not isinstance(value, Mapping) or name not in value:
            return ()
        value = value[name]
    return (value,)


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list | tuple) else ()


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, sort_keys=True, ensure_ascii=False, default=dict)
    return str(value)
