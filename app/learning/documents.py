"""Reading what agents write into episodes (pure): any JSON, of which the usual shapes are understood.

Of a step: its tool is the first name among `tool`, `tool_name`, `action`, `function`, `name`, `command`, `tool_calls` and
`type`. It failed if it has an `error` or `exception`, a `status` that says so, `success` or `ok` false, or `is_error`; the
same is looked for in its `result`, `output` or `observation`, where a text that begins with "error" counts too.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, TypeAlias

from app.records import Json

Fact: TypeAlias = str | int | float | bool

_TOOL_KEYS: Final = ("tool", "tool_name", "action", "function", "name", "command", "tool_calls", "type")
_NO_TOOLS: Final = frozenset({
    "message", "thought", "thinking", "reasoning", "observation", "action", "step", "text", "tool", "tool_call", "tool_calls",
    "tool_use", "tool_result", "function", "function_call", "user", "assistant", "system",
})  # fmt: skip
_ACTION_KEYS: Final = ("action", "choice", "decision", "option", "strategy", "type", "name", "tool", "kind")
_INPUT_KEYS: Final = ("input", "args", "arguments", "parameters", "params", "query")
_ANSWER_KEYS: Final = ("result", "output", "observation", "response")
_FAILED: Final = frozenset({"error", "errored", "failed", "failure", "timeout", "timed out", "exception", "aborted", "denied"})
_FAILURE_BEGINS: Final = ("error", "exception", "traceback", "failed")
_LONGEST_NAME: Final = 80
_LONGEST_VALUE: Final = 60
_DEEPEST: Final = 4
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_GAP: Final = re.compile(r"(?<=\w)[\s_\-]+(?=\w)|\s+")
_EXCEPTION: Final = re.compile(r"^\s*([A-Za-z_][\w.]*(?:Error|Exception|Timeout|Failure))\b")
_PARTICULAR: Final = re.compile(r"0x[0-9a-fA-F]+|[0-9a-fA-F]{8}-[0-9a-fA-F-]{20,}|\d+(?:\.\d+)*|'[^']*'|\"[^\"]*\"|/[\w./-]+")


@lru_cache(maxsize=4096)
def normal(text: str) -> str:
    """The same for `web_search`, `webSearch` and `Web  search`."""
    return _GAP.sub(" ", _CAMEL.sub(" ", text)).strip().casefold()


def tool_of(step: Json) -> str | None:
    """What the step used or did, as it is called there; None for a step that names nothing."""
    names = (_name(step.get(key)) for key in _TOOL_KEYS)
    return next((name for name in names if name and normal(name) not in _NO_TOOLS), None)


def error_of(step: Json) -> str | None:
    """What went wrong in the step, without the particulars (numbers, ids, paths, what is quoted); None if nothing did."""
    told = (step, *(step.get(key) for key in _ANSWER_KEYS))
    problems = (_problem(part) if isinstance(part, Mapping) else _spoken(part) for part in told)
    return next((_kind_of_error(problem) for problem in problems if problem is not None), None)


def input_of(step: Json) -> str:
    """What the step was given, as comparable text."""
    return json.dumps([step.get(key) for key in _INPUT_KEYS], sort_keys=True, default=str)


def action_of(action: Json) -> str | None:
    """What was chosen: the first name among `action`, `choice`, `decision`, `option`, `strategy`, `type`, `name`, `tool`,
    `kind`, or the only short text there is; None where no one thing was chosen."""
    named = next((name for key in _ACTION_KEYS if (name := _name(action.get(key)))), None)
    texts = [value for value in action.values() if isinstance(value, str) and _name(value)]
    return named or (texts[0].strip() if len(texts) == 1 else None)


def facts_of(document: Json, most: int) -> Mapping[str, Fact]:
    """The first `most` short values in the order of their paths: numbers, truth values, and texts that could be categories."""
    return dict(sorted(_facts(document, "", 0))[:most])


def _facts(document: Mapping[str, Any], prefix: str, depth: int) -> Iterator[tuple[str, Fact]]:
    named = ((key, value) for key, value in document.items() if key.strip() and "." not in key)  # a path has to lead there
    for key, value in named:
        path = f"{prefix}{key}"
        if isinstance(value, Mapping):
            if depth < _DEEPEST:
                yield from _facts(value, f"{path}.", depth + 1)
        elif _is_fact(value) and len(path) <= _LONGEST_NAME:
            yield path, value.strip() if isinstance(value, str) else value


def _is_fact(value: object) -> bool:
    if isinstance(value, str):
        return 0 < len(value.strip()) <= _LONGEST_VALUE and "\n" not in value
    return isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value))


def _name(value: object) -> str | None:
    """A text short enough to be a name, from where names are put."""
    if isinstance(value, list):
        value = value[0] if value else None
    if isinstance(value, Mapping):
        return next((name for key in ("name", "function", "tool", "type") if (name := _name(value.get(key)))), None)
    if not isinstance(value, str) or "\n" in value or not 0 < len(value.strip()) <= _LONGEST_NAME:
        return None
    return value.strip()


def _problem(step: Mapping[str, Any]) -> str | None:
    for key in ("error", "exception"):
        if value := step.get(key):
            return _text_of(value)
    status = step.get("status")
    if isinstance(status, str) and normal(status) in _FAILED:
        return _text_of(step.get("message") or status)
    is_failure = step.get("success") is False or step.get("ok") is False or step.get("is_error") is True
    return _text_of(step.get("message") or "failed") if is_failure else None


def _text_of(value: object) -> str:
    if isinstance(value, Mapping):
        named = (value.get(key) for key in ("type", "code", "name", "message", "detail"))
        value = next((part for part in named if isinstance(part, str | int) and part), "error")
    return "error" if value is True else str(value)


def _spoken(answer: object) -> str | None:
    is_failure = isinstance(answer, str) and answer.lstrip().casefold().startswith(_FAILURE_BEGINS)
    return str(answer) if is_failure else None


def _kind_of_error(problem: str) -> str:
    first = next(iter(problem.strip().splitlines()), "") or "error"
    exception = _EXCEPTION.match(first)
    return exception.group(1) if exception else _PARTICULAR.sub("…", first)[:_LONGEST_NAME].strip()
